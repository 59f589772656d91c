"""Tables of one question beside those of a warehouse: what SELECTs share, in a temporary folder of this machine.

DataFusion plans, joins and counts in batches on all cores; only results come to Python.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from dupelake.errors import EnvironmentFault
from dupelake.warehouse.paths import UNWRITABLE
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import TABLES

_ODD = re.compile(rf"[{re.escape(UNWRITABLE)}\\\x00-\x1f\x7f]|%(?=[0-9A-Fa-f]{{2}})")  # and what it takes for escapes


class Scratch:
    """Temporary tables, and SELECTs over them and the tables of a warehouse.

    Args:
        reader: of the warehouse.
        folder: for the files.
    """

    def __init__(self, reader: Reader, folder: str) -> None:
        self._reader, self._folder = reader, folder
        self._made: dict[str, DeltaTable] = {}

    def put(self, name: str, rows: pa.Table) -> None:
        """Make the table `name` of these rows. Delta has no unsigned integers and no nulls without a type."""
        self._write(name, rows)

    def put_texts(self, name: str, /, **columns: Iterable[str | None]) -> None:
        """Make the table `name` of columns of texts, all of one length."""
        self.put(name, pa.table({column: pa.array(list(texts), pa.string()) for column, texts in columns.items()}))

    def make(self, name: str, sql: str) -> None:
        """Make the table `name` of the result of a SELECT, which does not pass through this process's memory.

        Raises:
            NotFoundError: a table or a version of it does not exist.
            QueryError: the query has a fault.
        """
        with self._reader.faults_of(sql):
            self._write(name, self._reader.stream(sql, self._made))

    def query(self, sql: str) -> pa.Table:
        """The result of a SELECT.

        Raises:
            NotFoundError: a table or a version of it does not exist.
            QueryError: the query has a fault.
        """
        return self._reader.query(sql, self._made)

    def _write(self, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        if name in TABLES or name in self._made:
            raise ValueError(f"{name}: is a table already")
        path = f"{self._folder}/{name}"
        # DataFusion refuses a UNION of a column that may be null and one that may not, so all of these may.
        nullable = pa.schema([column.with_nullable(True) for column in rows.schema])
        try:
            write_deltalake(path, rows.cast(nullable))
        except (DeltaError, OSError) as error:
            if os.strerror(errno.ENOSPC) not in str(error):
                raise
            raise EnvironmentFault(
                f"TMPDIR {tempfile.gettempdir()}: the disk is full; make room, or set TMPDIR to another"
            ) from error
        self._made[name] = DeltaTable(path)


@contextmanager
def scratch_beside(reader: Reader) -> Iterator[Scratch]:
    """Temporary tables beside those of `reader`; they are removed at the end.

    Raises:
        EnvironmentFault: delta-rs cannot write in the temporary folder of this machine, or its disk is full.
    """
    if odd := _ODD.findall(tempfile.gettempdir()):
        raise EnvironmentFault(
            f"TMPDIR {tempfile.gettempdir()}: delta-rs cannot write below a folder whose name has {odd[0]!r}; set "
            "TMPDIR to another"
        )
    with tempfile.TemporaryDirectory(prefix="dupelake-") as folder:
        yield Scratch(reader, folder)
