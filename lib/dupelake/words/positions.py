"""A cheap check that the shared words of two pictures fit one similarity, before descriptors are read.

Each match of two keypoints gives a hypothesis of a similarity: the scales, angles and positions of the keypoints give
the scale ratio, rotation and shift. The score of a hypothesis is the number of matches that it predicts, where each
point of either picture counts once. The best score is that of the pair. The result depends only on the two pictures;
nothing is random.

As in D. Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004, section 7.3, one match determines
a similarity. There hypotheses vote in a coarse Hough space; here each is tested on the positions of all matches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dupelake.ranges import bounded_slices, ranges
from dupelake.words.votes import Matches, WordBlock

# In a copy the scale and angle of a keypoint differ by a few percent and degrees, so the error of a prediction grows
# with the distance from the match; positions differ by a few pixels. Measured by benchmarks/words_generator.py (3,939
# images, 4 votes, 4 points): .25 finds .9683 of the true pairs with 2.7 candidates an image, .1 finds .9670 with 1.5,
# .07 and .05 find .9662 with 1.3; pages of text have 42, 4.5, 1.3 and .4.
RELATIVE_TOLERANCE = 0.07
TOLERANCE_PX = 4.0
SAME_POINT_PX = 3.0  # closer keypoints count as one point
MAX_HYPOTHESES = 16  # from the strongest matches of the best window; 48 find no more true pairs and take twice the time
_MAX_ROWS = 2_000_000  # rows (hypothesis, match) in memory at once, about 100 bytes each


def consistent_points(block: WordBlock, matches: Matches) -> NDArray[np.int64]:
    """For each pair, the number of distinct points in both pictures that its best similarity predicts.

    Args:
        block: the pictures.
        matches: of their proposed pairs, from `shared_words` of words/votes.py.

    Returns:
        int64 (p,), at least 1, because a hypothesis predicts its own match.
    """
    sizes = np.diff(matches.start)
    out = np.zeros(len(matches), np.int64)
    for part in bounded_slices(np.minimum(sizes, MAX_HYPOTHESES) * sizes, _MAX_ROWS):
        out[part] = _slice_points(block, matches, part.start, part.stop)
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
    hypothesis = _hypotheses(matches.in_best[rows], pair, start)
    n_tried = sizes[pair[hypothesis]]
    g = np.repeat(np.arange(len(hypothesis)), n_tried)
    k = ranges(start[pair[hypothesis]], n_tried)
    h = hypothesis[g]
    dx, dy = (here[k] - here[h]).T
    ex, ey = (there[k] - there[h]).T
    cos, sin = np.cos(turn[h]) * ratio[h], np.sin(turn[h]) * ratio[h]
    # In pixels of the high picture; errors of the low picture are scaled with it.
    error = np.hypot(cos * dx - sin * dy - ex, sin * dx + cos * dy - ey)
    allowed = TOLERANCE_PX * np.maximum(ratio[h], 1.0) + RELATIVE_TOLERANCE * np.hypot(ex, ey)
    good = error <= allowed
    g, k = g[good], k[good]
    points = np.minimum(*[_distinct(g, k, xy, len(hypothesis)) for xy in (here, there)])
    best = np.zeros(last - first, np.int64)
    np.maximum.at(best, pair[hypothesis], points)
    return best


def _similarities(
    block: WordBlock,
    matches: Matches,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    is_mirrored: NDArray[np.bool_],
    pairs: slice,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Positions in the low picture (mirrored for mirrored matches), float64 (r, 2); rotation, radians; scale ratio."""
    here = block.xy[a].astype(np.float64)
    width = np.repeat(block.width_px[matches.low[pairs]], np.diff(matches.start[pairs.start : pairs.stop + 1]))
    here[:, 0] = np.where(is_mirrored, width - 1.0 - here[:, 0], here[:, 0])
    angle = np.where(is_mirrored, 180.0 - block.angle[a], block.angle[a])
    turn = np.deg2rad(block.angle[b] - angle)
    ratio = block.scale[b].astype(np.float64) / block.scale[a].astype(np.float64)
    return here, turn, ratio


def _hypotheses(in_best: NDArray[np.bool_], pair: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Matches to use: the first MAX_HYPOTHESES in the best window of each pair; words come strongest first."""
    rank: NDArray[np.int64] = np.cumsum(in_best) - in_best
    rank = rank - rank[start[pair]]
    return np.flatnonzero(in_best & (rank < MAX_HYPOTHESES))


def _distinct(
    group: NDArray[np.int64], match: NDArray[np.int64], xy: NDArray[np.float64], n_groups: int
) -> NDArray[np.int64]:
    """The number of distinct points among the matches of each group, on a grid of SAME_POINT_PX."""
    grid = np.floor(xy / SAME_POINT_PX).astype(np.int64) + (1 << 15)
    cell = grid[match, 0] << np.int64(16) | grid[match, 1]
    codes = np.unique((group << np.int64(32)) | cell)
    return np.bincount(codes >> np.int64(32), minlength=n_groups)
