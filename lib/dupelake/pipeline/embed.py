"""The embed job: computes embeddings of thumbnails that have none of the configured model."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from dupelake.embed.retries_stage import is_embedding_retried
from dupelake.ingest.live_stage import rows_of_contents
from dupelake.ingest.retries_stage import attempts_before, is_of_completed_run
from dupelake.pipeline.chunks import in_parts, n_parts
from dupelake.pipeline.command_lines import full_command
from dupelake.pipeline.common import run_job
from dupelake.pipeline.embedded import contents_without_embedding
from dupelake.pipeline.job import Job
from dupelake.pipeline.lsh_join import current_versions
from dupelake.pipeline.options import FullOption
from dupelake.pipeline.rejoin import leave_joined
from dupelake.runtime.progress import Work
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import EMBEDDINGS, JOIN_KEYS, MODELS, THUMBNAILS
from dupelake.warehouse.tables import single_row

log = logging.getLogger(__name__)

_LACKING, _FAILED, _LATER = "lacking", "failed", "later"  # why a content is pending
_LEAST_ROWS_OF_TASK = 64  # a worker that loads torch and the model takes as long as embedding some 300 on a CPU
_OTHERWISE = "t.error_message IS NOT NULL AND NOT (t.error_message <=> s.error_message AND t.attempts <=> s.attempts)"


@dataclass(frozen=True)
class Model:
    """The model of a run, and the version of the join that compares its embeddings."""

    model_id: str
    preprocess_id: str
    join_version: str


def check(run: Run, options: FullOption) -> Model | None:
    """The configured model; None if no model is configured.

    Raises:
        ModelError: as `prepare_model`.
        VersionMixError: as `prepare_model`.
    """
    ids = prepare_model(run)
    return None if ids is None else Model(*ids, current_versions(run).join)


def work(run: Run, options: FullOption, model: Model | None) -> None:
    """Embed every content without an embedding of the configured model, and retry failed ones.

    Failed contents are retried as images are: faults that may pass are retried for up to run.max_attempts nights. With
    --full all failed contents are retried at once. A content that was joined without an embedding is removed from
    `joined`, so that the next join compares it with all others.
    """
    counts = run.counts
    counts.embedded = counts.embed_failed = counts.embed_retried = counts.embed_waiting = 0
    run.is_embedded = True  # set early: a run that fails later is not complete anyway
    if model is None:
        return
    with run.step("embed"):
        pending = run.staging.save(_pending(run, model.model_id, options.full), "pending")  # ids: on most nights few
        met = rows_of_contents(run.warehouse.read(JOIN_KEYS).select("content_id"), pending)  # joined before
        rows = pending.select("what").unionAll(met.select(F.lit("met"))).groupBy("what").agg(F.count("*").alias("n"))
        n = {row["what"]: row["n"] for row in rows.collect()}
    counts.embed_waiting = n.get(_LATER, 0)
    if not n.get(_LACKING) and not n.get(_FAILED):
        return
    with run.step("embed", Work(n.get(_LACKING, 0) + n.get(_FAILED, 0), "contents", "embed_rows")):
        thumbnails = run.warehouse.read(THUMBNAILS)
        lacking, failed = (pending.where(F.col("what") == what) for what in (_LACKING, _FAILED))
        if n.get(_LACKING):
            if n.get("met"):
                leave_joined(run, lacking, model.join_version)
            _append(run, rows_of_contents(thumbnails, lacking), n[_LACKING], model)
        if n.get(_FAILED):
            counts.embed_retried = n[_FAILED]
            _try_again(run, thumbnails, failed, model)


def _pending(run: Run, model_id: str, full: bool) -> DataFrame:
    """(content_id, what, attempts): contents to embed, and failed ones that wait for another night.

    `attempts` is the number of failed attempts of completed runs.
    """
    stored = run.warehouse.read(EMBEDDINGS).where(F.col("model_id") == model_id)
    lacking = contents_without_embedding(run, model_id)
    is_over = is_of_completed_run(F.col("tried_at"), run.last_done_at("embed", "nightly"))
    may = F.lit(True) if full else is_embedding_retried(F.col("attempts"), run.config.run.max_attempts)
    failed = stored.where(F.col("error_message").isNotNull() & may)
    before = attempts_before(F.coalesce("attempts", F.lit(1)), is_over)
    what = F.when(is_over | F.lit(full), _FAILED).otherwise(_LATER)
    return lacking.select("content_id", F.lit(_LACKING).alias("what"), F.lit(0).alias("attempts")).unionAll(
        failed.select("content_id", what.alias("what"), before.alias("attempts"))
    )


def _append(run: Run, thumbnails: DataFrame, n_rows: int, model: Model) -> None:
    """Embed contents that were never embedded, one part after the other."""
    n_part = math.ceil(n_rows / n_parts(n_rows))
    for part in in_parts(run.staging, thumbnails, n_rows, "embeddings", "content_id"):
        seen = Observation("embed")
        rows = _embedded(run, part, n_part, model)
        rows = rows.observe(seen, *_outcome(run))
        # append, not merge: a merge would evaluate its source, and so the model, twice; what is
        # pending was anti-joined against the committed table, so a rerun does not repeat rows
        run.warehouse.append(EMBEDDINGS, rows)
        _add(run, seen.get)


def _try_again(run: Run, thumbnails: DataFrame, failed: DataFrame, model: Model) -> None:
    """Embed contents that failed before. The few rows are staged, because a merge reads them more than once."""
    rows = _embedded(run, rows_of_contents(thumbnails, failed), failed.count(), model)
    before = failed.select("content_id", F.col("attempts").alias("before"))
    nights = F.when(is_embedding_retried(F.lit(0), 1), F.col("attempts") + F.col("before")).otherwise(F.col("attempts"))
    tried = rows.join(before, "content_id").withColumn("attempts", nights).drop("before")
    tried = run.staging.save(tried, "tried-again")
    leave_joined(run, tried.where("embedding IS NOT NULL"), model.join_version)
    run.warehouse.merge(EMBEDDINGS, tried, update_when=_OTHERWISE)
    _add(run, single_row(tried.agg(*_outcome(run))).asDict())


def _embedded(run: Run, thumbnails: DataFrame, n_rows: int, model: Model) -> DataFrame:
    """EMBEDDINGS of about `n_rows` thumbnails, lazily."""
    from dupelake.embed.stage import embed_contents

    at_once = run.warehouse.spark.sparkContext.defaultParallelism
    n_tasks = max(
        min(at_once, math.ceil(n_rows / _LEAST_ROWS_OF_TASK)), math.ceil(n_rows / run.config.embed.rows_per_task), 1
    )
    spread = thumbnails.repartition(n_tasks, "content_id")
    rows = embed_contents(spread, run.config.embed, model.model_id, model.preprocess_id)
    return rows.withColumn("tried_at", F.when(F.col("error_message").isNotNull(), F.lit(run.started_at)))


def _outcome(run: Run) -> list[Column]:
    """Aggregates of newly computed rows of EMBEDDINGS."""
    may = is_embedding_retried(F.col("attempts"), run.config.run.max_attempts)
    counts = F.count(F.lit(1)), F.count("error_message"), F.count_if(may)
    return [count.alias(name) for name, count in zip(("n", "n_failed", "n_waiting"), counts, strict=True)]


def _add(run: Run, outcome: Mapping[str, int]) -> None:
    run.counts.embed_failed += outcome["n_failed"]
    run.counts.embedded += outcome["n"] - outcome["n_failed"]
    run.counts.embed_waiting += outcome["n_waiting"]


def prepare_model(run: Run) -> tuple[str, str] | None:
    """Ids of the configured model, checked against the stored ones; its centre is stored the first time.

    Returns:
        (model_id, preprocess_id); None if the configuration has no model.

    Raises:
        ModelError: the model cannot be loaded.
        VersionMixError: the model is stored with another preprocessing.
    """
    if run.config.embed.model == "none":
        return None
    with run.step("model"):
        return _prepare(run)


def _prepare(run: Run) -> tuple[str, str]:
    from dupelake.embed.centre import reference_centre
    from dupelake.embed.embedding import get_embedder
    from dupelake.embed.stage import check_models, describe_model

    stored = [
        (r["model_id"], r["preprocess_id"])
        for r in run.warehouse.read(MODELS).select("model_id", "preprocess_id").collect()
    ]  # one row per model ever used
    model_id, preprocess_id, dim = describe_model(run.config.embed)
    check_models(stored, model_id, preprocess_id)
    run.versions |= {"model": model_id, "preprocess": preprocess_id}
    if (model_id, preprocess_id) not in stored:
        centre = reference_centre(get_embedder(run.config.embed)).astype("<f4").tobytes()
        row = (model_id, preprocess_id, dim, bytearray(centre))
        run.warehouse.append(MODELS, run.warehouse.spark.createDataFrame([row], MODELS.schema))
    return model_id, preprocess_id


JOB = Job("embed", check, work)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/embed.py."""
    return run_job(JOB, full_command("embed.py", __doc__), argv)
