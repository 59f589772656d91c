"""Brute-force search of a few codes and vectors among many, to check candidate generators.

It uses the definitions of the distances only (`propose/distances.py`), and no slots, bands or keys.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dupelake.propose.distances import cosines
from dupelake.propose.keyjoin import Places
from dupelake.propose.mih import Codes, hamming_bits

_ROUNDING = 1e-3  # upper bound of the error of a float32 product of unit float16 vectors
_PAIRS_AT_ONCE = 1_024  # pairs that are measured exactly at once, about 25 KB each


def near_codes(
    few: Codes, few_mirrored: Codes | None, many: Codes, many_mirrored: Codes | None, max_bits: int
) -> tuple[Places, Places]:
    """(index in few, index in many) of all pairs within `max_bits`, straight or (if both are given) mirrored.

    Args:
        few: uint64 (k, words); each of them needs one pass over `many`.
        few_mirrored: codes of the same pictures mirrored left to right, or None.
        many: uint64 (n, words).
        many_mirrored: the same for `many`.
        max_bits: radius, inclusive.
    """
    found = []
    for place in range(len(few)):
        near = hamming_bits(few[place : place + 1], many) <= max_bits
        if few_mirrored is not None and many_mirrored is not None:
            near |= hamming_bits(few_mirrored[place : place + 1], many) <= max_bits
            near |= hamming_bits(few[place : place + 1], many_mirrored) <= max_bits
        found.append(np.flatnonzero(near))
    which = np.repeat(np.arange(len(few)), [len(rows) for rows in found])
    return which, np.concatenate(found) if found else np.empty(0, np.int64)


def near_vectors(
    few: npt.NDArray[np.float16], many: npt.NDArray[np.float16], min_cosine: float
) -> tuple[Places, Places]:
    """(index in few, index in many) of all pairs with a cosine (`distances.cosines`) of at least `min_cosine`.

    Args:
        few: float16 (k, dim), of about unit length.
        many: float16 (n, dim), of about unit length.
        min_cosine: inclusive.
    """
    rough = few.astype(np.float32) @ many.astype(np.float32).T
    which, rows = np.nonzero(rough >= min_cosine - _ROUNDING)
    kept = rough[which, rows] >= min_cosine + _ROUNDING
    unsure = np.flatnonzero(~kept)
    for start in range(0, len(unsure), _PAIRS_AT_ONCE):
        some = unsure[start : start + _PAIRS_AT_ONCE]
        kept[some] = cosines(few[which[some]], many[rows[some]]) >= min_cosine
    return which[kept], rows[kept]
