"""Detects an earlier JPEG compression of pixels: their DCT coefficients are multiples of the steps of its quantiser.

Z. Fan and R. de Queiroz, Identification of bitmap compression history, IEEE TIP 2003, fit the steps by likelihood. Here
the measure is the mean cosine of the coefficients for each step: 1 if all are multiples of the step, near 0 otherwise.
Noise, filters and scaling destroy the steps. A change of brightness scales them, so another quality is found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dupelake.fingerprint.encoding import scaled_luma

Floats = NDArray[Any]  # float32

_TERMS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2))  # (row, column) of coefficients
_QUALITIES = np.arange(20, 96)
_STEPS = np.arange(3, 49)  # of the quantiser; finer ones are lost in rounding
_BLOCKS = 128
_RATES = (1 / _STEPS).astype(np.float32)
_LEAST_STEPS = 0.6  # steps; a smaller coefficient gives no information about the step
_LEAST_COEFFICIENTS = 40
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


def earlier_quality(
    tiles: NDArray[np.uint8], starts: Iterable[tuple[int, int]], jpeg_quality: int | None
) -> int | None:
    """The quality, 20 to 95, of an earlier JPEG of the pixels; None if no earlier JPEG is found.

    Args:
        tiles: uint8 (n, h, w), grey, aligned with the block grid of the file.
        starts: (row, column), 0 to 7: other possible starts of the earlier grid.
        jpeg_quality: of the file; None if it is not a JPEG.
    """
    top = 95 if jpeg_quality is None else jpeg_quality - _BELOW
    found = _quality(tiles, (0, 0), top, _CLEAR if jpeg_quality is None else _CLEAR_IN_JPEG)
    for start in starts:
        found = found or _quality(tiles, start, 95, _CLEAR_IN_JPEG)
    return found


def _quality(tiles: NDArray[np.uint8], start: tuple[int, int], top: int, clear: float) -> int | None:
    candidates = top >= _QUALITIES
    if not candidates.any():
        return None
    scores = _scores(tiles[:, start[0] :, start[1] :])[candidates]
    best = float(scores.max())
    if best < clear:
        return None
    at = int(np.flatnonzero(scores >= _NEAR_BEST * best)[0])
    while at + 1 < len(scores) and scores[at + 1] >= scores[at]:
        at += 1
    return int(_QUALITIES[at])


def _scores(tiles: NDArray[np.uint8]) -> Floats:
    """The score of each quality, -1 to 1: how well the coefficients fit its steps."""
    n, height, width = tiles.shape
    rows, columns = height // 8, width // 8
    blocks = tiles[:, : rows * 8, : columns * 8].reshape(n, rows, 8, columns, 8)
    every = max(1, rows * columns * n // _BLOCKS)
    at = np.unravel_index(np.arange(0, n * rows * columns, every), (n, rows, columns))
    sample = blocks[at[0], at[1], :, at[2], :].reshape(-1, 64).astype(np.float32)
    coefficients = np.abs((sample - np.float32(128)) @ _LOW)
    multiples = coefficients[None] * _RATES[:, None, None]
    counts = multiples > _LEAST_STEPS
    multiples *= np.float32(2 * np.pi)
    fits = np.einsum("sbt,sbt->st", np.cos(multiples, out=multiples), counts)
    weights = counts.sum(axis=1)
    is_known = (_STEPS[0] <= _TABLES) & (_STEPS[-1] >= _TABLES)
    at = np.clip(_TABLES - _STEPS[0], 0, len(_STEPS) - 1), np.arange(len(_TERMS))
    total = (weights[at] * is_known).sum(axis=1)
    score = (fits[at] * is_known).sum(axis=1) / np.maximum(total, 1)
    return np.where(total >= _LEAST_COEFFICIENTS, score, 0.0)
