"""The join job: contents that have not met the others yet in; candidate pairs measured, decided and stored."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

import numpy as np
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.errors import ModelError, VersionMixError
from dupelake.fingerprint.hashing import hash_version
from dupelake.pipeline.common import job_parser, run_job
from dupelake.pipeline.contents import Versions
from dupelake.pipeline.measure import Measured, measure
from dupelake.pipeline.versions import refuse_unhashed, warn_of_left_out
from dupelake.propose.stage import join_version, joinable_units
from dupelake.propose.versions import key_version
from dupelake.runtime.run_record import Run
from dupelake.verify.decide_stage import decide, decide_version
from dupelake.verify.score_stage import pixel_pairs
from dupelake.verify.stage import verify_version
from dupelake.warehouse.schema import HASHES, IMAGES, JOINED, MODELS, PAIRS
from dupelake.warehouse.tables import single_row
from dupelake.words.vocabulary import feature_version

log = logging.getLogger(__name__)

# A stored pair is measured again where an end left `joined`: it has an embedding or features by now; or with --full.
_MEASURED_OTHERWISE = (
    "t.join_version <> s.join_version OR t.hash_version <> s.hash_version OR t.found_by <> s.found_by "
    "OR (t.cosine_similarity IS NULL) <> (s.cosine_similarity IS NULL) OR NOT (t.n_inliers <=> s.n_inliers)"
)


def body(run: Run, args: argparse.Namespace) -> None:
    """Join new contents with all others, measure what is proposed, withdraw what lost its ground."""
    work(run, args, check_versions(run, args.full))


def work(run: Run, args: argparse.Namespace, versions: Versions) -> None:
    """`body`, after its check of versions."""
    if args.full:
        warn_of_left_out(run)
    hashes = run.warehouse.read(HASHES).where(F.col("hash_version") == versions.hash)
    for name in ("pairs_measured", "pairs_withdrawn"):
        run.count(name, 0)
    with run.step("units"):
        units, withdrawn = _units(run, hashes, args.full)
        pixel = pixel_changes(run, hashes)
        sizes = _sizes(units, withdrawn)
    if sizes["new"] or sizes["gone"] or not pixel.isEmpty():
        stored = run.warehouse.read(PAIRS)
        measured = Measured(stored.limit(0), None)
        if sizes["new"]:
            valid = None if args.full else stored.where(F.col("join_version") == versions.join)
            measured = measure(run, units, sizes, hashes, versions, valid)
        with run.step("write"):
            _write(run, stored, measured, pixel, units, withdrawn, args.full, versions.join)
    run.is_joined = True
    with run.step("decide"):
        _decide_again(run)
    for row in (
        run.warehouse.read(PAIRS).where("is_duplicate").groupBy("kind").agg(F.count(F.lit(1)).alias("n")).collect()
    ):
        run.count(f"pairs.{row['kind']}", row["n"])  # one row per kind


def current_versions(run: Run) -> Versions:
    """Hash and model versions that this run compares; the model's as `embed` stored them.

    Raises:
        ModelError: embeddings are wanted, and none of the configured model are stored.
    """
    version = hash_version(run.config)
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
    features = feature_version(run.config)
    verify = verify_version(features)
    compared = {"hash": version, "verify": verify, "model": model, "preprocess": preprocess}
    join = join_version(run.config.lsh, compared)
    keys = key_version(features, None if model is None else (model, str(preprocess)), centre, run.config.lsh)
    return Versions(version, features, verify, model, preprocess, centre, keys, join)


def note_versions(run: Run) -> Versions:
    """`current_versions`, noted in the run.

    Raises:
        ModelError: as `current_versions`.
    """
    versions = current_versions(run)
    run.versions["join"] = versions.join
    return versions


def check_versions(run: Run, full: bool) -> Versions:
    """The versions of this run, noted in it.

    Raises:
        ModelError: as `current_versions`.
        VersionMixError: as `refuse_other_versions`, and as `refuse_unhashed`.
    """
    refuse_unhashed(run)
    versions = note_versions(run)
    refuse_other_versions(run, versions, full)
    return versions


def refuse_other_versions(run: Run, versions: Versions, full: bool) -> None:
    """Stop where stored pairs were joined otherwise, unless `full` joins all anew.

    Raises:
        VersionMixError: names both versions and the fix.
    """
    other = run.warehouse.read(JOINED).where(F.col("join_version") != versions.join).first()
    if other is not None and not full:
        pair = run.warehouse.read(PAIRS).where(F.col("join_version") == other["join_version"]).first()
        made = f" (hashes {pair['hash_version']}, model {pair['model_id']})" if pair else ""
        raise VersionMixError(
            f"stored pairs were joined by version {other['join_version']}{made}, this run would join "
            f"by {versions.join} ({run.versions}); they are never mixed: run with --full to join "
            "everything again, or take back the options (lsh.*, embed.*) that changed"
        )


def _units(run: Run, hashes: DataFrame, full: bool) -> tuple[DataFrame, DataFrame]:
    """All joinable units with is_new, and the keys of `joined` that are no unit any more."""
    key = ["scope", "content_id"]
    now = joinable_units(run.warehouse.read(IMAGES), hashes, run.config.lsh).withColumn("is_unit", F.lit(True))
    before = run.warehouse.read(JOINED).select(*key, F.lit(True).alias("met"))
    both = run.staging.save(now.join(before, key, "full"), "units")  # staged: read by every leg
    units = both.where("is_unit").select(*key, (F.col("met").isNull() | F.lit(full)).alias("is_new"))
    return units, both.where("is_unit IS NULL").select(key)


def _sizes(units: DataFrame, withdrawn: DataFrame) -> Row:
    """(units, new, gone): how many units there are, how many of them are new, and how many are none any more."""
    rows = units.select("is_new").unionAll(withdrawn.select(F.lit(None).cast("boolean")))
    counts = F.count("is_new").alias("units"), F.count_if("is_new").alias("new")
    return single_row(rows.agg(*counts, F.count_if(F.col("is_new").isNull()).alias("gone")))


def _write(
    run: Run,
    stored: DataFrame,
    measured: Measured,
    pixel: DataFrame,
    units: DataFrame,
    withdrawn: DataFrame,
    full: bool,
    join_version: str,
) -> None:
    """Pairs first, then which contents they cover: killed in between, the next run measures the same again."""
    stale_pixel = pixel.where("is_stale").select("src_id", "dst_id")
    pairs = measured.pairs
    # What was equal in pixels by another version may be near by this one: such a pair is replaced, not withdrawn.
    stale_pixel = stale_pixel.join(pairs.select("src_id", "dst_id"), ["src_id", "dst_id"], "left_anti")
    gone = run.staging.save(_without_ends(stored, units, full, pairs).unionByName(stale_pixel), "gone")
    rows = pairs.unionByName(pixel.where("NOT is_stale").select(pairs.columns))
    report = run.warehouse.merge(PAIRS, rows, update_when=_MEASURED_OTHERWISE, delete=gone)
    run.count("pairs_measured", report.inserted + report.updated)
    run.count("pairs_withdrawn", report.deleted)
    joined = units.where("is_new").select("scope", "content_id", F.lit(join_version).alias("join_version"))
    if measured.followers is not None:  # they met their leaders alone
        led = measured.followers.select("scope", "content_id")
        joined, withdrawn = joined.join(led, ["scope", "content_id"], "left_anti"), withdrawn.unionAll(led)
    run.warehouse.merge(JOINED, joined, update_when="t.join_version <> s.join_version", delete=withdrawn)


def pixel_changes(run: Run, hashes: DataFrame) -> DataFrame:
    """Pixel pairs to insert or write anew, and with is_stale the stored ones whose star has another centre now."""
    key = ["src_id", "dst_id"]
    wanted = pixel_pairs(hashes, run.config.decide).withColumn("is_wanted", F.lit(True))
    stored = run.warehouse.read(PAIRS).where(F.col("found_by") == "pixel")
    stored = stored.select(*key, F.col("hash_version").alias("of"))
    differing = wanted.join(stored, key, "full").where("NOT (hash_version <=> of)")  # either is null where it is absent
    return run.staging.save(differing.withColumn("is_stale", F.col("is_wanted").isNull()).drop("of"), "pixel")


def _without_ends(stored: DataFrame, units: DataFrame, full: bool, measured: DataFrame) -> DataFrame:
    """Keys of stored pairs whose ends share no scope any more; with --full, of all that were not found again."""
    near = stored.where(F.col("found_by") != "pixel").select("src_id", "dst_id")
    if full:
        return near.join(measured.select("src_id", "dst_id"), ["src_id", "dst_id"], "left_anti")
    src, dst = (units.select("scope", F.col("content_id").alias(end)) for end in ("src_id", "dst_id"))
    kept = near.join(src, "src_id").join(dst, ["scope", "dst_id"], "left_semi").select("src_id", "dst_id")
    return near.join(kept, ["src_id", "dst_id"], "left_anti")


def _decide_again(run: Run) -> None:
    """Where thresholds changed, decide stored pairs anew from their evidence; no image is touched."""
    version = decide_version(run.config.decide)
    old = run.warehouse.read(PAIRS).where(F.col("decide_version") != version)
    if old.isEmpty():
        return
    log.info("the thresholds changed: deciding stored pairs again from their evidence")
    run.warehouse.merge(
        PAIRS,
        run.staging.save(decide(old, run.config.decide), "decided"),
        update_when="t.decide_version <> s.decide_version",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/lsh_join.py."""
    return run_job("lsh_join", job_parser("lsh_join.py", __doc__, manifests=False), body, argv)
