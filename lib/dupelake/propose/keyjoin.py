"""In-memory joins on 64-bit keys: sorted numbers in place of table rows.

A key join makes hundreds of keys for each unit. As table rows, each key would carry the id, scope and code of its unit,
about a hundred bytes. Here a task sends two blobs for each part of the keys: its units, once each, and the keys as
64-bit numbers. Such a number has 36 bits of the key and 28 bits for the position of the unit. A part is joined by
sorting the numbers.

The high bits of a key choose its part. The low 36 bits identify it within the part; 35 in the join of words, which uses
one bit to mark frequent words. So keys must be well mixed (`mixed`). Of the 16 million keys of a part one in 4,000
meets a different key. Callers must check each meeting, which they do anyway.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dupelake.ranges import bounded_slices, ranges

UNIT_BITS = np.uint64(28)
UNIT_MASK = (np.uint64(1) << UNIT_BITS) - np.uint64(1)

Keys = NDArray[np.uint64]
Places = NDArray[np.int64]


def mixed(values: Keys) -> Keys:
    """A bijection of 64-bit values that mixes all bits: the finaliser of MurmurHash3 (A. Appleby, public domain)."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def unmixed(values: Keys) -> Keys:
    """The inverse of `mixed`."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0x9CB4B2F8129337DB)  # inverse of the second factor, modulo 2^64
    values ^= values >> np.uint64(33)
    values *= np.uint64(0x4F74430C22A54005)
    return values ^ (values >> np.uint64(33))


def by_part(owner: Places, keys: Keys, n_parts: int) -> Iterator[tuple[int, Places, Places, Keys]]:
    """Divide the keys of a batch into parts.

    Args:
        owner: int64 (k,), the unit of each key; below the number of units of the batch.
        keys: uint64 (k,), well mixed.
        n_parts: number of parts of the whole join.

    Yields:
        (part; its units, ascending; indexes of its keys, ascending; these keys `packed` with the position of their unit
        among the units of the part).
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
    """Two bytes if they suffice, because numpy sorts these by radix, ten times as fast."""
    return np.uint16 if n_parts <= 1 << 16 else np.uint32


def packed(keys: Keys, place: Places) -> Keys:
    """36 bits of each key and the position of its unit in one number."""
    return (keys << UNIT_BITS) | place.astype(np.uint64)


def unpacked(numbers: Keys) -> Places:
    """The position of the unit from each number."""
    return (numbers & UNIT_MASK).astype(np.int64)


def ranks(ids: NDArray[np.uint64]) -> Places:
    """Numbers, int64 (n,), that compare as the ids, uint64 (n, 2), do."""
    order = np.lexsort((ids[:, 1], ids[:, 0]))
    ids = ids[order]
    is_other = np.concatenate([np.zeros(min(1, len(ids)), bool), (ids[1:] != ids[:-1]).any(axis=1)])
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.cumsum(is_other)
    return rank


def near_meetings(
    stored: Keys, probing: Keys, codes: NDArray[np.uint64], max_bits: int, max_rows: int
) -> Iterator[tuple[Places, Places]]:
    """(probing unit, stored unit) for every equal key whose codes differ in at most `max_bits` bits.

    A part may have hundreds of millions of meetings, nearly all between unrelated codes. So a meeting must cost
    nanoseconds. Codes are put in the order of the sorted keys once, so that each run of equal keys is read
    sequentially. They are compared word by word, and pairs over the radius are dropped after each word.

    Args:
        stored: numbers of `packed`; sorted in place.
        probing: likewise.
        codes: uint64 (n, words), the code of each unit.
        max_bits: Hamming radius.
        max_rows: approximate number of meetings in memory at once.
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
    for part in bounded_slices(counts, max_rows):
        n, seekers = counts[part], unpacked(probing[part])
        which, row = np.repeat(np.arange(len(n)), n), ranges(low[part], n)
        which, row = _near(codes[seekers], columns, which, row, max_bits)
        yield seekers[which], places[row]


def _near(
    sought: NDArray[np.uint64], columns: list[NDArray[np.uint64]], which: Places, row: Places, max_bits: int
) -> tuple[Places, Places]:
    """The meetings (`which` of `sought`, `row` of `columns`) whose codes are within the radius."""
    distance = np.zeros(len(which), np.uint16)
    for word, column in enumerate(columns):
        distance += np.bitwise_count(sought[:, word][which] ^ column[row])
        kept = np.flatnonzero(distance <= max_bits)
        which, row, distance = which[kept], row[kept], distance[kept]
    return which, row
