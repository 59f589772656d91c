"""Detects an earlier JPEG compression of pixels: their DCT coefficients are multiples of the steps of its quantiser.

Z. Fan and R. de Queiroz, Identification of bitmap compression history, IEEE TIP 2003, fit the steps by likelihood. Here
the measure is the mean cosine of the coefficients for each step: 1 if all are multiples of the step, near 0 otherwise.
Noise, filters and scaling destroy the steps. A change of brightness scales them, so another quality is found.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dupelake.fingerprint.encoding import scaled_luma

Floats = NDArray[Any]  # float32

# (row, column) of coefficients
_TERMS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0), (2, 2), (1, 3), (3, 1))
LOWEST_QUALITY, HIGHEST_QUALITY = 20, 96  # all coefficients above have steps of 1 at 97, which leave no trace
_QUALITIES = np.arange(LOWEST_QUALITY, HIGHEST_QUALITY + 1)
_STEPS = np.arange(2, 49)  # of the quantiser; finer ones are lost in rounding
_BLOCKS = 128
_LEAST_RANGE = 4  # levels; flat blocks have no coefficients
_LEVELS = 40  # multiples of the file's own step that are looked at
_RATES = (1 / _STEPS).astype(np.float32)
_LEAST_STEPS = 0.6  # steps; a smaller coefficient gives no information about the step
_LEAST_COEFFICIENTS = 40
_LEAST_EXPECTED, _DOUBT = 12.0, 6.0  # coefficients in the holes of a histogram
_NEAR_BEST = 0.85  # a divisor of the true step fits as well: the lowest quality with so much of the best score
_CLEAR, _CLEAR_IN_JPEG = 0.3, 0.36  # least score; soft pictures without an earlier JPEG stay below
_BELOW = 6  # qualities below that of the file, so that the file's own steps are not found


def cosines() -> Floats:
    """float32 (8, 8): rows are the basis of the discrete cosine transform of 8 samples."""
    k = np.arange(8)
    basis = np.sqrt(2 / 8) * np.cos((2 * k[None] + 1) * k[:, None] * np.pi / 16)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


def _low_terms() -> Floats:
    basis = cosines()
    return np.stack([np.outer(basis[row], basis[column]).ravel() for row, column in _TERMS], axis=1)


_LOW = _low_terms()
_TABLES = np.stack([[scaled_luma(quality)[row, column] for row, column in _TERMS] for quality in _QUALITIES.tolist()])
_IS_KNOWN = (_STEPS[0] <= _TABLES) & (_STEPS[-1] >= _TABLES)
_PLACES = np.clip(_TABLES - _STEPS[0], 0, len(_STEPS) - 1), np.arange(len(_TERMS))  # of the steps of each quality
_USED = np.nonzero([[step in column for column in _TABLES.T] for step in _STEPS])  # (step, term) that a quality has


class Quantised(NamedTuple):
    """The traces of quantisers in pixels.

    Attributes:
        earlier_quality: the quality, 20 to 95, of an earlier JPEG; None if none is found.
        fits: one byte for each quality from LOWEST_QUALITY to HIGHEST_QUALITY: hundredths of how well the coefficients
            fit its steps, on the grid that fits best. The steps of a JPEG fit their divisors too, which are the steps
            of higher qualities.
    """

    earlier_quality: int | None
    fits: bytes


def quantised(tiles: NDArray[np.uint8], starts: Iterable[tuple[int, int]], jpeg_quality: int | None) -> Quantised:
    """The traces of the quantisers of the file and of earlier JPEGs.

    Args:
        tiles: uint8 (n, h, w), grey, aligned with the block grid of the file.
        starts: (row, column), 0 to 7: other possible starts of the earlier grid.
        jpeg_quality: of the file; None if it is not a JPEG.
    """
    on_grid = _scores(tiles, jpeg_quality)
    top = 95 if jpeg_quality is None else jpeg_quality - _BELOW
    found = _quality(on_grid, top, _CLEAR if jpeg_quality is None else _CLEAR_IN_JPEG)
    best = on_grid
    for start in starts:
        scores = _scores(tiles[:, start[0] :, start[1] :])
        found = found or _quality(scores, 95, _CLEAR_IN_JPEG)
        best = np.maximum(best, scores)
    return Quantised(found, np.clip(np.round(100 * best), 0, 100).astype(np.uint8).tobytes())


def _quality(scores: Floats, top: int, clear: float) -> int | None:
    """The lowest quality that explains the scores, at most `top`."""
    scores = scores[top >= _QUALITIES]
    best = float(scores.max(initial=0.0))
    if best < clear:
        return None
    at = int(np.flatnonzero(scores >= _NEAR_BEST * best)[0])
    while at + 1 < len(scores) and scores[at + 1] >= scores[at]:
        at += 1
    return int(_QUALITIES[at])


def _scores(tiles: NDArray[np.uint8], own: int | None = None) -> Floats:
    """The score of each quality, -1 to 1: how well the coefficients fit its steps.

    Args:
        tiles: uint8 (n, h, w), aligned with the grid.
        own: quality of the file, if the grid is that of its JPEG.
    """
    n, height, width = tiles.shape
    rows, columns = height // 8, width // 8
    blocks = tiles[:, : rows * 8, : columns * 8].reshape(n, rows, 8, columns, 8)
    corners = [blocks[:, :, y, :, x] for y in (0, 3, 6) for x in (0, 3, 6)]
    range_of = functools.reduce(np.maximum, corners) - functools.reduce(np.minimum, corners)
    places = np.nonzero(range_of >= _LEAST_RANGE)
    if not len(places[0]):
        return np.zeros(len(_QUALITIES))
    every = max(1, len(places[0]) // _BLOCKS)
    at = tuple(place[::every] for place in places)
    sample = blocks[at[0], at[1], :, at[2], :].reshape(-1, 64).astype(np.float32)
    coefficients = np.abs((sample - np.float32(128)) @ _LOW)
    multiples = coefficients[:, _USED[1]] * _RATES[_USED[0]]
    counts = (multiples > _LEAST_STEPS).astype(np.float32)
    fits = np.cos(multiples * np.float32(2 * np.pi)) * counts
    # blocks are the first axis: numpy sums along the second of three at a tenth of the speed
    scores = _by_quality(_spread(fits.sum(axis=0)), _spread(counts.sum(axis=0)).astype(np.int64))
    return scores if own is None else np.maximum(scores, _by_holes(coefficients, own))


def _spread(values: Floats) -> Floats:
    """Values of the used steps as (steps, terms), 0 elsewhere."""
    out = np.zeros((len(_STEPS), len(_TERMS)), np.float32)
    out[_USED] = values
    return out


def _by_quality(fits: Floats, weights: Floats) -> Floats:
    """Scores of the qualities from sums (steps, terms) of fits and of weights."""
    total = _sums(weights)
    return np.where(total >= _LEAST_COEFFICIENTS, _sums(fits) / np.maximum(total, 1), 0.0)


def _sums(values: Floats) -> Floats:
    """Sums over the terms, (qualities,), of values (steps, terms) at the steps of each quality."""
    return np.asarray((values[_PLACES] * _IS_KNOWN).sum(axis=1))


def _by_holes(coefficients: Floats, own: int) -> Floats:
    """The score of each quality by the holes that its steps leave in the histograms of a file's own steps.

    Multiples of an earlier, coarser step, rounded to the file's own steps, leave out some of them (J. Lukas and
    J. Fridrich, Estimation of primary quantization matrix in double compressed JPEG images, DFRWS 2003). The score is
    the share that is missing of what the neighbouring values let expect, -1 to 1.
    """
    step = _own_steps(own).astype(np.float32)
    level = np.minimum(np.rint(coefficients / step), _LEVELS + 1).astype(np.intp)
    counts = np.stack([np.bincount(column, minlength=_LEVELS + 2)[: _LEVELS + 1] for column in level.T])
    expected = np.sqrt(counts[:, :-2] * counts[:, 2:])
    holes = _holes(own)
    usual = _sums(np.einsum("stl,tl->st", holes, expected))
    found = _sums(np.einsum("stl,tl->st", holes, counts[:, 1:-1]))
    return np.where(usual >= _LEAST_EXPECTED, np.maximum(usual - found, -usual) / (usual + _DOUBT), 0.0)


def _own_steps(own: int) -> NDArray[np.int64]:
    table = scaled_luma(own)
    return np.array([table[row, column] for row, column in _TERMS])


@functools.cache
def _holes(own: int) -> Floats:
    """The multiples of a file's own steps, from 1 on, that earlier steps leave out: float32 (steps, terms, levels)."""
    step = _own_steps(own)
    ratio = (_STEPS[:, None] / step)[:, :, None]
    level = np.arange(1, _LEVELS)
    is_left_out = np.abs(np.rint(np.rint(level / ratio) * ratio) - level) > 0.5
    return (is_left_out & (level > 1) & (ratio > 1) & (ratio < 2)).astype(np.float32)
