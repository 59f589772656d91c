"""Trees of images as manifests: one row per file, listed on the executors. Reads only.

Files: all regular files, or those with the given extensions. Files and folders whose names start with a dot are hidden.
Names that start with `_` are listed in local trees (cameras write `_DSC0001.JPG`), except for Spark's marker files. On
other filesystems Spark's lister hides them, so they are NOT found.

Symbolic links (local trees): a linked file is listed under the name of the link, and is read if it lies in the tree or
in fetch.allowed_roots. A linked folder is not entered: links may form a circle, and its files would be listed twice. A
dangling link and a folder that cannot be listed, or not to its end, are rows too, so that they fail with a reason and
are not left out silently. A name that is not UTF-8 becomes a percent-encoded `file://` URI.

Delta tables: a folder with commits in a `_delta_log` holds rows, not images, and is not entered. If a tree contains a
dupelake warehouse, the warehouse's `_staging` and lock are left out too.

Partition: the innermost folder `partition=X`, `dt=X` or `date=X` of the path, else the file's modification date (UTC).
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from dupelake.ingest.endings import plain_endings
from dupelake.ingest.uris import text_uri
from dupelake.warehouse.paths import literal

log = logging.getLogger(__name__)

_FOLDER_OF_PARTITION = r"(?s)^.*/(?:partition|dt|date)=([^/]+)/"
_MARKERS = ("_SUCCESS", "_temporary", "_delta_log", "_spark_metadata", "_metadata", "_common_metadata")
_LOG = "_delta_log"
_COMMIT = re.compile(r"\d{20}\.")
_OF_WAREHOUSE = ("_staging", "_lock.json", "_dupelake_index")  # prefixes of names in a warehouse that are not tables
_MARKER_STARTS = ("_committed_", "_started_")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TASKS = 1024
_MAX_FOLDERS = 10_000  # folders with Parquet files that are checked for a Delta log
_BATCH_ROWS = 4096


def read_tree(spark: SparkSession, root: str, extensions: Sequence[str], *, is_local: bool) -> DataFrame:
    """The files below a folder as `uri`, `partition`, `last_modified` (UTC) and `byte_size`.

    Args:
        spark: the session.
        root: an absolute local path, or a URI of another filesystem.
        extensions: such as `jpg` or `.JPG`, in any case; empty takes every file.
        is_local: whether root is a local path. A local tree is listed by one task for each folder of its first level.
            Other trees are listed by Spark's binaryFile reader, which keeps the list in the driver's memory.
    """
    files = _local_files(spark, root) if is_local else _remote_files(spark, root)
    if extensions:  # a folder that cannot be listed has none, and must not be left out
        files = files.where(has_ending(extensions) | F.col("byte_size").isNull())
    partition = partition_of("uri", "last_modified").alias("partition")
    return files.select("uri", partition, "last_modified", "byte_size")


def has_ending(extensions: Iterable[str]) -> Column:
    """Whether column `uri` ends in one of these (`endings.plain_endings`); a listing and what it covers must agree."""
    return F.regexp_extract(F.lower("uri"), r"\.([^./]*)$", 1).isin(sorted(plain_endings(extensions)))


def partition_of(path: str, modified: str) -> Column:
    """The innermost folder `partition=`, `dt=` or `date=` of a column of paths, else the day of a column of times."""
    named = F.regexp_extract(path, _FOLDER_OF_PARTITION, 1)
    return F.when(named != "", named).otherwise(F.coalesce(F.substring(modified, 1, 10), F.lit("1970-01-01")))


def _remote_files(spark: SparkSession, root: str) -> DataFrame:
    log.warning("Spark's lister hides names that start with _ or .: such files below %s are not found", root)
    found = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(literal(root))
    modified = F.date_format("modificationTime", "yyyy-MM-dd HH:mm:ss.SSSSSS")
    files = found.select(
        F.col("path").alias("uri"), modified.alias("last_modified"), F.col("length").alias("byte_size")
    )
    tables = _remote_tables(spark, files, root)
    if tables:
        log.warning("Delta tables are left out: %s", ", ".join(tables))
        files = files.where(~reduce(Column.__or__, [F.col("uri").startswith(f"{table}/") for table in tables]))
    return files


def _remote_tables(spark: SparkSession, files: DataFrame, root: str) -> list[str]:
    """Delta tables below a root, found through their Parquet files, because the lister hides their logs."""
    folders = (
        files.where(F.lower("uri").endswith(".parquet")).select(F.regexp_extract("uri", r"(?s)^(.*)/", 1)).distinct()
    )
    jvm: Any = spark._jvm
    conf: Any = spark._jsparkSession.sessionState().newHadoopConf()
    checked: dict[str, bool] = {}
    for row in folders.limit(_MAX_FOLDERS).collect():
        folder = str(row[0])
        while len(folder) >= len(root.rstrip("/")) and folder not in checked:
            path = jvm.org.apache.hadoop.fs.Path(f"{folder}/{_LOG}")
            store = path.getFileSystem(conf)
            listed = store.listStatus(path) if store.exists(path) else []
            checked[folder] = any(is_commit(str(file.getPath().getName())) for file in listed)
            folder = folder.rpartition("/")[0]
    return sorted(folder for folder, is_table in checked.items() if is_table)


def _local_files(spark: SparkSession, root: str) -> DataFrame:
    if _is_table(root):
        log.warning("%s is a Delta table: it holds no images", root)
        return spark.createDataFrame([], "uri string, last_modified string, byte_size long")
    top = [entry.name for entry in _entries(root) if _is_folder(entry)]
    # As bytes, because a folder's name need not be UTF-8. One more task lists the files of the root itself.
    folders = [(os.fsencode(root), False)] + [(os.fsencode(os.path.join(root, name)), True) for name in sorted(top)]
    tasks = spark.sparkContext.parallelize(folders, min(len(folders), _MAX_TASKS))
    source = spark.createDataFrame(tasks, "folder binary, deep boolean")
    return source.mapInArrow(_list_batches, "uri string, last_modified string, byte_size long")


class File(NamedTuple):
    """One file of a tree, or a folder that cannot be listed to its end: then `last_modified` and `byte_size` are None.

    Times are UTC.
    """

    uri: str
    last_modified: str | None
    byte_size: int | None


def _list_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    files = (
        file
        for batch in batches
        for folder, deep in zip(batch["folder"].to_pylist(), batch["deep"].to_pylist(), strict=True)
        for file in list_folder(os.fsdecode(folder), deep=deep)
    )
    while some := list(islice(files, _BATCH_ROWS)):
        yield _batch(some)


def _batch(files: Sequence[File]) -> pa.RecordBatch:
    types = (pa.string(), pa.string(), pa.int64())
    columns = [pa.array(column, kind) for column, kind in zip(zip(*files, strict=True), types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=list(File._fields))


def list_folder(folder: str, *, deep: bool) -> Iterator[File]:
    """The files of a folder, with those of its sub-folders when `deep`.

    A folder that cannot be listed, or with an entry of which cannot be told what it is, is given too.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        is_whole = True
        try:
            entries = _entries(here)
        except OSError:
            is_whole, entries = False, []
        for entry in entries:
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
                is_file = not is_folder and _is_file(entry)
            except OSError:
                is_whole = False
                continue
            if is_folder and deep:
                waiting.append(entry.path)
            elif is_file:
                yield _file(entry.path)
        if not is_whole:
            yield File(text_uri(here), None, None)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """The visible entries of a folder, sorted by name; none for a Delta table.

    Raises:
        OSError: the folder cannot be listed.
    """
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    names = {entry.name for entry in entries}
    if _LOG in names and _is_table(folder):
        log.info("a Delta table is left out: %s", folder)
        return []
    entries = [entry for entry in entries if not is_hidden_name(entry.name)]
    if {"images", "runs"} <= names and _is_table(os.path.join(folder, "images")):
        log.info("the files of a dupelake warehouse are left out: %s", folder)
        return [entry for entry in entries if not entry.name.startswith(_OF_WAREHOUSE)]
    return entries


