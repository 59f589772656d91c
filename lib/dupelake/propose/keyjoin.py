"""Joins on keys of 64 bits in memory: sorted numbers in place of rows.

A key join over a corpus makes hundreds of keys a unit. As rows of a table each carries its unit's id, scope and code, a
hundred bytes; here a task sends what its batch has for one part of the keys as two blobs: the units, once each, and the
keys as numbers of 64 bits, which hold 36 bits of the key and 28 of the unit's place. A part is joined by sorting them.

The high bits of a key choose its part and the low 36 stand for it there (35 where the join of words keeps one to tell
hot words), so keys must be well mixed (`mixed`). Among
the 16 million keys of a part one in 4,000 meets a stranger: what is found must be checked, as it must anyway.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNIT_BITS = np.uint64(28)
UNIT_MASK = (np.uint64(1) << UNIT_BITS) - np.uint64(1)

Keys = NDArray[np.uint64]
Places = NDArray[np.int64]


def mixed(values: Keys) -> Keys:
    """A bijection of 64 bits, all of them well mixed: the end of MurmurHash3 (A. Appleby, public domain)."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def unmixed(values: Keys) -> Keys:
    """What `mixed` made these of."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0x9CB4B2F8129337DB)  # inverse of the second factor, modulo 2^64
    values ^= values >> np.uint64(33)
    values *= np.uint64(0x4F74430C22A54005)
    return values ^ (values >> np.uint64(33))


def by_part(owner: Places, keys: Keys, n_parts: int) -> Iterator[tuple[int, Places, Places, Keys]]:
    """What a batch has for each part.

    Args:
        owner: int64 (k,), whose key each is; below the number of units of the batch.
        keys: uint64 (k,), well mixed.
        n_parts: of the whole join.

    Yields:
        (part; units present in it, ascending; which keys are its, ascending; these `packed`, by place among the units
        present).
    """
    part = (((keys >> np.uint64(32)) * np.uint64(n_parts)) >> np.uint64(32)).astype(_part_type(n_parts))
    order = np.argsort(part, kind="stable")
    part = part[order]
    edges = np.flatnonzero(np.concatenate([[True], part[1:] != part[:-1], [True]])) if len(part) else np.zeros(1, int)
    is_present = np.zeros(int(owner.max(initial=-1)) + 1, bool)
    place = np.zeros(len(is_present), np.int64)
    for start, end in itertools.pairwise(edges.tolist()):
        mine = order[start:end]
        is_present[:] = False
        is_present[owner[mine]] = True
        present = np.flatnonzero(is_present)
        place[present] = np.arange(len(present))
        yield int(part[start]), present, mine, packed(keys[mine], place[owner[mine]])


def _part_type(n_parts: int) -> type[np.unsignedinteger[Any]]:
    """Two bytes where they do: numpy sorts these by radix, ten times as fast."""
    return np.uint16 if n_parts <= 1 << 16 else np.uint32


def packed(keys: Keys, place: Places) -> Keys:
    """36 bits of each key and the place of its unit in one number."""
    return (keys << UNIT_BITS) | place.astype(np.uint64)


def unpacked(numbers: Keys) -> Places:
    """The place of the unit in each number."""
    return (numbers & UNIT_MASK).astype(np.int64)


def ranks(ids: NDArray[np.uint64]) -> Places:
    """Numbers that are equal, or in order, as the ids, uint64 (n, 2), are."""
    order = np.lexsort((ids[:, 1], ids[:, 0]))
    ids = ids[order]
    is_other = np.concatenate([np.zeros(min(1, len(ids)), bool), (ids[1:] != ids[:-1]).any(axis=1)])
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.cumsum(is_other)
    return rank


def near_meetings(
    stored: Keys, probing: Keys, codes: NDArray[np.uint64], max_bits: int, max_rows: int
) -> Iterator[tuple[Places, Places]]:
    """(probing unit, stored unit) of every equal key whose codes differ in `max_bits` at most.

    Nearly all that meet are strangers, by the hundred millions in a part, so a meeting must cost nanoseconds: codes are
    laid beside the sorted keys once, so that each run of equal keys is read in a row, and compared word by word as long
    as they may still be near.

    Args:
        stored: numbers of `packed`; sorted in place.
        probing: likewise.
        codes: uint64 (n, words), of all units.
        max_bits: Hamming radius.
        max_rows: about how many meetings are held at once.
    """
    stored.sort()
    probing.sort()
    held, sought = stored >> UNIT_BITS, probing >> UNIT_BITS
    low, high = np.searchsorted(held, sought, "left"), np.searchsorted(held, sought, "right")
    counts = high - low
    probing, low, counts = probing[counts > 0], low[counts > 0], counts[counts > 0]
    del held, sought, high
    places = unpacked(stored)
    columns = [np.ascontiguousarray(codes[:, word])[places] for word in range(codes.shape[1])]
    until = np.cumsum(counts)
    first = 0
    while first < len(probing):
        base = until[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(until, base + max_rows, "right")))
        n = counts[first:last]
        seekers = unpacked(probing[first:last])
        ends = np.cumsum(n)
        row = np.arange(int(ends[-1])) + np.repeat(low[first:last] - ends + n, n)
        which = np.repeat(np.arange(last - first), n)
        which, row = _near(codes[seekers], columns, which, row, max_bits)
        yield seekers[which], places[row]
        first = last


def _near(
    sought: NDArray[np.uint64], columns: list[NDArray[np.uint64]], which: Places, row: Places, max_bits: int
) -> tuple[Places, Places]:
    """Those of the meetings (which of `sought`, row of `columns`) whose codes are within the radius."""
    distance = np.zeros(len(which), np.uint16)
    for word, column in enumerate(columns):
        distance += np.bitwise_count(sought[:, word][which] ^ column[row])
        kept = np.flatnonzero(distance <= max_bits)
        which, row, distance = which[kept], row[kept], distance[kept]
    return which, row
