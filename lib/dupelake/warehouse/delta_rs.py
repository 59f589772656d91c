"""Reads Delta tables by delta-rs, without Spark and Java.

Credentials of object stores come from the environment, as delta-rs documents (AWS_ACCESS_KEY_ID and so on).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from dupelake.errors import EnvironmentFault
from dupelake.warehouse.schema import Table

_HADOOP = re.compile(r"s3[an](?=://)", re.IGNORECASE)
_ROWS = 16_384
# Operations that leave the rows of a table as they are. The names are Delta's own, of Spark and of delta-rs.
_KEEPS_ROWS = ("OPTIMIZE", "VACUUM", "CREATE TABLE", "SET TBLPROPERTIES", "ADD COLUMN", "ADD CONSTRAINT", "ADD FEATURE")


class DeltaReader:
    """The tables of a warehouse at given versions.

    Args:
        root: the folder of the warehouse, or its URI; `s3a:` is read as `s3:`.
        versions: the version of each table by name; the newest where it names none.
    """

    def __init__(self, root: str, versions: Mapping[str, int] | None = None) -> None:
        self._root, self._versions = _HADOOP.sub("s3", root.rstrip("/") or "/"), dict(versions or {})
        self._open: dict[str, DeltaTable] = {}

    def exists(self, table: Table) -> bool:
        """Whether there is such a table."""
        return bool(DeltaTable.is_deltatable(f"{self._root}/{table.name}"))

    def version(self, table: Table) -> int:
        """The version that is read."""
        return int(self._table(table).version())

    def read(self, table: Table, columns: Sequence[str], where: pc.Expression | None = None) -> pa.Table:
        """Columns of the rows for which a condition holds; a column that the table lacks is null."""
        batches = list(self.batches(table, columns, where))
        if batches:
            return pa.Table.from_batches(batches)
        schema = self._table(table).to_pyarrow_dataset().schema
        kinds = {name: schema.field(name).type if name in schema.names else pa.null() for name in columns}
        return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})

    def batches(
        self, table: Table, columns: Sequence[str], where: pc.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """As `read`, some rows at a time."""
        dataset = self._table(table).to_pyarrow_dataset()
        there = [name for name in columns if name in dataset.schema.names]
        for batch in dataset.to_batches(columns=there, filter=where, batch_size=_ROWS):
            if batch.num_rows:
                missing = {name: pa.nulls(batch.num_rows) for name in columns if name not in there}
                found: dict[str, Any] = {name: batch[name] for name in there} | missing
                yield pa.RecordBatch.from_pydict({name: found[name] for name in columns})

    def only_appended(self, table: Table, since: int) -> bool:
        """Whether all commits after the version `since` added rows and changed none; False if the log is not known."""
        now = self.version(table)
        if now <= since:
            return now == since
        later = {entry["version"]: entry for entry in self._table(table).history() if since < entry["version"] <= now}
        return len(later) == now - since and all(map(_keeps_rows, later.values()))

    def _table(self, table: Table) -> DeltaTable:
        if table.name not in self._open:
            path = f"{self._root}/{table.name}"
            try:
                self._open[table.name] = DeltaTable(path, version=self._versions.get(table.name))
            except TableNotFoundError as error:
                raise EnvironmentFault(f"no Delta table at {path}; give the folder of a warehouse") from error
            except (DeltaError, OSError) as error:
                raise EnvironmentFault(f"the table {path} cannot be read by delta-rs: {error}") from error
        return self._open[table.name]


def _keeps_rows(entry: Mapping[str, Any]) -> bool:
    operation = str(entry.get("operation", ""))
    parameters = entry.get("operationParameters") or {}
    is_append = operation == "WRITE" and str(parameters.get("mode", "")).lower() == "append"
    return is_append or operation.startswith(_KEEPS_ROWS)
