"""Manifest rows to images, hashes, thumbnails and features: each file read and decoded once, in the Python worker.

Bytes of local files and of HTTP never cross from the JVM: the worker reads them itself, under the rules of
kernels.access. Others arrive in `fetched` (stages.fetch). One bad image is one failed row; the batch goes on, also past
an image that kills its decoder, never ends, or wants all memory: reading and decoding happen in a guarded child of the
worker (kernels.isolate).
"""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from dupelake.ingest.uris import local_path
from dupelake.ingest.webread import WebReader, is_http
from dupelake.runtime.faults import reached
from dupelake.runtime.redaction import redact_uris
from dupelake.warehouse.schema import FAILED, FEATURES, HASHES, IMAGES, OK
from dupelake.words.vocabulary import Vocabulary, feature_version, load_vocabulary

# Taken over from the manifest row as they are.
_KEPT = ("image_id", "uri", "partition", "scope", "captured_at", "extra", "attempts", "marks", "source")
_RUNS_OWN = ("ingested_at", "deleted_at", "deleted_reason")
# What may pass: a failing disk, a file server that was restarted, a lock, a cache that lost the file's handle.
_TRANSIENT = {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ETIMEDOUT}
_MAX_PAUSE_S = 30.0
_RECENT = 32  # contents whose results a task remembers: some MB; placeholder images come in thousands


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
"""What `hash_images` gives: IMAGES without what the run adds, then, null in failed rows, HASHES, the thumbnail and
FEATURES (whose error_message is `features_error` here)."""

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
    """Fingerprints of every row, one row out for each row in, in the rows' partitioning.

    Args:
        rows: columns of schema.MANIFEST, `attempts` and `fetched struct<data binary, reason string, message string>`,
            which is null for local files and HTTP. Rows whose `reason` is set already pass through as failed.
        cfg: sections `decode`, `fetch`, `guard`, `hash` and `features`; batches are handed on as soon as they hold
            `hash.batch_bytes`.
        paths: the manifests and trees; besides `fetch.allowed_roots`, files in their folders may be read.

    Returns:
        HASHED. Failed rows carry `reason` and `error_message`, and `content_id` and `byte_size` where the file could
        be read. Besides those of kernels.decode.Failure, reasons of local files are not_allowed, missing, unreadable,
        not_a_file; of HTTP those of kernels.webread; and of all files those of kernels.isolate.Lost: crashed, timeout,
        out_of_memory, internal_error.
        Within a task equal contents are decoded once (the last few are remembered).

    Raises:
        ModelError: the vocabulary cannot be read; here, on the driver, before a task starts.
    """
    return rows.mapInArrow(_mapper(cfg, paths, worker_room(rows.sparkSession)), HASHED)


def read_local(
    path: str, uri: str, max_bytes: int, access: Access, tell_file: Callable[[str], None] | None = None
) -> bytes | Failure:
    """The bytes of a regular file; symbolic links are followed to where files may be read.

    Args:
        path: as kernels.uris.local_path gives it.
        uri: as the manifest gives it; where a `file:` URI was written without percent-encoding, a file that exists
            under its literal name is taken when there is none under the decoded one.
        max_bytes: larger files are refused without being read.
        access: which files may be read; how often, and after which pause, a file is tried again where its storage
            failed for a moment.
        tell_file: is told which file it is (kernels.files), once it is open.

    Raises:
        MemoryError: the file does not fit.
    """
    refused, fetch = access.refuse_scheme("file"), access.cfg
    if refused is not None:
        return refused
    for attempt in range(fetch.retries + 1):
        try:
            return _read_local(path, uri, max_bytes, access, tell_file)
        except (FileNotFoundError, NotADirectoryError):
            return Failure("missing", f"no file at {path}")
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
            if attempt == fetch.retries or getattr(error, "errno", None) not in _TRANSIENT:
                tries = f" (tried {attempt + 1} times)" if attempt else ""
                return Failure("unreadable", f"{type(error).__name__}: {error}"[:480] + tries)
        time.sleep(min(_MAX_PAUSE_S, fetch.backoff_ms / 1000 * 2**attempt))
    raise AssertionError


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
        data = file.read(size + 1)  # not more: Python allocates what is asked for
        if len(data) > size:  # it has grown meanwhile; decode refuses what is over the limit
            data += file.read(max_bytes + 1 - len(data))
    return data if data else Failure("empty", "the file has no bytes", byte_size=0)


