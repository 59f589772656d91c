"""Columns of small tables in memory: Spark's Column, as far as the stages use it.

A column is a function from a table to the list of its values. Structs are dicts, arrays are lists, null is None.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dupelake.frames.values import and_, cast, compare, or_, order_key, strict

Values = list[Any]
_SQL: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Column]], ...] = (
    (re.compile(r"(\w+) IS NOT NULL"), lambda m: named(m[1]).isNotNull()),
    (re.compile(r"(\w+) IS NULL"), lambda m: named(m[1]).isNull()),
    (re.compile(r"NOT (\w+)"), lambda m: ~named(m[1])),
    (re.compile(r"([\w.]+) (<>|>=|<=|=|>|<) ([\w.]+)"), lambda m: _compared(m[1], m[2], m[3])),
    (re.compile(r"(\w+) = '(\w+)'"), lambda m: named(m[1]) == m[2]),
    (re.compile(r"(.+) AND (.+)"), lambda m: condition(m[1]) & condition(m[2])),
    (re.compile(r"\w+"), lambda m: named(m[0])),
)
_TESTS = {
    "<>": operator.ne,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


class Rows(Protocol):
    """A table that a column reads (`frames.frame.Frame`)."""

    def __len__(self) -> int: ...

    def named(self, name: str) -> Values:
        """The values of a column."""


class Column:
    """One expression; `name` is that of the column that a `select` makes of it, `fields` those of a struct if known."""

    def __init__(self, values: Callable[[Rows], Values], name: str = "", fields: Sequence[str] = ()) -> None:
        self.values, self.name, self.fields = values, name, fields

    def alias(self, name: str, **_: Any) -> Column:
        """The same values under another name."""
        return Column(self.values, name, self.fields)

    def cast(self, kind: Any) -> Column:
        """The values in another type: a short name, or a type of Spark."""
        short = kind if isinstance(kind, str) else kind.simpleString()
        return self._mapped(lambda value: cast(value, short))

    def getField(self, name: str) -> Column:
        """A field of a struct."""
        return self._mapped(lambda value: None if value is None else value[name])

    __getitem__ = getField

    def isNull(self) -> Column:
        """Whether the value is null."""
        return self._mapped(lambda value: value is None)

    def isNotNull(self) -> Column:
        """Whether the value is not null."""
        return self._mapped(lambda value: value is not None)

    def isin(self, *among: Any) -> Column:
        """Whether the value is among the given ones; null for null."""
        held = set(among[0] if len(among) == 1 and isinstance(among[0], (list, tuple, set)) else among)
        return self._mapped(lambda value: None if value is None else value in held)

    def eqNullSafe(self, other: Any) -> Column:
        """Equality in which null equals null."""
        return binary(lambda a, b: a == b, self, other)

    def when(self, condition: Column, value: Any) -> Column:
        """Only a column of `when` has further cases."""
        raise TypeError("when() of a column that is no when()")

    def over(self, window: Window) -> Column:
        """Only aggregates and functions of windows have one."""
        raise TypeError("over() of a column that is no aggregate")

    def _mapped(self, function: Callable[[Any], Any]) -> Column:
        return Column(lambda frame: [function(value) for value in self.values(frame)], self.name)

    def __eq__(self, other: object) -> Column:  # type: ignore[override]
        return binary(compare(operator.eq), self, other)

    def __ne__(self, other: object) -> Column:  # type: ignore[override]
        return binary(compare(operator.ne), self, other)

    def __lt__(self, other: Any) -> Column:
        return binary(compare(operator.lt), self, other)

    def __le__(self, other: Any) -> Column:
        return binary(compare(operator.le), self, other)

    def __gt__(self, other: Any) -> Column:
        return binary(compare(operator.gt), self, other)

    def __ge__(self, other: Any) -> Column:
        return binary(compare(operator.ge), self, other)

    def __and__(self, other: Any) -> Column:
        return binary(and_, self, other)

    def __or__(self, other: Any) -> Column:
        return binary(or_, self, other)

    def __invert__(self) -> Column:
        return self._mapped(strict(operator.not_))

    def __neg__(self) -> Column:
        return self._mapped(strict(operator.neg))

    def __add__(self, other: Any) -> Column:
        return binary(strict(operator.add), self, other)

    def __radd__(self, other: Any) -> Column:
        return binary(strict(operator.add), other, self)

    def __sub__(self, other: Any) -> Column:
        return binary(strict(operator.sub), self, other)

    def __rsub__(self, other: Any) -> Column:
        return binary(strict(operator.sub), other, self)

    def __mul__(self, other: Any) -> Column:
        return binary(strict(operator.mul), self, other)

    def __rmul__(self, other: Any) -> Column:
        return binary(strict(operator.mul), other, self)

    def __truediv__(self, other: Any) -> Column:
        return binary(strict(operator.truediv), self, other)

    def __rtruediv__(self, other: Any) -> Column:
        return binary(strict(operator.truediv), other, self)

    __hash__ = None  # type: ignore[assignment]


class Case(Column):
    """WHEN ... THEN ..., which may get further cases."""

    def __init__(self, cases: Sequence[tuple[Column, Column]], otherwise: Column | None = None) -> None:
        super().__init__(self._chosen)
        self._cases, self._otherwise = cases, otherwise

    def when(self, condition: Column, value: Any) -> Case:
        """A further case, which counts where no earlier one does."""
        return Case([*self._cases, (condition, as_literal(value))])

    def otherwise(self, value: Any) -> Column:
        """The value where no case counts; without it that is null."""
        return Case(self._cases, as_literal(value))

    def _chosen(self, frame: Rows) -> Values:
        out = [None] * len(frame) if self._otherwise is None else list(self._otherwise.values(frame))
        for condition, value in reversed(self._cases):
            held = condition.values(frame)
            if True in held:
                out = [new if is_so else old for is_so, new, old in zip(held, value.values(frame), out, strict=True)]
        return out


class Aggregate(Column):
    """A function of all rows of a group, or of a window's partition."""

    def __init__(self, function: Callable[..., Any], *arguments: Column) -> None:
        super().__init__(self._repeated, fields=arguments[0].fields if arguments else ())
        self._function, self._arguments = function, arguments

    def _repeated(self, frame: Rows) -> Values:
        found = self._function(*(argument.values(frame) for argument in self._arguments))
        return [found] * max(1, len(frame))

    def over(self, window: Window) -> Column:
        """The value of the whole partition, on each of its rows; rows come in the order of the window."""
        return self._by_partition(window, lambda n, *values: [self._function(*values)] * n)

    def _by_partition(self, window: Window, function: Callable[..., Values]) -> Column:
        def spread(frame: Rows) -> Values:
            arguments = [argument.values(frame) for argument in self._arguments]
            out: Values = [None] * len(frame)
            for rows in window.partitions(frame):
                found = function(len(rows), *([values[row] for row in rows] for values in arguments))
                for row, value in zip(rows, found, strict=True):
                    out[row] = value
            return out

        return Column(spread)


