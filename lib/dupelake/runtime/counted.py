"""Counts of rows that are taken while the rows are written, and so cost no query of their own."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F


def counted(
    checkpoint: Callable[[DataFrame], DataFrame], rows: DataFrame, **counts: Column
) -> tuple[DataFrame, dict[str, int]]:
    """Materialise `rows`, and aggregate them on the way.

    Args:
        checkpoint: computes a DataFrame once, at the call, and returns one without lineage.
        rows: what is materialised.
        counts: aggregates by name, each a whole number.

    Returns:
        What `checkpoint` returned, and the aggregates; `n`, the number of rows, is always among them.
    """
    seen = Observation()
    columns = [F.count(F.lit(1)).alias("n"), *(column.alias(name) for name, column in counts.items())]
    saved = checkpoint(rows.observe(seen, *columns))
    return saved, {name: int(value or 0) for name, value in seen.get.items()}
