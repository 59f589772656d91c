"""Counts rows while they are written, which saves a query for each count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyspark.sql import Column, DataFrame, Observation

from dupelake.frames.functions import F, is_local


def counted(
    checkpoint: Callable[[DataFrame], DataFrame], rows: DataFrame, **counts: Column
) -> tuple[DataFrame, dict[str, int]]:
    """Materialises `rows` and aggregates them in the same query.

    Args:
        checkpoint: computes a DataFrame at the call and returns one without lineage. With a lazy one this function
            waits forever.
        rows: the rows to materialise.
        counts: aggregates by name; each is a whole number, and null counts as 0.

    Returns:
        The result of `checkpoint`, and the aggregates by name with `n`, the number of rows.
    """
    columns = [F.count(F.lit(1)).alias("n"), *(column.alias(name) for name, column in counts.items())]
    if is_local():  # an observation needs a session of Spark
        saved = checkpoint(rows)
        found: Any = rows.agg(*columns).collect()[0]
    else:
        seen = Observation()
        saved = checkpoint(rows.observe(seen, *columns))
        found = seen.get
    return saved, {name: int(found[name] or 0) for name in ("n", *counts)}
