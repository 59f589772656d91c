"""Tar and ZIP archives as manifests: one row per image in them, listed on the executors. Reads only.

One task lists an archive, by its headers or its directory alone; docs/inputs.md says what is listed. A member that
cannot be an image for a reason of the archive (a link, an unsafe or repeated name, encryption) is a row with that
reason. An archive that cannot be listed, or not to its end, is a row too, without marks, as a folder that cannot be
listed is: a full listing is refused then, because nobody knows what it lacks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import NamedTuple

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dupelake.errors import ManifestError
from dupelake.ingest.access import Access, open_local
from dupelake.ingest.endings import ARCHIVES, IMAGES, ending, plain_endings
from dupelake.ingest.failure import Failure
from dupelake.ingest.manifest_cells_stage import FAULT
from dupelake.ingest.manifest_columns_stage import PLACE
from dupelake.ingest.manifest_place import Place
from dupelake.ingest.members import (
    DUPLICATE,
    MAX_MEMBERS,
    MAX_NAME_BYTES,
    NESTED,
    TOO_MANY,
    ArchiveFault,
    Entry,
    MemberPlace,
    is_hidden,
    member_uri,
    plain_name,
    version_of,
)
from dupelake.ingest.tars import Read, tar_entries
from dupelake.ingest.trees import partition_of, time_text
from dupelake.ingest.zips import overlapping, zip_entries

_MAX_TASKS = 10_000
_BATCH_ROWS = 4096
_BLOCK_BYTES = 8_388_608  # members of one block are read by one task, one after the other


class _Row(NamedTuple):
    """A row of the listing; the fields are its columns."""

    uri: str
    archive: str
    modified: str | None
    etag: str | None
    byte_size: str | None
    fault: str | None
    place: str | None


def read_archives(spark: SparkSession, place: Place, extensions: Sequence[str], access: Access) -> DataFrame:
    """The images in archives: `uri`, `partition`, `etag`, `last_modified` and `byte_size` (marks), FAULT and PLACE.

    The mark `last_modified` is that of the archive, `byte_size` that of the member. The etag of a ZIP member is its
    checksum. A tar archive has none, so the etag is the version of the archive and the place of the member in it.

    Args:
        spark: the session.
        place: an archive, or a folder of archives.
        extensions: of the members that are images, in any case; () takes the usual ones.
        access: which archives may be opened.

    Raises:
        ManifestError: the place is not local.
    """
    if place.local is None:
        raise ManifestError(
            f"{place.path}: archives are read from local or mounted file systems only; mount the store, or copy them"
        )
    paths = [(place.readable_path(file.path),) for file in place.files("archive")]
    tasks = spark.sparkContext.parallelize(paths, min(len(paths), _MAX_TASKS))
    source = spark.createDataFrame(tasks, "archive string")
    wanted = plain_endings(extensions) or IMAGES
    rows = source.mapInArrow(
        partial(_batches, wanted=wanted, access=access), ", ".join(f"{name} string" for name in _Row._fields)
    )
    return rows.select(
        "uri",
        partition_of("archive", "modified").alias("partition"),
        F.when(F.col("byte_size").isNotNull(), F.col("modified")).alias("last_modified"),
        "etag",
        "byte_size",
        F.col("fault").alias(FAULT),
        F.col("place").alias(PLACE),
    )


def _batches(batches: Iterable[pa.RecordBatch], *, wanted: frozenset[str], access: Access) -> Iterator[pa.RecordBatch]:
    archives = (archive for batch in batches for archive in batch["archive"].to_pylist())
    rows = (row for archive in archives for row in list_archive(archive, wanted, access))
    while some := list(islice(rows, _BATCH_ROWS)):
        yield _batch(some)


def _batch(rows: Sequence[_Row]) -> pa.RecordBatch:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=list(_Row._fields))


def list_archive(archive: str, wanted: frozenset[str], access: Access) -> Iterator[_Row]:
    """The rows of one archive, a local path; see `read_archives`."""
    try:
        opened = open_local(archive, access)
    except (OSError, ValueError) as error:
        yield _Row(archive, archive, None, None, None, f"unreadable: {type(error).__name__}: {error}"[:480], None)
        return
    if isinstance(opened, Failure):
        yield _Row(archive, archive, None, None, None, f"{opened.reason}: {opened.message}", None)
        return
    with open(opened, "rb") as file:
        info = os.fstat(opened)
        modified = time_text(info.st_mtime_ns)

        def read(at: int, n_bytes: int) -> bytes:
            file.seek(at)
            return file.read(n_bytes)

        found, fault, is_zip = _images(read, info.st_size, wanted, is_named_zip=ending(archive) in ("zip", "cbz"))
    base = MemberPlace(archive, version_of(info), "zip" if is_zip else "tar")
    yield from _rows(found, base, modified)
    if fault is not None:
        yield _Row(archive, archive, modified, None, None, fault, None)
    elif not found:
        why = f"empty: the archive holds no image; images end with one of {', '.join(sorted(wanted))}"
        yield _Row(archive, archive, modified, base.version, str(info.st_size), why[:480], None)


def _images(
    read: Read, size: int, wanted: frozenset[str], *, is_named_zip: bool
) -> tuple[list[Entry], str | None, bool]:
    """The members that are images by their names, or archives; why the index is not complete, or None; is it a ZIP."""
    found: list[Entry] = []
    is_zip = is_named_zip
    try:
        is_zip = is_named_zip or read(0, 4) in (b"PK\3\4", b"PK\5\6")
        for entry in zip_entries(read, size) if is_zip else tar_entries(read, size):
            kind = ending(entry.name.decode("utf-8", "replace"))
            if kind not in wanted and kind not in ARCHIVES:
                continue
            found.append(_with_short_name(entry))
            if len(found) > MAX_MEMBERS:
                raise ArchiveFault(TOO_MANY, f"it holds more than {MAX_MEMBERS} images; split it")
    except ArchiveFault as error:
        fault = f"{error.reason}: {error}"
    except OSError as error:
        fault = f"unreadable: {type(error).__name__}: {error}"[:480]
    except Exception as error:  # one archive must not end the run, which would fail again each night
        fault = f"undecodable: {type(error).__name__}: {error}"[:480]
    else:
        return found, None, is_zip
    return found, fault, is_zip


def _with_short_name(entry: Entry) -> Entry:
    """The member with its start and a digest for a name that is too long: in a tar archive it may have a megabyte."""
    if len(entry.name) <= MAX_NAME_BYTES:
        return entry
    name, fault = plain_name(entry.name)
    return entry._replace(name=name.encode(), fault=fault)


def _rows(found: Sequence[Entry], base: MemberPlace, modified: str) -> Iterator[_Row]:
    shared = overlapping([entry for entry in found if entry.fault is None]) if base.kind == "zip" else set()
    last = {plain_name(entry.name)[0]: at for at, entry in enumerate(found)}
    earlier: dict[str, int] = {}
    for at, entry in enumerate(found):
        name, unsafe = plain_name(entry.name)
        if is_hidden(name) and unsafe is None:
            continue
        is_last = last[name] == at
        if not is_last:
            earlier[name] = earlier.get(name, 0) + 1
        fault = unsafe or entry.fault
        if fault is None and ending(name) in ARCHIVES:
            fault = f"{NESTED}: an archive inside of an archive is not opened; unpack it"
        if fault is None and entry.at in shared:
            fault = "bomb: its bytes overlap those of another member"
        if fault is None and not is_last:
            fault = f"{DUPLICATE}: a later member of the archive has the same name, and replaces this one"
        place = MemberPlace(
            base.file, base.version, base.kind, "", entry.at // _BLOCK_BYTES, entry.at, entry.stored_bytes,
            entry.byte_size, entry.method, entry.crc,
        )  # fmt: skip
        etag = f"{entry.crc:08x}-{entry.byte_size}" if base.kind == "zip" else f"{base.version}@{entry.at}"
        yield _Row(
            member_uri(base.file, name, 0 if is_last else earlier[name]),
            base.file,
            modified,
            etag,
            str(entry.byte_size),
            fault,
            None if fault else json.dumps(asdict(place)),
        )
