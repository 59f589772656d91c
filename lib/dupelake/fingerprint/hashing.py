"""pHash (64 bit) and PDQ (256 bit) of decoded pixels, straight and mirrored, and the low-information rule.

Both hashes equal their references bit for bit: pHash that of `imagehash.phash` (version 4.3), PDQ that of
ThreatExchange's C++ code (`pdqhash` 0.2). Only the cost differs: both references shrink the picture by a linear,
separable filter, which here takes a few passes over the full-size pixels, by BLAS on blocks that fit into the cache.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import PIL
import scipy.fftpack
from numpy.typing import NDArray
from PIL import Image

from dupelake.config import Config, HashConfig, fingerprint
from dupelake.fingerprint.detail import DETAIL_VERSION

_REVISION = 6  # raise it with any change in this room that changes a hash, a flag, a digest or a thumbnail

_LANCZOS = Image.Resampling.LANCZOS
_PHASH_SIDE = 32  # imagehash: hash_size 8 times highfreq_factor 4
_PDQ_SIDE = 64  # PDQ paper, "The PDQ Algorithm": the filtered picture is sampled at 64 x 64
_PDQ_MIN_SIDE = 5  # pdqhashing.cpp, MIN_HASHABLE_DIM: smaller pictures get the zero hash of quality 0
_LUMA = (0.299, 0.587, 0.114)  # downscaling.cpp: ITU-R BT.601 luma of R, G, B
_PHASH_TIE = 1e-6  # of coefficients up to 1e6, with 16 digits
_TIE = 0.001  # distance of a coefficient from the median: the rounding error of the reference
_EXACT_MAX_PIXELS = 1 << 24  # the exact additions of the reference need 24 bytes a pixel
_BLOCK_BYTES = 1 << 21  # of one block of floats: two L2 caches; larger and smaller ones were slower
_BLOCKS = threading.local()  # one block a thread, reused: page faults of new blocks cost more than the sums over them

_ALTERNATING = np.tile([1.0, -1.0], 4)

_BLANK_PHASH = 1 << 63  # of every flat picture: only the constant coefficient is above the median, zero
_BLANK_MAX_BITS = 4  # hydrus refuses pHashes within 4 bits of blank ("ClientImagePerceptualHashes")


@dataclass(frozen=True)
class Pdq:
    """PDQ of one picture: 32 bytes each (the bytes of the usual 64 hex digits), quality 0 to 100."""

    bits: bytes
    mirrored: bytes
    quality: int


def phash(picture: Image.Image | NDArray[np.uint8]) -> np.uint64:
    """The pHash of a picture: Pillow image, or uint8 (height, width, 3) or (height, width); first bit highest.

    Bit for bit `imagehash.phash(Image.fromarray(picture))` (hash_size 8, highfreq_factor 4).
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return phash_pair(image.convert("L"))[0]


def phash_pair(grey: Image.Image, levels: NDArray[np.uint8] | None = None) -> tuple[np.uint64, np.uint64]:
    """The pHash of a picture of mode L, and of the same mirrored left to right; `levels` are its pixels, if at hand.

    The 32 x 32 picture is mirrored, not the original. Lanczos is symmetric, so the results are equal except for
    rounding by one grey level in rare cells. Mirroring inverts the sign of every second column of the DCT.
    """
    small = _shrink_grey(grey, levels)
    dct = _phash_dct()
    low = dct @ small @ dct.T
    return _phash_bits(low, small), _phash_bits(low * _ALTERNATING, small[:, ::-1])


