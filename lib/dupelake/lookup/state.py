"""The small rows of the index: images, hashes, accepted pairs, groups and decisions, in one SQLite file.

SQLite looks rows up by several keys, reads from several processes and needs no server. The columns are those of the
Delta tables, without maps. Beside them it holds the plain form of each URI that has another one, so that an image is
found by any spelling of its URI.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import types as T

from dupelake.ingest.uris import plain_uri
from dupelake.warehouse.schema import DECIDED, DECISIONS, GROUP_CHANGES, GROUPS, HASHES, IMAGES, JOINED, PAIRS, Table

_KEYS = (
    (IMAGES, ("image_id", "content_id", "uri")),
    (HASHES, ("content_id", "pixel_digest")),
    (PAIRS, ("src_id", "dst_id")),
    (GROUPS, ("image_id", "content_id", "group_id")),
    (GROUP_CHANGES, ("group_id",)),
    (JOINED, ("content_id",)),
    (DECISIONS, ()),
    (DECIDED, ()),
)
_LISTS = (T.MapType, T.ArrayType)
_AT_ONCE = 500  # keys of one query
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Row = dict[str, Any]


def columns_of(table: Table) -> list[str]:
    """The columns of a table that the file holds."""
    return [field.name for field in table.schema.fields if not isinstance(field.dataType, _LISTS)]


class StateWriter:
    """Makes the file. It is complete after `close`."""

    def __init__(self, path: Path) -> None:
        self._held = sqlite3.connect(path)
        self._held.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")
        for table, _ in _KEYS:
            self._held.execute(f"CREATE TABLE {table.name} ({', '.join(columns_of(table))})")
        self._held.execute("CREATE TABLE plain_uris (plain, uri)")

    def add(self, table: Table, batches: Iterable[pa.RecordBatch]) -> int:
        """Add rows; returns their number."""
        names = columns_of(table)
        marks = ", ".join("?" * len(names))
        n = 0
        for batch in batches:
            columns = [_to_sql(table, name, batch[name].to_pylist()) for name in names]
            self._held.executemany(f"INSERT INTO {table.name} VALUES ({marks})", zip(*columns, strict=True))  # noqa: S608
            n += batch.num_rows
            if table is IMAGES:
                plain = ((plain_uri(uri), uri) for uri in batch["uri"].to_pylist() if uri is not None)
                self._held.executemany("INSERT INTO plain_uris VALUES (?, ?)", (p for p in plain if p[0] != p[1]))
        return n

    def close(self) -> None:
        """Index the rows and end."""
        for table, keys in _KEYS:
            for key in keys:
                self._held.execute(f"CREATE INDEX {table.name}_{key} ON {table.name} ({key})")
        self._held.execute("CREATE INDEX plain_uris_plain ON plain_uris (plain)")
        self._held.commit()
        self._held.close()


class State:
    """The file, opened for reading."""

    def __init__(self, path: Path) -> None:
        uri = Path(os.path.abspath(path)).as_uri()
        self._held = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        self._readers: dict[str, list[Callable[[Any], Any] | None]] = {}

    def close(self) -> None:
        """Close the file."""
        self._held.close()

    def rows(self, table: Table, key: str | None = None, values: Iterable[str] = ()) -> list[Row]:
        """The rows whose `key` is among the values; without a key all rows."""
        names = columns_of(table)
        query = f"SELECT {', '.join(names)} FROM {table.name}"  # noqa: S608 - names of the schema
        found: list[Sequence[Any]] = (
            self._held.execute(query).fetchall() if key is None else self._among(f"{query} WHERE {key} IN", values)
        )
        if table.name not in self._readers:
            self._readers[table.name] = [_reader(table, name) for name in names]
        readers = self._readers[table.name]
        return [
            {
                name: value if read is None or value is None else read(value)
                for name, read, value in zip(names, readers, row, strict=True)
            }
            for row in found
        ]

    def images_at(self, plain: Iterable[str]) -> list[Row]:
        """The rows of IMAGES whose URIs have one of these plain forms (`ingest.uris.plain_uri`)."""
        wanted = list(plain)
        others = self._among("SELECT uri FROM plain_uris WHERE plain IN", wanted)
        # A plain form is its own plain form.
        return self.rows(IMAGES, "uri", [*wanted, *(uri for (uri,) in others)])

    def _among(self, query: str, values: Iterable[str]) -> list[Sequence[Any]]:
        """The rows of a query that ends with IN, for some values at a time."""
        wanted, found = list(dict.fromkeys(values)), []
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            found += self._held.execute(f"{query} ({', '.join('?' * len(some))})", some).fetchall()
        return found

    def count(self, table: Table) -> int:
        """The number of rows."""
        return int(self._held.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])  # noqa: S608


def _to_sql(table: Table, name: str, values: list[Any]) -> list[Any]:
    kind = table.schema[name].dataType
    if isinstance(kind, T.TimestampType):
        return [None if value is None else (value - _EPOCH) // dt.timedelta(microseconds=1) for value in values]
    if isinstance(kind, T.StructType):
        return [None if value is None else json.dumps(value) for value in values]
    return values


def _reader(table: Table, name: str) -> Callable[[Any], Any] | None:
    kind = table.schema[name].dataType
    if isinstance(kind, T.TimestampType):
        return lambda value: _EPOCH + dt.timedelta(microseconds=value)
    if isinstance(kind, T.StructType):
        return json.loads
    return bool if isinstance(kind, T.BooleanType) else None
