"""Keys of neighbouring words: two words that lie side by side in a picture are far rarer than either.

A picture shares single words with a part of all others, so a join on them grows with the square of the corpus. It
shares two neighbouring words with hardly any but its copies. A key is such an unordered pair of words and, coarsely,
how they lie to each other: each of the two under its nearest cell, or one of them under its second nearest. A picture
and its mirror image have the same keys.

Cf. the prototype's measurements in docs/design.md, section 6, and O. Chum, M. Perdoch, J. Matas, "Geometric
min-Hashing: Finding a (Thick) Needle in a Haystack", CVPR 2009, which joins features with neighbours to the same end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dupelake.propose.keyjoin import mixed, unmixed
from dupelake.words.vocabulary import N_CENTROIDS, NO_WORD, mirrored_words
from dupelake.words.votes import MAX_WORDS, WordBlock

NEIGHBOURS = 6
"""Nearest words that each word makes keys with: more find more, and cost in proportion (benchmarks/scale.md)."""
# Scales are stored in steps, and steps lie at one octave and at a half: bounds beside them, lest rounding decide.
_MAX_OCTAVES = 1.01  # between the scales of two neighbours
_HALF_OCTAVE = 0.51
_SAME_POINT_PX2 = 4.0  # words nearer than that lie at one point, under two scales or angles: no pair
_PER_CALL = 64  # pictures at once: 6 MB a matrix of 150 words
_SECTORS = 6  # of 60 degrees: of a copy's keypoints, 95 % are off by less than 5 degrees
_LIE_BITS = np.uint64((3 * _SECTORS**2 - 1).bit_length())  # how two words lie to each other
_WORD_BITS = np.uint64((N_CENTROIDS**2 - 1).bit_length())
_INDEX_BITS = MAX_WORDS.bit_length() - 1
_FAR = np.uint32(0xFFFFFFFF)


def pair_keys(block: WordBlock) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The keys of all pictures of a block.

    Returns:
        (owner int64 (k,), the picture of each key, ascending; key uint64 (k,), well mixed in all bits, and no two pairs
        of words have the same). A picture may hold a key twice. With 150 words it has some 1,500.
    """
    owners, keys = [], []
    turned, turned_second = mirrored_words(block.stored), mirrored_words(block.second)
    for first in range(0, len(block), _PER_CALL):
        owner, a, b = _neighbours(block, first, min(len(block), first + _PER_CALL))
        straight = _Lie.of(block, a, b)
        mirrored = straight.mirrored()
        ways = (
            (block.stored, block.stored, turned, turned),
            (block.second, block.stored, turned_second, turned),
            (block.stored, block.second, turned, turned_second),
        )
        # The lower of the two is the same for a picture and its mirror image.
        found = [mixed(np.minimum(straight.seen(x[a], y[b]), mirrored.seen(mx[a], my[b]))) for x, y, mx, my in ways]
        is_key = np.stack([np.ones(len(a), bool), block.second[a] != NO_WORD, block.second[b] != NO_WORD], axis=1)
        keys.append(np.stack(found, axis=1)[is_key])
        owners.append(np.broadcast_to(owner[:, None], is_key.shape)[is_key])
    if not keys:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    return np.concatenate(owners), np.concatenate(keys)


