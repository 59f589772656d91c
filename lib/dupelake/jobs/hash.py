"""The hash job: manifests in; images, hashes, thumbnails and features out. Each new image is read and decoded once."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.errors import VersionMixError
from dupelake.jobs.common import absolute, job_parser, run_job, selection
from dupelake.kernels.hashing import hash_version
from dupelake.kernels.vocabulary import feature_version
from dupelake.manifests import read_manifests
from dupelake.runtime.run import Run
from dupelake.schema import FAILED, FEATURES, HASHES, IMAGES, OK, THUMBNAILS
from dupelake.stages.fetch import fetch_remote
from dupelake.stages.hash import hash_images
from dupelake.stages.manifest import new_rows, normalise
from dupelake.tables import single_row

log = logging.getLogger(__name__)


def body(run: Run, args: argparse.Namespace) -> None:
    """Hash the rows of the manifests that `images` lacks (all of them with --full)."""
    partitions, since, full = selection(args)
    refuse_other_versions(run, full)
    rows = _rows_to_do(run, [absolute(path) for path in args.paths], partitions, since, full)
    n_rows = run.counts["read"] - run.counts["skipped"]
    for name in ("hashed", "failed", "contents_new", "features_failed"):
        run.count(name, 0)
    if n_rows == 0:
        return
    with run.step("hash"):
        n_tasks = max(
            run.warehouse.spark.sparkContext.defaultParallelism, math.ceil(n_rows / run.config.hash.rows_per_task)
        )
        spread = rows.repartition(n_tasks, "image_id")  # by key: a retried task gets the same rows
        fetched = fetch_remote(spread, run.config.decode.max_bytes)
        hashed = run.staging.save(hash_images(fetched, run.config), "hashed")
    with run.step("write"):
        _write(run, hashed, full)


def _rows_to_do(
    run: Run, paths: Sequence[str], partitions: list[str] | None, since: str | None, full: bool
) -> DataFrame:
    with run.step("manifest"):
        raw = read_manifests(run.warehouse.spark, paths, run.config.manifest)
        manifest = normalise(raw, run.config.manifest)
        rows = run.staging.save(
            new_rows(manifest, run.warehouse.read(IMAGES), partitions=partitions, since=since, full=full), "rows"
        )
        n_rows = rows.count()
        run.count("read", raw.count())
        run.count("skipped", run.counts["read"] - n_rows)  # known already, repeated, or in another partition
        log.info("%d rows in the manifest, %d to do", run.counts["read"], n_rows)
    return rows


def refuse_other_versions(run: Run, full: bool) -> None:
    """Stop where the warehouse holds hashes or features of another version, unless `full` makes them all anew.

    Raises:
        VersionMixError: names both versions and the fix.
        ModelError: the vocabulary of visual words cannot be read.
    """
    for table, name, version, options in (
        (HASHES, "hash", hash_version(run.config), "decode.*, hash.*"),
        (FEATURES, "feature", feature_version(run.config), "features.*, hash.thumbnail_side_px"),
    ):
        column = f"{name}_version"
        run.versions[name] = version
        other = run.warehouse.read(table).where(F.col(column) != version).select(column).first()
        if other is not None and not full:
            raise VersionMixError(
                f"the warehouse holds {table.name} of version {other[0]}, this run would make {version}; "
                "they are never compared: run with --full to hash every image again, "
                f"or take back the options ({options}) that changed"
            )


def _write(run: Run, hashed: DataFrame, full: bool) -> None:
    """Contents first, images last: an image that stands in `images` is done, whenever the run was killed."""
    contents = hashed.where(F.col("status") == OK).dropDuplicates(["content_id"])  # equal bytes, equal values
    report = run.warehouse.merge(HASHES, contents, update_when="t.hash_version <> s.hash_version" if full else None)
    thumbnails = contents.select(
        "content_id",
        F.col("thumbnail_bytes").alias("bytes"),
        F.col("thumbnail_width_px").alias("width_px"),
        F.col("thumbnail_height_px").alias("height_px"),
    )
    features = contents.withColumn("error_message", F.col("features_error"))
    mended = "t.feature_version <> s.feature_version OR (t.error_message IS NOT NULL AND s.error_message IS NULL)"
    run.warehouse.merge(FEATURES, features, update_when=mended if full else None)
    run.warehouse.merge(THUMBNAILS, thumbnails, update_when="t.bytes <> s.bytes" if full else None)
    images = hashed.withColumn("ingested_at", F.lit(run.started_at)).withColumn(
        "deleted_at", F.lit(None).cast("timestamp")
    )
    run.warehouse.merge(IMAGES, images, update_when=_image_changed())
    run.count("contents_new", report.inserted)
    _count_features_failed(run, contents)
    for row in hashed.groupBy("status", "reason").agg(F.count(F.lit(1)).alias("n")).collect():  # one row per reason
        if row["status"] == FAILED:
            run.count(f"failed.{row['reason']}", row["n"])
            run.counts["failed"] += row["n"]
        else:
            run.counts["hashed"] += row["n"]


def _count_features_failed(run: Run, contents: DataFrame) -> None:
    """Pictures whose local features failed stay hashed: they are counted, and one of them is named in the log."""
    failed = contents.where("features_error IS NOT NULL")
    first = F.min_by(F.struct("uri", "features_error"), "image_id").alias("first")
    row = single_row(failed.agg(F.count(F.lit(1)).alias("n"), first))
    run.count("features_failed", row["n"])
    if row["n"]:
        log.warning(
            "%d contents have no local features, the first is %s: %s; only hashes and embeddings find their copies",
            row["n"],
            row["first"]["uri"],
            row["first"]["features_error"],
        )


def _image_changed() -> str:
    """SQL: any column but the time of ingestion differs between the stored and the given row."""
    names = [n for n in IMAGES.columns if n not in ("image_id", "ingested_at", "extra")]
    return " OR ".join([f"NOT (t.{n} <=> s.{n})" for n in names] + ["NOT (to_json(t.extra) <=> to_json(s.extra))"])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/hash.py."""
    return run_job("hash", job_parser("hash.py", __doc__, manifests=True), body, argv)
