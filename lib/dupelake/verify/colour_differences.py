"""Colour differences that remain after alignment: for each cell, and over the whole overlap."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.verify.agreement import MARGIN, MIN_CELLS
from dupelake.verify.cells import (
    FloatArray,
    Mask,
    cell_means,
    gradients,
    median,
    sum_of_channels,
    times,
    whole_cells,
)

_DIFFERENCE_CELL_PX = 4  # at half the resolution
_MIN_BOX_DIFFERENCE = 0.02  # below it no box is reported
_CLEAR_DIFFERENCE = 0.15  # copies stay below it
_COLOUR_PATCH_PX = 24  # at half the resolution
_COLOUR_SAMPLES = 2500  # pixels to which the colour map is fitted
_MEAN_OF_THREE = np.full((1, 3), 1 / 3, np.float32)
_WITHOUT_MEAN = np.eye(3, dtype=np.float32) - np.float32(1 / 3)
_LEAST_SQUARE = 1e-3  # squared levels
FULL_LEVELS = 64.0  # unexplained levels that count as a difference of 1


class Difference(NamedTuple):
    """Differences that encoding does not explain.

    Attributes:
        largest: 0 to 1, difference of the cell that differs most.
        box: float (x0, y0, x1, y1) in pixels of the compared pictures; None where nothing differs.
        colour: 0 to 1, change of colour over the overlap, in 64 levels: the change of tone or that of hue and
            saturation, whichever is larger.
        unexplained: levels of 256. A smooth colour map predicts one picture from the other; this is the median over
            cells of the mean colour that it does not predict. The median is taken over all cells, or over those with
            the most structure in both pictures, whichever is larger. Light, filters and encoding leave a level or two;
            another photograph leaves more in almost every cell.
        coherence: 0 to 1. Of the brightness that the colour map does not predict, the share that is left when it is
            averaged over each cell (ratio of root mean squares). Noise, blur and encoding change their sign from pixel
            to pixel and leave less than text, a watermark or another tone. A change of hue alone leaves nothing.
    """

    largest: float
    box: tuple[float, float, float, float] | None
    colour: float
    unexplained: float
    coherence: float


def difference(src: FloatArray, dst: FloatArray, mask: Mask) -> Difference:
    """Measure how two aligned pictures differ in colour beyond what light, encoding and resolution explain.

    Args:
        src: float32 (h, w, 3), at half the resolution of the overlap; finer detail is mostly encoding noise.
        dst: float32 (h, w, 3), aligned.
        mask: uint8 (h, w), 1 where both show content.
    """
    side = _DIFFERENCE_CELL_PX
    inner = cv2.erode(mask, MARGIN[:5, :5], borderType=cv2.BORDER_CONSTANT, borderValue=0)
    inside = whole_cells(inner, side, cv2.BORDER_CONSTANT).astype(np.float32)
    src, dst = (whole_cells(g, side, cv2.BORDER_REPLICATE) for g in (src, dst))
    share = cell_means(inside, side)
    valid = share > 0.5
    if valid.sum() < MIN_CELLS:
        return Difference(0.0, None, 0.0, 0.0, 0.0)
    a, b = (cv2.GaussianBlur(g, (0, 0), 0.8) for g in (src, dst))
    places = np.flatnonzero(inside.ravel())
    places = places[:: max(1, len(places) // _COLOUR_SAMPLES)]
    residual = b - _predict_colours(a, b, places)
    square = cv2.transform(residual * residual, _MEAN_OF_THREE) * inside
    deviation = np.sqrt(cell_means(square, side) / np.maximum(share, 0.1))
    activities = [_activity(g, inside, side, share) for g in (a, b)]
    excess = np.where(valid, deviation - _explained(deviation, np.maximum(*activities), valid), 0.0)
    score = np.clip(excess / FULL_LEVELS, 0.0, 1.0).astype(np.float32)
    largest = float(score.max())
    box = _box(score, side, (mask.shape[1], mask.shape[0])) if largest > _MIN_BOX_DIFFERENCE else None
    means = cv2.resize(times(residual, inside), share.shape[::-1], interpolation=cv2.INTER_AREA)
    squares = np.square(means / np.maximum(share, 0.1)[:, :, None])
    remaining = np.sqrt(sum_of_channels(squares) / np.float32(3))[valid]
    unexplained = _unexplained(remaining, np.minimum(*activities)[valid])
    coherence = _coherence(cv2.transform(residual, _MEAN_OF_THREE), inside, side)
    return Difference(largest, box, _colour_difference(a, b, places, inside), unexplained, coherence)


def _coherence(residual: FloatArray, inside: FloatArray, side: int) -> float:
    share = cell_means(inside, side)
    valid = share > 0.5
    mean, square = (cell_means(g * inside, side)[valid] / share[valid] for g in (residual, residual * residual))
    return float(np.sqrt(np.square(mean).mean() / (square.mean() + _LEAST_SQUARE)))


def _unexplained(remaining: FloatArray, activity: FloatArray) -> float:
    """Median over all cells, or over the quarter with the most structure in both pictures, whichever is larger.

    Most cells of a drawing are blank paper, and any other drawing explains blank paper.
    """
    quarter = 3 * len(activity) // 4
    shown = activity > np.partition(activity, quarter)[quarter]
    return float(max(median(remaining), median(remaining[shown]) if shown.sum() >= MIN_CELLS else 0.0))


def _activity(picture: FloatArray, inside: FloatArray, side: int, share: FloatArray) -> FloatArray:
    gx, gy = gradients(cv2.transform(picture, _MEAN_OF_THREE))
    return np.sqrt(cell_means((gx * gx + gy * gy) * inside, side) / np.maximum(share, 0.1))


def _explained(deviation: FloatArray, activity: FloatArray, valid: NDArray[np.bool_]) -> FloatArray:
    """Levels that encoding, noise and blur explain in each cell: a base plus a fraction of the cell's activity."""
    d, g = deviation[valid], activity[valid]
    calm = g <= median(g)
    base = float(median(d[calm]))
    rate = float(median(np.maximum(d[~calm] - base, 0.0) / np.maximum(g[~calm], 1.0))) if (~calm).any() else 0.0
    return 2.5 * (base + rate * activity) + 4.0


