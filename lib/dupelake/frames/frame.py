"""Small tables in memory: Spark's DataFrame, as far as the stages use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
from pyspark.sql import types as T

from dupelake.frames.column import Column, Values, as_column, condition
from dupelake.frames.local_functions import Exploded
from dupelake.frames.values import order_key

Row = dict[str, Any]
Batches = Iterator[pa.RecordBatch]


class _Schema(Protocol):
    def fieldNames(self) -> list[str]: ...


class Frame:
    """Rows as columns: lists of equal length. It is never changed.

    Args:
        data: the values of each column, by name.
        n: the number of rows, for a table without columns.
        fields: the names of the fields of structs, for a table without rows.
    """

    def __init__(
        self, data: Mapping[str, Values], n: int | None = None, fields: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._fields = fields or {}
        self._data = dict(data)
        self._n = n if n is not None else len(next(iter(self._data.values()), []))

    @staticmethod
    def of_rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Frame:
        """The rows with these columns; a missing value is null."""
        return Frame({name: [row.get(name) for row in rows] for name in names}, len(rows))

    def __len__(self) -> int:
        return self._n

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._data)

    def named(self, name: str) -> Values:
        """The values of a column, or of a field of a struct (`a.b`).

        Raises:
            KeyError: there is no such column.
        """
        if name in self._data:
            return self._data[name]
        head, dot, rest = name.partition(".")
        if not dot or head not in self._data:
            raise KeyError(f"no column {name}; there are {self.columns}")
        values = self._data[head]
        for part in rest.split("."):
            values = [None if value is None else value[part] for value in values]
        return values

    @property
    def schema(self) -> dict[str, T.StructField]:
        """The columns as Spark's fields: text or whole numbers, which is all that a stage asks for."""
        texts = {name: any(isinstance(one, str) for one in values[:1]) for name, values in self._data.items()}
        return {
            name: T.StructField(name, T.StringType() if is_text else T.LongType()) for name, is_text in texts.items()
        }

    def rows(self) -> list[Row]:
        """The rows as dicts."""
        return [dict(zip(self._data, row, strict=True)) for row in zip(*self._data.values(), strict=True)]

    collect = rows

    def first(self) -> Row | None:
        """The first row, or None."""
        return next(iter(self.rows()), None)

    def count(self) -> int:
        """The number of rows."""
        return self._n

    def isEmpty(self) -> bool:
        """Whether there are no rows."""
        return self._n == 0

    def select(self, *columns: Any) -> Frame:
        """The table of these columns; `a.*` stands for the fields of a struct, `*` for all columns."""
        given = columns[0] if len(columns) == 1 and isinstance(columns[0], (list, tuple)) else columns
        out: dict[str, Values] = {}
        exploded = None
        for one in given:
            if isinstance(one, str) and one.endswith("*"):
                out |= self._expanded(one)
                continue
            column = as_column(one)
            exploded = column.name if isinstance(column, Exploded) else exploded
            out[column.name] = column.values(self)
        found = Frame(out, self._n)
        return found if exploded is None else found._exploded(exploded)

    def _expanded(self, pattern: str) -> dict[str, Values]:
        if pattern == "*":
            return self._data
        held = self.named(pattern[:-2])
        names = next((list(value) for value in held if value is not None), self._fields.get(pattern[:-2], ()))
        return {name: [None if value is None else value[name] for value in held] for name in names}

    def _exploded(self, name: str) -> Frame:
        lists = self._data[name]
        rows = [row for row, held in enumerate(lists) for _ in held or ()]
        out = {key: [values[row] for row in rows] for key, values in self._data.items()}
        return Frame(out | {name: [one for held in lists for one in held or ()]}, len(rows))

    def withColumn(self, name: str, column: Column) -> Frame:
        """With one more column."""
        return self.withColumns({name: column})

    def withColumns(self, columns: Mapping[str, Column]) -> Frame:
        """With more columns, all computed from the present ones."""
        return Frame(self._data | {name: column.values(self) for name, column in columns.items()}, self._n)

    def withColumnRenamed(self, name: str, new: str) -> Frame:
        """With one column under another name."""
        return Frame({new if key == name else key: values for key, values in self._data.items()}, self._n)

    def drop(self, *names: str) -> Frame:
        """Without these columns."""
        return Frame({key: values for key, values in self._data.items() if key not in names}, self._n)

    def fillna(self, value: Any, names: Sequence[str] | None = None) -> Frame:
        """With a value for null in these columns, or in all columns of the value's type."""
        chosen = [n for n in self._data if self._holds(n, type(value))] if names is None else names
        filled = {name: [value if one is None else one for one in self._data[name]] for name in chosen}
        return Frame(self._data | filled, self._n)

    def _holds(self, name: str, kind: type) -> bool:
        held = [one for one in self._data[name] if one is not None]
        return bool(held) and all(isinstance(one, kind) for one in held)

    def where(self, given: Any) -> Frame:
        """The rows for which a condition holds."""
        return self.take([row for row, is_so in enumerate(condition(given).values(self)) if is_so])

    def take(self, rows: Sequence[int]) -> Frame:
        """The rows with these numbers, in this order."""
        return Frame({name: [values[row] for row in rows] for name, values in self._data.items()}, len(rows))

    def distinct(self) -> Frame:
        """Each row once."""
        seen: dict[Any, int] = {}
        for row, values in enumerate(zip(*self._data.values(), strict=True)):
            seen.setdefault(tuple(map(order_key, values)), row)
        return self.take(list(seen.values()))

    def union(self, other: Frame) -> Frame:
        """The rows of both; columns by place."""
        pairs = zip(self._data.items(), other._data.values(), strict=True)
        return Frame({name: [*mine, *more] for (name, mine), more in pairs}, self._n + len(other))

    unionAll = union

    def unionByName(self, other: Frame) -> Frame:
        """The rows of both; columns by name."""
        return self.union(other.select(*self.columns))

    def join(self, other: Frame, on: str | Sequence[str], how: str = "inner") -> Frame:
        """An equi-join on columns that both have: inner, left, left_semi or left_anti. Null joins nothing."""
        keys = [on] if isinstance(on, str) else list(on)
        index: dict[Any, list[int]] = {}
        for row, key in enumerate(other._keys(keys)):
            if key is not None:
                index.setdefault(key, []).append(row)
        mine = [index.get(key, []) if key is not None else [] for key in self._keys(keys)]
        if how in ("left_semi", "left_anti"):
            return self.take([row for row, met in enumerate(mine) if bool(met) == (how == "left_semi")])
        pairs: list[tuple[int, int | None]] = []
        for row, met in enumerate(mine):
            pairs += [(row, one) for one in met] or ([(row, None)] if how == "left" else [])
        left = {name: [values[row] for row, _ in pairs] for name, values in self._data.items()}
        rest = {name: values for name, values in other._data.items() if name not in keys}
        right = {name: [None if at is None else values[at] for _, at in pairs] for name, values in rest.items()}
        return Frame({**{name: left[name] for name in keys}, **left, **right}, len(pairs))

    def _keys(self, names: Sequence[str]) -> Iterable[Any]:
        for row in zip(*(self.named(name) for name in names), strict=True):
            yield None if any(value is None for value in row) else tuple(map(order_key, row))

    def groupBy(self, *by: Any) -> Groups:
        """The rows by equal values."""
        return Groups(self, [as_column(one) for one in by])

    def agg(self, *columns: Column) -> Frame:
        """One row of aggregates."""
        return Frame({column.name: column.values(self)[:1] for column in columns}, 1)

    def repartition(self, *_: Any) -> Frame:
        """The table itself."""
        return self

    def mapInArrow(self, function: Callable[[Batches], Batches], schema: Any) -> Frame:
        """The rows that a function makes of all rows."""
        batches = self.arrow().combine_chunks().to_batches() if self._n else []
        return _made(list(function(iter(batches))), schema)

    def arrow(self) -> pa.Table:
        """The rows as an Arrow table. A column of nulls is one of doubles, whose nulls are NaN in numpy."""
        columns = {name: pa.array(values) for name, values in self._data.items()}
        nulls = pa.nulls(self._n, pa.float64())
        return pa.table({name: nulls if pa.types.is_null(one.type) else one for name, one in columns.items()})


