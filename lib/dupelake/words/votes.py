"""Finds, in memory, pictures that share visual words with one scale ratio and one rotation, and counts their votes.

Weak geometric consistency: H. Jegou, M. Douze, C. Schmid, "Hamming embedding and weak geometric consistency for large
scale image search", ECCV 2008. Two words match if their nearest cells are equal, or if the second nearest cell of one
is the nearest cell of the other. In a mirrored match this holds for the words of one picture mirrored. The rule is
symmetric, so the result does not depend on which picture is looked up.

A window consists of two adjacent bins, in rotation and in scale, and windows overlap by one bin. So two matches that
differ by less than the width of a bin always share a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dupelake.ranges import bounded_slices, ranges
from dupelake.words.vocabulary import NO_WORD, PACKED_HEADER, PACKED_WORD, mirrored_words, unpack_words

ROTATION_BINS = 16  # of 22.5 degrees; a window is 45 degrees
SCALE_BINS_PER_OCTAVE = 2  # a window is an octave
MAX_WORDS = 512  # of one picture: the index of a word takes nine bits of a match code
_SCALE_BINS = 32  # 8 octaves in each direction
_HEADER_BYTES, _WORD_BYTES = PACKED_HEADER.itemsize, PACKED_WORD.itemsize

LEFT, RIGHT = 1, 2
"""Bits of `sides`: pairs consist of a picture with LEFT and a picture with RIGHT; a picture may have both."""


@dataclass(frozen=True)
class WordBlock:
    """Words of many pictures, concatenated.

    Attributes:
        start: int64 (n + 1,), the words of picture i are start[i] to start[i + 1].
        width_px: float32 (n,), of the thumbnails.
        stored: uint32 (m,), nearest cell of each word.
        second: uint32 (m,), second nearest, or NO_WORD.
        xy: float32 (m, 2), pixels of the thumbnail.
        scale: float32 (m,), pixels of the thumbnail.
        angle: float32 (m,), degrees.
    """

    start: NDArray[np.int64]
    width_px: NDArray[np.float32]
    stored: NDArray[np.uint32]
    second: NDArray[np.uint32]
    xy: NDArray[np.float32]
    scale: NDArray[np.float32]
    angle: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.width_px)


@dataclass(frozen=True)
class Matches:
    """Shared words of proposed pairs, grouped by pair.

    Attributes:
        low: int64 (p,), the picture of the pair that comes first in the block.
        high: int64 (p,), the other picture.
        is_mirrored: bool (p,), whether the matches are with `low` mirrored. A pair may occur straight and mirrored.
        votes: int64 (p,), in the best window of the pair.
        start: int64 (p + 1,), the matches of pair i are start[i] to start[i + 1].
        low_word: int64 (r,), index of the word in the block.
        high_word: int64 (r,), index of the word in the block.
        in_best: bool (r,), whether the match is in the best window.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    is_mirrored: NDArray[np.bool_]
    votes: NDArray[np.int64]
    start: NDArray[np.int64]
    low_word: NDArray[np.int64]
    high_word: NDArray[np.int64]
    in_best: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.low)


def unpack_block(packed: Sequence[bytes]) -> WordBlock:
    """Unpacks the values of the column `words` of many pictures at once.

    Raises:
        ValueError: a picture has more than MAX_WORDS words, or its bytes are not packed words.
    """
    sizes = np.array([len(data) for data in packed], np.int64) - _HEADER_BYTES
    counts = sizes // _WORD_BYTES
    if len(packed) and (sizes.min() < 0 or (sizes % _WORD_BYTES).any() or counts.max() > MAX_WORDS):
        raise ValueError(f"packed words of {sizes.min()} to {sizes.max()} bytes; at most {MAX_WORDS} words are allowed")
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    width = np.frombuffer(b"".join(data[:2] for data in packed), "<u2").astype(np.float32)
    # One call for all pictures: of the headers only the width is needed, which was read above.
    words = unpack_words(b"\0" * _HEADER_BYTES + b"".join(data[_HEADER_BYTES:] for data in packed))
    return WordBlock(
        start, width, words.stored, np.ascontiguousarray(words.probes[:, 1]), words.xy, words.scale, words.angle
    )


