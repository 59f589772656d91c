"""Manifests from storage: CSV, JSON lines, Parquet, Delta, or a tree of images. Reads only.

A path without scheme is of the local file system, on the driver and on every executor, as in a manifest's `uri`;
paths elsewhere are written with their scheme (`s3a://`, `hdfs://`). Paths are taken to the letter: `*`, `[`, `{`, `%`,
`#` and spaces are characters of the name, never patterns or escapes.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError
from dupelake.kernels.uris import local_path
from dupelake.stages.again import MARKS
from dupelake.stages.manifest import ORIGIN, as_text, check_columns
from dupelake.trees import list_folder, read_tree

log = logging.getLogger(__name__)

_KINDS = {"csv": "csv", "json": "json", "jsonl": "json", "ndjson": "json", "parquet": "parquet", "pq": "parquet"}
_PACKED = (".gz", ".bz2", ".zst", ".deflate", ".lz4", ".snappy")
_GLOB = frozenset("{}[]*?\\")
_INFER_PARTITIONS = "spark.sql.sources.partitionColumnTypeInference.enabled"
_CSV = {
    "header": "true",
    "inferSchema": "false",
    "multiLine": "false",
    "encoding": "UTF-8",
    "quote": '"',
    "escape": '"',
}  # RFC 4180: a quote inside quotes is doubled; a backslash is a backslash


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
            folder that could not be listed.

    Raises:
        ManifestError: no path at all, or one of them cannot be used; see read_manifest.
    """
    if not paths:
        raise ManifestError("no manifest was named")
    found = [as_text(_read_manifest(spark, path, cfg, with_origin=with_origin)) for path in paths]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), found)


def read_manifest(spark: SparkSession, path: str, cfg: ManifestConfig) -> DataFrame:
    """One manifest, its columns as found; a tree of images gives `uri` and `partition`.

    CSV needs a header line and gives text. JSON is one object a line. Folders of these and of Parquet may be
    partitioned as Hive does it (`partition=2026-11-01/`), and files in one folder may differ in columns; values in
    folder names stay text.

    Args:
        spark: the session.
        path: a file or a folder, see the head of this module.
        cfg: with format auto a file is what its name ends with; a folder is Delta when it has a `_delta_log`, a
            manifest when every visible file in it ends like one, else a tree of images.

    Raises:
        ManifestError: nothing is there, its format cannot be told or read, it has no column `uri`, or names one twice.
    """
    return _read_manifest(spark, path, cfg, with_origin=False)


def _read_manifest(spark: SparkSession, path: str, cfg: ManifestConfig, *, with_origin: bool) -> DataFrame:
    place = _Place(spark, path)
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
        raw = _read_table(spark, place, kind)
    except (PySparkException, Py4JJavaError) as error:
        raise ManifestError(f"{path} cannot be read as {kind}: {_first_line(error)}") from error
    check_columns(raw.columns, path)
    return raw.withColumn(ORIGIN, F.lit(cfg.source or place.path.rstrip("/"))) if with_origin else raw


