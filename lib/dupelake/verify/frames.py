"""Classify what a picture shows outside the part shared with another: more of the scene, or a frame around it.

A crop may be cut anywhere, so the scene continues across the edge of the crop. A caption bar, a screen, a filled corner
or a neighbour in a collage begins at that edge, so the pixels on both sides of it are unrelated.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.verify.align import Box, Matrix, corners, linear_part, transform_points

_GRID = 48  # sample points along each side of a picture
_SIDE_POINTS = 64
_LINE_SPACING_PX = 2.0  # distance of the sampled lines from the edge; alignment is exact to a pixel
_MIN_POINTS = 10
_STEP_RATIO, _STEP_LEVELS = 1.7, 5.0  # step across the edge, compared with steps of the same length beside it
_CONTOUR_CORRELATION = 0.6  # correlation of both sides of the edge, above which the edge is a contour of the scene
# Measured on 1,182 edges of crops, collages, screenshots and caption bars: these two rules find most junctions that the
# step misses, and misclassify 1 edge of a crop in 70.
_ALONG_CORRELATION = 0.4  # correlation of neighbouring lines on the same side of an opposed edge
_EMPTY_RATIO, _EMPTY_LEVELS = 0.06, 5.0  # deviations along both sides, where only one side is empty
# A gutter between the pictures of a collage is a level line along the edge, unlike what lies on both sides of it. It
# tells 23 of 31 edges of collages that the rules above miss (edits bench), and takes none of 772 of crops for one.
_GUTTER_PX = range(-1, 5)  # where it may run, from the edge outwards
_GUTTER_ASIDE_PX = 4  # distance of the lines on its sides
_GUTTER_LEVELS, _GUTTER_RATIO, _GUTTER_STEP = 4.0, 0.5, 20.0  # its deviation, relative to that beside it, and its step
_FLAT_LEVELS = 12.0  # range of grey above which a place in a frame has detail
_MIN_ROTATION_DEGREES = 1.0
_MARGIN_LEVELS = 32.0  # range of a blank margin after noise, a filter or a watermark
_ONE_LEVEL = 2.0  # range of a filled area after encoding
_QUANTILES, _QUANTILES_WHOLE, _QUANTILES_FILLED = (0.05, 0.95), (0.25, 0.75), (0.1, 0.9)  # between them lies the range
_MAX_MARGIN_DIFFERENCE = 64.0  # between the blank margins of both pictures; light and filters change less
_MAX_DETAILED_SHARE = 0.05  # share of places with detail above which a frame counts as content


class _Edge(Enum):
    """What a picture shows across one side of the shared part."""

    CONTINUES = auto()  # the scene continues
    JUNCTION = auto()  # two pictures meet: there is a step, or only one side is empty
    OPPOSED = auto()  # the grey along both sides is anticorrelated; true for one side of a crop in 70
    NOT_SEEN = auto()  # too little of the picture lies beyond


class ContentShares(NamedTuple):
    """Shares of one picture, relative to another that is aligned with it.

    Attributes:
        overlap: 0 to 1, share of its content that the other shows; flat frames are not content.
        beyond: 0 to 1, share of its content that the other lacks and that continues the same scene.
        frame: 0 to 1, share of all its pixels that is a frame: borders, bars, captions, screens.
    """

    overlap: float
    beyond: float
    frame: float


def content_shares(
    grey: NDArray[Any], content: Box, other_grey: NDArray[Any], other: Box, to_other: Matrix, *, is_whole: bool = False
) -> ContentShares:
    """Divide a picture into what the other shows, what continues the scene, and what is a frame.

    A blank margin that both pictures have counts as none of these, even where noise or a filter makes it look like
    content in one of them.

    Args:
        grey: uint8 (h, w).
        content: box of the picture without uniform borders.
        other_grey: uint8 (h, w), the other picture.
        other: box of the other picture's content.
        to_other: float64 (3, 3), map of pixels of this picture to pixels of the other.
        is_whole: whether the whole picture is aligned with the whole other picture. Then content in the other's blank
            margin may be an overlay, such as text.
    """
    height, width = grey.shape
    xs = (np.arange(_GRID) + 0.5) * width / _GRID - 0.5
    ys = (np.arange(_GRID) + 0.5) * height / _GRID - 0.5
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    places = transform_points(to_other, points)
    own, theirs = _in_box(points, content), _in_box(places, other)
    inside = own & theirs
    whole: Box = (0, 0, other_grey.shape[1], other_grey.shape[0])
    margin = own & ~theirs & _in_box(places, whole)  # blank in the other picture; test whether it is blank here too
    quantiles = _QUANTILES_WHOLE if is_whole else _QUANTILES
    is_margin_shared = _is_blank(grey, points[margin], other_grey, places[margin], quantiles)
    blank = margin & is_margin_shared
    gap = ~own & theirs  # blank here; test whether it is blank in the other picture too
    if _is_blank(other_grey, places[gap], grey, points[gap], quantiles):
        blank |= gap
    quad = transform_points(np.linalg.inv(to_other), corners(whole if is_margin_shared else other))
    sides = _sides(grey, content, points, quad)
    if _rotation_degrees(to_other, quad) > _MIN_ROTATION_DEGREES and _is_filled(grey, points[own & ~theirs], sides):
        sides = [(beyond, _Edge.JUNCTION) for beyond, _ in sides]
    framed = ~own
    is_cut = any(kind is _Edge.CONTINUES for _, kind in sides)
    for beyond, kind in sides:
        if kind is _Edge.JUNCTION or (kind is _Edge.OPPOSED and not is_cut):
            framed |= beyond
    framed &= ~inside & ~blank
    n_inside, n_more = int(inside.sum()), int((~inside & ~framed & ~blank).sum())
    total = max(1, n_inside + n_more + _n_frame_content(grey, framed & _in_box(points, content), inside))
    return ContentShares(n_inside / total, n_more / total, float(framed.mean()))


def _is_blank(
    grey: NDArray[Any], points: Matrix, border: NDArray[Any], places: Matrix, quantiles: tuple[float, float]
) -> bool:
    """Whether a picture has one level, up to noise, at most of these points; False for no points.

    It is also False where the level of the other picture's border, at `places`, is very different: then a bar covers
    the margin.
    """
    if len(points) == 0:
        return False
    low, high = _level_range(grey, points, quantiles)
    theirs = float(np.median(_levels(border, places)))
    return bool(high - low <= _MARGIN_LEVELS and abs((low + high) / 2 - theirs) <= _MAX_MARGIN_DIFFERENCE)


def _sides(grey: NDArray[Any], content: Box, points: Matrix, quad: Matrix) -> list[tuple[NDArray[np.bool_], _Edge]]:
    """For each side of the shared part that the picture goes beyond: which points lie there, and the kind of edge."""
    found = []
    for start, end in zip(quad, np.roll(quad, -1, axis=0), strict=True):
        normal = _outward(start, end, quad.mean(axis=0))
        beyond = (points - start) @ normal > 0
        if beyond.any():
            found.append((beyond, _classify_edge(grey, content, start, end, normal)))
    return found


def _is_filled(grey: NDArray[Any], corner_points: Matrix, sides: list[tuple[NDArray[np.bool_], _Edge]]) -> bool:
    """Whether the corners that a rotation left are filled with one colour; False for no points.

    A plain background, such as a wall or a lawn out of focus, is flat as well. But it continues across the edges.
    """
    if len(corner_points) == 0:
        return False
    low, high = _level_range(grey, corner_points, _QUANTILES_FILLED)
    n_apart = sum(kind in (_Edge.JUNCTION, _Edge.OPPOSED) for _, kind in sides)
    return high - low <= _ONE_LEVEL or (high - low <= _MARGIN_LEVELS and 2 * n_apart >= len(sides))


def _level_range(grey: NDArray[Any], points: Matrix, quantiles: tuple[float, float]) -> tuple[float, float]:
    """Two quantiles of the denoised levels at some points."""
    low, high = np.quantile(_levels(cv2.medianBlur(grey, 5), points), quantiles)
    return float(low), float(high)


def _rotation_degrees(transform: Matrix, quad: Matrix) -> float:
    """Rotation of a map in degrees, 0 to 45, modulo quarter turns."""
    linear = linear_part(transform, quad.mean(axis=0))
    degrees = float(np.degrees(np.arctan2(linear[1, 0], linear[0, 0])))
    return abs((degrees + 45) % 90 - 45)


def _levels(grey: NDArray[Any], points: Matrix) -> NDArray[Any]:
    at = np.clip(np.rint(points).astype(np.intp), 0, np.array(grey.shape[::-1]) - 1)
    return np.asarray(grey[at[:, 1], at[:, 0]])


def _in_box(points: Matrix, box: Box) -> NDArray[np.bool_]:
    x, y, width, height = box
    at_x, at_y = points[:, 0], points[:, 1]
    return (at_x >= x - 0.5) & (at_x < x + width - 0.5) & (at_y >= y - 0.5) & (at_y < y + height - 0.5)


def _outward(start: Matrix, end: Matrix, centre: Matrix) -> Matrix:
    """Unit normal of a side that points away from the centre."""
    along = end - start
    normal = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-9)
    return normal if (start - centre) @ normal > 0 else -normal


def _classify_edge(grey: NDArray[Any], content: Box, start: Matrix, end: Matrix, normal: Matrix) -> _Edge:
    """Classify what the picture shows across one side of the shared part."""
    along = start + np.linspace(0.04, 0.96, _SIDE_POINTS)[:, None] * (end - start)
    seen = _levels_beside(grey, content, along, _LINE_SPACING_PX * np.array([-3.0, -1.0, 1.0, 3.0]), normal)
    if seen is None:
        return _Edge.NOT_SEEN
    inner, at_edge, over_edge, outer = seen
    low, high = sorted((float(at_edge.std()), float(over_edge.std())))
    if high > _EMPTY_LEVELS and low < _EMPTY_RATIO * high:
        return _Edge.JUNCTION
    along_edge = _correlation(at_edge, over_edge)
    beside = (_correlation(inner, at_edge) + _correlation(over_edge, outer)) / 2
    if high > _EMPTY_LEVELS and beside >= _ALONG_CORRELATION and along_edge < 0:
        return _Edge.OPPOSED
    across = np.abs(over_edge - at_edge).mean()
    step = (np.abs(at_edge - inner).mean() + np.abs(outer - over_edge).mean()) / 2
    is_step = across > _STEP_RATIO * step + _STEP_LEVELS and along_edge < _CONTOUR_CORRELATION
    return _Edge.JUNCTION if is_step or _has_gutter(grey, content, along, normal) else _Edge.CONTINUES


def _has_gutter(grey: NDArray[Any], content: Box, along: Matrix, normal: Matrix) -> bool:
    """Whether a gutter runs along the edge; the arguments are those of `_levels_beside`."""
    first, last = _GUTTER_PX[0] - _GUTTER_ASIDE_PX, _GUTTER_PX[-1] + _GUTTER_ASIDE_PX
    seen = _levels_beside(grey, content, along, np.arange(first, last + 1.0), normal)
    if seen is None:
        return False
    deviation = seen.std(axis=1)
    for at in range(_GUTTER_ASIDE_PX, len(seen) - _GUTTER_ASIDE_PX):
        beside = (at - _GUTTER_ASIDE_PX, at + _GUTTER_ASIDE_PX)
        is_level = deviation[at] <= min(_GUTTER_LEVELS, _GUTTER_RATIO * max(deviation[k] for k in beside))
        if is_level and all(np.abs(seen[at] - seen[k]).mean() >= _GUTTER_STEP for k in beside):
            return True
    return False


def _levels_beside(
    grey: NDArray[Any], content: Box, along: Matrix, offsets: NDArray[np.float64], normal: Matrix
) -> NDArray[np.float32] | None:
    """Levels on lines beside an edge, float32 (lines, n), where all lines are inside the content; None for too few.

    Args:
        grey: uint8 (h, w).
        content: box of the picture's content.
        along: float64 (n, 2), points of the edge.
        offsets: float64 (lines,), pixels from the edge outwards.
        normal: outward unit normal.
    """
    lines = along[None] + offsets[:, None, None] * normal
    usable = np.all([_in_box(line, content) for line in lines], axis=0)
    if usable.sum() < _MIN_POINTS:
        return None
    maps = lines[:, usable].astype(np.float32)
    seen = cv2.remap(grey, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen, np.float32)


def _correlation(first: Matrix, second: Matrix) -> float:
    """Pearson correlation, -1 to 1; 0 where either input is constant."""
    a, b = first - first.mean(), second - second.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0


def _n_frame_content(grey: NDArray[Any], framed: NDArray[np.bool_], inside: NDArray[np.bool_]) -> int:
    """Number of points of the frame if it has detail (text, signs, another picture); 0 if it is flat."""
    if not framed.any():
        return 0
    side = max(3, round(max(grey.shape) / 24) | 1)
    kernel = np.ones((side, side), np.uint8)
    spread = cv2.subtract(cv2.dilate(grey, kernel), cv2.erode(grey, kernel))
    spread = cv2.resize(spread, (_GRID, _GRID), interpolation=cv2.INTER_NEAREST)
    # near the shared part the local range includes pixels of that part
    near = cv2.dilate(inside.reshape(_GRID, _GRID).astype(np.uint8), np.ones((7, 7), np.uint8))
    clear = framed & (near.ravel() == 0)
    detailed = clear & (spread.ravel() > _FLAT_LEVELS)
    return int(framed.sum()) if detailed.sum() > _MAX_DETAILED_SHARE * clear.sum() else 0