def holds_any(keys: NDArray[np.uint64], is_word: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether either word of each key is one of those, bool (k,).

    Args:
        keys: uint64 (k,), of `pair_keys`.
        is_word: bool (N_CENTROIDS ** 2,), by word; true for the mirrored words of those that are meant as well, for a
            key does not say which way round its picture was.
    """
    pairs = unmixed(keys) >> _LIE_BITS
    mask = (np.uint64(1) << _WORD_BITS) - np.uint64(1)
    held: NDArray[np.bool_] = is_word[pairs >> _WORD_BITS] | is_word[pairs & mask]
    return held


@dataclass(frozen=True)
class _Lie:
    """How two words lie to each other, seen from either; nothing that a turn, a shift or an enlargement changes.

    Attributes:
        turn: float32 (k,), degrees from the first word's angle to the second's.
        octaves: float32 (k,), from the first word's scale to the second's.
        to_second: float32 (k,), degrees from the first word's angle to the direction of the second.
        to_first: float32 (k,), the same the other way.
    """

    turn: NDArray[np.float32]
    octaves: NDArray[np.float32]
    to_second: NDArray[np.float32]
    to_first: NDArray[np.float32]

    @staticmethod
    def of(block: WordBlock, a: NDArray[np.int64], b: NDArray[np.int64]) -> _Lie:
        way = block.xy[b] - block.xy[a]
        direction = np.rad2deg(np.arctan2(way[:, 1], way[:, 0]))
        half = np.float32(180.0)
        return _Lie(
            block.angle[b] - block.angle[a],
            np.log2(block.scale[b] / block.scale[a]),
            direction - block.angle[a],
            direction + half - block.angle[b],
        )

    def mirrored(self) -> _Lie:
        return _Lie(-self.turn, self.octaves, -self.to_second, -self.to_first)

    def seen(self, first: NDArray[np.uint32], second: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """The words (first, second) and how they lie, from the one of the lower number, as 51 bits."""
        swap = second < first
        low, high = np.where(swap, second, first), np.where(swap, first, second)
        turn = _sector(np.where(swap, -self.turn, self.turn))
        octaves = np.where(swap, -self.octaves, self.octaves)
        larger = 1 + (octaves > _HALF_OCTAVE).astype(np.int64) - (octaves < -_HALF_OCTAVE)
        side = _sector(np.where(swap, self.to_first, self.to_second))
        lie = ((larger * _SECTORS + turn) * _SECTORS + side).astype(np.uint64)
        pair = low.astype(np.uint64) << _WORD_BITS | high
        return pair << _LIE_BITS | lie


def _sector(degrees: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which of _SECTORS an angle is in; sectors lie around 0, so that those of an angle and its negative mirror."""
    return np.rint(degrees * np.float32(_SECTORS / 360.0)).astype(np.int64) % _SECTORS


def _neighbours(
    block: WordBlock, first: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(picture, word, word) of each unordered pair of words of which one is among the nearest of the other."""
    start = block.start[first : end + 1]
    sizes = np.diff(start)
    n, m = end - first, int(sizes.max(initial=0))
    if m < 2:
        none = np.empty(0, np.int64)
        return none, none, none
    held = np.arange(m) < sizes[:, None]
    x, y, octave = (np.zeros((n, m), np.float32) for _ in range(3))
    rows = slice(int(start[0]), int(start[-1]))
    x[held], y[held] = block.xy[rows].T
    octave[held] = np.log2(block.scale[rows])
    distance = np.square(x[:, :, None] - x[:, None]) + np.square(y[:, :, None] - y[:, None])
    apart = (distance < _SAME_POINT_PX2) | (np.abs(octave[:, :, None] - octave[:, None]) > _MAX_OCTAVES)
    apart |= ~held[:, None]
    # Distance and index in one number, so that the nearest come with their index, and ties by index.
    top = np.float32((1 << (32 - _INDEX_BITS)) - 2)
    order = (np.minimum(distance * np.float32(16.0), top).astype(np.uint32) << np.uint32(_INDEX_BITS)) | np.arange(
        m, dtype=np.uint32
    )
    order[apart] = _FAR
    k = min(NEIGHBOURS, m - 1)
    nearest = np.partition(order, k - 1, axis=2)[:, :, :k]
    picture, word, _ = np.nonzero((nearest != _FAR) & held[:, :, None])
    other = (nearest[(nearest != _FAR) & held[:, :, None]] & np.uint32(MAX_WORDS - 1)).astype(np.int64)
    together = np.zeros((n, m, m), bool)
    together[picture, np.minimum(word, other), np.maximum(word, other)] = True
    picture, word, other = np.nonzero(together)
    base = start[picture]
    return picture + first, base + word, base + other