def shared_words(
    block: WordBlock,
    scopes: NDArray[np.int64],
    sides: NDArray[np.uint8],
    min_votes: int,
    *,
    mirrored: bool = True,
    max_rows: int = 4_000_000,
) -> Iterator[Matches]:
    """Pairs with at least `min_votes` matches in one window; each word of either picture counts once.

    Args:
        block: the pictures, in a fixed order, because the order decides `low` and `high` of a pair.
        scopes: int64 (n,), below 2^31; pictures of different scopes are never compared.
        sides: uint8 (n,), LEFT and RIGHT bits.
        min_votes: at least 1.
        mirrored: find mirrored copies as well.
        max_rows: approximate number of matches in memory at once (16 bytes each, and as much to sort them), but at
            least those of one picture. It does not change the result.
    """
    owner = np.repeat(np.arange(len(block)), np.diff(block.start))
    right_words, left_words = (np.flatnonzero((sides & side).astype(bool)[owner]) for side in (RIGHT, LEFT))
    indexes = [_Index.build(cells, scopes[owner], right_words) for cells in (block.stored, block.second)]
    hits = _hits(block, indexes, left_words, scopes[owner], mirrored)
    per_word = np.zeros(len(owner), np.int64)
    for hit in hits:
        per_word[hit.words] += hit.counts  # no word occurs twice in hit.words
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(per_word)])
    left = np.flatnonzero(sides & LEFT)
    for part in bounded_slices(total[block.start[left + 1]] - total[block.start[left]], max_rows):
        codes = _match_codes(block, owner, sides, hits, left[part.start], left[part.stop - 1] + 1)
        yield _decode(block, codes, min_votes)


@dataclass(frozen=True)
class _Index:
    """The right-hand words by cell: words[start[i]:start[i + 1]] are in the cell of keys[i]."""

    keys: NDArray[np.int64]
    start: NDArray[np.int64]
    words: NDArray[np.int64]

    @staticmethod
    def build(cells: NDArray[np.uint32], scopes: NDArray[np.int64], words: NDArray[np.int64]) -> _Index:
        words = words[cells[words] != NO_WORD]
        keys = _keys(cells[words], scopes[words])
        order = np.argsort(keys)
        keys = keys[order]
        start = _runs(keys)
        return _Index(keys[start[:-1]], start, words[order])


@dataclass(frozen=True)
class _Hits:
    """Left-hand words, ascending, that match right-hand words: index.words[first:first + count]."""

    index: _Index
    is_mirrored: bool
    words: NDArray[np.int64]
    first: NDArray[np.int64]
    counts: NDArray[np.int64]

    @staticmethod
    def of(index: _Index, cells: NDArray[np.uint32], words: NDArray[np.int64], scopes: NDArray[np.int64]) -> _Hits:
        """The hits of `words` by these cells. Keys are sorted first, because random lookups miss the cache."""
        keys = _keys(cells[words], scopes[words])
        order = np.argsort(keys)
        keys = keys[order]
        at = np.searchsorted(index.keys, keys)
        is_hit = np.append(index.keys, -1)[at] == keys  # a key of NO_WORD is in no index
        at, words = at[is_hit], words[order[is_hit]]
        order = np.argsort(words)
        at = at[order]
        return _Hits(index, False, words[order], index.start[at], np.diff(index.start)[at])


def _keys(cells: NDArray[np.uint32], scopes: NDArray[np.int64]) -> NDArray[np.int64]:
    return scopes << np.int64(32) | cells.astype(np.int64)


def _hits(
    block: WordBlock, indexes: list[_Index], words: NDArray[np.int64], scopes: NDArray[np.int64], mirrored: bool
) -> list[_Hits]:
    """The hits of all ways in which two words match: both nearest cells, or the second nearest cell of one of them."""
    stored, second = indexes
    ways = [(stored, block.stored), (stored, block.second), (second, block.stored)]
    found = [_Hits.of(index, cells, words, scopes) for index, cells in ways]
    if mirrored:
        turned = [_Hits.of(index, mirrored_words(cells), words, scopes) for index, cells in ways]
        found += [replace(hits, is_mirrored=True) for hits in turned]
    return found


