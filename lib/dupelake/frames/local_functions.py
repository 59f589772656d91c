"""Spark's functions for local columns (`frames/column.py`), as far as the stages use them."""

# Spark's names; a name of a column is given as text, as there.

from __future__ import annotations

import builtins
import datetime as dt
import hashlib
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from dupelake.frames.column import (
    Aggregate,
    Case,
    Column,
    OverRows,
    Rows,
    Values,
    as_column,
    as_literal,
    binary,
    condition,
    named,
)
from dupelake.frames.column import literal as lit
from dupelake.frames.values import order_key, rounded, strict, text_of

__all__ = ["Column", "col", "lit"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DATE = {"yyyy-MM-dd HH:mm:ss": "%Y-%m-%d %H:%M:%S"}

col = named


def _rows(function: Callable[..., Any], columns: Iterable[Any], name: str = "") -> Column:
    """A function of the values of a row."""
    given = [as_column(one) for one in columns]

    def values(frame: Rows) -> Values:
        return [function(*row) for row in zip(*(one.values(frame) for one in given), strict=True)]

    return Column(values, name)


def of_rows(function: Callable[[Any], Any], row: Column) -> Column:
    """A function of a struct."""
    return _rows(function, (row,))


def when(condition: Column, value: Any) -> Case:
    """A case; see `Case`."""
    return Case([(condition, as_literal(value))])


def coalesce(*columns: Any) -> Column:
    """The first value that is not null."""
    return _rows(lambda *row: next((value for value in row if value is not None), None), columns)


def expr(text: str) -> Column:
    """SQL of two forms: the first value of several columns that is not null, or a condition."""
    match = re.fullmatch(r"coalesce\((.+)\)", text)
    return coalesce(*match[1].split(", ")) if match else condition(text)


def greatest(*columns: Any) -> Column:
    """The largest value that is not null."""
    return _rows(lambda *row: builtins.max((v for v in row if v is not None), key=order_key, default=None), columns)


def least(*columns: Any) -> Column:
    """The smallest value that is not null."""
    return _rows(lambda *row: builtins.min((v for v in row if v is not None), key=order_key, default=None), columns)


def abs(column: Any) -> Column:
    """The value without its sign."""
    return _rows(strict(builtins.abs), (column,))


def round(column: Any, digits: int = 0) -> Column:
    """Rounded half up."""
    return _rows(strict(lambda value: rounded(value, digits)), (column,))


def exp(column: Any) -> Column:
    """The exponential; infinity beyond the range of a double."""
    return _rows(strict(_exp), (column,))


def log(column: Any) -> Column:
    """The natural logarithm; null for values that have none."""
    return _rows(strict(lambda value: math.log(value) if value > 0 else None), (column,))


def sqrt(column: Any) -> Column:
    """The square root."""
    return _rows(strict(math.sqrt), (column,))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def concat(*columns: Any) -> Column:
    """Texts one after the other; null if one is null."""
    return _rows(strict(lambda *row: "".join(map(text_of, row))), columns)


def sha2(column: Any, bits: int) -> Column:
    """The hex digits of SHA-256 of a text."""
    if bits != 256:
        raise ValueError(f"sha2 of {bits} bits")
    return _rows(strict(lambda text: hashlib.sha256(text.encode()).hexdigest()), (column,))


def substring(column: Any, start: int, length: int) -> Column:
    """A part of a text; the first letter is number 1."""
    return _rows(strict(lambda text: text[start - 1 : start - 1 + length]), (column,))


def upper(column: Any) -> Column:
    """In capitals."""
    return _rows(strict(str.upper), (column,))


def unix_micros(column: Any) -> Column:
    """Microseconds since 1970."""
    return _rows(strict(lambda time: (_aware(time) - _EPOCH) // dt.timedelta(microseconds=1)), (column,))


def date_format(column: Any, pattern: str) -> Column:
    """A time as text, in UTC."""
    return _rows(strict(lambda time: _aware(time).astimezone(dt.UTC).strftime(_DATE[pattern])), (column,))


def _aware(time: dt.datetime) -> dt.datetime:
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def struct(*columns: Any) -> Column:
    """A struct with the names of the columns."""
    given = columns[0] if len(columns) == 1 and isinstance(columns[0], (list, tuple)) else columns
    names = [as_column(one).name for one in given]
    made = _rows(lambda *row: dict(zip(names, row, strict=True)), given)
    return Column(made.values, fields=names)


def array(*columns: Any) -> Column:
    """A list."""
    return _rows(lambda *row: list(row), columns)


def array_position(column: Any, value: Any) -> Column:
    """The place of a value in a list, from 1; 0 if it is not in it."""
    return binary(strict(lambda held, one: held.index(one) + 1 if one in held else 0), as_column(column), value)


def array_contains(column: Any, value: Any) -> Column:
    """Whether a list has a value."""
    return binary(strict(lambda held, one: one in held), as_column(column), value)


def size(column: Any) -> Column:
    """The length of a list."""
    return _rows(strict(len), (column,))


def explode(column: Any) -> Column:
    """One row for each element; `Frame.select` does it."""
    found = as_column(column)
    return Exploded(found.values, found.name)


class Exploded(Column):
    """A column of lists whose elements become rows."""

    def alias(self, name: str, **_: Any) -> Column:
        """The same under another name."""
        return Exploded(self.values, name)


def pmod(column: Any, divisor: Any) -> Column:
    """The remainder that is not negative."""
    return _rows(strict(lambda a, b: a % b), (column, divisor))


def xxhash64(*columns: Any) -> Column:
    """A number that is equal for equal values. Unlike Spark's it is always 0: it only spreads rows over tasks."""
    return _rows(lambda *row: 0, columns)


def broadcast(frame: Any) -> Any:
    """The table itself."""
    return frame


def _held(values: Values) -> Values:
    return [value for value in values if value is not None]


def max(column: Any) -> Aggregate:
    """The largest value."""
    return Aggregate(lambda values: builtins.max(_held(values), key=order_key, default=None), as_column(column))


def min(column: Any) -> Aggregate:
    """The smallest value."""
    return Aggregate(lambda values: builtins.min(_held(values), key=order_key, default=None), as_column(column))


def sum(column: Any) -> Aggregate:
    """The sum; null without values."""
    return Aggregate(lambda values: builtins.sum(_held(values)) if _held(values) else None, as_column(column))


def first(column: Any) -> Aggregate:
    """The first value, which may be null."""
    return Aggregate(lambda values: values[0] if values else None, as_column(column))


def count(column: Any) -> Aggregate:
    """The number of values that are not null; of all rows for `*`."""
    given = lit(1) if isinstance(column, str) and column == "*" else as_column(column)
    return Aggregate(lambda values: len(_held(values)), given)


def count_if(column: Any) -> Aggregate:
    """The number of rows for which a condition holds."""
    return Aggregate(lambda values: values.count(True), as_column(column))


def bool_or(column: Any) -> Aggregate:
    """Whether a condition holds for a row."""
    return Aggregate(lambda values: any(_held(values)), as_column(column))


def min_by(column: Any, by: Any) -> Aggregate:
    """The value of the row with the smallest value of another column."""

    def found(values: Values, keys: Values) -> Any:
        held = [(order_key(key), at) for at, key in enumerate(keys) if key is not None]
        return values[builtins.min(held)[1]] if held else None

    return Aggregate(found, as_column(column), as_column(by))


def row_number() -> Aggregate:
    """The number of the row in its window, from 1."""
    return OverRows(lambda n: list(range(1, n + 1)))


def lead(column: Any) -> Aggregate:
    """The value of the next row of the window."""
    return OverRows(lambda n, values: [*values[1:], None], as_column(column))
