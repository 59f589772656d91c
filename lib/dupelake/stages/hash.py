"""Manifest rows to images, hashes, thumbnails and features: each file read and decoded once, in the Python worker.

Bytes of local files never cross from the JVM: the worker opens them itself. Remote ones arrive in `fetched`
(stages.fetch). One bad image is one failed row; the batch goes on.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from dupelake.config import Config
from dupelake.kernels.decode import Failure
from dupelake.kernels.fingerprint import Fingerprint, fingerprint_image
from dupelake.kernels.hashing import hash_version
from dupelake.kernels.uris import local_path
from dupelake.kernels.vocabulary import Vocabulary, feature_version, load_vocabulary
from dupelake.schema import FAILED, FEATURES, HASHES, IMAGES, OK

# Taken over from the manifest row as they are.
_KEPT = ("image_id", "uri", "partition", "scope", "captured_at", "extra")


def _nullable(fields: Iterable[T.StructField]) -> list[T.StructField]:
    return [T.StructField(field.name, field.dataType, True, field.metadata) for field in fields]


HASHED = T.StructType(
    [
        *(field for field in IMAGES.schema.fields if field.name not in ("ingested_at", "deleted_at")),
        *_nullable(field for field in HASHES.schema.fields if field.name != "content_id"),
        T.StructField("thumbnail_bytes", T.BinaryType()),
        T.StructField("thumbnail_width_px", T.IntegerType()),
        T.StructField("thumbnail_height_px", T.IntegerType()),
        *_nullable(field for field in FEATURES.schema.fields if field.name not in ("content_id", "error_message")),
        T.StructField("features_error", T.StringType()),
    ]
)
"""What `hash_images` gives: IMAGES without the run's times, then, null in failed rows, HASHES, the thumbnail, FEATURES
(whose error_message is `features_error` here)."""

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


def hash_images(rows: DataFrame, cfg: Config) -> DataFrame:
    """Fingerprints of every row, one row out for each row in, in the rows' partitioning.

    Args:
        rows: columns of schema.MANIFEST and `fetched struct<data binary, reason string, message string>`, which is
            null for local files. Rows whose `reason` is set already pass through as failed.
        cfg: sections `decode`, `hash` and `features`; batches are handed on as soon as they hold `hash.batch_bytes`.

    Returns:
        HASHED. Failed rows carry `reason` and `error_message`, and `content_id` and `byte_size` where the file could
        be read. Besides those of kernels.decode.Failure, reasons of local files are missing, unreadable, not_a_file.

    Raises:
        ModelError: the vocabulary cannot be read; here, on the driver, before a task starts.
    """
    return rows.mapInArrow(_mapper(cfg), HASHED)


def read_local(path: str, uri: str, max_bytes: int) -> bytes | Failure:
    """The bytes of a regular file; symbolic links are followed.

    Args:
        path: as kernels.uris.local_path gives it.
        uri: as the manifest gives it; where a `file:` URI was written without percent-encoding, a file that exists
            under its literal name is taken when there is none under the decoded one.
        max_bytes: larger files are refused without being read.
    """
    try:
        try:
            info = os.stat(path)
        except OSError as error:
            literal = uri[uri.find("/") :] if uri[:5].lower() == "file:" and "%" in uri else ""
            literal = "/" + literal.lstrip("/") if literal else ""
            if error.errno != errno.ENOENT or not literal or not os.path.exists(literal):
                raise
            path, info = literal, os.stat(literal)
        if not stat.S_ISREG(info.st_mode):  # reading a pipe or a device could take for ever
            return Failure("not_a_file", f"{path} is no regular file")
        if info.st_size > max_bytes:
            return Failure(
                "too_large", f"{info.st_size} bytes, more than decode.max_bytes ({max_bytes})", byte_size=info.st_size
            )
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)  # it may have grown meanwhile; decode refuses what is over the limit
    except (FileNotFoundError, NotADirectoryError):
        return Failure("missing", f"no file at {path}")
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a NUL byte in the name
        return Failure("unreadable", f"{type(error).__name__}: {error}"[:500])
    return data if data else Failure("empty", "the file has no bytes", byte_size=0)


def _mapper(cfg: Config) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs in the workers; it carries the configuration and the vocabulary.

    The vocabulary (some 200 KB) travels with it, so that the file of a user's own need only lie on the driver.
    """
    versions = {"hash_version": hash_version(cfg), "feature_version": feature_version(cfg)}
    vocabulary = load_vocabulary(cfg.features.vocabulary)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from _hash_batch(batch, cfg, vocabulary, versions)

    return run


def _hash_batch(
    batch: pa.RecordBatch, cfg: Config, vocabulary: Vocabulary, versions: dict[str, str]
) -> Iterator[pa.RecordBatch]:
    """Hashes the rows of one input batch; hands on whenever the bytes at hand reach `hash.batch_bytes`."""
    uris, reasons, messages = (batch.column(name).to_pylist() for name in ("uri", "reason", "error_message"))
    fetched = batch.column("fetched")
    done: list[dict[str, Any]] = []
    start, held = 0, 0
    for at, (uri, reason, message) in enumerate(zip(uris, reasons, messages, strict=True)):
        if reason is not None:
            result: Fingerprint | Failure = Failure(reason, message or reason)
        else:
            result = _hash_row(uri, fetched[at], cfg, vocabulary)
        values = _values(result, versions)
        done.append(values)
        held += sum(len(values.get(name) or b"") for name in _LARGE) + 512  # of the other columns, roughly
        if held >= cfg.hash.batch_bytes:
            yield _output(batch, start, done)
            start, held, done = at + 1, 0, []
    if done:
        yield _output(batch, start, done)


def _hash_row(uri: str | None, fetched: pa.StructScalar, cfg: Config, vocabulary: Vocabulary) -> Fingerprint | Failure:
    data = _bytes_of(uri, fetched, cfg)
    if isinstance(data, Failure):
        return data
    try:
        return fingerprint_image(data, cfg.decode, cfg.hash, cfg.features, vocabulary)
    except Exception as error:  # a fault of ours must not take the other images of the batch with it
        return Failure("internal_error", f"{type(error).__name__}: {error}"[:500], byte_size=len(data))


def _bytes_of(uri: str | None, fetched: pa.StructScalar, cfg: Config) -> bytes | Failure:
    if fetched.is_valid:
        if fetched["reason"].is_valid:
            return Failure(fetched["reason"].as_py(), fetched["message"].as_py() or fetched["reason"].as_py())
        return fetched["data"].as_py() or Failure("empty", "the object has no bytes", byte_size=0)
    if uri is None:
        return Failure("no_uri", "the row has no uri")
    path = local_path(uri)
    if path is None:
        return Failure("unreadable", "a remote URI whose bytes were not fetched")
    return read_local(path, uri, cfg.decode.max_bytes)


def _values(result: Fingerprint | Failure, versions: dict[str, str]) -> dict[str, Any]:
    """The new columns of one row; what is absent is null."""
    if isinstance(result, Failure):
        return {
            "status": FAILED,
            "reason": result.reason,
            "error_message": result.message,
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
