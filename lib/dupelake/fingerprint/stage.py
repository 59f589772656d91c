"""Computes images, hashes, thumbnails and features of manifest rows; the Python worker reads and decodes a file once.

The worker reads local files and HTTP itself, under the access rules (ingest/access.py), so their bytes never pass
through the JVM. Other bytes come in `fetched` (ingest/fetch_stage.py). A bad image is one failed row and does not stop
the batch, even if it crashes its decoder, never ends, or needs too much memory, because a guarded child of the worker
reads and decodes (fingerprint/isolate.py).
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from dupelake.config import Config
from dupelake.fingerprint.fingerprint import Fingerprint, content_id, fingerprint_image
from dupelake.fingerprint.hashing import hash_version
from dupelake.fingerprint.isolate import FAULT, OUT_OF_MEMORY, Guard, Lost, fail_on_purpose
from dupelake.fingerprint.memory import Room, share_bytes
from dupelake.fingerprint.worker_memory_stage import worker_room
from dupelake.ingest.access import Access, open_local, own_roots
from dupelake.ingest.failure import Failure
from dupelake.ingest.files import local_file_id, remote_file_id
from dupelake.ingest.member_reader import MemberReader
from dupelake.ingest.members import MemberPlace, is_member, member_file_id
from dupelake.ingest.retrying import retried
from dupelake.ingest.uris import local_path
from dupelake.ingest.webread import WebReader, is_http
from dupelake.runtime.faults import reached
from dupelake.runtime.redaction import redact_uris
from dupelake.warehouse.schema import FAILED, FEATURES, HASHES, IMAGES, OK
from dupelake.words.vocabulary import Vocabulary, feature_version, load_vocabulary

# Copied from the manifest row.
_KEPT = ("image_id", "uri", "partition", "scope", "captured_at", "extra", "attempts", "marks", "source")
_RUNS_OWN = ("ingested_at", "deleted_at", "deleted_reason")
_BATCH_S = 1.0
_RECENT = 32  # contents whose results a task caches: some MB; placeholder images come in thousands


def _nullable(fields: Iterable[T.StructField]) -> list[T.StructField]:
    return [T.StructField(field.name, field.dataType, True, field.metadata) for field in fields]


HASHED = T.StructType(
    [
        *(field for field in IMAGES.schema.fields if field.name not in _RUNS_OWN),
        *_nullable(field for field in HASHES.schema.fields if field.name != "content_id"),
        T.StructField("thumbnail_bytes", T.BinaryType()),
        T.StructField("thumbnail_width_px", T.IntegerType()),
        T.StructField("thumbnail_height_px", T.IntegerType()),
        *_nullable(field for field in FEATURES.schema.fields if field.name not in ("content_id", "error_message")),
        T.StructField("features_error", T.StringType()),
    ]
)
"""The result of `hash_images`: IMAGES without the columns that the run adds; then HASHES, the thumbnail and FEATURES
(whose error_message is `features_error` here), which are null in failed rows."""

_Item = tuple[str | None, bytes | None, MemberPlace | None]  # URI; bytes, or None to read them; place of a member

_LARGE = tuple(field.name for field in HASHED.fields if field.dataType == T.BinaryType())
_NEW = {field.name: field.dataType for field in HASHED.fields if field.name not in _KEPT}
_ARROW: dict[type[T.DataType], pa.DataType] = {
    T.StringType: pa.string(),
    T.LongType: pa.int64(),
    T.IntegerType: pa.int32(),
    T.BooleanType: pa.bool_(),
    T.DoubleType: pa.float64(),
    T.BinaryType: pa.binary(),
}


def hash_images(rows: DataFrame, cfg: Config, paths: Sequence[str] = ()) -> DataFrame:
    """The fingerprints of all rows: one output row for each input row, with the partitioning of `rows`.

    Args:
        rows: columns of schema.MANIFEST, `attempts` and `fetched struct<data binary, reason string, message string>`,
            which is null for local files and HTTP. Rows with a `reason` pass through as failed.
        cfg: sections `decode`, `fetch`, `guard`, `hash` and `features`; an output batch ends as soon as it holds
            `hash.batch_bytes`.
        paths: the manifests and trees; files in their folders and in `fetch.allowed_roots` may be read.

    Returns:
        HASHED. Failed rows have `reason` and `error_message`, and also `content_id` and `byte_size` if the file could
        be read. Reasons: those of Failure (ingest/failure.py); not_allowed, missing, unreadable, not_a_file for local
        files; those of ingest/webread.py for HTTP; crashed, timeout, out_of_memory, internal_error for all files
        (fingerprint/isolate.py). A task decodes equal contents once (it caches the last few).

    Raises:
        ModelError: the vocabulary cannot be read; raised on the driver, before a task starts.
    """
    return rows.mapInArrow(_mapper(cfg, paths, worker_room(rows.sparkSession)), HASHED)


def read_local(
    path: str, uri: str, max_bytes: int, access: Access, tell_file: Callable[[str], None] | None = None
) -> bytes | Failure:
    """The bytes of a regular file; symbolic links are followed within the access rules.

    Args:
        path: the result of `local_path` (ingest/uris.py).
        uri: as the manifest gives it. A `file:` URI may have been written without percent-encoding: if no file has the
            decoded name, a file with the literal name is read.
        max_bytes: larger files are refused and not read.
        access: the access rules, and the number and pause of retries after transient errors.
        tell_file: called with the file id (ingest/files.py) when the file is open.

    Raises:
        MemoryError: the file does not fit.
    """
    refused = access.refuse_scheme("file")
    if refused is not None:
        return refused
    read = retried(lambda: _read_local(path, uri, max_bytes, access, tell_file), path, access.cfg)
    if isinstance(read, Failure) and read.reason == "missing" and is_member(uri):
        return replace(read, message=f"{read.message}; to read images in an archive, name the archive as a PATH")
    return read


def _read_local(
    path: str, uri: str, max_bytes: int, access: Access, tell_file: Callable[[str], None] | None
) -> bytes | Failure:
    try:
        opened = open_local(path, access)
    except FileNotFoundError:
        literal = uri[uri.find("/") :] if uri[:5].lower() == "file:" and "%" in uri else ""
        literal = "/" + literal.lstrip("/") if literal else ""
        if not literal or not os.path.exists(literal):
            raise
        opened = open_local(literal, access)
    if isinstance(opened, Failure):
        return opened
    with open(opened, "rb") as file:
        if tell_file is not None:
            tell_file(local_file_id(opened))
        size = os.fstat(opened).st_size
        if size > max_bytes:
            return Failure("too_large", f"{size} bytes, more than decode.max_bytes ({max_bytes})", byte_size=size)
        data = file.read(size + 1)  # not more: Python allocates the requested size
        if len(data) > size:  # the file has grown since; decode refuses data over the limit
            data += file.read(max_bytes + 1 - len(data))
    return data if data else Failure("empty", "the file has no bytes", byte_size=0)


def _mapper(
    cfg: Config, paths: Sequence[str] = (), room: Room | None = None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs in the workers, with the configuration and the vocabulary.

    The vocabulary (some 200 KB) is sent with it, so a user's own file is needed on the driver only. The memory settings
    of Spark are sent, too; the worker reads the memory of its machine itself.
    """
    versions = {"hash_version": hash_version(cfg), "feature_version": feature_version(cfg)}
    vocabulary = load_vocabulary(cfg.features.vocabulary)
    access = Access(cfg.fetch, own_roots(paths))

    def hash_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        most_bytes = cfg.guard.max_memory_bytes or share_bytes(room or Room())
        with Hasher(cfg, vocabulary, access, most_bytes) as hasher:
            for batch in batches:
                reached("worker:hash")
                yield from _hash_batch(batch, cfg, hasher, versions)

    return hash_rows