def _mapper(
    cfg: Config, paths: Sequence[str] = (), room: Room | None = None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs in the workers; it carries the configuration and the vocabulary.

    The vocabulary (some 200 KB) travels with it, so that the file of a user's own need only lie on the driver. So does
    what Spark's settings say of memory; what the machine has, the worker finds out.
    """
    versions = {"hash_version": hash_version(cfg), "feature_version": feature_version(cfg)}
    vocabulary = load_vocabulary(cfg.features.vocabulary)
    access = Access(cfg.fetch, own_roots(paths))

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        most_bytes = cfg.guard.max_memory_bytes or share_bytes(room or Room())
        with _Hasher(cfg, vocabulary, access, most_bytes) as hasher:
            for batch in batches:
                reached("worker:hash")
                yield from _hash_batch(batch, cfg, hasher, versions)

    return run


class _Hasher:
    """Rows of one task to fingerprints, in a guarded child; one at a time."""

    def __init__(self, cfg: Config, vocabulary: Vocabulary, access: Access, max_memory_bytes: int) -> None:
        self._cfg = cfg
        self._access = access
        self._read_http = WebReader(access)  # its state is the child's
        self._vocabulary = vocabulary
        self._recent: OrderedDict[str, Fingerprint | Failure] = OrderedDict()  # by content id; filled in the child
        # Contents that cost a child already. Each child inherits them, so copies of the same bytes cost no other one.
        self._lost: dict[str, Failure] = {}
        self._max_memory_bytes = max_memory_bytes
        self._guard = Guard(self._work, cfg.guard.timeout_s, max_memory_bytes)

    def __enter__(self) -> _Hasher:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.close()

    def __call__(self, uri: str | None, fetched: pa.StructScalar) -> tuple[Fingerprint | Failure, str | None]:
        """The fingerprint of one row, or why there is none; and which file it is, where that was seen."""
        data: bytes | None = None
        extra_s = 0.0
        if fetched.is_valid:
            if fetched["reason"].is_valid:
                failure = Failure(fetched["reason"].as_py(), fetched["message"].as_py() or fetched["reason"].as_py())
                return failure, None
            data = fetched["data"].as_py()
            if not data:
                return Failure("empty", "the object has no bytes", byte_size=0), None
        elif uri is None:
            return Failure("no_uri", "the row has no uri"), None
        elif is_http(uri):
            extra_s = self._cfg.fetch.timeout_s
        elif local_path(uri) is None:
            return Failure("unreadable", "a remote URI whose bytes were not fetched"), None
        answer: tuple[Fingerprint | Failure, str | None] | Lost = self._guard((uri, data), extra_s)
        if not isinstance(answer, Lost):
            result, file_id = answer
            return result, file_id if data is None or uri is None else remote_file_id(uri)
        content, byte_size = answer.noted or (None, None)
        failure = Failure(answer.reason, answer.message, content, byte_size)
        if content is not None and answer.reason != FAULT:  # an exception costs no child
            self._lost[content] = failure
        return failure, None

    def _work(
        self, item: tuple[str, bytes | None], note: Callable[[tuple[str, int]], None]
    ) -> tuple[Fingerprint | Failure, str | None]:
        """In the child: the fingerprint, and which local file was read. MemoryError is the guard's to handle."""
        uri, data = item
        if data is not None:
            return self._fingerprint(data, note), None
        most, path = self._cfg.decode.max_bytes, local_path(uri)
        seen: list[str] = []
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
    batch: pa.RecordBatch, cfg: Config, hasher: _Hasher, versions: dict[str, str]
) -> Iterator[pa.RecordBatch]:
    """Hashes the rows of one input batch; hands on whenever the bytes at hand reach `hash.batch_bytes`."""
    uris, reasons, messages = (batch.column(name).to_pylist() for name in ("uri", "reason", "error_message"))
    fetched = batch.column("fetched")
    done: list[dict[str, Any]] = []
    start, held = 0, 0
    for at, (uri, reason, message) in enumerate(zip(uris, reasons, messages, strict=True)):
        if reason is not None:
            result: Fingerprint | Failure = Failure(reason, message or reason)
            file_id = None
        else:
            result, file_id = hasher(uri, fetched[at])
        values = _values(result, versions) | {"file_id": file_id}
        done.append(values)
        held += sum(len(values.get(name) or b"") for name in _LARGE) + 512  # of the other columns, roughly
        if held >= cfg.hash.batch_bytes:
            yield _output(batch, start, done)
            start, held, done = at + 1, 0, []
    if done:
        yield _output(batch, start, done)


def _values(result: Fingerprint | Failure, versions: dict[str, str]) -> dict[str, Any]:
    """The new columns of one row; what is absent is null."""
    if isinstance(result, Failure):
        return {
            "status": FAILED,
            "reason": result.reason,
            "error_message": redact_uris(result.message),
            "content_id": result.content_id,
            "byte_size": result.byte_size,
        }
    return {**vars(result), **versions, "status": OK}


def _output(batch: pa.RecordBatch, start: int, done: list[dict[str, Any]]) -> pa.RecordBatch:
    kept = {name: batch.column(name).slice(start, len(done)) for name in _KEPT}
    columns = [
        kept[name] if name in kept else pa.array([values.get(name) for values in done], _ARROW[type(_NEW[name])])
        for name in HASHED.fieldNames()
    ]
    return pa.RecordBatch.from_arrays(columns, names=HASHED.fieldNames())
