"""What a picture shows beside the part that it shares with another: more of the scene, or something put around it.

A crop was cut anywhere, so the fuller picture runs on across the edge of the crop. A caption bar, a screen, a filled
corner or the neighbours in a collage begin at that edge: along it the two sides have nothing to do with each other.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.verify.align import Box, Matrix, corners, linear_part, move

_GRID = 48  # points a side at which a picture is looked at
_SIDE_POINTS = 64
_STEP_PX = 2.0  # from the edge: alignment is good to a pixel
_MIN_POINTS = 10
_RUNS_ON_RATIO, _RUNS_ON_LEVELS = 1.7, 5.0  # a step over the edge, against steps of the same length beside it
_RUNS_ON_CORRELATION = 0.6  # of the grey along both sides of the edge, where it lies on a contour of the scene
# Measured on 1,182 edges of crops, collages, screenshots and caption bars: these two find most junctions that the step
# does not, and break 1 edge of a crop in 70.
_ALONG_CORRELATION = 0.4  # of neighbouring lines on either side, where those of a junction are opposed
_EMPTY_RATIO, _EMPTY_LEVELS = 0.06, 5.0  # of deviations along both sides: one is empty, the other is not
_FLAT_LEVELS = 12.0  # range of grey beyond which a place in a frame is not flat
_TURNED = 1.0  # degrees
_MARGIN_LEVELS = 32.0  # range of a picture's own blank margin, which noise, a filter or a watermark has touched
_MOST, _MOST_WHOLE, _MOST_FILLED = (0.05, 0.95), (0.25, 0.75), (0.1, 0.9)  # quantiles between which it is one level
_OTHER_LEVELS = 64.0  # between a blank margin and the other picture's; light and filters change less
_HELD_SHARE = 0.05  # of such places, beyond which a frame is no mere frame


class _Edge(Enum):
    """What is seen across a side of the shared part."""

    RUNS_ON = auto()
    JUNCTION = auto()  # two pictures meet, by a step, or since one is empty there
    OPPOSED = auto()  # what lies along the two sides is opposed; of a crop one side in 70 is, where others run on
    UNSEEN = auto()  # next to nothing of the picture lies beyond


class Shares(NamedTuple):
    """Of one picture, against another that is laid onto it.

    Attributes:
        overlap: 0 to 1, share of its content that the other shows; flat frames are no content.
        beyond: 0 to 1, share of its content that the other lacks and that continues the same picture.
        frame: 0 to 1, share of all its pixels that was put around the picture: borders, bars, captions, screens.
    """

    overlap: float
    beyond: float
    frame: float


def shares(
    grey: NDArray[Any], content: Box, other_grey: NDArray[Any], other: Box, to_other: Matrix, *, is_whole: bool = False
) -> Shares:
    """How a picture divides into what the other shows, what continues it, and what frames it.

    A blank margin that the other has too, though noise or a filter made it look like content there, is none of these.

    Args:
        grey: uint8 (h, w).
        content: box of the picture without uniform borders.
        other_grey: uint8 (h, w), the other picture.
        other: box of the other picture's content.
        to_other: float64 (3, 3), pixels of this picture to pixels of the other.
        is_whole: the whole lies on the whole: what one has in the other's blank margin may be laid over it, as text is.
    """
    height, width = grey.shape
    xs = (np.arange(_GRID) + 0.5) * width / _GRID - 0.5
    ys = (np.arange(_GRID) + 0.5) * height / _GRID - 0.5
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    places = move(to_other, points)
    own, theirs = _in_box(points, content), _in_box(places, other)
    inside = own & theirs
    whole: Box = (0, 0, other_grey.shape[1], other_grey.shape[0])
    margin = own & ~theirs & _in_box(places, whole)  # blank in the other; and here?
    most = _MOST_WHOLE if is_whole else _MOST
    is_margin_shared = _is_blank(grey, points[margin], other_grey, places[margin], most)
    blank = margin & is_margin_shared
    gap = ~own & theirs  # blank here; and in the other?
    if _is_blank(other_grey, places[gap], grey, points[gap], most):
        blank |= gap
    quad = move(np.linalg.inv(to_other), corners(whole if is_margin_shared else other))
    sides = []
    is_filled = _turn(to_other, quad) > _TURNED and _is_flat(grey, points[own & ~theirs])  # the corners, in one colour
    for start, end in zip(quad, np.roll(quad, -1, axis=0), strict=True):
        normal = _outward(start, end, quad.mean(axis=0))
        beyond = (points - start) @ normal > 0
        if beyond.any():
            kind = _Edge.JUNCTION if is_filled else _edge_of(grey, content, start, end, normal)
            sides.append((beyond, kind))
    framed = ~own
    is_cut = any(kind is _Edge.RUNS_ON for _, kind in sides)
    for beyond, kind in sides:
        if kind is _Edge.JUNCTION or (kind is _Edge.OPPOSED and not is_cut):
            framed |= beyond
    framed &= ~inside & ~blank
    n_inside, n_more = int(inside.sum()), int((~inside & ~framed & ~blank).sum())
    total = max(1, n_inside + n_more + _n_held(grey, framed & _in_box(points, content), inside))
    return Shares(n_inside / total, n_more / total, float(framed.mean()))


def _is_blank(
    grey: NDArray[Any], points: Matrix, border: NDArray[Any], places: Matrix, most: tuple[float, float]
) -> bool:
    """Whether a picture shows one level at most of these points, give or take noise; False for no points.

    Nor is it blank where the border of the other picture, at `places`, is of quite another level: a bar lies over it.
    """
    if len(points) == 0:
        return False
    low, high = _range(grey, points, most)
    theirs = float(np.median(_levels(border, places)))
    return bool(high - low <= _MARGIN_LEVELS and abs((low + high) / 2 - theirs) <= _OTHER_LEVELS)


def _is_flat(grey: NDArray[Any], points: Matrix) -> bool:
    """Whether a picture shows one level at these points, give or take noise; False for no points."""
    if len(points) == 0:
        return False
    low, high = _range(grey, points, _MOST_FILLED)
    return bool(high - low <= _MARGIN_LEVELS)


def _range(grey: NDArray[Any], points: Matrix, most: tuple[float, float]) -> tuple[float, float]:
    """Two quantiles of the levels at some points, without their noise."""
    low, high = np.quantile(_levels(cv2.medianBlur(grey, 5), points), most)
    return float(low), float(high)


def _turn(transform: Matrix, quad: Matrix) -> float:
    """Degrees by which a map turns, beside quarters."""
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
    """Unit normal of a side, away from the centre."""
    along = end - start
    normal = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-9)
    return normal if (start - centre) @ normal > 0 else -normal


def _edge_of(grey: NDArray[Any], content: Box, start: Matrix, end: Matrix, normal: Matrix) -> _Edge:
    """Whether the picture continues across a side."""
    along = start + np.linspace(0.04, 0.96, _SIDE_POINTS)[:, None] * (end - start)
    offsets = _STEP_PX * np.array([-3.0, -1.0, 1.0, 3.0])
    lines = along[None] + offsets[:, None, None] * normal
    usable = np.all([_in_box(line, content) for line in lines], axis=0)
    if usable.sum() < _MIN_POINTS:
        return _Edge.UNSEEN
    maps = lines[:, usable].astype(np.float32)
    seen = cv2.remap(grey, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inner, at_edge, over_edge, outer = seen.astype(np.float32)
    low, high = sorted((float(at_edge.std()), float(over_edge.std())))
    if high > _EMPTY_LEVELS and low < _EMPTY_RATIO * high:
        return _Edge.JUNCTION
    along_edge = _correlation(at_edge, over_edge)
    beside = (_correlation(inner, at_edge) + _correlation(over_edge, outer)) / 2
    if high > _EMPTY_LEVELS and beside >= _ALONG_CORRELATION and along_edge < 0:
        return _Edge.OPPOSED
    across = np.abs(over_edge - at_edge).mean()
    step = (np.abs(at_edge - inner).mean() + np.abs(outer - over_edge).mean()) / 2
    is_step = across > _RUNS_ON_RATIO * step + _RUNS_ON_LEVELS and along_edge < _RUNS_ON_CORRELATION
    return _Edge.JUNCTION if is_step else _Edge.RUNS_ON


def _correlation(first: Matrix, second: Matrix) -> float:
    """-1 to 1; 0 where either is constant."""
    a, b = first - first.mean(), second - second.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0


def _n_held(grey: NDArray[Any], framed: NDArray[np.bool_], inside: NDArray[np.bool_]) -> int:
    """How many points the frame has, if it holds something (text, signs, another picture); 0 if it is flat."""
    if not framed.any():
        return 0
    side = max(3, round(max(grey.shape) / 24) | 1)
    kernel = np.ones((side, side), np.uint8)
    spread = cv2.subtract(cv2.dilate(grey, kernel), cv2.erode(grey, kernel))
    spread = cv2.resize(spread, (_GRID, _GRID), interpolation=cv2.INTER_NEAREST)
    # beside the shared part the range is that of its edge
    near = cv2.dilate(inside.reshape(_GRID, _GRID).astype(np.uint8), np.ones((7, 7), np.uint8))
    clear = framed & (near.ravel() == 0)
    held = clear & (spread.ravel() > _FLAT_LEVELS)
    return int(framed.sum()) if held.sum() > _HELD_SHARE * clear.sum() else 0
