"""Manifests from storage: CSV, JSON lines, Parquet, Delta, or a tree of images. Reads only.

A path without scheme is of the local file system, on the driver and on every executor, as in a manifest's `uri`;
paths elsewhere are written with their scheme (`s3a://`, `hdfs://`). Paths are taken to the letter: `*`, `[`, `{`, `%`,
`#` and spaces are characters of the name, never patterns or escapes. A relative `uri` of a manifest file lies below
the folder of that file; a Delta table has no such folder, so there it is a fault of its row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError, first_line
from dupelake.ingest.manifest_cells_stage import FAULT, FOLDER, RELATIVE, is_relative, quoted
from dupelake.ingest.manifest_columns_stage import ORIGIN, as_text, check_columns, packed
from dupelake.ingest.manifest_parquet import read_parquet_table
from dupelake.ingest.manifest_place import Place
from dupelake.ingest.manifest_text import read_text_table
from dupelake.ingest.retries_stage import MARKS
from dupelake.ingest.trees import read_tree
from dupelake.runtime.redaction import redact_uris

log = logging.getLogger(__name__)

_INFER_PARTITIONS = "spark.sql.sources.partitionColumnTypeInference.enabled"
_RELATIVE = RELATIVE + ": {} is relative, and rows of a Delta table lie in no folder of theirs; write it in full"


def read_manifests(
    spark: SparkSession, paths: Sequence[str], cfg: ManifestConfig, *, with_origin: bool = False
) -> DataFrame:
    """Several manifests as one; columns that some of them lack are null there. All values are text.

    Args:
        spark: the session.
        paths: see read_manifest.
        cfg: format, endings, and with `with_origin` the name of the source.
        with_origin: adds stages.manifest.ORIGIN: of a tree its root, ending in a slash; else `manifest.source` or,
            where that is empty, the path. And of trees `last_modified` (UTC) and `byte_size` of each file, null of a
            folder that could not be listed; of others manifest_cells.FAULT. Columns that dupelake does not know come
            packed in one, manifest_cells.EXTRA.

    Raises:
        ManifestError: no path at all, or one of them cannot be used; see read_manifest.
    """
    if not paths:
        raise ManifestError("no manifest was named")
    found = [_read_manifest(spark, path, cfg, with_origin=with_origin) for path in paths]
    found = [packed(raw) if with_origin else as_text(raw) for raw in found]
    return reduce(_united, found)


def read_manifest(spark: SparkSession, path: str, cfg: ManifestConfig) -> DataFrame:
    """One manifest, its columns as found; a tree of images gives `uri` and `partition`.

    CSV is as RFC 4180 says, with a header line; commas, semicolons, tabs or bars part its cells; UTF-16 is read too.
    JSON is objects, one a line or not. Both give text. A record that cannot be read is a row without values, and with
    its fault in read_manifests. Folders of these and of Parquet may be partitioned as Hive does it
    (`partition=2026-11-01/`), and files in one folder may differ in columns and types; what folders say stays text.

    Args:
        spark: the session.
        path: a file or a folder, see the head of this module.
        cfg: with format auto a file is what its name ends with; a folder is what its names say: Delta when it has a
            `_delta_log`, manifests where all but texts and the like end like one, else a tree of images.

    Raises:
        ManifestError: nothing is there, its format cannot be told or read, it has no column `uri`, or names one twice.
    """
    return _read_manifest(spark, path, cfg, with_origin=False)


def _read_manifest(spark: SparkSession, path: str, cfg: ManifestConfig, *, with_origin: bool) -> DataFrame:
    place = Place(spark, path)
    kind = place.kind() if cfg.format == "auto" else cfg.format
    log.info("manifest %s is read as %s", path, kind)
    if kind == "directory":
        if not place.is_folder:
            raise ManifestError(f"{path} is a file; as a tree of images a folder was expected")
        root = place.local or path
        raw = read_tree(spark, root, cfg.extensions, is_local=place.local is not None)
        if raw.isEmpty():
            wanted = f" with an ending of {list(cfg.extensions)}" if cfg.extensions else ""
            raise ManifestError(f"{path} holds no file{wanted}")
        return raw.withColumn(ORIGIN, F.lit(root.rstrip("/") + "/")) if with_origin else raw.drop(*MARKS)
    try:
        raw = _read_table(spark, place, kind, with_origin=with_origin)
    except (PySparkException, Py4JJavaError) as error:
        raise ManifestError(f"{path} cannot be read as {kind}: {first_line(error)}") from error
    check_columns(raw.columns, path)
    if not with_origin:
        return raw.drop(FAULT)
    return raw.withColumn(ORIGIN, F.lit(redact_uris(cfg.source or place.path.rstrip("/"))))


def _read_table(spark: SparkSession, place: Place, kind: str, *, with_origin: bool) -> DataFrame:
    """The rows as found, with FAULT; relative URIs in full."""
    if kind == "delta":
        return _without_relative(spark.read.format("delta").load(place.hadoop), place.path)
    with _text_partitions(spark):
        if kind != "parquet":
            return read_text_table(spark, place, kind, packed=with_origin)
        frames = [_in_full(raw, place.path) for raw in read_parquet_table(spark, place)]
    if len(frames) == 1:
        return frames[0]
    return reduce(_united, [packed(raw) if with_origin else as_text(raw) for raw in frames])


def _united(one: DataFrame, other: DataFrame) -> DataFrame:
    return one.unionByName(other, allowMissingColumns=True)


def _in_full(raw: DataFrame, where: str) -> DataFrame:
    """Rows of files with FOLDER, their relative URIs below it."""
    name = _uri_column(raw, where)
    uri = F.col(quoted(name)).cast("string")
    full = F.when(is_relative(uri), F.concat(F.col(FOLDER), F.lit("/"), uri)).otherwise(uri)
    return raw.withColumns({name: full, FAULT: F.lit(None).cast("string")}).drop(FOLDER)


def _without_relative(raw: DataFrame, where: str) -> DataFrame:
    uri = F.col(quoted(_uri_column(raw, where))).cast("string")
    before, after = _RELATIVE.split("{}")
    return raw.withColumn(FAULT, F.when(is_relative(uri), F.concat(F.lit(before), uri, F.lit(after))))


def _uri_column(raw: DataFrame, where: str) -> str:
    check_columns(raw.columns, where)
    return next(name for name in raw.columns if name.strip().lower() == "uri")


@contextmanager
def _text_partitions(spark: SparkSession) -> Iterator[None]:
    """Keeps `partition=2026-11-01` and `scope=007` text; Spark fixes a reader's types when it is made."""
    before = spark.conf.get(_INFER_PARTITIONS)
    spark.conf.set(_INFER_PARTITIONS, "false")
    try:
        yield
    finally:
        spark.conf.set(_INFER_PARTITIONS, str(before))