class _Place:
    """A path of a manifest, seen through Hadoop on the driver; a handful of calls, or one listing of a folder.

    Raises:
        ManifestError: nothing is there, or its filesystem cannot be reached.
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path
        self.local = local_path(path)
        if self.local is not None:
            self.local = os.path.abspath(self.local)
        self.hadoop = path if self.local is None else f"file:{self.local}"
        jvm: Any = spark._jvm
        self._jvm = jvm
        self._conf: Any = spark._jsparkSession.sessionState().newHadoopConf()
        try:
            where = jvm.org.apache.hadoop.fs.Path(self.hadoop)
            self._files = where.getFileSystem(self._conf)
            if not self._files.exists(where):
                raise ManifestError(f"there is no {path}")
            self.is_folder: bool = self._files.getFileStatus(where).isDirectory()
            self.is_delta: bool = self.is_folder and self._files.exists(
                jvm.org.apache.hadoop.fs.Path(where, "_delta_log")
            )
        except Py4JJavaError as error:
            raise ManifestError(f"{path} cannot be reached: {_first_line(error)}") from error

    def kind(self) -> str:
        """The format, told from names."""
        if self.is_delta:
            return "delta"
        if not self.is_folder:
            kind = _kind_of(self.path)
            if kind is None:
                raise ManifestError(
                    f"cannot tell the format of {self.path} from its name; set manifest.format to "
                    "csv, json, parquet or delta, or name a folder of images"
                )
            return kind
        kinds: set[str] = set()
        for name in self._names():
            kind = _kind_of(name)
            if kind is None:
                return "directory"
            kinds.add(kind)
        if not kinds:
            raise ManifestError(f"{self.path} is empty: neither a manifest nor an image is in it")
        if len(kinds) > 1:
            raise ManifestError(
                f"{self.path} mixes {' and '.join(sorted(kinds))}; name them one by one, or set manifest.format"
            )
        return kinds.pop()

    def _names(self) -> Iterator[str]:
        """What is in a folder, for telling its kind, the rules of trees first: Java sees no name that is not UTF-8."""
        found = False
        if self.local is not None:
            for file in list_folder(self.local, deep=True):
                found = True
                yield file.uri
        if not found:
            yield from self.files()

    def files(self) -> Iterator[str]:
        """The visible files below a folder, as Hadoop writes their paths; the file itself when it is one."""
        listing = self._files.listFiles(self._jvm.org.apache.hadoop.fs.Path(self.hadoop), True)
        skip = self._jvm.org.apache.spark.util.HadoopFSUtils.shouldFilterOutPathName
        root = len(self._files.makeQualified(self._jvm.org.apache.hadoop.fs.Path(self.hadoop)).toString())
        while listing.hasNext():
            path: str = listing.next().getPath().toString()
            if not any(skip(part) for part in path[root:].split("/") if part):
                yield path

    def header(self, path: str) -> str:
        """The first line of a text file that is not blank, unpacked when its name says so."""
        where = self._jvm.org.apache.hadoop.fs.Path(path)
        stream = self._files.open(where)
        try:
            codec = self._jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(self._conf).getCodec(where)
            plain = stream if codec is None else codec.createInputStream(stream)
            reader = self._jvm.java.io.BufferedReader(self._jvm.java.io.InputStreamReader(plain, "UTF-8"))
            line: str | None = reader.readLine()
            while line is not None and not line.strip("\ufeff \t"):
                line = reader.readLine()
            return (line or "").lstrip("\ufeff")
        finally:
            stream.close()


def _read_table(spark: SparkSession, place: _Place, kind: str) -> DataFrame:
    if kind == "delta":
        return spark.read.format("delta").load(place.hadoop)
    with _text_partitions(spark):
        if kind == "csv":
            return _read_csv(spark, place)
        reader = (
            spark.read.option("primitivesAsString", "true")
            if kind == "json"
            else spark.read.option("mergeSchema", "true")
        )
        return reader.format(kind).load(_literal(place.hadoop))


def _read_csv(spark: SparkSession, place: _Place) -> DataFrame:
    """CSV files, those of equal header together: Spark would take one file's header for all of them, by position."""
    headers: dict[str, list[str]] = {}
    for path in sorted(place.files()):
        header = place.header(path)
        if header:
            headers.setdefault(header, []).append(path)
    if not headers:
        raise ManifestError(f"{place.path} has no header line")
    for header, paths in headers.items():
        names = next(csv.reader([header]))
        check_columns(names, paths[0] if place.is_folder else place.path)
    reader = spark.read.options(**_CSV)
    if len(headers) == 1:
        return reader.csv(_literal(place.hadoop))
    parts = [
        reader.option("basePath", place.hadoop).csv([_literal(path) for path in paths]) for paths in headers.values()
    ]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), parts)


@contextmanager
def _text_partitions(spark: SparkSession) -> Iterator[None]:
    """Keeps `partition=2026-11-01` and `scope=007` text; Spark fixes a reader's types when it is made."""
    before = spark.conf.get(_INFER_PARTITIONS)
    spark.conf.set(_INFER_PARTITIONS, "false")
    try:
        yield
    finally:
        spark.conf.set(_INFER_PARTITIONS, str(before))


def _kind_of(path: str) -> str | None:
    name = path.rsplit("/", 1)[-1].lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return _KINDS.get(name.rsplit(".", 1)[-1]) if "." in name else None


def _literal(path: str) -> str:
    """A path that Spark's readers take to the letter, not as a pattern."""
    return "".join("\\" + letter if letter in _GLOB else letter for letter in path)


def _first_line(error: Exception) -> str:
    text = str(error.java_exception) if isinstance(error, Py4JJavaError) else str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
