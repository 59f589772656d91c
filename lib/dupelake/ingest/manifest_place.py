"""Where a manifest lies: its files as Hadoop lists them on the driver, and its format, told from names. Reads only."""

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

from dupelake.errors import ManifestError, first_line
from dupelake.ingest.trees import is_commit, list_folder
from dupelake.ingest.uris import local_path

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
}
PACKED = (".gz", ".bz2", ".zst", ".deflate", ".lz4", ".snappy")
_IMAGE_ENDINGS = (
    "jpg jpeg jpe jfif jp2 j2k jxl png apng gif webp avif heic heif tif tiff bmp dib ico svg psd tga pcx "
    "ppm pgm pbm pnm exr hdr dds dng cr2 cr3 nef arw orf rw2 raf raw dcm "
)
# What people and machines leave beside files. A manifest's folder that holds such a file is still one.
_ENDINGS_BESIDE = "md txt rst html htm pdf log crc md5 sha1 sha256 sha512 sig asc ini lnk xml yaml yml tmp bak "
_IMAGES, _BESIDE = frozenset(_IMAGE_ENDINGS.split()), frozenset(_ENDINGS_BESIDE.split())
_BESIDE_NAMES = frozenset(("thumbs.db", "readme", "license", "licence", "changelog", "notice", "authors"))
_LOOKED_AT = 10_000  # names of a folder: enough to tell its kind, and few enough for one machine
_SHOWN = 5
_THREADS = 16


class ManifestFile(NamedTuple):
    """A file as Hadoop writes its path, and its bytes on disk."""

    path: str
    size: int