def pdq(rgb: NDArray[np.uint8]) -> Pdq:
    """PDQ of uint8 (height, width, 3) pixels, straight and mirrored.

    Both Jarosz passes (two box filters along each axis) and the sampling at 64 x 64 are linear, so each axis is one
    banded matrix; both hashes share the first axis. The mirrored hash is exactly that of the mirrored picture.
    ThreatExchange's dihedral hashes invert signs of the DCT instead; their sampling is off centre by half a pixel, so
    they differ by up to 16 bits from the hash of a mirrored file.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < _PDQ_MIN_SIDE:
        return Pdq(bytes(32), bytes(32), 0)
    pixels = np.ascontiguousarray(rgb)
    both = _pdq_columns(_pdq_rows(pixels), height)
    straight, mirrored = _pdq_coefficients(both, pixels)
    return Pdq(_pdq_bits(straight), _pdq_bits(mirrored), _pdq_quality(both[0]))


def is_low_information(width_px: int, height_px: int, phash_bits: int, pdq_quality: int, cfg: HashConfig) -> bool:
    """Whether the hashes of this picture do not identify it, so that they must not be joined.

    Hashes of flat pictures collide or are random, and those of tiny pictures match anything. The rule: a side below
    `low_information_min_side_px`, PDQ quality (edges at 64 x 64) at most `low_information_max_quality`, or a pHash
    within 4 bits of that of a flat picture.
    """
    if min(width_px, height_px) < cfg.low_information_min_side_px or pdq_quality <= cfg.low_information_max_quality:
        return True
    unsigned = int(phash_bits) & 0xFFFF_FFFF_FFFF_FFFF
    return min((unsigned ^ _BLANK_PHASH).bit_count(), unsigned.bit_count()) <= _BLANK_MAX_BITS


def to_signed(bits: np.uint64 | int) -> int:
    """A 64-bit hash as a signed BIGINT of Spark: the same bits in two's complement."""
    value = int(bits)
    return value - (1 << 64) if value >= 1 << 63 else value


def hash_version(cfg: Config) -> str:
    """The version of a row of hashes, for example 'h1-pillow13-0f3a6c1e'; rows of two versions are never compared.

    It changes with the revisions of the algorithms, with every option that changes bits or limits (decoding, the
    low-information rule, thumbnails), and with Pillow's major version, because majors change conversions between modes
    and pixel digests must be equal exactly. Pillow's minor versions update decoders several times a year and rarely
    change decoded pixels, so recomputing every image for them is not worth it. Only thumbnails depend on OpenCV: it
    decodes JPEGs to the same pixels as Pillow.
    """
    options = cfg.as_dict()
    hashing = {k: v for k, v in options["hash"].items() if k not in ("batch_bytes", "rows_per_task")}
    digest = fingerprint([options["decode"], hashing, DETAIL_VERSION])[:8]
    return f"h{_REVISION}-pillow{PIL.__version__.split('.')[0]}-{digest}"


def _as_floats(pixels: NDArray[np.uint8], kind: type[np.float32] | type[np.float64]) -> NDArray[Any]:
    """`pixels` as floats in this thread's block, valid until the next call; a new array if they exceed the block."""
    if pixels.size * np.dtype(kind).itemsize > _BLOCK_BYTES:
        return pixels.astype(kind)
    kept = getattr(_BLOCKS, "bytes", None)
    if kept is None:
        kept = _BLOCKS.bytes = np.empty(_BLOCK_BYTES, np.uint8)
    block = kept.view(kind)[: pixels.size].reshape(pixels.shape)
    np.copyto(block, pixels)
    return block


def _phash_bits(low: NDArray[np.float64], small: NDArray[Any]) -> np.uint64:
    """The low (8, 8) of the type-II DCT of `small` (32, 32) to bits: above their median."""
    ordered = np.sort(low, axis=None)
    if ordered[32] - ordered[31] < _PHASH_TIE:
        # Most coefficients of a flat or striped picture are rounding noise near the median, so only imagehash's own DCT
        # gives the same bits.
        low = scipy.fftpack.dct(scipy.fftpack.dct(small.astype(np.uint8), axis=0), axis=1)[:8, :8]
        ordered = np.sort(low, axis=None)
    bits = low > (ordered[31] + ordered[32]) / 2  # np.median without its overhead
    return np.packbits(bits).view(">u8")[0].astype(np.uint64)


@lru_cache(maxsize=1)
def _phash_dct() -> NDArray[np.float64]:
    """float64 (8, 32): the first 8 frequencies of the type-II DCT of 32 samples, scaled as scipy does."""
    frequency, position = np.arange(8)[:, None], np.arange(_PHASH_SIDE)[None, :]
    return 2.0 * np.cos((math.pi / 2 / _PHASH_SIDE) * frequency * (2 * position + 1))


