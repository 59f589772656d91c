"""Reads the tables of a warehouse by delta-rs, without Spark or Java. Nothing is written.

Delta's own reader is `tables.Warehouse`. Both read the same files: the tables use no feature that locks other readers
out, and delta-rs reads those of users too who turn deletion vectors on.
"""

from __future__ import annotations

import copy
import datetime as dt
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from dupelake.errors import EnvironmentFault, NotFoundError, QueryError, first_line
from dupelake.warehouse.fence import APP_ID, count_of
from dupelake.warehouse.paths import local_folder
from dupelake.warehouse.rules import TABLES
from dupelake.warehouse.store_faults import is_of_store, told
from dupelake.warehouse.views import DATAFUSION, VIEWS

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_GONE = re.compile(r"Object at location .* not found")  # of an object store, a local disk too
_SELECT = re.compile(r"(\s|--[^\n]*\n)*(SELECT|WITH)\b", re.IGNORECASE)
_SOURCE = re.compile(r"(?:\bFROM|\bJOIN|,)\s+\"?(\w+)", re.IGNORECASE)  # what a query may read
_STORES = ("AWS_", "AZURE_", "GOOGLE_")  # variables of the environment that are options of an object store
_ROWS = 16_384  # of a batch
# Operations that leave the rows of a table as they are. The names are Delta's own, of Spark and of delta-rs.
_KEEPS_ROWS = ("OPTIMIZE", "VACUUM", "CREATE TABLE", "SET TBLPROPERTIES", "ADD COLUMN", "ADD CONSTRAINT", "ADD FEATURE")
_VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}  # of DataFusion; pandas and Spark take neither

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Reader:
    """The tables of one warehouse, each at one version.

    Args:
        root: the folder or object-store prefix of the warehouse: a path, or `file:`, `s3://`, `s3a://`, `abfss://`,
            `gs://` and what else delta-rs reads.
        versions: versions of tables by name; a table that is not named is read at its newest version.
        storage_options: of the object store, as delta-rs takes them. They go over the variables AWS_*, AZURE_* and
            GOOGLE_* of the environment.

    Attributes:
        root: the absolute path of a local folder, or the prefix as given.

    Raises:
        NotFoundError: `root` is a local path without a folder.
        EnvironmentFault: delta-rs cannot read the path.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        versions: Mapping[str, int] | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        folder = local_folder(os.fspath(root))
        self.root = os.fspath(root).rstrip("/") if folder is None else str(folder)
        self.versions = dict(versions or {})
        self._loaded: dict[str, DeltaTable] = {}  # tables at a given version, which never changes
        from_environment = {name: value for name, value in os.environ.items() if name.startswith(_STORES)}
        self._options = None if folder is not None else from_environment | dict(storage_options or {})
        if folder is not None and not folder.is_dir():
            raise NotFoundError(f"warehouse {self.root}: there is no such folder; `dupelake run` makes it")
        if folder is not None and (escape := _ESCAPE.search(self.root)):
            raise EnvironmentFault(
                f"warehouse {self.root}: delta-rs reads {escape[0]} in a path as another letter; make a link to the "
                "folder without it, and give that"
            )

    def at(self, versions: Mapping[str, int]) -> Reader:
        """The same warehouse at these versions."""
        other = copy.copy(self)
        other.versions, other._loaded = dict(versions), {}
        return other

    def version(self, name: str) -> int:
        """The version at which the table `name` is read.

        Raises:
            NotFoundError: there is no such table.
        """
        return int(self._table(name).version())

    def table_id(self, name: str) -> str:
        """Delta's id of the table `name`, which a table that is made anew does not have.

        Raises:
            NotFoundError: there is no such table.
        """
        return str(self._table(name).metadata().id)

    def last_sequence(self, name: str) -> int:
        """The number that the last commit to `name` carries (`tables.Warehouse.last_sequence`); 0 without one."""
        with self._store():
            return count_of(self._table(name).transaction_version(APP_ID) or 0)

    def table(
        self,
        name: str,
        columns: Iterable[str] | None = None,
        where: str | None = None,
        order: str | None = None,
    ) -> pa.Table:
        """Rows of the table `name`.

        Args:
            name: a table of warehouse/schema.py, or a view of warehouse/views.py.
            columns: names of columns; None for all.
            where: a condition in SQL. Files and row groups that cannot hold such a row are not read.
            order: what ORDER BY takes; None for no order.

        Raises:
            NotFoundError: there is no such table or version.
            QueryError: no such column, or a fault in `where`.
        """
        if name not in TABLES and name not in VIEWS:
            raise NotFoundError(f"no table is called {name}; there are {', '.join([*TABLES, *VIEWS])}")
        chosen = "*" if columns is None else ", ".join(f'"{column}"' for column in columns)
        parts = [
            f"SELECT {chosen} FROM {name}",  # noqa: S608 - the name is one of ours
            f"WHERE ({where})" if where else "",
            f"ORDER BY {order}" if order else "",
        ]
        return self.query(" ".join(filter(None, parts)))

    def batches(
        self, name: str, columns: Sequence[str], where: pc.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Columns of the rows of the table `name` for which a condition holds, some rows at a time, in their order.

        A column that the table lacks is null. Tables with deletion vectors cannot be read so.

        Raises:
            NotFoundError: there is no such table or version.
        """
        with self._store():
            dataset = self._table(name).to_pyarrow_dataset()
            there = [column for column in columns if column in dataset.schema.names]
            for batch in dataset.to_batches(columns=there, filter=where, batch_size=_ROWS):
                if batch.num_rows:
                    missing = {column: pa.nulls(batch.num_rows) for column in columns if column not in there}
                    found: dict[str, Any] = {column: batch[column] for column in there} | missing
                    yield pa.RecordBatch.from_pydict({column: found[column] for column in columns})

    def rows(self, name: str, columns: Sequence[str], where: pc.Expression | None = None) -> pa.Table:
        """All of `batches` as one table."""
        batches = list(self.batches(name, columns, where))
        if batches:
            return pa.Table.from_batches(batches)
        schema = self._table(name).to_pyarrow_dataset().schema
        kinds = {one: schema.field(one).type if one in schema.names else pa.null() for one in columns}
        return pa.table({column: pa.array([], kind) for column, kind in kinds.items()})

    def only_appended(self, name: str, since: int) -> bool:
        """Whether all commits after the version `since` added rows and changed none; False if the log is not known."""
        now = self.version(name)
        if now <= since:
            return now == since
        with self._store():
            history = self._table(name).history(now - since)
        later = {entry["version"]: entry for entry in history if since < entry["version"] <= now}
        return len(later) == now - since and all(map(_keeps_rows, later.values()))

    def query(self, sql: str, beside: Mapping[str, DeltaTable] | None = None) -> pa.Table:
        """The result of a SELECT of DataFusion over our tables and views; `beside` are more tables that it names.

        Raises:
            NotFoundError: a table or a version of it does not exist.
            QueryError: the query has a fault.
        """
        with self.faults_of(sql):
            return _without_views(self.stream(sql, beside).read_all())

    def batches_of(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The rows of `query`, some thousands at a time: what the query does not hold itself need not be in memory.

        Raises:
            NotFoundError: as `query`.
            QueryError: as `query`.
        """
        with self.faults_of(sql):
            for batch in self.stream(sql):
                yield from _without_views(pa.Table.from_batches([batch])).to_batches()

    def stream(self, sql: str, beside: Mapping[str, DeltaTable] | None = None) -> pa.RecordBatchReader:
        """The result of a SELECT as a stream; `beside` are more tables that it names. Read it within `faults_of`."""
        if not _SELECT.match(sql):
            raise QueryError(f"only SELECT and WITH are allowed, because tables are only read; not: {sql.strip()}")
        builder = QueryBuilder()
        words = set(re.findall(r"\w+", sql))
        views = [VIEWS[name] for name in VIEWS.keys() & set(_SOURCE.findall(sql))]
        words.update(name for view in views for name in view.tables)
        for name in filter(words.__contains__, TABLES):
            builder.register(name, self._table(name))
        for name in words & (beside or {}).keys():
            builder.register(name, (beside or {})[name])
        for view in views:
            builder.execute(f"CREATE VIEW {view.name} AS {view.sql(DATAFUSION)}")
        return pa.RecordBatchReader.from_stream(builder.execute(sql))  # pa.table() would import pandas

    @contextmanager
    def faults_of(self, sql: str) -> Iterator[None]:
        """Names the query in the errors of the code inside.

        Raises:
            NotFoundError: files of the version that is read are gone.
            EnvironmentFault: the object store refuses, or does not answer.
            QueryError: the query has another fault.
        """
        try:
            with self._store():
                yield
        except (DeltaError, pa.ArrowException) as error:
            if _GONE.search(str(error)):
                raise NotFoundError(
                    f"warehouse {self.root}: files of the version that is read are gone, after `dupelake maintain`; "
                    f"open it again ({first_line(error)})"
                ) from error
            raise QueryError(f"{first_line(error)}, in: {sql.strip()}") from error

    @contextmanager
    def _store(self) -> Iterator[None]:
        """Says what to do where the object store refuses, or does not answer."""
        try:
            yield
        except (DeltaError, pa.ArrowException, OSError) as error:
            if is_of_store(error) and not _GONE.search(str(error)):
                raise EnvironmentFault(f"warehouse {self.root} cannot be read: {told(error)}") from error
            raise

    def _table(self, name: str) -> DeltaTable:
        if name in self._loaded:
            return self._loaded[name]
        version, path = self.versions.get(name), f"{self.root}/{name}"
        if version == -1:
            raise NotFoundError(f"warehouse {self.root}: held no table {name} then")
        try:
            table = DeltaTable(path, version=version, storage_options=self._options)
        except TableNotFoundError as error:
            raise NotFoundError(
                f"warehouse {self.root}: holds no table {name}; give the folder of a warehouse, as `dupelake run` "
                "makes it"
            ) from error
        except (DeltaError, OSError) as error:
            if version is not None and "version" in str(error):
                raise NotFoundError(
                    f"{path}: version {version} does not exist or is gone ({first_line(error)}); read a newer one"
                ) from error
            raise EnvironmentFault(f"warehouse {self.root} cannot be read: {told(error)}") from error
        if version is not None:
            self._loaded[name] = table
        return table


def _keeps_rows(entry: Mapping[str, Any]) -> bool:
    operation = str(entry.get("operation", ""))
    parameters = entry.get("operationParameters") or {}
    is_append = operation == "WRITE" and str(parameters.get("mode", "")).lower() == "append"
    return is_append or operation.startswith(_KEEPS_ROWS)


def quoted(text: str) -> str:
    """`text` as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted_list(texts: Iterable[str]) -> str:
    """`texts` as the list behind IN; one that equals nothing where there is none."""
    return f"({', '.join(map(quoted, texts)) or 'NULL'})"


def micros(time: dt.datetime) -> int:
    """Microseconds since 1970; a time without a zone is UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1)


def time_literal(time: dt.datetime) -> str:
    """`time` as an expression of SQL."""
    return f"arrow_cast({micros(time)}, 'Timestamp(Microsecond, Some(\"UTC\"))')"


def _without_views(table: pa.Table) -> pa.Table:
    """`table` with texts and bytes of types that pandas and Spark take."""
    fields: list[Any] = [field.with_type(_VIEWS.get(field.type, field.type)) for field in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))
