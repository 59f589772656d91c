"""Exact counts of the pictures that pairs of sets share, in one part of the pictures. Knows no Spark."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dupelake.ranges import ranges

EXAMPLES = 3
"""Shared pictures that are named for each pair."""
_ELEMENTS = 4_000_000  # pictures that one step looks up: 40 MB

I64 = NDArray[np.int64]


def count_shared(sets: I64, pictures: I64, pairs: I64) -> tuple[I64, I64, I64]:
    """Count the pictures that both sets of each pair have.

    The smaller set of a pair is looked up in the larger one, so the cost is the sum of the smaller sizes, however many
    sets have one picture.

    Args:
        sets: int64 (n,), the set of each member.
        pictures: int64 (n,), its picture, 0 to the number of pictures; no member occurs twice.
        pairs: int64 (m, 2), pairs of sets, each once.

    Returns:
        (counts, of_pair, example): counts, int64 (m,); up to EXAMPLES smallest shared pictures of each pair, `example`,
        int64 (k,), with the index of the pair, `of_pair`, int64 (k,).
    """
    order = np.lexsort((pictures, sets))
    sets, pictures = sets[order], pictures[order]
    n_sets = int(max(pairs.max(initial=0), sets.max(initial=0))) + 1
    starts = np.searchsorted(sets, np.arange(n_sets + 1))
    sizes = np.diff(starts)
    swapped = sizes[pairs[:, 0]] > sizes[pairs[:, 1]]
    small = np.where(swapped, pairs[:, 1], pairs[:, 0])
    large = np.where(swapped, pairs[:, 0], pairs[:, 1])
    counts = np.zeros(len(pairs), np.int64)
    is_there = np.zeros(int(pictures.max(initial=0)) + 1, bool)
    examples: list[tuple[I64, I64]] = []
    for one, mine in _by_larger(large, small, sizes):
        own = pictures[starts[one] : starts[one + 1]]
        is_there[own] = True
        lengths = sizes[small[mine]]
        ends = np.cumsum(lengths)
        asked = pictures[ranges(starts[small[mine]], lengths)]
        hit = is_there[asked]
        is_there[own] = False
        upto = np.cumsum(hit)
        before = np.concatenate(([0], upto))[ends - lengths]
        counts[mine] = upto[ends - 1] - before
        shown = hit & (upto - np.repeat(before, lengths) <= EXAMPLES)
        examples.append((np.repeat(mine, lengths)[shown], asked[shown]))
    if not examples:
        return counts, np.empty(0, np.int64), np.empty(0, np.int64)
    return counts, np.concatenate([one for one, _ in examples]), np.concatenate([one for _, one in examples])


def _by_larger(large: I64, small: I64, sizes: I64) -> Iterator[tuple[int, I64]]:
    """(a set, the indices of the pairs whose larger set it is), in steps of bounded size; no empty sets."""
    used = np.flatnonzero(sizes[small] > 0)
    if not len(used):
        return
    used = used[np.argsort(large[used], kind="stable")]
    for mine in np.split(used, np.flatnonzero(np.diff(large[used])) + 1):
        step = np.cumsum(sizes[small[mine]]) // _ELEMENTS
        for part in np.split(mine, np.flatnonzero(np.diff(step)) + 1):
            yield int(large[part[0]]), part
