"""The embed job: thumbnails without an embedding of the configured model in, embeddings out."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence

from pyspark.sql import Observation
from pyspark.sql import functions as F

from dupelake.jobs.common import job_parser, run_job
from dupelake.runtime.run import Run
from dupelake.schema import EMBEDDINGS, MODELS, THUMBNAILS

log = logging.getLogger(__name__)


def body(run: Run, args: argparse.Namespace) -> None:
    """Embed every content that lacks an embedding of the configured model."""
    work(run, prepare_model(run))


def work(run: Run, model: tuple[str, str] | None) -> None:
    """`body`, with the model that `prepare_model` named."""
    run.count("embedded", 0)
    run.count("embed_failed", 0)
    if model is None:
        return
    model_id, preprocess_id = model
    stored = run.warehouse.read(EMBEDDINGS).where(F.col("model_id") == model_id)
    thumbnails = run.warehouse.read(THUMBNAILS)
    lacking = thumbnails.select("content_id").join(stored.select("content_id"), "content_id", "left_anti")
    lacking = run.staging.save(lacking, "pending")  # ids: on most nights few, which find their thumbnails
    n_pending = lacking.count()
    if n_pending == 0:
        return
    from dupelake.stages.embed import embed_contents

    with run.step("embed"):
        n_tasks = max(
            run.warehouse.spark.sparkContext.defaultParallelism, math.ceil(n_pending / run.config.embed.rows_per_task)
        )
        pending = thumbnails.join(lacking, "content_id", "left_semi")
        rows = embed_contents(pending.repartition(n_tasks, "content_id"), run.config.embed, model_id, preprocess_id)
        seen = Observation("embed")
        rows = rows.observe(seen, F.count(F.lit(1)).alias("n"), F.count("error_message").alias("n_failed"))
        # append, not merge: a merge would evaluate its source, and so the model, twice; what is
        # pending was anti-joined against the committed table, so a rerun does not repeat rows
        run.warehouse.append(EMBEDDINGS, rows)
        run.count("embed_failed", seen.get["n_failed"])
        run.count("embedded", seen.get["n"] - seen.get["n_failed"])


def prepare_model(run: Run) -> tuple[str, str] | None:
    """Ids of the configured model, checked against the stored ones; its centre is stored the first time.

    Returns:
        (model_id, preprocess_id); None where the configuration wants no embeddings.

    Raises:
        ModelError: the model cannot be loaded.
        VersionMixError: the model is stored with another preprocessing.
    """
    if run.config.embed.model == "none":
        return None
    with run.step("model"):
        return _prepare(run)


def _prepare(run: Run) -> tuple[str, str]:
    from dupelake.kernels.centre import reference_centre
    from dupelake.kernels.embedding import get_embedder
    from dupelake.stages.embed import check_models, describe_model

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
        run.warehouse.merge(MODELS, run.warehouse.spark.createDataFrame([row], MODELS.schema))
    return model_id, preprocess_id


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/embed.py."""
    return run_job("embed", job_parser("embed.py", __doc__, manifests=False), body, argv)
