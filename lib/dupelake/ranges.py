"""Ranges of numbers one after another: the rows of many runs in one array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ranges(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each i the `counts[i]` numbers from `first[i]` on; int64 (sum of counts,)."""
    until = np.cumsum(counts)
    return np.arange(until[-1] if len(until) else 0) + np.repeat(first - until + counts, counts)