class Place:
    """A path of a manifest, seen through Hadoop on the driver; a handful of calls, or one listing of a folder.

    Attributes:
        path: as it was given.
        local: the absolute path of a local place, else None.
        hadoop: the path as Hadoop takes it.

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
        self.conf: Any = spark._jsparkSession.sessionState().newHadoopConf()
        try:
            where = jvm.org.apache.hadoop.fs.Path(self.hadoop)
            self._files = where.getFileSystem(self.conf)
            if not self._files.exists(where):
                raise ManifestError(f"there is no {path}")
            self.is_folder: bool = self._files.getFileStatus(where).isDirectory()
            self.is_delta: bool = self.is_folder and self._files.exists(
                jvm.org.apache.hadoop.fs.Path(where, "_delta_log")
            )
        except Py4JJavaError as error:
            raise ManifestError(f"{path} cannot be reached: {first_line(error)}") from error

    def kind(self) -> str:
        """The format, told from names.

        Raises:
            ManifestError: it cannot be told: the names say several things, or nothing.
        """
        if self.is_delta:
            return "delta"
        if not self.is_folder:
            kind = kind_of(self.path)
            if kind is None:
                raise ManifestError(
                    f"cannot tell the format of {self.path} from its name; set manifest.format to "
                    "csv, json, parquet or delta, or name a folder of images"
                )
            return kind
        return self._kind_of_folder()

    def _kind_of_folder(self) -> str:
        """Manifests may have a README beside them, and images their sidecars; what is neither is asked for."""
        kinds: Counter[str] = Counter()
        others: list[str] = []
        images: list[str] = []
        for name in islice(self._names(), _LOOKED_AT):
            kind, short = kind_of(name), name.rsplit("/", 1)[-1]
            if kind is not None:
                kinds[kind] += 1
            elif _ending(short) in _IMAGES:
                images.append(short)
            elif not _is_beside(short):
                others.append(short)
            else:
                kinds["beside"] += 1
        beside = kinds.pop("beside", 0)
        n_manifests = kinds.total()
        if not n_manifests and not images and not others and not beside:
            raise ManifestError(f"{self.path} is empty: neither a manifest nor an image is in it")
        if not n_manifests or len(images) >= n_manifests:
            if n_manifests or beside:
                log.warning(
                    "%s is read as a tree of images (%d names of images, %d others%s); it holds %d files that are none "
                    "by their names (%s): each becomes a failed row. Set manifest.extensions (for example [jpg, png]) "
                    "to leave them out, or manifest.format where the folder holds manifests",
                    self.path,
                    len(images),
                    len(others),
                    f", of the first {_LOOKED_AT}"
                    if len(images) + len(others) + beside + n_manifests == _LOOKED_AT
                    else "",
                    n_manifests + beside,
                    ", ".join([*(f"{n} {kind}" for kind, n in sorted(kinds.items())), f"{beside} texts and the like"]),
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
        """What is in a folder, for telling its kind, the rules of trees first: Java sees no name that is not UTF-8."""
        found = False
        if self.local is not None:
            for file in list_folder(self.local, deep=True):
                found = True
                yield file.uri
        if not found:
            yield from (file.path for file in self._listed())

    def _listed(self) -> list[ManifestFile]:
        """The visible files below a folder, without those of Delta tables; the file itself when it is one.

        The files of a Delta table are not its rows: some are of rows that were deleted.
        """
        listing = self._files.listFiles(self._jvm.org.apache.hadoop.fs.Path(self.hadoop), True)
        skip = self._jvm.org.apache.spark.util.HadoopFSUtils.shouldFilterOutPathName
        root = len(self._files.makeQualified(self._jvm.org.apache.hadoop.fs.Path(self.hadoop)).toString())
        found, tables = [], set()
        while listing.hasNext():
            status = listing.next()
            path: str = status.getPath().toString()
            table, _, commit = path.partition("/_delta_log/")
            if is_commit(commit):
                tables.add(table + "/")
            if not any(skip(part) for part in path[root:].split("/") if part):
                found.append(ManifestFile(path, int(status.getLen())))
        if tables and not self.is_delta:
            log.warning(
                "%s: Delta tables in it are not read; name each as a path: %s", self.path, sorted(tables)[:_SHOWN]
            )
            found = [file for file in found if not file.path.startswith(tuple(tables))]
        return sorted(found)

    def files(self, kind: str) -> list[ManifestFile]:
        """The files of a manifest, in the order of their paths: those whose names end like `kind`, if there are any.

        What else lies there is left out, and told.

        Raises:
            ManifestError: there is none.
        """
        found = self._listed()
        if not self.is_folder:
            return found
        named = [file for file in found if kind_of(file.path) == kind]
        taken = named or [file for file in found if not _is_beside(file.path.rsplit("/", 1)[-1])] or found
        if not taken:
            raise ManifestError(f"{self.path} holds no file that could be {kind}")
        left = sorted({file.path for file in found} - {file.path for file in taken})
        if left:
            shown = ", ".join(path.rsplit("/", 1)[-1] for path in left[:_SHOWN])
            log.warning(
                "%s: %d files are not read, for they are no %s by their names: %s", self.path, len(left), kind, shown
            )
        return taken

    def on_each(self, work: Callable[[str], T], files: Sequence[ManifestFile]) -> list[T]:
        """`work` on the path of each file, several at a time: opening a file of an object store is mostly waiting."""
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            return list(pool.map(work, (file.path for file in files)))

    def head(self, path: str, n_bytes: int) -> bytes:
        """The first bytes of a file, unpacked when its name says so."""
        where = self._jvm.org.apache.hadoop.fs.Path(path)
        stream = self._files.open(where)
        try:
            codec = self._jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(self.conf).getCodec(where)
            plain = stream if codec is None else codec.createInputStream(stream)
            return bytes(plain.readNBytes(n_bytes))
        finally:
            stream.close()

    def in_words(self, path: str) -> str:
        """A file's path as people, and URIs of manifests, write it: to the letter, as Hadoop's are."""
        return path if self.local is None else "/" + path.removeprefix("file:").lstrip("/")


def kind_of(path: str) -> str | None:
    """The format that a name tells, packed or not."""
    name = path.rsplit("/", 1)[-1].lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return _KINDS.get(name.rsplit(".", 1)[-1]) if "." in name else None


def _ending(name: str) -> str:
    return name.rsplit(".", 1)[-1].lower() if "." in name else ""


def _is_beside(name: str) -> bool:
    low = name.lower()
    return low in _BESIDE_NAMES or _ending(name) in _BESIDE