class Hasher:
    """Computes the fingerprints of the rows of one task in a guarded child, one row at a time. It is a context.

    Args:
        cfg: sections `decode`, `fetch`, `guard`, `hash` and `features`.
        vocabulary: of the visual words.
        access: which files it may read.
        max_memory_bytes: for one image.
    """

    def __init__(self, cfg: Config, vocabulary: Vocabulary, access: Access, max_memory_bytes: int) -> None:
        self._cfg = cfg
        self._access = access
        self._read_http = WebReader(access)  # its state lives in the child
        self._read_member = MemberReader(access)  # its state lives in the child
        self._vocabulary = vocabulary
        self._recent: OrderedDict[str, Fingerprint | Failure] = OrderedDict()  # by content id; filled in the child
        # Failures of contents that have ended a child. Each new child inherits them, so copies do not end another
        # child.
        self._lost: dict[str, Failure] = {}
        self._max_memory_bytes = max_memory_bytes
        self._guard = Guard(self._work, cfg.guard.timeout_s, max_memory_bytes)

    def __enter__(self) -> Hasher:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.close()

    def __call__(
        self, uri: str | None, fetched: pa.StructScalar, place: pa.StructScalar
    ) -> tuple[Fingerprint | Failure, str | None]:
        """The fingerprint of one row, or its failure; and the file id, if the file was opened."""
        if place.is_valid and not fetched.is_valid:
            return self._ask((uri, None, MemberPlace(**place.as_py())), 0.0)
        if not fetched.is_valid:
            return self.fingerprint(uri, None)
        if fetched["reason"].is_valid:
            failure = Failure(fetched["reason"].as_py(), fetched["message"].as_py() or fetched["reason"].as_py())
            return failure, None
        return self.fingerprint(uri, fetched["data"].as_py() or b"")

    def fingerprint(self, uri: str | None, data: bytes | None) -> tuple[Fingerprint | Failure, str | None]:
        """The fingerprint of a file, or its failure; and the file id, if the file was opened.

        Args:
            uri: of the file; may be None if the bytes are given.
            data: its bytes; None to read it.
        """
        extra_s = 0.0
        if data is not None:
            if not data:
                return Failure("empty", "the object has no bytes", byte_size=0), None
        elif uri is None:
            return Failure("no_uri", "the row has no uri"), None
        elif is_http(uri):
            extra_s = self._cfg.fetch.timeout_s
        elif local_path(uri) is None:
            return Failure("unreadable", "a remote URI whose bytes were not fetched"), None
        result, file_id = self._ask((uri, data, None), extra_s)
        return result, file_id if data is None or uri is None else remote_file_id(uri)

    def _ask(self, item: _Item, extra_s: float) -> tuple[Fingerprint | Failure, str | None]:
        """The answer of the guarded child, or the failure if the child was lost."""
        answer: tuple[Fingerprint | Failure, str | None] | Lost = self._guard(item, extra_s)
        if not isinstance(answer, Lost):
            return answer
        content, byte_size = answer.noted or (None, None)
        failure = Failure(answer.reason, answer.message, content, byte_size)
        if content is not None and answer.reason != FAULT:  # an exception does not end the child
            self._lost[content] = failure
        return failure, None

    def _work(self, item: _Item, note: Callable[[tuple[str, int]], None]) -> tuple[Fingerprint | Failure, str | None]:
        """In the child: the fingerprint and the file id of a local file. The guard handles MemoryError."""
        uri, data, place = item
        if data is not None:
            return self._fingerprint(data, note), None
        most, seen = self._cfg.decode.max_bytes, list[str]()
        if place is not None:
            read = self._read_member(place, most, seen.append)
            file_id = member_file_id(seen[-1], uri or "") if seen else None
            return read if isinstance(read, Failure) else self._fingerprint(read, note), file_id
        assert uri is not None  # noqa: S101 - by `fingerprint`
        path = local_path(uri)
        read = self._read_http(uri, most) if path is None else read_local(path, uri, most, self._access, seen.append)
        if isinstance(read, Failure):
            return read, seen[-1] if seen else None
        return self._fingerprint(read, note), remote_file_id(uri) if path is None else seen[-1]

    def _fingerprint(self, data: bytes, note: Callable[[tuple[str, int]], None]) -> Fingerprint | Failure:
        content = content_id(data)
        known = self._lost.get(content) or self._recent.get(content)
        if known is not None:
            return known
        note((content, len(data)))
        fail_on_purpose(data)
        cfg = self._cfg
        result = fingerprint_image(data, cfg.decode, cfg.hash, cfg.features, self._vocabulary, self._max_memory_bytes)
        if isinstance(result, Failure) and result.reason == OUT_OF_MEMORY:
            raise MemoryError(result.message)
        self._recent[content] = result
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return result


