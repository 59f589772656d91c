"""Crowds of all but equal PDQ codes: which values of a slot are crowded, and who is near the best of its crowd.

A fixed camera gives tens of thousands of frames that are all near copies of each other: as pairs, a billion. Any two
codes that differ in fewer bits than there are slots have a slot in common, so a crowd shows as a crowded value of a
slot, and one pass over the slots, without any pair, finds it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_SLOTS = 16
MAX_BITS = N_SLOTS - 1
"""Codes that differ in so many bits at most have one slot of sixteen bits in common."""
N_VALUES = 1 << 16


def slot_values(codes: NDArray[np.uint8], scope_keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The value of each slot, with its number and the scope: int64 (n, 16), below 16 * 2^16.

    Args:
        codes: uint8 (n, 32), PDQ as stored.
        scope_keys: int64 (n,), a hash of each one's scope. Its low bits turn the values of a scope among each other, so
            that values of two scopes fall together by chance only, and those of one never.
    """
    values = np.ascontiguousarray(codes).view(">u2").astype(np.int64)
    values ^= scope_keys[:, None] & np.int64(N_VALUES - 1)
    return values + np.arange(N_SLOTS, dtype=np.int64) * N_VALUES


def crowded(counts: NDArray[np.int64], n_crowd: int) -> NDArray[np.bool_]:
    """Which slot values are held by a crowd.

    Args:
        counts: int64 (16 * 2^16,), holders of each value.
        n_crowd: from how many on; never below eight times what chance gives each value of so large a corpus.
    """
    by_chance = counts.sum() / len(counts)
    return counts >= max(n_crowd, 8 * by_chance)
