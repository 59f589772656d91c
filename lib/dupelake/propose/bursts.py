"""Finds bursts, very many nearly equal contents, by counting the values of PDQ slots.

A fixed camera gives tens of thousands of frames that are near copies of each other, which is a billion pairs. Two codes
that differ in fewer bits than there are slots have an equal slot. So a burst makes one slot value very common. Such a
value is called crowded. One pass over the slots finds the crowded values without making any pair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_SLOTS = 16
MAX_BITS = N_SLOTS - 1
"""Two codes that differ in at most this many bits have at least one equal slot."""
N_VALUES = 1 << 16


def slot_values(codes: NDArray[np.uint8], scope_keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The value of each slot, combined with slot number and scope: int64 (n, 16), below 16 * 2^16.

    Args:
        codes: uint8 (n, 32), PDQ as stored.
        scope_keys: int64 (n,), a hash of each code's scope. Its low bits permute the values of a scope. So values of
            two scopes are equal only by chance, and different values of one scope stay different.
    """
    values = np.ascontiguousarray(codes).view(">u2").astype(np.int64)
    values ^= scope_keys[:, None] & np.int64(N_VALUES - 1)
    return values + np.arange(N_SLOTS, dtype=np.int64) * N_VALUES


def crowded(counts: NDArray[np.int64], n_crowd: int) -> NDArray[np.bool_]:
    """Which slot values are crowded.

    Args:
        counts: int64 (16 * 2^16,), the number of codes with each value.
        n_crowd: smallest number of codes that makes a value crowded, but at least eight times the mean.
    """
    by_chance = counts.sum() / len(counts)
    return counts >= max(n_crowd, 8 * by_chance)
