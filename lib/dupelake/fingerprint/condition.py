"""The condition of one picture: the traces of encoding, noise, blur, sharpening and tone edits in its pixels.

Each measure uses at most four tiles of 128 x 128 pixels, so its cost does not grow with the picture. Tiles are aligned
with JPEG's 8 x 8 grid and have the same positions in all pictures of one size. The measures also depend on the scene,
so compare them only between copies of one picture (group/keeping.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.fingerprint.quantiser import cosines, quantised
from dupelake.fingerprint.slopes import magnitude

Floats = NDArray[Any]  # float32; the stubs of OpenCV promise no type

_TILE = 128
_TILES_A_SIDE = 2
_LEAST_PX = 32  # shortest side; smaller pictures are not measured
_MARGIN = 8  # pixels at the edge of a tile whose neighbourhood belongs to another tile
_BLOCKS = 400
_MIN_RANGE = (
    7.0  # levels between the darkest and brightest pixel of a block; a flatter block has zero coefficients anyway
)
_MIN_BLOCKS = 24
_ZERO = 0.6  # coefficients below it count as zero; rounding to whole levels moves a zero by less
_END_SHARE = 0.0005  # of the samples; the lowest and highest level in use are quantiles at this distance from the ends
_END_LEVELS = 10  # encoding spreads one level over so many, most of all in dark areas
_NOISE_CELL = 16
_EDGE_SHARE = 0.04  # of the pixels: those of the steepest coarse slopes
_COARSE_SIGMA = 2.0


@dataclass(frozen=True)
class Condition:
    """The measures of one picture; None if it is too small or too flat.

    Attributes:
        jpeg_trace: -1 to 1, share of zero DCT coefficients on JPEG's grid minus that off the grid. Above 0.03 the
            pixels were a JPEG once, whatever the format of the file is now.
        earlier_quality: 20 to 95, quality of an earlier JPEG of lower quality, or on another grid, of the pixels.
        quantiser_fits: `quantiser.Quantised.fits`, 77 bytes.
        blockiness: levels by which neighbours differ more across the borders of JPEG's blocks than inside.
        noise: levels, standard deviation of the finest detail in the smoothest tenth of the picture.
        sharpness: fine detail at the strongest edges, without noise, divided by their coarse slope; blur lowers it,
            sharpening raises it.
        clipped: 0 to 1, share of pixels at the lowest and highest greys in use. Clipped tones stay there when the
            picture is made paler.
        comb: 0 to 2, unevenness of the histogram: the gaps and peaks of curves, stretching and posterising.
        contrast: levels between the first and the last percentile of brightness.
        colourfulness: levels, deviation of colours from the line that fits them best; 0 for grey pictures and for those
            tinted in one colour.
    """

    jpeg_trace: float | None = None
    earlier_quality: int | None = None
    quantiser_fits: bytes | None = None
    blockiness: float | None = None
    noise: float | None = None
    sharpness: float | None = None
    clipped: float | None = None
    comb: float | None = None
    contrast: float | None = None
    colourfulness: float | None = None


def measure_condition(rgb: NDArray[np.uint8], grey: NDArray[np.uint8], jpeg_quality: int | None = None) -> Condition:
    """The condition of a picture, from its decoded pixels at full size.

    Args:
        rgb: uint8 (h, w, 3); may be reduced, for only tones and colours are read from it.
        grey: uint8 (h, w), the same picture in grey, at full size.
        jpeg_quality: 1 to 100, of the file; None if it is not a JPEG.

    Raises:
        ValueError: grey is smaller, or they are not uint8 pictures.
    """
    if rgb.dtype != np.uint8 or grey.dtype != np.uint8 or rgb.ndim != 3 or grey.ndim != 2 or grey.size * 3 < rgb.size:
        raise ValueError(f"uint8 (h, w, 3) and uint8 (h, w), not smaller, not {rgb.shape} and {grey.shape}")
    if min(*grey.shape, *rgb.shape[:2]) < _LEAST_PX:
        return Condition()
    tiles, colours = _tiles_of(grey), _tiles_of(rgb)
    noise, sharpness = _fine(tiles)
    comb, contrast, colourfulness = _tones(colours)
    clipped = _piled_up(tiles)
    blockiness, start = _blockiness(tiles)
    trace = _trace(tiles)
    starts = dict.fromkeys(
        [start, (grey.shape[0] % 8, 0), (0, grey.shape[1] % 8)]
    )  # mirrored, or rotated by 90 degrees
    found = quantised(tiles, (one for one in starts if one != (0, 0)), jpeg_quality)
    return Condition(
        trace,
        found.earlier_quality,
        found.fits,
        blockiness,
        noise,
        sharpness,
        clipped,
        comb,
        contrast,
        colourfulness,
    )


def _tiles_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    sides = min(_TILE, height // 8 * 8), min(_TILE, width // 8 * 8)
    return np.stack([picture[y : y + sides[0], x : x + sides[1]] for y in _places(height) for x in _places(width)])


def _places(side: int) -> list[int]:
    n = max(1, min(_TILES_A_SIDE, side // _TILE))
    room = max(0, side - _TILE)
    return [room * i // max(1, n - 1) // 8 * 8 if n > 1 else room // 2 // 8 * 8 for i in range(n)]


def _high_terms() -> Floats:
    """float32 (64, 58): matrix from the pixels of a block to its DCT coefficients, without the lowest ones."""
    terms = np.einsum("uy,vx->yxuv", cosines(), cosines()).reshape(64, 8, 8)
    return np.ascontiguousarray(terms[:, np.add.outer(np.arange(8), np.arange(8)) >= 3])


_HIGH = _high_terms()


def _trace(tiles: NDArray[np.uint8]) -> float | None:
    """Share of zero coefficients on JPEG's grid minus that off the grid.

    Z. Fan and R. de Queiroz, Identification of bitmap compression history, IEEE TIP 2003, detect JPEG by the borders of
    its grid. Here the zeros of its quantiser are used.
    """
    on, beside = _zeros(tiles), _zeros(tiles[:, 4:, 4:])
    return None if on is None or beside is None else on - beside


def _zeros(tiles: NDArray[np.uint8]) -> float | None:
    n, height, width = tiles.shape
    rows, columns = height // 8, width // 8
    blocks = tiles[:, : rows * 8, : columns * 8].reshape(n, rows, 8, columns, 8)
    n_blocks = n * rows * columns
    at = np.unravel_index(np.arange(0, n_blocks, max(1, -(-n_blocks // _BLOCKS))), (n, rows, columns))
    values = blocks[at[0], at[1], :, at[2], :].reshape(-1, 64)
    values = values[np.ptp(values, axis=1) > _MIN_RANGE]
    if len(values) < _MIN_BLOCKS:
        return None
    coefficients = np.abs((values.astype(np.float32) - np.float32(128)) @ _HIGH)
    return float(np.count_nonzero(coefficients < _ZERO) / coefficients.size)


def _blockiness(tiles: NDArray[np.uint8]) -> tuple[float, tuple[int, int]]:
    """The blockiness of the strongest phase, and the (row, column) at which the grid starts by that phase."""
    found, start = 0.0, []
    for mean in _mean_steps(tiles):
        phases = np.array([mean[i::8].mean() for i in range(8)])
        at = int(phases.argmax())
        found += float(phases[at] - np.delete(phases, at).mean()) / 2
        start.append((at + 1) % 8)
    return found, (start[0], start[1])


def _mean_steps(tiles: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean differences of at most 24 levels between neighbouring rows, and between columns, of whole blocks."""
    n, height, width = tiles.shape
    down = _steps(tiles[:, 1 : height // 8 * 8], tiles[:, : height // 8 * 8 - 1])
    across = _steps(tiles[:, :, 1 : width // 8 * 8], tiles[:, :, : width // 8 * 8 - 1])
    # sums of at most 2**24 are exact in float32, in any order
    of_rows = (down @ np.ones(width, np.float32)).sum(axis=0)
    of_columns = np.ones(n * height, np.float32) @ across.reshape(n * height, -1)
    return of_rows.astype(np.float64) / (n * width), of_columns.astype(np.float64) / (n * height)


def _steps(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats:
    steps = np.maximum(first, second) - np.minimum(first, second)
    return np.minimum(steps, 24, out=steps).astype(np.float32)


def _fine(tiles: NDArray[np.uint8]) -> tuple[float, float | None]:
    n, height, width = tiles.shape
    inner = (slice(None), slice(_MARGIN, height - _MARGIN), slice(_MARGIN, width - _MARGIN))
    picture: Floats = tiles.reshape(n * height, width).astype(np.float32)
    fine = np.abs(cv2.filter2D(picture, -1, _FINEST)).reshape(tiles.shape)[inner]
    noise = float(np.quantile(_cells(fine), 0.1) * np.sqrt(np.pi / 2))
    soft = cv2.GaussianBlur(picture, (9, 9), _COARSE_SIGMA)
    gx, gy = (cv2.Sobel(soft, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    slope = magnitude(gx, gy).reshape(tiles.shape)
    clear = np.zeros(tiles.shape, np.bool_)
    clear[inner] = slope[inner] >= max(1.0, _steep(slope[inner]))
    edge = np.flatnonzero(clear.ravel())
    if len(edge) < 64:
        return noise, None
    detail = (picture - soft).ravel()[edge]
    power = float(np.square(detail).mean()) - _SOFTENED * noise**2
    sharpness = np.sqrt(max(power, 0.0)) / float(slope.ravel()[edge].mean())
    return noise, float(sharpness)


_FINEST = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6  # J. Immerkaer, CVIU 64, 1996: noise alone
_SOFTENED = 0.92  # share of the power of white noise that remains after its blur is subtracted


def _steep(slope: Floats) -> float:
    sample = slope.ravel()[::5]
    at = int(len(sample) * (1 - _EDGE_SHARE))
    return float(np.partition(sample, at)[at])


def _cells(fine: Floats) -> Floats:
    n, height, width = fine.shape
    rows, columns = max(1, height // _NOISE_CELL), max(1, width // _NOISE_CELL)
    side_y, side_x = min(height, _NOISE_CELL), min(width, _NOISE_CELL)
    kept = fine[:, : rows * side_y, : columns * side_x]
    return kept.reshape(n, rows, side_y, columns, side_x).mean(axis=(2, 4)).ravel()


def _piled_up(tiles: NDArray[np.uint8]) -> float:
    """Share of pixels in the lowest and the highest levels of grey that are in use, wherever they lie."""
    sample = tiles[:, ::2, ::2].ravel()
    total = np.cumsum(_histogram(sample)) / len(sample)
    low, high = (int(np.searchsorted(total, _END_SHARE)), int(np.searchsorted(total, 1.0 - _END_SHARE)))
    below = total[min(255, low + _END_LEVELS - 1)]
    above = 1.0 - (total[high - _END_LEVELS] if high >= _END_LEVELS else 0.0)
    return float(min(1.0, below + above))


def _histogram(values: NDArray[np.uint8], channel: int = 0) -> NDArray[np.float64]:
    """The number of pixels of each level, float64 (256,); exact below 2**24 pixels."""
    return cv2.calcHist([values], [channel], None, [256], [0, 256]).ravel().astype(np.float64)


def _tones(colours: NDArray[np.uint8]) -> tuple[float, float, float]:
    n, height, width, _ = colours.shape
    flat = colours[:, ::2, ::2].reshape(-1, 1, 3)
    counts = np.stack([_histogram(flat, channel) for channel in range(3)]) / len(flat)
    inner = counts[:, 2:-2]
    around = sum(counts[:, k : k + 252] for k in range(5)) / 5
    comb = float(np.abs(inner - around).sum() / max(float(inner.sum()), 1e-6))
    total = np.cumsum(counts.mean(axis=0))
    contrast = float(np.searchsorted(total, 0.99) - np.searchsorted(total, 0.01))
    strip = colours.reshape(n * height, width, 3)
    means: Any = cv2.resize(
        strip, (width // 8, n * height // 8), interpolation=cv2.INTER_AREA
    )  # averages out colour noise
    values = means.reshape(-1, 3).astype(np.float32)
    spread = np.cov(values[:, 0] - values[:, 1], values[:, 2] - values[:, 1])
    return comb, contrast, float(np.sqrt(max(0.0, np.linalg.eigvalsh(spread)[0])))