class Groups:
    """The rows of a table by equal values of some columns."""

    def __init__(self, frame: Frame, by: Sequence[Column]) -> None:
        self.frame, self._by = frame, by

    def parts(self) -> dict[Any, tuple[Values, Frame]]:
        """The values of the columns and the rows of each group, by a key."""
        columns = [column.values(self.frame) for column in self._by]
        found: dict[Any, list[int]] = {}
        for row in range(len(self.frame)):
            found.setdefault(tuple(order_key(values[row]) for values in columns), []).append(row)
        return {key: ([values[rows[0]] for values in columns], self.frame.take(rows)) for key, rows in found.items()}

    def agg(self, *columns: Column) -> Frame:
        """One row of each group: the values of its columns, and aggregates."""
        parts = list(self.parts().values())
        out = {column.name: [values[at] for values, _ in parts] for at, column in enumerate(self._by)}
        out |= {column.name: [column.values(part)[0] for _, part in parts] for column in columns}
        return Frame(out, len(parts), {column.name: column.fields for column in columns})

    def applyInArrow(self, function: Callable[[pa.Table], pa.Table], schema: Any) -> Frame:
        """The rows that a function makes of each group."""
        return _made([function(part.arrow()) for _, part in self.parts().values()], schema)

    def cogroup(self, other: Groups) -> Cogroups:
        """The groups of two tables side by side."""
        return Cogroups(self, other)


class Cogroups:
    """The groups of two tables side by side; a missing one is an empty table."""

    def __init__(self, left: Groups, right: Groups) -> None:
        self._left, self._right = left, right

    def applyInArrow(self, function: Callable[[pa.Table, pa.Table], pa.Table], schema: Any) -> Frame:
        """The rows that a function makes of each two groups."""
        left, right = self._left.parts(), self._right.parts()
        made = []
        for key in {**left, **right}:
            both = [
                (parts[key][1] if key in parts else groups.frame.take([])).arrow()
                for parts, groups in ((left, self._left), (right, self._right))
            ]
            made.append(function(*both))
        return _made(made, schema)


def _made(parts: Sequence[pa.Table | pa.RecordBatch], schema: str | _Schema) -> Frame:
    names = re.findall(r"(\w+) \w+(?:<[^>]*>)?", schema) if isinstance(schema, str) else schema.fieldNames()
    out: dict[str, Values] = {name: [] for name in names}
    for part in parts:
        for name in names:
            out[name] += part[name].to_pylist()
    return Frame(out)
