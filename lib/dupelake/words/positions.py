"""A cheap look at whether words in common lie as one picture laid on the other, before descriptors are moved.

Each match of two keypoints is a guess of the whole similarity: their scales, angles and positions give the enlargement,
the turn and the shift. A guess is worth as many matches as it predicts, counting each point of either picture once;
the best guess is the pair's. Nothing is drawn at random, and nothing but the two pictures counts.

One match alone fixes a similarity as in D. Lowe, "Distinctive image features from scale-invariant keypoints", IJCV
2004, section 7.3; there guesses vote in a coarse Hough space, here each is tried against the positions of all others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dupelake.words.votes import Matches, WordBlock

# Scale and angle of a keypoint are off by a few percent and degrees in a copy, so a prediction is off in proportion to
# the distance from the match that makes it; and positions themselves by a few pixels. Measured by
# benchmarks/words_generator.py (3,939 images, 4 votes, 4 points): .25 finds .9683 of the true pairs, 2.7 candidates an
# image, .1 finds .9670 with 1.5, .07 and .05 find .9662 with 1.3; pages of text have 42, 4.5, 1.3 and .4.
RELATIVE_TOLERANCE = 0.07
TOLERANCE_PX = 4.0
SAME_POINT_PX = 3.0  # keypoints nearer than that count as one point
MAX_GUESSES = 16  # the strongest matches of the best window; 48 find no true pair more, at twice the time
_MAX_ROWS = 2_000_000  # of guess and match held at once, about 100 bytes each


def consistent_points(block: WordBlock, matches: Matches) -> NDArray[np.int64]:
    """For each pair, how many distinct points of both pictures its best guess of a similarity predicts.

    Args:
        block: the pictures.
        matches: of their proposed pairs, from `wordjoin.shared_words`.

    Returns:
        int64 (p,), 1 at least: a guess predicts its own match.
    """
    sizes = np.diff(matches.start)
    cost = np.minimum(sizes, MAX_GUESSES) * sizes
    until = np.cumsum(cost)
    out = np.zeros(len(matches), np.int64)
    first = 0
    while first < len(matches):
        base = until[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(until, base + _MAX_ROWS, "right")))
        out[first:last] = _slice_points(block, matches, first, last)
        first = last
    return out


def _slice_points(block: WordBlock, matches: Matches, first: int, last: int) -> NDArray[np.int64]:
    rows = slice(int(matches.start[first]), int(matches.start[last]))
    start = matches.start[first : last + 1] - matches.start[first]
    sizes = np.diff(start)
    a, b = matches.low_word[rows], matches.high_word[rows]
    is_mirrored = np.repeat(matches.is_mirrored[first:last], sizes)
    here, turn, ratio = _similarities(block, matches, a, b, is_mirrored, slice(first, last))
    there = block.xy[b].astype(np.float64)
    pair = np.repeat(np.arange(last - first), sizes)
    guess = _guesses(matches.in_best[rows], pair, start)
    n_tried = sizes[pair[guess]]
    g = np.repeat(np.arange(len(guess)), n_tried)
    offset = np.arange(len(g)) - np.repeat(np.cumsum(n_tried) - n_tried, n_tried)
    k = np.repeat(start[pair[guess]], n_tried) + offset
    h = guess[g]
    dx, dy = (here[k] - here[h]).T
    ex, ey = (there[k] - there[h]).T
    cos, sin = np.cos(turn[h]) * ratio[h], np.sin(turn[h]) * ratio[h]
    # In pixels of the high picture; what the low one is off by is enlarged with it.
    error = np.hypot(cos * dx - sin * dy - ex, sin * dx + cos * dy - ey)
    allowed = TOLERANCE_PX * np.maximum(ratio[h], 1.0) + RELATIVE_TOLERANCE * np.hypot(ex, ey)
    good = error <= allowed
    g, k = g[good], k[good]
    points = np.minimum(*[_distinct(g, k, xy, len(guess)) for xy in (here, there)])
    best = np.zeros(last - first, np.int64)
    np.maximum.at(best, pair[guess], points)
    return best


def _similarities(
    block: WordBlock,
    matches: Matches,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    is_mirrored: NDArray[np.bool_],
    pairs: slice,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Positions in the low picture (mirrored where the match is), float64 (r, 2); turn in radians; enlargement."""
    here = block.xy[a].astype(np.float64)
    width = np.repeat(block.width_px[matches.low[pairs]], np.diff(matches.start[pairs.start : pairs.stop + 1]))
    here[:, 0] = np.where(is_mirrored, width - 1.0 - here[:, 0], here[:, 0])
    angle = np.where(is_mirrored, 180.0 - block.angle[a], block.angle[a])
    turn = np.deg2rad(block.angle[b] - angle)
    ratio = block.scale[b].astype(np.float64) / block.scale[a].astype(np.float64)
    return here, turn, ratio


def _guesses(in_best: NDArray[np.bool_], pair: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Matches to try: of each pair the first MAX_GUESSES of its best window; words come strongest first."""
    rank: NDArray[np.int64] = np.cumsum(in_best) - in_best
    rank = rank - rank[start[pair]]
    return np.flatnonzero(in_best & (rank < MAX_GUESSES))


def _distinct(
    group: NDArray[np.int64], match: NDArray[np.int64], xy: NDArray[np.float64], n_groups: int
) -> NDArray[np.int64]:
    """Different points among the matches of each group, on a grid of SAME_POINT_PX."""
    grid = np.floor(xy / SAME_POINT_PX).astype(np.int64) + (1 << 15)
    cell = grid[match, 0] << np.int64(16) | grid[match, 1]
    codes = np.unique((group << np.int64(32)) | cell)
    return np.bincount(codes >> np.int64(32), minlength=n_groups)
