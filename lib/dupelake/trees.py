"""Trees of images as manifests: one row per file, listed on the executors. Reads only.

Which files: regular files, whatever their name ends with unless endings are asked for. Names that start with a dot
are hidden, files and folders alike. Names that start with `_` are images on a local tree (cameras write
`_DSC0001.JPG`), save for the markers that Spark leaves; on other filesystems Spark's lister hides them, so there they
are NOT found.

Symbolic links (local trees): a linked file is followed, under the link's own name; a linked folder is not entered,
since links may form a circle, and its files would come out twice. A dangling link and a folder that may not be listed
are rows too: reading them fails with a reason, where leaving them out would be a silent gap. A name that is not UTF-8
comes out as percent-encoded `file://` URI.

Partition: the innermost folder `partition=X`, `dt=X` or `date=X` of the path, else the file's modification date (UTC).
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

log = logging.getLogger(__name__)

_FOLDER = r"(?s)^.*/(?:partition|dt|date)=([^/]+)/"
_MARKERS = ("_SUCCESS", "_temporary", "_delta_log", "_spark_metadata", "_metadata", "_common_metadata")
_MARKER_STARTS = ("_committed_", "_started_")
_MAX_TASKS = 1024
_BATCH_ROWS = 4096


def read_tree(spark: SparkSession, root: str, extensions: Sequence[str], *, is_local: bool) -> DataFrame:
    """The files below a folder as `uri`, `partition`.

    Args:
        spark: the session.
        root: an absolute local path, or a URI of another filesystem.
        extensions: endings such as `jpg` or `.JPG`; case does not matter; empty takes every file.
        is_local: whether root is a local path. A local tree is listed by one task per folder at its first level;
            others by Spark's binaryFile reader, contents unread, which keeps the listing in the driver's memory.
    """
    files = _local_files(spark, root) if is_local else _remote_files(spark, root)
    if extensions:
        ending = F.regexp_extract(F.lower("uri"), r"\.([^./]*)$", 1)
        files = files.where(ending.isin([wanted.lower().lstrip(".") for wanted in extensions]))
    named = F.regexp_extract("uri", _FOLDER, 1)
    return files.select("uri", F.when(named != "", named).otherwise(F.col("modified")).alias("partition"))


def _remote_files(spark: SparkSession, root: str) -> DataFrame:
    log.warning("Spark's lister hides names that start with _ or .: such files below %s are not found", root)
    literal = "".join("\\" + letter if letter in "{}[]*?\\" else letter for letter in root)
    found = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(literal)
    return found.select(F.col("path").alias("uri"), F.date_format("modificationTime", "yyyy-MM-dd").alias("modified"))


def _local_files(spark: SparkSession, root: str) -> DataFrame:
    top = [entry.name for entry in os.scandir(root) if _is_folder(entry) and not _is_hidden(entry.name)]
    # As bytes: a folder's name need not be UTF-8. The root's own files are a task of their own.
    folders = [(os.fsencode(root), False)] + [(os.fsencode(os.path.join(root, name)), True) for name in sorted(top)]
    tasks = spark.sparkContext.parallelize(folders, min(len(folders), _MAX_TASKS))
    source = spark.createDataFrame(tasks, "folder binary, deep boolean")
    return source.mapInArrow(_list_batches, "uri string, modified string")


def _list_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    uris: list[str] = []
    dates: list[str] = []
    for batch in batches:
        for folder, deep in zip(batch["folder"].to_pylist(), batch["deep"].to_pylist(), strict=True):
            for uri, modified in list_folder(os.fsdecode(folder), deep=deep):
                uris.append(uri)
                dates.append(modified)
                if len(uris) == _BATCH_ROWS:
                    yield pa.RecordBatch.from_pydict({"uri": uris, "modified": dates})
                    uris, dates = [], []
    if uris:
        yield pa.RecordBatch.from_pydict({"uri": uris, "modified": dates})


def list_folder(folder: str, *, deep: bool) -> Iterator[tuple[str, str]]:
    """The files of a folder as (uri, date of modification), with those of its sub-folders when `deep`."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError:
            yield _uri(here), _date(here)
            continue
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            if _is_folder(entry):
                if deep:
                    waiting.append(entry.path)
            elif _is_file(entry):
                yield _uri(entry.path), _date(entry.path)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", *_MARKER_STARTS)) or name in _MARKERS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """A regular file, a link to one, or a dangling link; no folder, pipe, socket or device (reading could hang)."""
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return entry.is_symlink()


def _uri(path: str) -> str:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return Path(path).as_uri()
    return path


def _date(path: str) -> str:
    for follow in (True, False):
        try:
            return datetime.fromtimestamp(os.stat(path, follow_symlinks=follow).st_mtime, UTC).strftime("%Y-%m-%d")
        except OSError:
            continue
    return "1970-01-01"  # gone since it was listed; reading it will say so
