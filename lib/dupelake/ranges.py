"""Ranges of rows: the numbers of many in one array, and parts of bounded size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def ranges(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each i the `counts[i]` numbers from `first[i]` on; int64 (sum of counts,)."""
    until = np.cumsum(counts)
    return np.arange(until[-1] if len(until) else 0) + np.repeat(first - until + counts, counts)


def bounded_slices(sizes: NDArray[np.int64], at_most: int) -> Iterator[slice]:
    """Slices of consecutive items, as long as `sizes` add up to `at_most`; a larger item is a part of its own."""
    until, first = np.cumsum(sizes), 0
    while first < len(until):
        before = until[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(until, before + at_most, "right")))
        yield slice(first, last)
        first = last