def _match_codes(
    block: WordBlock,
    owner: NDArray[np.int64],
    sides: NDArray[np.uint8],
    hits: list[_Hits],
    first: int,
    end: int,
) -> NDArray[np.int64]:
    """Matches of the left-hand pictures first to end as sorted codes of (low, high, mirrored, low word, high word)."""
    n = len(block)
    if n.bit_length() * 2 + 19 > 63:
        raise ValueError(f"{n} pictures at once do not fit a code; 2^22 do")
    found = []
    for hit in hits:
        mine = slice(*np.searchsorted(hit.words, block.start[[first, end]]))
        words, counts = hit.words[mine], hit.counts[mine]
        a = np.repeat(words, counts)
        b = hit.index.words[ranges(hit.first[mine], counts)]
        left, right = owner[a], owner[b]
        # If both pictures are on both sides, the pair is found twice; keep the one from the lower picture.
        both = (sides[left] & RIGHT > 0) & (sides[right] & LEFT > 0)
        kept = (left != right) & (~both | (left < right))
        a, b, left, right = a[kept], b[kept], left[kept], right[kept]
        swap = left > right
        a, b = np.where(swap, b, a), np.where(swap, a, b)
        left, right = np.where(swap, right, left), np.where(swap, left, right)
        pair = (left * n + right) * 2 + hit.is_mirrored
        found.append((pair * MAX_WORDS + (a - block.start[left])) * MAX_WORDS + (b - block.start[right]))
    codes = np.concatenate(found)
    codes.sort()
    return codes


def _runs(sorted_values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The start of each run of equal values, and the total length."""
    if not len(sorted_values):
        return np.zeros(1, np.int64)
    starts = np.flatnonzero(sorted_values[1:] != sorted_values[:-1]) + 1
    return np.concatenate([[0], starts, [len(sorted_values)]])


def _decode(block: WordBlock, codes: NDArray[np.int64], min_votes: int) -> Matches:
    pair = codes // (MAX_WORDS * MAX_WORDS)
    edges = _runs(pair)
    enough = np.diff(edges) >= min_votes  # most pairs share one or two words by chance
    codes = np.unique(codes[np.repeat(enough, np.diff(edges))])  # two cells may give one match twice
    pair = codes // (MAX_WORDS * MAX_WORDS)
    edges = _runs(pair)
    number = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    head = pair[edges[:-1]]
    low, high, is_mirrored = head // 2 // len(block), head // 2 % len(block), head % 2 == 1
    a = block.start[low][number] + codes // MAX_WORDS % MAX_WORDS
    b = block.start[high][number] + codes % MAX_WORDS
    windows = _windows(block, a, b, is_mirrored[number])
    votes, best = _best_window(number, windows, a, b, len(head))
    kept = votes >= min_votes
    rows = kept[number]
    in_best = (windows == best[number][:, None]).any(axis=1)
    counts = np.diff(edges)[kept]
    return Matches(
        low[kept],
        high[kept],
        is_mirrored[kept],
        votes[kept],
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        a[rows],
        b[rows],
        in_best[rows],
    )


def _windows(
    block: WordBlock, a: NDArray[np.int64], b: NDArray[np.int64], is_mirrored: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The four windows of rotation and scale that each match votes in, int64 (r, 4)."""
    turned = np.where(is_mirrored, np.float32(180.0) - block.angle[a], block.angle[a])
    rotation = np.floor((block.angle[b] - turned) * np.float32(ROTATION_BINS / 360.0)).astype(np.int64) % ROTATION_BINS
    octaves = np.log2(block.scale[b].astype(np.float64) / block.scale[a].astype(np.float64))
    scale = np.floor(octaves * SCALE_BINS_PER_OCTAVE).astype(np.int64) + _SCALE_BINS // 2
    scale = np.clip(scale, 1, _SCALE_BINS - 1)
    corners = [
        (rotation - dr) % ROTATION_BINS * _SCALE_BINS + (scale - ds) for dr in (0, 1) for ds in (0, 1)
    ]  # the code of a window is that of its lower bins
    return np.stack(corners, axis=1)


def _best_window(
    number: NDArray[np.int64],
    windows: NDArray[np.int64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    n_pairs: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The most votes of each pair in a window (distinct words on both sides) and that window; ties to the lowest."""
    n_windows = ROTATION_BINS * _SCALE_BINS
    if not n_pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    cell = (number[:, None] * n_windows + windows).ravel()
    counts = []
    for words in (a, b):
        order = np.lexsort((np.repeat(words, 4), cell))
        c, w = cell[order], np.repeat(words, 4)[order]
        first = np.concatenate([[True], (c[1:] != c[:-1]) | (w[1:] != w[:-1])])
        held, n_distinct = np.unique(c[first], return_counts=True)
        counts.append(n_distinct)
    votes = np.minimum(*counts)  # both have the same cells
    pair = held // n_windows
    order = np.lexsort((held, -votes, pair))
    lead = order[_runs(pair[order])[:-1]]
    return votes[lead], held[lead] % n_windows
