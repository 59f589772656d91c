"""Adds rows to tables by delta-rs, without Spark or Java: for the tables of people's verdicts.

delta-rs checks the CHECK constraints and the columns that may not be null, as Delta does. Its commits carry no number
of a run (fence.py), like all commits of people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError
from pyspark.sql.pandas.types import to_arrow_schema

from dupelake.errors import BusyError, EnvironmentFault, NotFoundError, SchemaError, first_line
from dupelake.warehouse.paths import UNWRITABLE
from dupelake.warehouse.schema_types import Table


class Writer:
    """Adds rows to tables of a local warehouse.

    Args:
        root: the folder of the warehouse.

    Raises:
        EnvironmentFault: not `can_write`.
    """

    def __init__(self, root: str) -> None:
        if not can_write(root):
            raise EnvironmentFault(
                f"warehouse {root}: delta-rs cannot write below a folder whose name has one of [ ] ^ |; use `dupelake "
                "decide`, which then writes by Spark, or rename the folder"
            )
        self._root = root

    def append(self, table: Table, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Add rows in one commit without looking for their keys: they are known to be absent.

        Raises:
            NotFoundError: there is no such table.
            SchemaError: a row breaks a constraint, or the stored table has other columns; nothing is written.
        """
        stored, given = self._stored(table), _arrow(table, rows)
        try:
            write_deltalake(stored, given, mode="append")
        except (DeltaError, pa.ArrowException, ValueError) as error:
            raise _of(error, table) from error

    def insert(self, table: Table, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Add the rows whose keys are not stored, in one commit; none if there is no such row.

        Raises:
            NotFoundError: there is no such table.
            SchemaError: as `append`.
            BusyError: others changed the table meanwhile; nothing is written.
        """
        stored, given = self._stored(table), _arrow(table, rows)
        same = " AND ".join(f"t.{name} = s.{name}" for name in table.key)
        try:
            merge = stored.merge(given, same, source_alias="s", target_alias="t")
            merge.when_not_matched_insert_all().execute()
        except (DeltaError, pa.ArrowException, ValueError) as error:
            raise _of(error, table) from error

    def _stored(self, table: Table) -> DeltaTable:
        try:
            return DeltaTable(f"{self._root}/{table.name}")
        except TableNotFoundError as error:
            raise NotFoundError(
                f"warehouse {self._root}: holds no table {table.name}; the next run of `dupelake run` makes it"
            ) from error


def can_write(root: str) -> bool:
    """Whether delta-rs can write below this folder; it takes the path for the host of a URL, and panics otherwise."""
    return not set(root) & set(UNWRITABLE)


def _arrow(table: Table, rows: pa.Table | Sequence[Mapping[str, Any]]) -> pa.Table:
    schema = to_arrow_schema(table.schema, timezone="UTC")
    if isinstance(rows, pa.Table):
        return rows.select(schema.names).cast(schema)
    return pa.Table.from_pylist(list(rows), schema)


def _of(error: Exception, table: Table) -> Exception:
    told = f"table {table.name}: {first_line(error)}; nothing was written"
    return BusyError(told) if "concurrent" in str(error).lower() else SchemaError(told)