def _shrink_grey(grey: Image.Image, levels: NDArray[np.uint8] | None) -> NDArray[Any]:
    """`grey.resize((32, 32), LANCZOS)` bit for bit, whole numbers (32, 32); BLAS is 4 times as fast.

    Pillow (Resample.c, `ImagingResampleHorizontal_8bpc`) sums pixel times coefficient as integers of 22 fractional
    bits. Those sums stay below 2**53, so float64 holds them exactly, in any order of addition.
    """
    width, height = grey.size
    if min(width, height) <= 2 * _PHASH_SIDE:
        return np.asarray(grey.resize((_PHASH_SIDE, _PHASH_SIDE), _LANCZOS))
    pixels = np.asarray(grey) if levels is None else levels
    rows = np.empty((height, _PHASH_SIDE))
    step = max(1, _BLOCK_BYTES // (8 * width))
    blocks = _lanczos_blocks(width)
    for top in range(0, height, step):
        block = _as_floats(pixels[top : top + step], np.float64)
        for first, left, right, weights in blocks:
            rows[top : top + step, first : first + 8] = block[:, left:right] @ weights
    _round(rows)
    small = np.empty((_PHASH_SIDE, _PHASH_SIDE))
    for first, left, right, weights in _lanczos_blocks(height):
        small[first : first + 8] = weights.T @ rows[left:right]
    return _round(small)


def _round(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` to whole numbers within 0 to 255, halves up, in place."""
    values += 0.5
    np.floor(values, out=values)
    return np.clip(values, 0.0, 255.0, out=values)


@lru_cache(maxsize=256)  # a few hundred kB at most each
def _lanczos_blocks(length: int) -> list[tuple[int, int, int, NDArray[np.float64]]]:
    """Pillow's Lanczos coefficients from `length` to 32 samples, in 4 blocks: first output, input range, weights.

    Equal to `precompute_coeffs` and `normalize_coeffs_8bpc` of Resample.c: multiples of 2**-22.
    """
    scale = length / _PHASH_SIDE
    support = 3.0 * scale
    centres = (np.arange(_PHASH_SIDE) + 0.5) * scale
    low = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centres + support + 0.5).astype(np.int64), length)
    at = np.arange(int((high - low).max()))
    x = (at + low[:, None] - centres[:, None] + 0.5) * (1.0 / scale)
    is_inside = (np.abs(x) < 3.0) & (at < (high - low)[:, None])
    raw = np.where(is_inside, np.sinc(x) * np.sinc(x / 3), 0.0)
    weights = raw * (1.0 / np.cumsum(raw, axis=1)[:, -1:])  # cumsum adds in order, as C does
    # C's cast truncates, after half a unit away from zero has been added
    fixed = np.trunc(np.copysign(0.5, weights) + weights * (1 << 22)) / (1 << 22)
    blocks = []
    for first in range(0, _PHASH_SIDE, 8):
        left, right = int(low[first]), int(high[first + 7])
        matrix = np.zeros((right - left, 8))
        for column, (start, end) in enumerate(zip(low[first : first + 8], high[first : first + 8], strict=True)):
            matrix[start - left : end - left, column] = fixed[first + column, : end - start]
        blocks.append((first, left, right, matrix))
    return blocks


def _pdq_rows(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma of uint8 (height, width, 3), filtered and sampled along the columns; float32 (64, width), 0 to 255."""
    height, width = rgb.shape[:2]
    luma = np.array(_LUMA, np.float32)
    if (height, width) == (_PDQ_SIDE, _PDQ_SIDE):  # pdqhashing.cpp does not filter such a picture
        return _luma_as_published(rgb)
    starts, weights = _jarosz(height)
    flat = rgb.reshape(height, width * 3)
    taps = weights.shape[1]
    filtered = np.empty((_PDQ_SIDE, width * 3), np.float32)
    step = max(1, _BLOCK_BYTES // (4 * taps * width * 3))
    for first in range(0, _PDQ_SIDE, step):
        if step == 1:
            block = _as_floats(flat[starts[first] : starts[first] + taps], np.float32)[None]
        else:
            block = _as_floats(flat[starts[first : first + step, None] + np.arange(taps)], np.float32)
        np.matmul(weights[first : first + step, None, :], block, out=filtered[first : first + step, None, :])
    return filtered.reshape(_PDQ_SIDE, width, 3) @ luma


def _pdq_columns(luma: NDArray[np.float32], height: int) -> NDArray[np.float32]:
    """`luma` (64, width), filtered and sampled along the rows: float32 (2, 64, 64), straight and mirrored."""
    both = np.empty((2, _PDQ_SIDE, _PDQ_SIDE), np.float32)
    if (height, luma.shape[1]) == (_PDQ_SIDE, _PDQ_SIDE):
        both[0], both[1] = luma, luma[:, ::-1]
        return both
    for first, left, right, weights in _jarosz_blocks(luma.shape[1]):
        block = luma[:, left:right] @ weights
        last = _PDQ_SIDE - first
        both[0, :, first : first + 16], both[1, :, last - 16 : last] = block[:, :16], block[:, 16:]
    return both


def _pdq_coefficients(both: NDArray[np.float32], rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """DCT of the filtered pictures (2, 64, 64), float32 (2, 16, 16); `rgb` is the picture that they were made from.

    The reference adds 32-bit floats pixel by pixel, with errors of about 0.001 in a coefficient. If a coefficient is so
    close to the median (drawings, symmetric or flat pictures; under 1 % of photographs), the additions are repeated in
    the order of the reference, at several times the cost, to get the same bits.
    """
    dct = _pdq_dct()
    coefficients = (dct @ both.astype(np.float64) @ dct.T).astype(np.float32)
    if rgb.shape[0] * rgb.shape[1] <= _EXACT_MAX_PIXELS:
        ties = [_has_tie(one) for one in coefficients]
        if any(ties):
            luma = _luma_as_published(rgb)
            coefficients[ties] = _pdq_coefficients_as_published(np.stack((luma, luma[:, ::-1]))[ties])
    return coefficients


def _box_window(length: int) -> tuple[int, int, int]:
    """(samples, samples after the centre, samples before it) of one box filter, cut off at the borders."""
    window = (length + 2 * _PDQ_SIDE - 1) // (2 * _PDQ_SIDE)  # downscaling.cpp, computeJaroszFilterWindowSize
    ahead = (window + 2) // 2 - 1  # box1DFloat: halfWindowSize - 1
    return window, ahead, window - 1 - ahead


@lru_cache(maxsize=256)
def _jarosz(length: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Two box filters and the sampling at 64 positions along an axis of `length`, as one banded matrix.

    Returns:
        (starts int64 (64,), weights float32 (64, taps)): output i is weights[i] @ input[starts[i]:starts[i] + taps].
    """
    window, ahead, behind = _box_window(length)
    sampled = ((np.arange(_PDQ_SIDE) + 0.5) * length / _PDQ_SIDE).astype(np.int64)
    taps = min(length, 2 * window - 1)
    starts = np.minimum(np.maximum(0, sampled - 2 * behind), length - taps)
    inputs = starts[:, None] + np.arange(taps)
    first, last = np.maximum(0, sampled - behind), np.minimum(length, sampled + ahead + 1)  # of the second box
    weights = np.zeros((_PDQ_SIDE, taps))
    for step in range(window):
        low, high = np.maximum(0, first + step - behind), np.minimum(length, first + step + ahead + 1)  # of the first
        is_used = (first + step < last)[:, None] & (inputs >= low[:, None]) & (inputs < high[:, None])
        weights += is_used / np.maximum(1, (last - first) * (high - low))[:, None]
    return starts, weights.astype(np.float32)


@lru_cache(maxsize=256)
def _jarosz_blocks(length: int) -> list[tuple[int, int, int, NDArray[np.float32]]]:
    """`_jarosz` along the rows, in 4 blocks of 16 outputs: first output, input range, weights (inputs, 32).

    The first 16 columns are for the picture, the others for its mirror. The last outputs of the mirror have nearly the
    same inputs as the first outputs of the picture, because only the sampling is off centre.
    """
    starts, weights = _jarosz(length)
    matrix = np.zeros((length, _PDQ_SIDE), np.float32)
    np.put_along_axis(matrix, (starts[:, None] + np.arange(weights.shape[1])).T, weights.T, axis=0)
    blocks = []
    for first in range(0, _PDQ_SIDE, 16):
        last = _PDQ_SIDE - first
        part = np.hstack((matrix[:, first : first + 16], matrix[::-1, last - 16 : last]))
        used = np.flatnonzero(part.any(axis=1))
        left, right = int(used[0]), int(used[-1]) + 1
        blocks.append((first, left, right, np.ascontiguousarray(part[left:right])))
    return blocks


@lru_cache(maxsize=1)
def _pdq_dct() -> NDArray[np.float64]:
    """float64 (16, 64): frequencies 1 to 16 of the DCT of 64 samples, without the constant (pdqhashing.cpp)."""
    frequency, position = np.arange(1, 17)[:, None], np.arange(_PDQ_SIDE)[None, :]
    scale = float(np.float32(math.sqrt(2.0 / _PDQ_SIDE)))  # the reference keeps this factor as a float
    return scale * np.cos((math.pi / 2 / _PDQ_SIDE) * frequency * (2 * position + 1))


def _pdq_coefficients_as_published(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (n, 16, 16): the result of pdqhashing.cpp for lumas (n, height, width), with the same roundings."""
    height, width = luma.shape[1:]
    if (height, width) != (_PDQ_SIDE, _PDQ_SIDE):
        for _ in range(2):
            lines = _box_as_published(np.ascontiguousarray(luma.transpose(2, 0, 1)))
            luma = _box_as_published(np.ascontiguousarray(lines.transpose(2, 1, 0))).transpose(1, 0, 2)
        rows, columns = (((np.arange(_PDQ_SIDE) + 0.5) * n / _PDQ_SIDE).astype(np.int64) for n in (height, width))
        luma = luma[:, rows][:, :, columns]
    dct = _pdq_dct().astype(np.float32)
    # sums in the order of the reference's loops; a matrix product adds in another order
    half = np.zeros((len(luma), 16, _PDQ_SIDE), np.float32)
    for i in range(_PDQ_SIDE):
        half += dct[:, i, None] * luma[:, i, None, :]
    coefficients = np.zeros((len(luma), 16, 16), np.float32)
    for i in range(_PDQ_SIDE):
        coefficients += half[:, :, i, None] * dct[:, i]
    return coefficients


def _box_as_published(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """One box filter along the first axis, a running sum as in box1DFloat: add the next sample, subtract the last."""
    length = lines.shape[0]
    window, ahead, behind = _box_window(length)
    sums = np.empty_like(lines)
    samples, outputs = list(lines), list(sums)
    total = np.zeros_like(samples[0])
    for at in range(length + ahead):
        target = outputs[max(0, at - ahead)]
        if at < length:
            total = np.add(total, samples[at], out=target)
        if at >= window:
            total = np.subtract(total, samples[at - window], out=target)
    index = np.arange(length)[:, None, None]
    sums /= (np.minimum(length, index + ahead + 1) - np.maximum(0, index - behind)).astype(np.float32)
    return sums


def _luma_as_published(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma of uint8 (height, width, 3), float32 (height, width), rounded as pdqhash does."""
    return (rgb[:, :, 0] * _LUMA[0] + rgb[:, :, 1] * _LUMA[1] + rgb[:, :, 2] * _LUMA[2]).astype(np.float32)


def _has_tie(coefficients: NDArray[np.float32]) -> bool:
    """Whether the next coefficient above the lower median is within `_TIE` of it; only their order decides bits."""
    ordered = np.partition(coefficients, (127, 128), axis=None)
    return bool(ordered[128] - ordered[127] < _TIE)


def _pdq_bits(coefficients: NDArray[np.float32]) -> bytes:
    """float32 (16, 16) to 32 bytes: above the lower median (torben.cpp), the last coefficient first."""
    flat = coefficients.reshape(-1)
    median = np.partition(flat, 127)[127]
    return np.packbits((flat > median)[::-1]).tobytes()


def _pdq_quality(filtered: NDArray[np.float32]) -> int:
    """Sum of gradients between neighbours, in whole percents of 255, over 90, at most 100 (pdqhashing.cpp)."""
    hundred, full = np.float32(100), np.float32(255)
    down = np.trunc((filtered[:-1] - filtered[1:]) * hundred / full)
    across = np.trunc((filtered[:, :-1] - filtered[:, 1:]) * hundred / full)
    return min(100, int(np.abs(down).sum() + np.abs(across).sum()) // 90)
