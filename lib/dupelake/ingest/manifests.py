"""Reads manifests: CSV, JSON lines, Parquet, Delta, tar and ZIP archives, or a tree of images. Reads only.

A path without a scheme is local, on the driver and on every executor, as in a manifest's `uri`. Other paths have their
scheme (`s3a://`, `hdfs://`). Paths are literal: `*`, `[`, `{`, `%`, `#` and spaces are characters of the name, never
patterns or escapes. A relative `uri` of a manifest file is relative to the folder of that file. Rows of a Delta table
have no such folder, so a relative `uri` there is a fault of the row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from types import MappingProxyType

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dupelake.config import FetchConfig, ManifestConfig
from dupelake.errors import ManifestError, first_line, unread_file, unread_manifest
from dupelake.ingest.access import Access, own_roots
from dupelake.ingest.archives import read_archives
from dupelake.ingest.manifest_cells_stage import FAULT, FOLDER, RELATIVE, is_relative, quoted
from dupelake.ingest.manifest_changes import Versions, changed_rows, table_at
from dupelake.ingest.manifest_columns_stage import ORIGIN, PLACE, packed, without_place
from dupelake.ingest.manifest_names import URI, check_columns, find_uri_column
from dupelake.ingest.manifest_parquet import read_parquet_table
from dupelake.ingest.manifest_place import Place
from dupelake.ingest.manifest_text import read_text_table
from dupelake.ingest.members import ALL_ARCHIVES, SEPARATOR
from dupelake.ingest.trees import read_tree
from dupelake.runtime.redaction import redact_uris

log = logging.getLogger(__name__)

_INFER_PARTITIONS = "spark.sql.sources.partitionColumnTypeInference.enabled"
_RELATIVE = RELATIVE + ": {} is relative, and rows of a Delta table lie in no folder of theirs; write it in full"


def read_manifests(
    spark: SparkSession,
    paths: Sequence[str],
    cfg: ManifestConfig,
    fetch: FetchConfig = FetchConfig(),  # noqa: B008 - frozen
    versions: Mapping[str, Versions] = MappingProxyType({}),
) -> DataFrame:
    """Several manifests as one; a column that a manifest lacks is null in its rows. All values are text.

    CSV follows RFC 4180, with a header line; the delimiter is a comma, semicolon, tab or bar; UTF-16 is read too. JSON
    holds objects, one a line or not. A record that cannot be read is a row with a fault and no values. Folders of CSV,
    JSON and Parquet may have Hive partitions (`partition=2026-11-01/`), whose values stay text. Files in one folder may
    differ in columns and types. A tree of images gives `uri` and `partition`, and `last_modified` (UTC) and `byte_size`
    of each file, null for a folder that could not be listed.

    Args:
        spark: the session.
        paths: files or folders, see the docstring of this module.
        cfg: with `format: auto` the ending of a file's name gives its format. A folder is Delta if it has a
            `_delta_log`, a folder of manifests if all its names but companion files (README, checksums) are those of
            manifests, or of archives, else a tree of images.
        fetch: access rules, by which archives are opened.
        versions: of Delta tables, by path; other tables are read in their newest version.

    Returns:
        The known columns; manifest_columns_stage.ORIGIN, the root of a tree with a slash at its end, an archive with
        `!/`, or a folder of archives with `/*!/`, else `manifest.source`, else the path; manifest_cells_stage.FAULT,
        except in trees;
        manifest_cells_stage.EXTRA, all columns that dupelake does not know; and manifest_columns_stage.PLACE.

    Raises:
        ManifestError: no path is given; a path does not exist, its format is unknown or cannot be read, it has no
            column `uri`, or a column occurs twice.
    """
    if not paths:
        raise ManifestError("no manifest is given")
    access = Access(fetch, own_roots(paths))
    return reduce(_united, [packed(_read_manifest(spark, path, cfg, access, versions.get(path))) for path in paths])


def _read_manifest(
    spark: SparkSession, path: str, cfg: ManifestConfig, access: Access, versions: Versions | None
) -> DataFrame:
    place = Place(spark, path)
    kind = place.kind() if cfg.format == "auto" else cfg.format
    log.info("manifest %s is read as %s", path, kind)
    if kind == "directory":
        if not place.is_folder:
            raise ManifestError(
                f"{path} is a file, but a tree of images is a folder; set manifest.format to its format"
            )
        root = place.local or path
        raw = read_tree(spark, root, cfg.extensions, is_local=place.local is not None)
        if raw.isEmpty():
            wanted = f" with one of the extensions {list(cfg.extensions)}" if cfg.extensions else ""
            raise ManifestError(f"{path} holds no file{wanted}")
        return raw.withColumn(ORIGIN, F.lit(root.rstrip("/") + "/"))
    if kind == "archive":
        root = (place.local or path).rstrip("/") + ("/" + ALL_ARCHIVES if place.is_folder else SEPARATOR)
        return read_archives(spark, place, cfg.extensions, access).withColumn(ORIGIN, F.lit(root))
    try:
        raw = _read_table(spark, place, kind, cfg, access, versions)
    except (PySparkException, Py4JJavaError) as error:
        unread = unread_file(error)
        told = unread_manifest(*unread) if unread else f"{path} cannot be read as {kind}: {first_line(error)}"
        raise ManifestError(told) from error
    check_columns(raw.columns, path)
    return raw.withColumn(ORIGIN, F.lit(redact_uris(cfg.source or place.path.rstrip("/"))))


def _read_table(
    spark: SparkSession, place: Place, kind: str, cfg: ManifestConfig, access: Access, versions: Versions | None
) -> DataFrame:
    """The rows as found, with FAULT; the column of URIs is called `uri`, and relative URIs are resolved."""
    if kind in ("delta", "delta_changes"):
        if versions is None:
            rows = spark.read.format("delta").load(place.hadoop)
        elif kind == "delta":
            rows = table_at(spark, place, versions.now)
        else:
            rows = changed_rows(spark, place, versions, cfg)
        return _without_relative(rows, place.path, cfg.image_column)
    with _text_partitions(spark):
        if kind != "parquet":
            return without_place(read_text_table(spark, place, kind, cfg.image_column))
        frames = [
            raw if PLACE in raw.columns else _in_full(raw, place.path, cfg.image_column)
            for raw in read_parquet_table(spark, place, cfg, access)
        ]
    if len(frames) == 1:
        return frames[0]
    return reduce(_united, [packed(raw) for raw in frames])


def _united(one: DataFrame, other: DataFrame) -> DataFrame:
    return one.unionByName(other, allowMissingColumns=True)


def _in_full(raw: DataFrame, where: str, uri_column: str) -> DataFrame:
    """Rows of files with FOLDER; relative URIs are resolved against it."""
    raw = _with_uri(raw, where, uri_column)
    uri = F.col(URI)
    full = F.when(is_relative(uri), F.concat(F.col(FOLDER), F.lit("/"), uri)).otherwise(uri)
    return raw.withColumns({URI: full, FAULT: F.lit(None).cast("string")}).drop(FOLDER)


def _without_relative(raw: DataFrame, where: str, uri_column: str) -> DataFrame:
    raw = _with_uri(raw, where, uri_column)
    uri = F.col(URI)
    before, after = _RELATIVE.split("{}")
    return raw.withColumn(FAULT, F.when(is_relative(uri), F.concat(F.lit(before), uri, F.lit(after))))


def _with_uri(raw: DataFrame, where: str, uri_column: str) -> DataFrame:
    """The rows with their column of URIs as the text `uri`."""
    check_columns(raw.columns, where, uri_column)
    raw = without_place(raw)
    name = find_uri_column(raw.columns, uri_column) or URI
    return raw.withColumn(name, F.col(quoted(name)).cast("string")).withColumnRenamed(name, URI)


@contextmanager
def _text_partitions(spark: SparkSession) -> Iterator[None]:
    """Reads partition values such as `2026-11-01` and `007` as text. Spark fixes the types when it makes a reader."""
    before = spark.conf.get(_INFER_PARTITIONS)
    spark.conf.set(_INFER_PARTITIONS, "false")
    try:
        yield
    finally:
        spark.conf.set(_INFER_PARTITIONS, str(before))