def _predict_colours(src: FloatArray, dst: FloatArray, places: NDArray[np.intp]) -> FloatArray:
    """Predict `dst` from `src` by a smooth colour map: a quadratic change of colour, fitted by robust least squares.

    The fit is of the change and not of the colour, so that damping pulls rare colours towards no change. `places` are
    the flat indices of the pixels used for the fit.
    """
    x, y = (g.reshape(-1, 3)[places].astype(np.float64) for g in (src, dst))
    change = y - x
    x = (x - 128.0) / 128.0
    terms = np.column_stack([x, x * x, np.ones(len(x))])
    damping = np.eye(terms.shape[1]) * 1e-3 * len(terms)
    weight = np.ones(len(terms))
    for _ in range(3):
        weighted = terms * weight[:, None]
        solution = np.linalg.solve(weighted.T @ terms + damping, weighted.T @ change)
        error = sum_of_channels(np.square(change - terms @ solution)) / 3
        weight = 1.0 / (1.0 + error / np.square(2.0 * np.sqrt(median(error)) + 1.0))
    unit = (src - np.float32(128.0)) * np.float32(1 / 128)
    linear, square = solution[:3].T, np.column_stack([solution[3:6].T, solution[6]])
    return src + cv2.transform(unit, linear) + cv2.transform(unit * unit, square)


def _colour_difference(a: FloatArray, b: FloatArray, places: NDArray[np.intp], inside: FloatArray) -> float:
    """Change of colour over the overlap, 0 to 1: that of tone or that of hue and saturation, whichever is larger.

    Tone is the shift of the best single curve for all three channels (brightness, contrast, gamma; encoding shifts
    it by a level or two). Hue and saturation are the residual of that curve, averaged over patches of a fifth of the
    shorter side, in which the colour errors of JPEG cancel out. Both are root mean squares: a change may concern
    few pixels.
    """
    levels = np.clip(a, 0, 255).astype(np.uint8)
    which = (levels.reshape(-1, 3)[places] >> 3).ravel()
    count = np.bincount(which, minlength=32)
    filled = count > 0
    mean = np.bincount(which, b.reshape(-1, 3)[places].ravel(), 32)[filled] / count[filled]
    own = np.bincount(which, a.reshape(-1, 3)[places].ravel(), 32)[filled] / count[filled]
    tone = float(np.sqrt((np.square(mean - own) * count[filled]).sum() / count.sum()))
    curve = np.interp(np.arange(256), np.arange(32)[filled] * 8 + 3.5, np.maximum.accumulate(mean)).astype(np.float32)
    residual = times(cv2.transform(b - cv2.LUT(levels, curve), _WITHOUT_MEAN), inside)
    side = int(np.clip(min(inside.shape) // 5, 4, _COLOUR_PATCH_PX))
    size = inside.shape[1] // side, inside.shape[0] // side
    share = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    means = cv2.resize(residual, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 0.1)[:, :, None]
    moved = sum_of_channels(np.square(means))[share > 0.5]
    hue = float(np.sqrt(moved.mean())) if len(moved) else 0.0
    return float(np.clip(max(tone, hue) / FULL_LEVELS, 0.0, 1.0))


def _box(score: FloatArray, side: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Box of the clearly different cells connected to the most different one: (x0, y0, x1, y1) in pixels."""
    peak = np.unravel_index(int(score.argmax()), score.shape)
    _, labels = cv2.connectedComponents(
        (score >= min(0.5 * score.max(), _CLEAR_DIFFERENCE)).astype(np.uint8), connectivity=8
    )
    rows, columns = np.nonzero(labels == labels[peak])
    x1, y1 = min((columns.max() + 1) * side, size[0]), min((rows.max() + 1) * side, size[1])
    return float(columns.min() * side), float(rows.min() * side), float(x1), float(y1)
