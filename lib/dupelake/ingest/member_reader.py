"""Reads the bytes of one image inside of another local file, under the access rules. No Spark."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from dupelake.ingest.access import Access, open_local
from dupelake.ingest.failure import Failure, told
from dupelake.ingest.files import local_file_id
from dupelake.ingest.members import MemberPlace, version_of
from dupelake.ingest.retrying import retried
from dupelake.ingest.zips import read_zip_member

_BUFFER_BYTES = 1 << 20  # read from a column of a Parquet file at once
_BATCH_ROWS = 8


class MemberReader:
    """Reads members one after the other; rows of one row group are read in one pass if they come in their order.

    Args:
        access: the access rules, and the number and pause of retries after transient errors.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._rows: _Rows | None = None

    def __call__(
        self, place: MemberPlace, max_bytes: int, tell_file: Callable[[str], None] | None = None
    ) -> bytes | Failure:
        """The bytes of a member, or why they cannot be read.

        Args:
            place: of the member.
            max_bytes: larger members are refused, before they are read or unpacked where the archive names their size.
            tell_file: called with the file id (ingest/files.py) of the archive when it is open.

        Raises:
            MemoryError: the member does not fit.
        """
        refused = self._access.refuse_scheme("file")
        if refused is not None:
            return refused
        if place.byte_size > max_bytes:
            return _too_large(place.byte_size, max_bytes)
        return retried(lambda: self._read(place, max_bytes, tell_file), place.file, self._access.cfg)

    def _read(self, place: MemberPlace, max_bytes: int, tell_file: Callable[[str], None] | None) -> bytes | Failure:
        opened = open_local(place.file, self._access)
        if isinstance(opened, Failure):
            return opened
        with open(opened, "rb") as file:
            if version_of(os.fstat(opened)) != place.version:
                return Failure("unreadable", f"{place.file} has changed since it was listed in this run")
            if tell_file is not None:
                tell_file(local_file_id(opened))
            if place.kind == "parquet":
                return self._row(file, place, max_bytes)

            def read(at: int, n_bytes: int) -> bytes:
                return os.pread(file.fileno(), n_bytes, at)

            if place.kind == "zip":
                data: bytes | Failure = read_zip_member(read, place)
            else:
                data = read(place.at, place.byte_size)
                if len(data) < place.byte_size:
                    return Failure("truncated", "the archive ends inside of this member", byte_size=len(data))
            return data if isinstance(data, Failure) or data else Failure("empty", "the member has no bytes", None, 0)

    def _row(self, file: IO[bytes], place: MemberPlace, max_bytes: int) -> bytes | Failure:
        """The bytes in a row of a Parquet file. Its state is kept for the next row of the row group."""
        rows, key = self._rows, (place.file, place.version, place.column, place.block)
        if rows is None or rows.key != key or place.at < rows.next:
            try:
                rows = _Rows.at_start(os.dup(file.fileno()), key)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError, IndexError) as error:
                return Failure("undecodable", told(error))
        self._rows = None  # after a failure, the next row begins anew
        try:
            value = rows.value(place.at)
        except StopIteration:
            return Failure("truncated", f"the row group ends before row {place.at}")
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, IndexError) as error:  # IndexError: no such column
            return Failure("undecodable", told(error))
        self._rows = rows
        if not value.is_valid:
            return Failure("empty", "the row holds no bytes of an image", byte_size=0)
        n_bytes = value.as_buffer().size
        if n_bytes > max_bytes:
            return _too_large(n_bytes, max_bytes)
        return value.as_py() or Failure("empty", "the row holds no bytes of an image", byte_size=0)


@dataclass
class _Rows:
    """A pass over one column of one row group: its key, the rows still to come, and the number of the next one."""

    key: tuple[str, str, str, int]
    batches: Iterator[pa.RecordBatch]
    next: int
    held: pa.Array
    held_from: int

    @classmethod
    def at_start(cls, descriptor: int, key: tuple[str, str, str, int]) -> _Rows:
        """Opens a row group; takes over the descriptor. Nothing is buffered beyond a page and some rows."""
        _, _, column, group = key
        file = pq.ParquetFile(os.fdopen(descriptor, "rb"), buffer_size=_BUFFER_BYTES, pre_buffer=False)
        first = sum(file.metadata.row_group(before).num_rows for before in range(group))
        batches = file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=[column], use_threads=False)
        return cls(key, batches, first, pa.array([], pa.binary()), first)

    def value(self, row: int) -> pa.BinaryScalar:
        """The value of a row at or after `next`.

        Raises:
            StopIteration: the row group ends before.
        """
        while row >= self.held_from + len(self.held):
            self.held_from += len(self.held)
            column = next(self.batches).column(0)
            self.held = column.field(0) if pa.types.is_struct(column.type) else column
        self.next = row + 1
        return self.held[row - self.held_from]


def _too_large(n_bytes: int, max_bytes: int) -> Failure:
    return Failure("too_large", f"{n_bytes} bytes, more than decode.max_bytes ({max_bytes})", byte_size=n_bytes)
