"""The semantics of Spark's values, for one value at a time: order, null, rounding and text."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

_WHOLE = ("tinyint", "smallint", "int", "bigint")


def order_key(value: Any) -> tuple[Any, ...]:
    """A key that sorts as Spark does: null first, then values; structs and arrays field by field, NaN last."""
    if value is None:
        return (0,)
    if isinstance(value, dict):
        return 1, tuple(order_key(one) for one in value.values())
    if isinstance(value, list):
        return 1, tuple(order_key(one) for one in value)
    if isinstance(value, float) and math.isnan(value):
        return (2,)
    return 1, value


def compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    """A comparison of two values; null if either is null."""

    def compared(left: Any, right: Any) -> bool | None:
        if left is None or right is None:
            return None
        if isinstance(left, (dict, list)):
            return test(order_key(left), order_key(right))
        return test(left, right)

    return compared


def and_(left: bool | None, right: bool | None) -> bool | None:
    """SQL's AND: false beats null."""
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def or_(left: bool | None, right: bool | None) -> bool | None:
    """SQL's OR: true beats null."""
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of non-null values; null if an argument is null."""

    def called(*values: Any) -> Any:
        return None if any(value is None for value in values) else function(*values)

    return called


def rounded(value: float, digits: int) -> float:
    """Spark's round: half up, on the shortest decimal form of a double."""
    if not math.isfinite(value):
        return value
    return float(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def cast(value: Any, kind: str) -> Any:
    """The value in the type with Spark's short name `kind`; other types are returned as they are."""
    if value is None:
        return None
    if kind in _WHOLE:
        return int(value)
    if kind in ("double", "float"):
        return float(value)
    if kind == "string":
        return text_of(value)
    return bool(value) if kind == "boolean" else value


def text_of(value: Any) -> str:
    """A value as Spark writes it in a string."""
    return str(value).lower() if isinstance(value, bool) else str(value)
