"""Find which of two aligned pictures has an overlay: text, a logo, a sticker, a bar.

An overlay has an outline that is an edge in one picture only, and its inside is often flat. A change of tone or a
filter keeps the structure of the picture and counts for neither side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.fingerprint.slopes import magnitude
from dupelake.verify.cells import FloatArray, Mask, cell_means, gradients, median, whole_cells

MIN_DIFFERENCE = 0.1  # largest local difference from which overlays are searched
_CELL_PX = 4  # at half the resolution
_MARGIN = np.ones((5, 5), np.uint8)
_MIN_CELLS = 24
_MIN_LEVELS, _MIN_RATIO_TO_MEDIAN = 12.0, 4.0  # a cell differs by so many levels, and by so many times the median
_MIN_REGION_CELLS = 2
_NEIGHBOURS, _CLOSING = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)
_SAME_STRUCTURE = 0.75  # correlation of gradients in and around a region, above which its structure is unchanged
_FLATNESS = 0.1  # weight of the inside relative to the outline
_GREY = np.array([[0.299, 0.587, 0.114]], np.float32)
_BINS = 32
_BIN_OF_LEVEL = (np.arange(256) // (256 // _BINS)).astype(np.uint8)


class AddedShares(NamedTuple):
    """Shares of the overlap, 0 to 1, that an overlay covers on one side only."""

    src: float
    dst: float


def added_shares(src: FloatArray, dst: FloatArray, mask: Mask) -> AddedShares:
    """Shares of the overlap that overlays cover on each side.

    Args:
        src: float32 (h, w, 3), at half the resolution of the overlap.
        dst: float32 (h, w, 3), aligned.
        mask: uint8 (h, w), 1 where both show content.
    """
    inner = cv2.erode(mask, _MARGIN, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    inside = whole_cells(inner, _CELL_PX, cv2.BORDER_CONSTANT)
    weight = inside.astype(np.float32)
    share = cell_means(weight, _CELL_PX)
    valid = share > 0.5
    if valid.sum() < _MIN_CELLS:
        return AddedShares(0.0, 0.0)
    share = np.maximum(share, 0.1)
    a, b = (_grey(picture) for picture in (src, dst))
    off = np.minimum(_deviation(a, b, inside, weight), _deviation(b, a, inside, weight)) / share
    off = np.sqrt(off)
    differs = valid & (off > max(_MIN_LEVELS, _MIN_RATIO_TO_MEDIAN * float(median(off[valid]))))
    if differs.sum() < _MIN_REGION_CELLS:
        return AddedShares(0.0, 0.0)
    return _by_outline(a, b, weight, share, valid, differs)


def _grey(picture: FloatArray) -> FloatArray:
    grey = cv2.transform(picture, _GREY)
    return cv2.GaussianBlur(whole_cells(grey, _CELL_PX, cv2.BORDER_REPLICATE), (0, 0), 0.8)


def _deviation(a: FloatArray, b: FloatArray, inside: Mask, weight: FloatArray) -> FloatArray:
    """Mean squared residual of `b` in each cell after the best tone curve from `a`."""
    levels: Any = cv2.LUT(cv2.convertScaleAbs(a), _BIN_OF_LEVEL)
    places = np.flatnonzero(inside.ravel())[::3]
    which, values = levels.ravel()[places], b.ravel()[places]
    keep = np.ones(len(places), np.bool_)
    for _ in range(2):  # the second round leaves out outliers
        count = np.bincount(which[keep], minlength=_BINS)
        mean = np.bincount(which[keep], values[keep], _BINS) / np.maximum(count, 1)
        away = np.abs(values - mean[which])
        keep = away <= 2.0 * float(median(away)) + 4.0
    filled = count > 0
    curve = np.interp(np.arange(256), np.arange(_BINS)[filled] * 8 + 3.5, mean[filled]).astype(np.float32)
    residual = b - cv2.LUT(cv2.convertScaleAbs(a), curve)
    return cell_means(residual * residual * weight, _CELL_PX)


def _by_outline(
    a: FloatArray,
    b: FloatArray,
    weight: FloatArray,
    share: FloatArray,
    valid: NDArray[np.bool_],
    differs: NDArray[np.bool_],
) -> AddedShares:
    (ax, ay), (bx, by) = gradients(a), gradients(b)
    slopes = [cell_means(magnitude(x, y) * weight, _CELL_PX) / share for x, y in ((ax, ay), (bx, by))]
    cross, own, other = (
        cell_means((x * u + y * v) * weight, _CELL_PX)
        for x, y, u, v in ((ax, ay, bx, by), (ax, ay, ax, ay), (bx, by, bx, by))
    )
    plain = valid & ~differs & (np.minimum(*slopes) > 1.0)
    gain = float(median(slopes[1][plain] / slopes[0][plain])) if plain.sum() >= _MIN_CELLS else 1.0
    slopes = [slopes[0] * np.sqrt(gain), slopes[1] / np.sqrt(gain)]  # contrast may have changed
    count, labels = cv2.connectedComponents(differs.astype(np.uint8), connectivity=8)
    n_cells = [0, 0]
    for label in range(1, count):
        part = (labels == label).astype(np.uint8)
        size = int(part.sum())
        if size < _MIN_REGION_CELLS:
            continue
        closed = cv2.morphologyEx(cv2.copyMakeBorder(part, 2, 2, 2, 2, cv2.BORDER_CONSTANT), cv2.MORPH_CLOSE, _CLOSING)
        closed = closed[2:-2, 2:-2]
        core = (cv2.erode(closed, _NEIGHBOURS) > 0) & valid
        around = (cv2.dilate(closed, _NEIGHBOURS) > 0) & valid
        ring = around & ~core
        energy = float(np.sqrt(own[around].sum() * other[around].sum()))
        if abs(float(cross[around].sum())) > _SAME_STRUCTURE * energy or not ring.any():
            continue
        outlines = [float(s[ring].mean()) - (_FLATNESS * float(s[core].mean()) if core.any() else 0.0) for s in slopes]
        n_cells[int(outlines[1] > outlines[0])] += size
    total = float(valid.sum())
    return AddedShares(n_cells[0] / total, n_cells[1] / total)