def _hash_batch(
    batch: pa.RecordBatch, cfg: Config, hasher: Hasher, versions: dict[str, str]
) -> Iterator[pa.RecordBatch]:
    """Hashes the rows of one input batch.

    An output batch ends when it reaches `hash.batch_bytes`, or after a second, because the driver counts output rows.
    """
    uris, reasons, messages = (batch.column(name).to_pylist() for name in ("uri", "reason", "error_message"))
    fetched, places = batch.column("fetched"), batch.column("place")
    done: list[dict[str, Any]] = []
    start, held, begun = 0, 0, time.monotonic()
    for at, (uri, reason, message) in enumerate(zip(uris, reasons, messages, strict=True)):
        if reason is not None:
            result: Fingerprint | Failure = Failure(reason, message or reason)
            file_id = None
        else:
            result, file_id = hasher(uri, fetched[at], places[at])
        values = _values(result, versions) | {"file_id": file_id}
        done.append(values)
        held += sum(len(values.get(name) or b"") for name in _LARGE) + 512  # estimate for the other columns
        if held >= cfg.hash.batch_bytes or time.monotonic() > begun + _BATCH_S:
            yield _output(batch, start, done)
            start, held, done, begun = at + 1, 0, [], time.monotonic()
    if done:
        yield _output(batch, start, done)


def _values(result: Fingerprint | Failure, versions: dict[str, str]) -> dict[str, Any]:
    """The new columns of one row; missing ones are null."""
    if isinstance(result, Failure):
        return {
            "status": FAILED,
            "reason": result.reason,
            "error_message": told_message(result.message),
            "content_id": result.content_id,
            "byte_size": result.byte_size,
        }
    return {**vars(result), **versions, "status": OK}


def told_message(message: str) -> str:
    """The message of a failure as it is told: without secrets, and with the bytes of names escaped that are no UTF-8.

    Arrow and terminals take no others.
    """
    return redact_uris(message).encode("utf-8", "backslashreplace").decode("utf-8")


def _output(batch: pa.RecordBatch, start: int, done: list[dict[str, Any]]) -> pa.RecordBatch:
    kept = {name: batch.column(name).slice(start, len(done)) for name in _KEPT}
    columns = [
        kept[name] if name in kept else pa.array([values.get(name) for values in done], _ARROW[type(_NEW[name])])
        for name in HASHED.fieldNames()
    ]
    return pa.RecordBatch.from_arrays(columns, names=HASHED.fieldNames())
