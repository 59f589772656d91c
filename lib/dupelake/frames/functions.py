"""`F` and `W` for stages whose rules must also run without Spark.

They are Spark's `functions` and `Window`. Within `locally()` they make columns of `frames.column` instead, which read
tables of `frames.frame`. So a rule that is written as columns and joins stands in one place: a night runs it on Spark's
DataFrames, a check runs it on the few rows that one image concerns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import Column

__all__ = ["F", "W", "is_local", "locally", "text_of_rows"]

_IS_LOCAL: ContextVar[bool] = ContextVar("dupelake_frames_are_local", default=False)


def is_local() -> bool:
    """Whether `F` and `W` make local columns at present."""
    return _IS_LOCAL.get()


@contextlib.contextmanager
def locally() -> Iterator[None]:
    """Within the context `F` and `W` make local columns, in this thread only."""
    token = _IS_LOCAL.set(True)
    try:
        yield
    finally:
        _IS_LOCAL.reset(token)


@cache
def _functions(local: bool) -> Any:
    """The module of functions; loaded when it is first used."""
    return import_module("dupelake.frames.local_functions" if local else "pyspark.sql.functions")


@cache
def _window(local: bool) -> Any:
    return import_module("dupelake.frames.column" if local else "pyspark.sql").Window


def text_of_rows(function: Callable[[Mapping[str, Any]], str], row: Column) -> Column:
    """A text for each row, by a function of plain Python; Spark calls it for one Arrow batch after the other.

    Args:
        function: takes the fields of `row`; structs within are dicts.
        row: a struct.
    """
    if is_local():
        return _functions(True).of_rows(function, row)
    from pyspark.sql.pandas.functions import arrow_udf

    def texts(rows: pa.Array) -> pa.Array:
        return pa.array(map(function, rows.to_pylist()), pa.string())

    return arrow_udf(texts, "string")(row)  # type: ignore[call-overload]  # by type hints, which the stub lacks


class _Functions:
    def __getattr__(self, name: str) -> Any:
        return getattr(_functions(_IS_LOCAL.get()), name)


class _Windows:
    def __getattr__(self, name: str) -> Any:
        return getattr(_window(_IS_LOCAL.get()), name)


if TYPE_CHECKING:
    from pyspark.sql import Window as W
    from pyspark.sql import functions as F
else:
    F, W = _Functions(), _Windows()
