"""What still differs in colour once one picture lies on the other: cell by cell, and over all."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.verify.cells import FloatArray, Mask, cell_means, gradients, whole_cells
from dupelake.verify.differences import MARGIN, MIN_CELLS

_DIFFERENCE_CELL_PX = 4  # of half the resolution
_SEEN_DIFFERENCE = 0.02
_CLEAR_DIFFERENCE = 0.15  # copies stay below it
_COLOUR_PATCH_PX = 24  # of half the resolution
_COLOUR_SAMPLES = 2500  # pixels that a map of colours is fitted to
_MEAN_OF_THREE = np.full((1, 3), 1 / 3, np.float32)
_WITHOUT_MEAN = np.eye(3, dtype=np.float32) - np.float32(1 / 3)
FULL = 64.0  # levels beyond what encoding explains that count as 1


class Difference(NamedTuple):
    """What differs beyond what encoding explains.

    Attributes:
        largest: 0 to 1, of the cell that differs most.
        box: float (x0, y0, x1, y1) in pixels of what was compared; None where nothing differs.
        colour: 0 to 1, of colours over all: the larger of tones and of hues with saturations, in 64 levels.
        unexplained: levels of 256, median over the cells (all, or those in which both show most) of what is left of
            their mean colour once a smooth map of colours has made one picture out of the other. Light, filters and
            encoding leave a level or two; another wall behind one person, another light on one face, leave more almost
            everywhere.
    """

    largest: float
    box: tuple[float, float, float, float] | None
    colour: float
    unexplained: float


def difference(src: FloatArray, dst: FloatArray, mask: Mask) -> Difference:
    """What differs between two aligned pictures in colour, beyond light, encoding and resolution.

    Args:
        src: float32 (h, w, 3), at half the resolution of the overlap: what is finer is mostly encoding.
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
        return Difference(0.0, None, 0.0, 0.0)
    a, b = (cv2.GaussianBlur(g, (0, 0), 0.8) for g in (src, dst))
    places = np.flatnonzero(inside.ravel())
    places = places[:: max(1, len(places) // _COLOUR_SAMPLES)]
    residual = b - _predict_colours(a, b, places)
    square = cv2.transform(residual * residual, _MEAN_OF_THREE) * inside
    deviation = np.sqrt(cell_means(square, side) / np.maximum(share, 0.1))
    activities = [_activity(g, inside, side, share) for g in (a, b)]
    excess = np.where(valid, deviation - _explained(deviation, np.maximum(*activities), valid), 0.0)
    score = np.clip(excess / FULL, 0.0, 1.0).astype(np.float32)
    largest = float(score.max())
    box = _box(score, side, (mask.shape[1], mask.shape[0])) if largest > _SEEN_DIFFERENCE else None
    means = cv2.resize(residual * inside[:, :, None], share.shape[::-1], interpolation=cv2.INTER_AREA)
    left = np.sqrt(np.square(means / np.maximum(share, 0.1)[:, :, None]).mean(axis=2))[valid]
    unexplained = _unexplained(left, np.minimum(*activities)[valid])
    return Difference(largest, box, _colour_difference(a, b, places, inside), unexplained)


def _unexplained(left: FloatArray, activity: FloatArray) -> float:
    """Median over all cells, or over the quarter in which both show most, whichever is more.

    Most of a drawing is paper, which every other drawing explains.
    """
    quarter = 3 * len(activity) // 4
    shown = activity > np.partition(activity, quarter)[quarter]
    return float(max(np.median(left), np.median(left[shown]) if shown.sum() >= MIN_CELLS else 0.0))


def _activity(picture: FloatArray, inside: FloatArray, side: int, share: FloatArray) -> FloatArray:
    gx, gy = gradients(cv2.transform(picture, _MEAN_OF_THREE))
    return np.sqrt(cell_means((gx * gx + gy * gy) * inside, side) / np.maximum(share, 0.1))


def _explained(deviation: FloatArray, activity: FloatArray, valid: NDArray[np.bool_]) -> FloatArray:
    """Levels of difference that encoding, noise and blur explain in each cell: a base and a part of the activity."""
    d, g = deviation[valid], activity[valid]
    calm = g <= np.median(g)
    base = float(np.median(d[calm]))
    rate = float(np.median(np.maximum(d[~calm] - base, 0.0) / np.maximum(g[~calm], 1.0))) if (~calm).any() else 0.0
    return 2.5 * (base + rate * activity) + 4.0


def _predict_colours(src: FloatArray, dst: FloatArray, places: NDArray[np.intp]) -> FloatArray:
    """`dst` as far as a smooth map of colours makes it out of `src`: a quadratic change, by robust least squares.

    The change is fitted, not the colour, so that the little damping pulls rare colours to no change. `places` are the
    pixels that it is fitted to.
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
        error = np.square(change - terms @ solution).mean(axis=1)
        weight = 1.0 / (1.0 + error / np.square(2.0 * np.sqrt(np.median(error)) + 1.0))
    unit = (src - np.float32(128.0)) * np.float32(1 / 128)
    linear, square = solution[:3].T, np.column_stack([solution[3:6].T, solution[6]])
    return src + cv2.transform(unit, linear) + cv2.transform(unit * unit, square)


def _colour_difference(a: FloatArray, b: FloatArray, places: NDArray[np.intp], inside: FloatArray) -> float:
    """0 to 1: how far colours moved: by tones or by hues and saturations, whichever moved more.

    Tones: the mean shift of the one curve for all three channels that explains most (brightness, contrast, gamma; an
    encoding keeps it within a level or two). Hues and saturations: what that curve does not explain, averaged over
    patches of a fifth of the shorter side, where what JPEG does to colours has no direction.
    """
    levels = np.clip(a, 0, 255).astype(np.uint8)
    which = (levels.reshape(-1, 3)[places] >> 3).ravel()
    count = np.bincount(which, minlength=32)
    held = count > 0
    mean = np.bincount(which, b.reshape(-1, 3)[places].ravel(), 32)[held] / count[held]
    own = np.bincount(which, a.reshape(-1, 3)[places].ravel(), 32)[held] / count[held]
    tone = float((np.abs(mean - own) * count[held]).sum() / count.sum())
    curve = np.interp(np.arange(256), np.arange(32)[held] * 8 + 3.5, np.maximum.accumulate(mean)).astype(np.float32)
    residual = cv2.transform(b - cv2.LUT(levels, curve), _WITHOUT_MEAN) * inside[:, :, None]
    side = int(np.clip(min(inside.shape) // 5, 4, _COLOUR_PATCH_PX))
    size = inside.shape[1] // side, inside.shape[0] // side
    share = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    means = cv2.resize(residual, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 0.1)[:, :, None]
    moved = np.sqrt(np.square(means).sum(axis=2))[share > 0.5]
    hue = float(moved.mean()) if len(moved) else 0.0
    return float(np.clip(max(tone, hue) / FULL, 0.0, 1.0))


def _box(score: FloatArray, side: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The cells that differ clearly and touch, around the one that differs most: (x0, y0, x1, y1) in pixels."""
    peak = np.unravel_index(int(score.argmax()), score.shape)
    _, labels = cv2.connectedComponents(
        (score >= min(0.5 * score.max(), _CLEAR_DIFFERENCE)).astype(np.uint8), connectivity=8
    )
    rows, columns = np.nonzero(labels == labels[peak])
    x1, y1 = min((columns.max() + 1) * side, size[0]), min((rows.max() + 1) * side, size[1])
    return float(columns.min() * side), float(rows.min() * side), float(x1), float(y1)
