"""The location of a manifest: its files, listed by Hadoop on the driver, and its format by file names. Reads only."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from dupelake.errors import ManifestError
from dupelake.ingest.endings import COMPANIONS, IMAGES, ending
from dupelake.ingest.trees import is_commit, is_hidden_name, list_folder
from dupelake.ingest.uris import local_path
from dupelake.warehouse.store_faults import told

log = logging.getLogger(__name__)

T = TypeVar("T")

_KINDS = {
    "csv": "csv",
    "tsv": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
    "parquet": "parquet",
    "pq": "parquet",
    "tar": "archive",
    "tgz": "archive",
    "zip": "archive",
    "cbz": "archive",
}
PACKED = (".gz", ".bz2", ".zst", ".deflate", ".lz4", ".snappy")
_COMPANION_NAMES = frozenset(("thumbs.db", "readme", "license", "licence", "changelog", "notice", "authors"))
_MAX_NAMES = 10_000  # names of a folder that are read to detect its format: enough to decide, few for one machine
_SHOWN = 5
_THREADS = 16


class ManifestFile(NamedTuple):
    """A file: its path as Hadoop writes it, and its size in bytes."""

    path: str
    size: int


class Place:
    """The path of a manifest, read through Hadoop on the driver: a few calls, or one listing of a folder.

    Attributes:
        path: as it was given.
        local: the absolute path if it is local, else None.
        hadoop: the path for Hadoop.

    Raises:
        ManifestError: the path does not exist, or its filesystem cannot be reached.
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path
        self.local = local_path(path)
        if self.local is not None:
            self.local = os.path.abspath(self.local)
        self.hadoop = path if self.local is None else f"file:{self.local}"
        jvm: Any = spark._jvm
        self._jvm = jvm
        self.conf: Any = spark._jsparkSession.sessionState().newHadoopConf()
        try:
            where = jvm.org.apache.hadoop.fs.Path(self.hadoop)
            self._files = where.getFileSystem(self.conf)
            if not self._files.exists(where):
                raise ManifestError(f"{path} does not exist")
            self.is_folder: bool = self._files.getFileStatus(where).isDirectory()
            self.is_delta: bool = self.is_folder and self._files.exists(
                jvm.org.apache.hadoop.fs.Path(where, "_delta_log")
            )
        except Py4JJavaError as error:
            raise ManifestError(f"{path} cannot be reached: {told(error)}") from error

    def kind(self) -> str:
        """The format, by file names.

        Raises:
            ManifestError: the names give no format, or several.
        """
        if self.is_delta:
            return "delta"
        if not self.is_folder:
            kind = kind_of(self.path)
            if kind is None:
                raise ManifestError(
                    f"cannot tell the format of {self.path} from its name; set manifest.format to "
                    "csv, json, parquet, delta or archive, or name a folder of images"
                )
            return kind
        return self._kind_of_folder()

    def _kind_of_folder(self) -> str:
        """Manifests may lie beside a README, and images beside sidecars. A folder of both is refused as ambiguous."""
        kinds: Counter[str] = Counter()
        others: list[str] = []
        images: list[str] = []
        for name in islice(self._names(), _MAX_NAMES):
            kind, short = kind_of(name), name.rsplit("/", 1)[-1]
            if kind is not None:
                kinds[kind] += 1
            elif ending(short) in IMAGES:
                images.append(short)
            elif not _is_companion(short):
                others.append(short)
            else:
                kinds["companion"] += 1
        n_companions = kinds.pop("companion", 0)
        n_manifests = kinds.total()
        if not n_manifests and not images and not others and not n_companions:
            raise ManifestError(f"{self.path} is empty: it holds neither a manifest nor an image")
        if not n_manifests or len(images) >= n_manifests:
            if n_manifests or n_companions:
                log.warning(
                    "%s is read as a tree of images (%d image names, %d unknown names%s). %d files are not images by "
                    "their names (%s): each becomes a failed row. Set manifest.extensions (for example [jpg, png]) to "
                    "leave them out, or set manifest.format if the folder holds manifests",
                    self.path,
                    len(images),
                    len(others),
                    f", of the first {_MAX_NAMES}"
                    if len(images) + len(others) + n_companions + n_manifests == _MAX_NAMES
                    else "",
                    n_manifests + n_companions,
                    ", ".join([*(f"{n} {kind}" for kind, n in sorted(kinds.items())), f"{n_companions} other texts"]),
                )
            return "directory"
        if images or others:
            some = ", ".join(sorted([*images, *others])[:_SHOWN])
            raise ManifestError(
                f"{self.path} holds {n_manifests} manifests ({' and '.join(sorted(kinds))}) and "
                f"{len(images) + len(others)} other files, such as {some}; set manifest.format to "
                f"{' or '.join(sorted(kinds))} to read its manifests, or to directory to read every file as an image"
            )
        if len(kinds) > 1:
            raise ManifestError(
                f"{self.path} mixes {' and '.join(sorted(kinds))}; name them one by one, or set manifest.format"
            )
        return next(iter(kinds))

    def _names(self) -> Iterator[str]:
        """The names in a folder. A local folder is listed as a tree first: Java cannot see names that are not UTF-8."""
        found = False
        if self.local is not None:
            for file in list_folder(self.local, deep=True):
                found = True
                yield file.uri
        if not found:
            yield from (file.path for file in self._listed())

    def _listed(self, kind: str = "") -> list[ManifestFile]:
        """The visible files below a folder, or the file itself. Files of Delta tables are left out.

        The files of a Delta table may hold deleted rows, so they must not be read as manifests. Spark reads no file in
        whose path below the folder a name starts with `_`; archives are read without it.
        """
        listing = self._files.listFiles(self._jvm.org.apache.hadoop.fs.Path(self.hadoop), True)
        of_spark = self._jvm.org.apache.spark.util.HadoopFSUtils.shouldFilterOutPathName
        skip = is_hidden_name if kind == "archive" else of_spark
        root = len(self._files.makeQualified(self._jvm.org.apache.hadoop.fs.Path(self.hadoop)).toString())
        found, tables, skipped = [], set(), []
        while listing.hasNext():
            status = listing.next()
            path: str = status.getPath().toString()
            table, _, commit = path.partition("/_delta_log/")
            if is_commit(commit):
                tables.add(table + "/")
            parts = [part for part in path[root:].split("/") if part]
            if not any(map(skip, parts)):
                found.append(ManifestFile(path, int(status.getLen())))
            elif not any(map(is_hidden_name, parts)):
                skipped.append(path)
        if tables and not self.is_delta:
            log.warning(
                "%s: Delta tables in it are not read; name each as a path: %s", self.path, sorted(tables)[:_SHOWN]
            )
            found = [file for file in found if not file.path.startswith(tuple(tables))]
        skipped = [path for path in skipped if not path.startswith(tuple(tables))]
        if skipped and kind:
            log.warning(
                "%s: %d files are not read, because names in their paths start with _, which Spark hides: %s",
                *(self.path, len(skipped), ", ".join(self.readable_path(path) for path in sorted(skipped)[:_SHOWN])),
            )
        return sorted(found)

    def files(self, kind: str) -> list[ManifestFile]:
        """The files of a manifest, sorted by path: those named as `kind`, or all if none is.

        Files that are left out are logged.

        Raises:
            ManifestError: there is no such file.
        """
        found = self._listed(kind)
        if not self.is_folder:
            return found
        named = [file for file in found if kind_of(file.path) == kind]
        taken = named or [file for file in found if not _is_companion(file.path.rsplit("/", 1)[-1])] or found
        if not taken:
            raise ManifestError(f"{self.path} holds no file that could be {kind}")
        left = sorted({file.path for file in found} - {file.path for file in taken})
        if left:
            shown = ", ".join(path.rsplit("/", 1)[-1] for path in left[:_SHOWN])
            log.warning(
                "%s: %d files are not read, because their names are not those of %s files: %s",
                self.path,
                len(left),
                kind,
                shown,
            )
        return taken

    def on_each(self, work: Callable[[str], T], files: Sequence[ManifestFile]) -> list[T]:
        """The results of `work` for the path of each file, in parallel: opening files of an object store is slow."""
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            return list(pool.map(work, (file.path for file in files)))

    def head(self, path: str, n_bytes: int) -> bytes:
        """The first `n_bytes` bytes of a file, decompressed if its name has the ending of a codec."""
        where = self._jvm.org.apache.hadoop.fs.Path(path)
        stream = self._files.open(where)
        try:
            codec = self._jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(self.conf).getCodec(where)
            plain = stream if codec is None else codec.createInputStream(stream)
            return bytes(plain.readNBytes(n_bytes))
        finally:
            stream.close()

    def readable_path(self, path: str) -> str:
        """The path of a file as people and manifests write it: not percent-encoded; local paths without scheme."""
        return path if self.local is None else "/" + path.removeprefix("file:").lstrip("/")


def kind_of(path: str) -> str | None:
    """The format of a file by its name, compressed or not; None if the name gives none."""
    name = path.rsplit("/", 1)[-1].lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return _KINDS.get(name.rsplit(".", 1)[-1]) if "." in name else None


def _is_companion(name: str) -> bool:
    low = name.lower()
    return low in _COMPANION_NAMES or ending(name) in COMPANIONS