class OverRows(Aggregate):
    """A function of windows with one value for each row: `function` maps (number of rows, values) to a list."""

    def over(self, window: Window) -> Column:
        """The values of each partition, in the order of the window."""
        return self._by_partition(window, self._function)


class Window:
    """Partitions of a table, each in an order; the order of the table where none is given."""

    def __init__(self, by: Sequence[Any] = (), order: Sequence[Any] = ()) -> None:
        self._by, self._order = [as_column(one) for one in by], [as_column(one) for one in order]

    @staticmethod
    def partitionBy(*by: Any) -> Window:
        """A window over the rows with equal values."""
        return Window(by)

    def orderBy(self, *order: Any) -> Window:
        """The same partitions in an ascending order."""
        return Window(self._by, order)

    def partitions(self, frame: Rows) -> list[list[int]]:
        """The numbers of the rows of each partition, in its order."""
        keys = [column.values(frame) for column in self._by]
        found: dict[Any, list[int]] = {}
        for row in range(len(frame)):
            found.setdefault(tuple(order_key(values[row]) for values in keys), []).append(row)
        if self._order:
            sorting = [column.values(frame) for column in self._order]
            for rows in found.values():
                rows.sort(key=lambda row: tuple(order_key(values[row]) for values in sorting))
        return list(found.values())


def named(name: str) -> Column:
    """The column of that name; `a.b` is the field b of the struct a."""
    return Column(lambda frame: frame.named(name), name.rpartition(".")[2])


def literal(value: Any) -> Column:
    """The same value in each row."""
    return Column(lambda frame: [value] * len(frame), str(value))


def as_column(value: Any) -> Column:
    """A column, or the column of that name."""
    return value if isinstance(value, Column) else named(value)


def as_literal(value: Any) -> Column:
    """A column, or that value in each row."""
    return value if isinstance(value, Column) else literal(value)


def binary(function: Callable[[Any, Any], Any], left: Any, right: Any) -> Column:
    """A function of two columns or values, row by row."""
    a, b = as_literal(left), as_literal(right)
    return Column(lambda frame: [function(x, y) for x, y in zip(a.values(frame), b.values(frame), strict=True)])


def condition(given: Any) -> Column:
    """A condition: a column, or one of the few forms of SQL that the stages use.

    Raises:
        ValueError: another form.
    """
    if isinstance(given, Column):
        return given
    for form, make in _SQL:
        match = form.fullmatch(given)
        if match:
            return make(match)
    raise ValueError(f"the condition {given!r} has no local form")


def _compared(left: str, test: str, right: str) -> Column:
    other = literal(float(right) if "." in right else int(right)) if right[0].isdigit() else named(right)
    return binary(compare(_TESTS[test]), named(left), other)
