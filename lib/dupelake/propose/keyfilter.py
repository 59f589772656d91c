"""A Bloom filter of the probed keys, with one hash, so that a small night does not shuffle the whole corpus.

Each content has hundreds of keys, and a small night probes few of all keys. The stored side tests the filter before it
emits a key, so keys that nothing probes are not shuffled. A false positive costs a row and loses no pair.

Reference:
    Bloom, Space/time trade-offs in hash coding with allowable errors, CACM 1970; one hash, since keys are hashes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_BITS_PER_KEY = 16  # one false positive in about 17 keys that are not probed
_MIN_LOG2, _MAX_LOG2 = 16, 27  # 8 KB to 16 MB
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: multiplicative hashing (Knuth, TAOCP 6.4)
_STEP = 1 << 20

Bitmap = npt.NDArray[np.uint8]


def filter_log2(n_keys: float) -> int:
    """Binary logarithm of the bits of a filter for about `n_keys` keys."""
    return int(np.clip(math.ceil(math.log2(max(n_keys, 1.0) * _BITS_PER_KEY)), _MIN_LOG2, _MAX_LOG2))


def make_bitmap(keys: npt.NDArray[np.int64], log2_bits: int) -> Bitmap:
    """uint8 (2^log2_bits / 8,): a filter with `keys`; filters of one size are combined by bitwise or."""
    held = np.zeros(1 << log2_bits, np.bool_)
    flat = keys.ravel()
    for start in range(0, len(flat), _STEP):
        held[_places(flat[start : start + _STEP], log2_bits)] = True
    return np.packbits(held, bitorder="little")


def may_hold(bitmap: Bitmap, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """A flag for each key, in the shape of `keys`: False if the filter certainly does not have the key."""
    log2_bits = int(len(bitmap) * 8).bit_length() - 1
    places = _places(keys, log2_bits)
    return np.asarray((bitmap[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)) & 1, np.bool_)


def _places(keys: npt.NDArray[np.int64], log2_bits: int) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return np.asarray((keys.view(np.uint64) * _ODD) >> np.uint64(64 - log2_bits), np.uint64)
