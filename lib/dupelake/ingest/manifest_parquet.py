"""Parquet manifests whose files differ in columns or types, or have types that Spark cannot read. Reads only.

Each footer is read once. Files with equal schemas are read together. A column that Spark cannot read is left out with
a warning, unless dupelake needs it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError, first_line
from dupelake.ingest.access import Access
from dupelake.ingest.manifest_cells_stage import FAULT, FOLDER, quoted
from dupelake.ingest.manifest_columns_stage import PLACE, is_known, without_place
from dupelake.ingest.manifest_images import FILE, ROW, ImageColumn, find_image_column, image_rows
from dupelake.ingest.manifest_names import URI, check_columns, check_unique, find_uri_column
from dupelake.ingest.manifest_place import Place
from dupelake.ingest.members import UNREADABLE_FILE
from dupelake.warehouse.paths import literal

log = logging.getLogger(__name__)

_NANOS_AS_LONG = "spark.sql.legacy.parquet.nanosAsLong"


class _Columns(NamedTuple):
    """One schema: what Spark reads, what it cannot read, nanosecond columns, the columns of URIs and of image bytes."""

    fields: T.StructType
    unread: dict[str, str]
    nanos: frozenset[str]
    uri_name: str
    image: ImageColumn | None


def read_parquet_table(spark: SparkSession, place: Place, cfg: ManifestConfig, access: Access) -> list[DataFrame]:
    """The rows of Parquet files; one frame for each schema, with FOLDER, or with PLACE where the rows hold images.

    Among files of images, a file whose footer cannot be read is a row with its path, FAULT and no marks: one shard that
    is cut off must not keep the others from being read.

    Args:
        spark: the session; from now on it reads nanosecond times as integers, which affects only manifests.
        place: a file or a folder.
        cfg: image_column.
        access: by which files of images are opened.

    Raises:
        ManifestError: a file has no `uri`, or a needed column of a type that cannot be read; or the footer of a file
            cannot be read, and no other file holds images.
    """
    spark.conf.set(_NANOS_AS_LONG, "true")
    files = place.files("parquet")

    def schema_of(path: str) -> tuple[str, Any] | str:
        jvm: Any = spark._jvm
        hadoop = jvm.org.apache.parquet.hadoop
        try:
            source = hadoop.util.HadoopInputFile.fromPath(jvm.org.apache.hadoop.fs.Path(path), place.conf)
            reader = hadoop.ParquetFileReader.open(source)
            try:
                schema = reader.getFileMetaData().getSchema()
                return str(schema.toString()), schema
            finally:
                reader.close()
        except (Py4JJavaError, PySparkException) as error:
            return first_line(error)

    groups: dict[str, list[str]] = {}
    schemas: dict[str, Any] = {}
    unread: list[tuple[str, str]] = []
    for file, found in zip(files, place.on_each(schema_of, files), strict=True):
        if isinstance(found, str):
            unread.append((place.readable_path(file.path), found))
            continue
        groups.setdefault(found[0], []).append(file.path)
        schemas.setdefault(*found)
    frames = []
    for text, paths in groups.items():
        where = place.readable_path(paths[0])
        columns = _columns(spark, schemas[text], where, cfg)
        raw = _read(spark, place, paths, columns, where)
        frames.append(image_rows(raw, place, columns.image, access) if columns.image else raw.drop(FILE, ROW))
    if unread and not any(PLACE in frame.columns for frame in frames):
        raise ManifestError(f"{unread[0][0]} cannot be read as parquet: {unread[0][1]}")
    if unread:
        rows = [(path, f"{UNREADABLE_FILE}: {why}"[:480]) for path, why in unread]
        frame = spark.createDataFrame(rows, f"{URI} string, {FAULT} string")
        frames.append(frame.withColumn(PLACE, F.lit(None).cast("string")))
    return frames


def _columns(spark: SparkSession, schema: Any, where: str, cfg: ManifestConfig) -> _Columns:
    jvm: Any = spark._jvm
    fields = list(schema.getFields())
    names = [str(field.getName()) for field in fields]
    check_unique(names, where)
    converter = jvm.org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter(
        spark._jsparkSession.sessionState().conf()
    )
    found: list[T.StructField] = []
    unread: dict[str, str] = {}
    for field in fields:
        one = jvm.java.util.ArrayList()
        one.add(field)
        try:
            json = converter.convert(jvm.org.apache.parquet.schema.MessageType(schema.getName(), one)).json()
        except (Py4JJavaError, PySparkException) as error:
            unread[str(field.getName())] = first_line(error).partition("] ")[2] or first_line(error)
            continue
        found += T._parse_datatype_json_string(json).fields  # type: ignore[attr-defined]
    nanos = frozenset(
        str(field.getName())
        for field in fields
        if field.isPrimitive() and str(field.getLogicalTypeAnnotation()).startswith("TIMESTAMP(NANOS")
    )
    image = find_image_column(T.StructType(found), names, where, cfg.image_column)
    if image is None:
        check_columns(names, where, cfg.image_column)
    return _Columns(T.StructType(found), unread, nanos, find_uri_column(names, cfg.image_column) or "", image)


def _read(spark: SparkSession, place: Place, paths: Sequence[str], columns: _Columns, where: str) -> DataFrame:
    needed = {name: why for name, why in columns.unread.items() if is_known(name) or name == columns.uri_name}
    if needed:
        told = "; ".join(f"{name}: {why}" for name, why in needed.items())
        raise ManifestError(f"{where}: columns of types that cannot be read ({told}); write them as text")
    if columns.unread:
        log.warning(
            "%s: columns of types that cannot be read are left out: %s",
            where if len(paths) == 1 else f"{where} and {len(paths) - 1} more files like it",
            "; ".join(f"{name} ({why})" for name, why in columns.unread.items()),
        )
    reader = spark.read.schema(columns.fields)
    if place.is_folder:
        reader = reader.option("basePath", place.hadoop)
    raw = reader.parquet(*[literal(path) for path in paths])
    # Spark's metadata percent-encodes the path of the file, but a plus sign is not an encoded space there.
    file = F.url_decode(F.replace("_metadata.file_path", F.lit("+"), F.lit("%2B")))
    if place.local is not None:
        file = F.regexp_replace(file, "^file:(//)?(?=/)", "")
    folder = F.regexp_extract(file, r"(?s)^(.*)/", 1)
    times = {name: _time(name) for name in raw.columns if name in columns.nanos}
    return without_place(raw.withColumns({FOLDER: folder, FILE: file, ROW: F.col("_metadata.row_index"), **times}))


def _time(name: str) -> Column:
    """Nanoseconds as a timestamp, rounded down to microseconds."""
    micros = F.expr(f"({quoted(name)} - pmod({quoted(name)}, 1000L)) div 1000L")
    return F.timestamp_micros(micros)
