"""The join job: compares new contents with all others; measures, decides and stores candidate pairs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.errors import ModelError
from dupelake.pipeline.command_lines import full_command
from dupelake.pipeline.common import run_job
from dupelake.pipeline.contents import Versions
from dupelake.pipeline.job import Job
from dupelake.pipeline.measure import Measured, measure
from dupelake.pipeline.options import FullOption
from dupelake.pipeline.versions import refuse_other_joins, refuse_unhashed, warn_of_left_out
from dupelake.propose.stage import joinable_units
from dupelake.propose.versions import key_version
from dupelake.runtime.run_record import Run
from dupelake.stage_versions import StageVersions
from dupelake.verify.decide_stage import decide
from dupelake.verify.score_stage import pixel_pairs
from dupelake.warehouse.schema import HASHES, IMAGES, JOINED, MODELS, PAIRS

log = logging.getLogger(__name__)

# Stored pairs are measured again with --full, and if a content left `joined` because it got an embedding or features.
_MEASURED_OTHERWISE = (
    "t.join_version <> s.join_version OR t.hash_version <> s.hash_version OR t.found_by <> s.found_by "
    "OR (t.cosine_similarity IS NULL) <> (s.cosine_similarity IS NULL) OR NOT (t.n_inliers <=> s.n_inliers)"
)


def check(run: Run, options: FullOption) -> Versions:
    """The versions of this run, recorded in it. For a join without a hash job in the same run.

    Raises:
        ModelError: as `current_versions`.
        VersionMixError: as `refuse_unhashed`, and as `refuse_other_joins`.
    """
    refuse_unhashed(run)
    versions = note_versions(run)
    refuse_other_joins(run, versions.join, options.full)
    return versions


def work(run: Run, options: FullOption, versions: Versions) -> None:
    """Join new contents with all others, measure the candidate pairs, remove pairs whose images are gone."""
    full, counts = options.full, run.counts
    if full:
        warn_of_left_out(run)
    hashes = run.warehouse.read(HASHES).where(F.col("hash_version") == versions.hash)
    counts.pairs_measured = counts.pairs_withdrawn = 0
    with run.step("units"):
        units, withdrawn, sizes = _units(run, hashes, full)
        pixel, n_pixel = pixel_changes(run, hashes)
    if sizes["new"] or sizes["gone"] or n_pixel:
        stored = run.warehouse.read(PAIRS)
        measured = Measured(stored.limit(0), None)
        if sizes["new"]:
            valid = None if full else stored.where(F.col("join_version") == versions.join)
            measured = measure(run, units, sizes, hashes, versions, valid)
        with run.step("write"):
            _write(run, stored, measured, pixel, units, withdrawn, full, versions.join, has_new=sizes["new"] > 0)
    run.is_joined = True
    with run.step("decide"):
        kinds, n_old = _kinds(run)
        if n_old:
            _decide_again(run)
            kinds, _ = _kinds(run)
    counts.pairs_by_kind.update(kinds)


def current_versions(run: Run) -> Versions:
    """The versions that this run compares; those of the model as the embed job stored them.

    Raises:
        ModelError: a model is configured, but its embeddings are not stored.
    """
    stages = StageVersions(run.config)
    model = preprocess = centre = None
    if run.config.embed.model != "none":
        from dupelake.embed.stage import describe_model

        model, preprocess, _ = describe_model(run.config.embed)
        row = (
            run.warehouse.read(MODELS)
            .where((F.col("model_id") == model) & (F.col("preprocess_id") == preprocess))
            .first()
        )
        if row is None:
            raise ModelError(
                f"the warehouse holds no embeddings of model {model} ({preprocess}); run the embed job "
                "with the same configuration first, or set embed.model=none"
            )
        centre = np.frombuffer(bytes(row["centre"]), dtype="<f4")
    keys = key_version(stages.feature, None if model is None else (model, str(preprocess)), centre, run.config.lsh)
    join = stages.join(model, preprocess)
    return Versions(stages.hash, stages.feature, stages.verify, model, preprocess, centre, keys, join)


def note_versions(run: Run) -> Versions:
    """`current_versions`, recorded in the run.

    Raises:
        ModelError: as `current_versions`.
    """
    versions = current_versions(run)
    run.versions["join"] = versions.join
    return versions


def _units(run: Run, hashes: DataFrame, full: bool) -> tuple[DataFrame, DataFrame, Row]:
    """All joinable units with is_new; keys of `joined` that are no longer units; Row(units, new, gone) of counts."""
    key = ["scope", "content_id"]
    now = joinable_units(run.warehouse.read(IMAGES), hashes, run.config.lsh).withColumn("is_unit", F.lit(True))
    before = run.warehouse.read(JOINED).select(*key, F.lit(True).alias("met"))
    is_unit, is_new = F.col("is_unit").isNotNull(), F.col("met").isNull() | F.lit(full)
    counts = {"units": F.count_if(is_unit), "new": F.count_if(is_unit & is_new)}
    both, seen = run.staging.counted(now.join(before, key, "full"), "units", **counts)  # read by every generator
    sizes = Row(units=seen["units"], new=seen["new"], gone=seen["n"] - seen["units"])
    return both.where(is_unit).select(*key, is_new.alias("is_new")), both.where(~is_unit).select(key), sizes


def _write(
    run: Run,
    stored: DataFrame,
    measured: Measured,
    pixel: DataFrame,
    units: DataFrame,
    withdrawn: DataFrame,
    full: bool,
    join_version: str,
    *,
    has_new: bool,
) -> None:
    """Write pairs first, then `joined`. After a kill in between the next run measures the same pairs again."""
    stale_pixel = pixel.where("is_stale").select("src_id", "dst_id")
    pairs = measured.pairs
    # A pair with equal pixels in another version may be near in this one. It is replaced and not removed.
    stale_pixel = stale_pixel.join(pairs.select("src_id", "dst_id"), ["src_id", "dst_id"], "left_anti")
    gone = run.staging.save(_without_ends(stored, units, full, pairs).unionByName(stale_pixel), "gone")
    rows = pairs.unionByName(pixel.where("NOT is_stale").select(pairs.columns))
    report = run.warehouse.merge(PAIRS, rows, update_when=_MEASURED_OTHERWISE, delete=gone)
    run.counts.pairs_measured = report.inserted + report.updated
    run.counts.pairs_withdrawn = report.deleted
    joined = units.where("is_new").select("scope", "content_id", F.lit(join_version).alias("join_version"))
    if measured.followers is not None:  # followers met their leaders only
        led = measured.followers.select("scope", "content_id")
        joined, withdrawn = joined.join(led, ["scope", "content_id"], "left_anti"), withdrawn.unionAll(led)
    is_change = has_new and not full and measured.followers is None
    run.warehouse.merge(
        JOINED, joined, update_when="t.join_version <> s.join_version", delete=withdrawn, is_change=is_change
    )


def pixel_changes(run: Run, hashes: DataFrame) -> tuple[DataFrame, int]:
    """Pixel pairs to insert or replace, and with is_stale stored ones to remove; and their number.

    Each content of a pixel class is paired with its representative. A stored pair is stale if the representative
    changed.
    """
    key = ["src_id", "dst_id"]
    wanted = pixel_pairs(hashes, run.config.decide).withColumn("is_wanted", F.lit(True))
    stored = run.warehouse.read(PAIRS).where(F.col("found_by") == "pixel")
    stored = stored.select(*key, F.col("hash_version").alias("of"))
    differing = wanted.join(stored, key, "full").where("NOT (hash_version <=> of)")  # a missing row gives null
    rows = differing.withColumn("is_stale", F.col("is_wanted").isNull()).drop("of")
    changes, seen = run.staging.counted(rows, "pixel")
    return changes, seen["n"]


def _without_ends(stored: DataFrame, units: DataFrame, full: bool, measured: DataFrame) -> DataFrame:
    """Keys of stored pairs whose contents share no scope now; with --full, of all pairs that were not found again."""
    near = stored.where(F.col("found_by") != "pixel").select("src_id", "dst_id")
    if full:
        return near.join(measured.select("src_id", "dst_id"), ["src_id", "dst_id"], "left_anti")
    src, dst = (units.select("scope", F.col("content_id").alias(end)) for end in ("src_id", "dst_id"))
    kept = near.join(src, "src_id").join(dst, ["scope", "dst_id"], "left_semi").select("src_id", "dst_id")
    return near.join(kept, ["src_id", "dst_id"], "left_anti")


def _kinds(run: Run) -> tuple[dict[str, int], int]:
    """Duplicates by kind, and the number of pairs that other thresholds decided."""
    is_old = F.col("decide_version") != StageVersions(run.config).decide
    kind = F.when(F.col("is_duplicate"), F.col("kind")).alias("kind")
    counts = F.count(F.lit(1)).alias("n"), F.count_if(is_old).alias("n_old")
    rows = run.warehouse.read(PAIRS).groupBy(kind).agg(*counts).collect()  # one a kind
    return {row["kind"]: row["n"] for row in rows if row["kind"] is not None}, sum(row["n_old"] for row in rows)


def _decide_again(run: Run) -> None:
    """Decide stored pairs again from their evidence after a change of thresholds. No image is read."""
    old = run.warehouse.read(PAIRS).where(F.col("decide_version") != StageVersions(run.config).decide)
    log.info("the thresholds changed: deciding stored pairs again from their evidence")
    run.warehouse.merge(
        PAIRS,
        run.staging.save(decide(old, run.config.decide), "decided"),
        update_when="t.decide_version <> s.decide_version",
    )


JOB = Job("lsh_join", check, work)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/lsh_join.py."""
    return run_job(JOB, full_command("lsh_join.py", __doc__), argv)
