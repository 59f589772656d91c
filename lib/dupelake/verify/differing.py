"""Where two aligned pictures differ, as boxes for people to look at. No decision reads them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.verify.align import Matrix

_SMOOTH_PX = 1.2  # standard deviation: noise and encoding
_SHIFT_PX = 5  # side of the square within which a pixel may have moved
_LEVELS = 22.0  # difference that people see
_ALIKE = 0.7  # share of the pixels whose colours are taken to be unchanged but for a smooth map
_STEP = 4  # of the pixels from which that map is estimated
_JOIN_PX = 11  # gaps between letters of a caption
_MIN_SHARE, _MAX_SHARE = 0.0006, 0.5  # of the picture: specks, and a difference that is everywhere
_MAX_BOXES = 6
_MARGIN_PX = 1

Box = tuple[float, float, float, float]
_RGB = NDArray[np.uint8]


def differing_boxes(rgb: _RGB, other: _RGB, to_other: Matrix) -> list[Box]:
    """The places where two pictures differ in the part that both show, the largest first.

    A smooth change of all colours is no place. Where more than half of the shared part differs, no place is named.

    Args:
        rgb: uint8 (h, w, 3), the picture in which the boxes lie.
        other: uint8 (h', w', 3).
        to_other: float64 (3, 3), pixels of `rgb` to pixels of `other`.

    Returns:
        x, y, width, height as fractions of `rgb`, at most 6.
    """
    height, width = rgb.shape[:2]
    flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
    laid = cv2.warpPerspective(other, to_other, (width, height), flags=flags)
    inside = np.full(other.shape[:2], 255, np.uint8)
    mask = cv2.warpPerspective(inside, to_other, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    shared = cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=255) > 0
    if not shared.any():
        return []
    mine = cv2.GaussianBlur(rgb, (0, 0), _SMOOTH_PX).astype(np.float32)
    theirs = cv2.GaussianBlur(laid, (0, 0), _SMOOTH_PX).astype(np.float32)
    # Colours that were cut off at white are explained in one direction only.
    ways = (
        _beyond_shift(mine, _recoloured(theirs, mine, shared)),
        _beyond_shift(_recoloured(mine, theirs, shared), theirs),
    )
    differs = (np.minimum(*ways) >= _LEVELS) & shared
    joined = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((_JOIN_PX, _JOIN_PX), np.uint8))
    if joined.sum() > _MAX_SHARE * shared.sum():
        return []
    n, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    found = [stats[i, :5] for i in range(1, n) if stats[i, cv2.CC_STAT_AREA] >= _MIN_SHARE * width * height]
    found.sort(key=lambda one: -int(one[4]))
    return [_fractions(one, width, height) for one in found[:_MAX_BOXES]]


def moved_box(box: Box, matrix: Matrix) -> Box | None:
    """The upright box around the image of a box, cut at the edges of the picture; None if nothing is left.

    Args:
        box: x, y, width, height in fractions of one picture.
        matrix: float64 (3, 3), fractions of that picture to fractions of the other.
    """
    x, y, width, height = box
    corners = np.array([[x, y, 1], [x + width, y, 1], [x, y + height, 1], [x + width, y + height, 1]]) @ matrix.T
    if (corners[:, 2] <= 0).any():
        return None
    points = np.clip(corners[:, :2] / corners[:, 2:], 0.0, 1.0)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def _recoloured(theirs: NDArray[Any], mine: NDArray[Any], shared: NDArray[Any]) -> NDArray[Any]:
    """The other picture with the gain and offset of each channel that bring most of it closest to this one."""
    out, few = np.empty_like(theirs), (slice(None, None, _STEP), slice(None, None, _STEP))
    if not shared[few].any():
        return theirs
    for channel in range(3):
        x, y = (one[few][..., channel][shared[few]] for one in (theirs, mine))
        keep = np.ones(len(x), bool)
        gain, offset = 1.0, 0.0
        for _ in range(3):  # without what differs most, which is what is looked for
            spread = float(x[keep].var())
            gain = float(np.cov(x[keep], y[keep], bias=True)[0, 1]) / spread if spread > 1.0 else 1.0
            offset = float(y[keep].mean() - gain * x[keep].mean())
            away = np.abs(gain * x + offset - y)
            keep = away <= np.partition(away, at := int(_ALIKE * (len(away) - 1)))[at]
        out[..., channel] = np.clip(gain * theirs[..., channel] + offset, 0.0, 255.0)
    return out


def _beyond_shift(mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    """float32 (h, w): how far a colour lies outside of those around its place in the other picture, both ways."""
    square = np.ones((_SHIFT_PX, _SHIFT_PX), np.uint8)

    def outside(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.maximum(a - cv2.dilate(b, square), cv2.erode(b, square) - a)

    return np.asarray(np.maximum(outside(mine, theirs), outside(theirs, mine)).max(axis=2))


def _fractions(stat: NDArray[Any], width: int, height: int) -> Box:
    x, y, w, h = (int(value) for value in stat[:4])
    left, top = max(0, x - _MARGIN_PX), max(0, y - _MARGIN_PX)
    right, bottom = min(width, x + w + _MARGIN_PX), min(height, y + h + _MARGIN_PX)
    return left / width, top / height, (right - left) / width, (bottom - top) / height