def _is_table(folder: str) -> bool:
    try:
        return any(map(is_commit, os.listdir(os.path.join(folder, _LOG))))
    except OSError:
        return False


def is_commit(name: str) -> bool:
    """Whether a file name in a `_delta_log` is that of a commit, so that the folder is a Delta table."""
    return _COMMIT.match(name) is not None


def is_hidden_name(name: str) -> bool:
    """Whether a file or folder of this name is left out of local trees and of folders of archives."""
    return name.startswith((".", *_MARKER_STARTS)) or name in _MARKERS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False  # `list_folder` tells of it


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a regular file, a link to one, or a dangling link. Reading pipes or devices could hang.

    Raises:
        OSError: it cannot be told, as in a folder that may be read but not searched.
    """
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except FileNotFoundError:
        return entry.is_symlink()
    except OSError:
        if entry.is_symlink():  # what it leads to cannot be reached; reading it tells why
            return True
        raise


def _file(path: str) -> File:
    for follow in (True, False):  # a dangling link has a time and a size of its own
        try:
            info = os.stat(path, follow_symlinks=follow)
        except OSError:
            continue
        return File(text_uri(path), time_text(info.st_mtime_ns), info.st_size)
    return File(text_uri(path), "1970-01-01 00:00:00.000000", -1)  # deleted since it was listed; reading it will fail


def time_text(ns: int) -> str:
    """A UTC time as text without zone; a time that has no date is cut to the first or last possible one."""
    try:
        time = _EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        time = (datetime.max if ns > 0 else datetime.min).replace(tzinfo=UTC)  # noqa: DTZ901 - these have no zone
    return time.isoformat(sep=" ", timespec="microseconds").removesuffix("+00:00")
