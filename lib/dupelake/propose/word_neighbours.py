"""Keys of neighbouring words: two neighbouring words together are far rarer than either word.

A picture shares single words with a part of all others, so a join on single words grows with the square of the corpus.
It shares two neighbouring words with hardly any picture except its copies. A key is an unordered pair of neighbouring
words and their coarse relative pose. Each word is given by its nearest cell, or one of them by its second nearest. A
picture and its mirror image have the same keys.

Reference: Chum, Perdoch, Matas: Geometric min-Hashing: Finding a (Thick) Needle in a Haystack, CVPR 2009, which also
joins features with their neighbours. docs/design.md, section 6, has measurements of the prototype.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dupelake.propose.keyjoin import mixed, unmixed
from dupelake.words.vocabulary import N_CENTROIDS, NO_WORD, mirrored_words
from dupelake.words.votes import MAX_WORDS, WordBlock

NEIGHBOURS = 6
"""Nearest words that each word makes keys with. More find more pairs at a proportional cost (benchmarks/scale.md)."""
# Scales are stored in steps. Some steps differ by exactly one octave or a half. The bounds are slightly larger, so that
# rounding does not decide.
_MAX_OCTAVES = 1.01  # largest difference of the scales of two neighbours
_HALF_OCTAVE = 0.51
_SAME_POINT_PX2 = 4.0  # words nearer than this are at one point, with two scales or angles, and make no key
_PER_CALL = 64  # pictures at once: 6 MB for each matrix of 150 words
_SECTORS = 6  # of 60 degrees; 95 % of the keypoints of a copy differ by less than 5 degrees
_POSE_BITS = np.uint64((3 * _SECTORS**2 - 1).bit_length())  # bits of the relative pose of two words
_WORD_BITS = np.uint64((N_CENTROIDS**2 - 1).bit_length())
_INDEX_BITS = MAX_WORDS.bit_length() - 1
_FAR = np.uint32(0xFFFFFFFF)


def pair_keys(block: WordBlock) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The keys of all pictures of a block.

    Returns:
        (owner int64 (k,), the picture of each key, ascending; key uint64 (k,), well mixed in all bits and different for
        different pairs of words). A picture may have a key twice. A picture of 150 words has some 1,500 keys.
    """
    owners, keys = [], []
    turned, turned_second = mirrored_words(block.stored), mirrored_words(block.second)
    for first in range(0, len(block), _PER_CALL):
        owner, a, b = _neighbours(block, first, min(len(block), first + _PER_CALL))
        straight = _RelativePose.of(block, a, b)
        mirrored = straight.mirrored()
        ways = (
            (block.stored, block.stored, turned, turned),
            (block.second, block.stored, turned_second, turned),
            (block.stored, block.second, turned, turned_second),
        )
        # The smaller value is the same for a picture and its mirror image.
        found = [mixed(np.minimum(straight.packed(x[a], y[b]), mirrored.packed(mx[a], my[b]))) for x, y, mx, my in ways]
        is_key = np.stack([np.ones(len(a), bool), block.second[a] != NO_WORD, block.second[b] != NO_WORD], axis=1)
        keys.append(np.stack(found, axis=1)[is_key])
        owners.append(np.broadcast_to(owner[:, None], is_key.shape)[is_key])
    if not keys:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    return np.concatenate(owners), np.concatenate(keys)


def holds_any(keys: NDArray[np.uint64], is_word: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each key has one of the given words, bool (k,).

    Args:
        keys: uint64 (k,), of `pair_keys`.
        is_word: bool (N_CENTROIDS ** 2,), whether a word is given. It must also be true for the mirrored forms of the
            given words, because a key does not say whether its picture was mirrored.
    """
    pairs = unmixed(keys) >> _POSE_BITS
    mask = (np.uint64(1) << _WORD_BITS) - np.uint64(1)
    held: NDArray[np.bool_] = is_word[pairs >> _WORD_BITS] | is_word[pairs & mask]
    return held


@dataclass(frozen=True)
class _RelativePose:
    """The relative pose of two words. It does not change under rotation, translation and scaling of the picture.

    Attributes:
        turn: float32 (k,), degrees from the angle of the first word to the angle of the second.
        octaves: float32 (k,), octaves from the scale of the first word to the scale of the second.
        to_second: float32 (k,), degrees from the angle of the first word to the direction of the second word.
        to_first: float32 (k,), degrees from the angle of the second word to the direction of the first word.
    """

    turn: NDArray[np.float32]
    octaves: NDArray[np.float32]
    to_second: NDArray[np.float32]
    to_first: NDArray[np.float32]

    @staticmethod
    def of(block: WordBlock, a: NDArray[np.int64], b: NDArray[np.int64]) -> _RelativePose:
        way = block.xy[b] - block.xy[a]
        direction = np.rad2deg(np.arctan2(way[:, 1], way[:, 0]))
        half = np.float32(180.0)
        return _RelativePose(
            block.angle[b] - block.angle[a],
            np.log2(block.scale[b] / block.scale[a]),
            direction - block.angle[a],
            direction + half - block.angle[b],
        )

    def mirrored(self) -> _RelativePose:
        return _RelativePose(-self.turn, self.octaves, -self.to_second, -self.to_first)

    def packed(self, first: NDArray[np.uint32], second: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """The words (first, second) and their relative pose as 51 bits, as seen from the smaller word."""
        swap = second < first
        low, high = np.where(swap, second, first), np.where(swap, first, second)
        turn = _sector(np.where(swap, -self.turn, self.turn))
        octaves = np.where(swap, -self.octaves, self.octaves)
        larger = 1 + (octaves > _HALF_OCTAVE).astype(np.int64) - (octaves < -_HALF_OCTAVE)
        side = _sector(np.where(swap, self.to_first, self.to_second))
        pose = ((larger * _SECTORS + turn) * _SECTORS + side).astype(np.uint64)
        pair = low.astype(np.uint64) << _WORD_BITS | high
        return pair << _POSE_BITS | pose


def _sector(degrees: NDArray[np.float32]) -> NDArray[np.int64]:
    """The sector of an angle. One sector is centred at 0, so an angle and its negative have mirrored sectors."""
    return np.rint(degrees * np.float32(_SECTORS / 360.0)).astype(np.int64) % _SECTORS


def _neighbours(
    block: WordBlock, first: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(picture, word, word) for each unordered pair of words, one of which is among the nearest of the other."""
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
    # Distance and index in one number, so that the partition also gives the index and breaks ties by it.
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
