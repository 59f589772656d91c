"""Measures the share of a picture's linear resolution that carries detail; enlarging adds pixels but no detail.

Two signs of enlarging are measured. A smooth filter (bilinear, bicubic, Lanczos) leaves a cliff in the spectrum at the
old resolution; the spectrum of a photograph falls evenly, about as 1/f^2 (Field, Relations between the statistics of
natural images and the response properties of cortical cells, JOSA A 1987). Repeated pixels (nearest) leave no cliff,
but zero differences between neighbours at a fixed period (Gallagher, Detection of linear and cubic interpolation in
JPEG compressed images, CRV 2005, uses the same period).

A blurred or very smooth photograph has a cliff too and measures low; an enlarged copy of it measures lower still.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import fft

DETAIL_VERSION = 1

Floats = NDArray[np.float64]

_WINDOWS = (128, 64, 32)  # samples of a spectrum; the longest that fits into the picture is used
_LINES = 64  # rows, and as many columns, that are measured
_STARTS = 4  # windows along each
_FLAT = 4.0  # mean power per sample (8-bit levels squared); a flatter picture is not measured
# Measured on ImageNet photographs, original and enlarged with three filters and saved at JPEG 50 to 95:
_CLIFF_DB = 3.5  # every bin in the third of an octave above a cliff lies so far below the mean of the octave under it
_MARGIN = 0.84  # filters roll off above the old resolution; with this step an enlarged copy rarely measures more
_STEPS_AN_OCTAVE = 4
LOWEST_DETAIL = 2.0**-2.5  # measure of all softer photographs, so that the larger of two soft ones ranks higher
_PROFILE = 1024  # differences along a row or column in which repeated pixels are searched
# Measured on the same photographs: 99 % of originals have no such period; 95 % of those with pixels repeated 2 or 3
# times (JPEG 50) have one
_MODULATION = 0.1
_PROMINENCE = 10.0  # times the median of all periods
_SLOW = 25  # neighbours whose mean is subtracted as a slow change
BANDS, FLOOR_DB, STEPS_A_DB = 64, -10.0, 4  # -10 dB is the power of rounding to whole levels
_NEARLY_HALF = 0.49  # of the sampling rate: every second one


def measure_spectrum(grey: NDArray[np.uint8]) -> tuple[float, bytes | None]:
    """The share of the linear resolution that carries detail, in four steps an octave, and the spectrum.

    Width and height times the share (1, .84, .71, .59, .5, ... .18) are the size at which the picture could be stored
    without visible loss. At most 256 windows of 128 samples are measured each way, so the cost does not grow with the
    picture.

    Args:
        grey: uint8 (h, w), not enlarged or reduced for this measurement.

    Returns:
        The share, 1.0 for a sharp picture and for one that is too small (a side below 32 px) or too flat. One byte for
        each of `BANDS` equal bands of frequencies up to the highest: the power per sample in steps of 1 / `STEPS_A_DB`
        dB above `FLOOR_DB`; None for a picture with a side below 32 px.

    Raises:
        ValueError: not a two-dimensional uint8 array.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(f"grey must be uint8 (h, w), not {grey.dtype} {grey.shape}")
    size = next((n for n in _WINDOWS if n <= min(grey.shape)), 0)
    if not size:
        return 1.0, None
    lines = [_lines(grey), _lines(grey.T)]
    power = np.add(*(_power(a, size) for a in lines)) / 2
    level = 10 * np.log10(power + 10 ** (FLOOR_DB / 10))
    bands = np.interp(np.arange(1, BANDS + 1) * (size / 2 / BANDS), np.arange(len(level)), level)
    spectrum = np.clip(np.round(STEPS_A_DB * (bands - FLOOR_DB)), 0, 255).astype(np.uint8).tobytes()
    if power[1 : size // 4].sum() < _FLAT:
        return 1.0, spectrum
    share = min(_cliff(power), _repetition(*lines))
    if share >= 1:
        return 1.0, spectrum
    steps = np.floor(_STEPS_AN_OCTAVE * np.log2(share) + 1e-9)
    return float(max(2.0 ** (steps / _STEPS_AN_OCTAVE), LOWEST_DETAIL)), spectrum


def _lines(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows spread over the picture, at most `_LINES`."""
    height = grey.shape[0]
    return grey[np.arange(min(height, _LINES)) * height // min(height, _LINES)]


def _power(lines: NDArray[np.uint8], size: int) -> Floats:
    """Mean power spectrum of windows along the lines: float64 (size / 2 + 1,)."""
    room = lines.shape[1] - size
    n_starts = min(_STARTS, 1 + room // (size // 4))
    starts = [room * i // max(n_starts - 1, 1) for i in range(n_starts)]
    cut = np.concatenate([lines[:, s : s + size] for s in starts]).astype(np.float32)
    window = _window(size)
    cut -= cut.mean(axis=1, keepdims=True)
    spectrum = fft.rfft(cut * window, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=0, dtype=np.float64)
    return np.asarray(power / float((window**2).sum()), np.float64)


@functools.cache
def _window(size: int) -> NDArray[np.float32]:
    """Hann window."""
    return np.hanning(size + 2)[1:-1].astype(np.float32)


def _cliff(power: Floats) -> float:
    """The frequency above which the whitened spectrum stays low, with a margin, as a share of the highest; else 1."""
    n = len(power) - 1
    level = 10 * np.log10(power * np.arange(n + 1) ** 2.0 + 1e-9)
    # medians of five bins: the borders of JPEG's blocks are peaks of one bin at every eighth of the sampling rate
    padded = np.pad(level, 2, mode="edge")
    level = np.sort(np.stack([padded[i : i + n + 1] for i in range(5)]), axis=0)[2]
    first, means, above = _cliff_windows(n)
    highest = np.append(level, -np.inf)[above].max(axis=1)
    falls = np.flatnonzero(highest < means @ level - _CLIFF_DB)
    return _MARGIN * (first + int(falls[0])) / n if len(falls) else 1.0


@functools.cache
def _cliff_windows(n: int) -> tuple[int, Floats, NDArray[np.intp]]:
    """The bins k of a spectrum of n + 1 bins that are tested for a cliff: the first k, and two arrays with a row each.

    The first array has the weights of the mean of the octave below k. The second has the indices of the bins in the
    third of an octave above k, padded with n + 1. Rows are in the order of k.
    """
    places = range(max(6, n // 10), n - 1)
    means = np.zeros((len(places), n + 1))
    above = np.full((len(places), max(4, n // 3 + 1)), n + 1, np.intp)
    for row, k in enumerate(places):
        low, high = max(3, k // 2), int(k * 0.85)
        means[row, low:high] = 1 / (high - low)
        bins = range(k, min(n, max(k + 4, int(k * 1.3))))
        above[row, : len(bins)] = bins
    return places[0], means, above


def _repetition(rows: NDArray[np.uint8], columns: NDArray[np.uint8]) -> float:
    """1 / s if pixels are repeated s times on average (s may be a fraction) in both directions, else 1.

    Repeated pixels make the mean differences between neighbours periodic: peaks with period s if s >= 2, holes with
    period s / (s - 1) if s < 2.
    """
    profiles = [profile for profile in (_differences(rows), _differences(columns)) if profile is not None]
    if len(profiles) < 2:
        return 1.0
    spectra = [np.abs(fft.rfft(profile, 4 * _PROFILE))[_PROFILE // 2 :] for profile in profiles]  # from 1/8 on
    modulation = np.sqrt(spectra[0] * spectra[1])
    k = int(modulation.argmax())
    if modulation[k] < max(_MODULATION, _PROMINENCE * float(np.median(modulation))):
        return 1.0
    frequency = (k + _PROFILE // 2) / (4 * _PROFILE)
    skew = sum(_skew(profile, frequency) for profile in profiles)
    return frequency if skew > 0 or frequency > _NEARLY_HALF else 1 - frequency


def _differences(lines: NDArray[np.uint8]) -> Floats | None:
    """Mean differences between neighbours along the lines, without slow changes, as shares of their sum.

    Differences across the borders of JPEG's blocks count as zero. None for flat lines.
    """
    after, before = lines[:, 1 : _PROFILE + 1], lines[:, :_PROFILE][:, : lines.shape[1] - 1]
    steps = (np.maximum(after, before) - np.minimum(after, before)).astype(np.float32)
    difference = (np.ones(len(steps), np.float32) @ steps).astype(np.float64) / len(steps)  # sums of integers: exact
    inner = np.arange(len(difference)) % 8 != 7
    total = float(difference[inner].sum())
    if total <= 0:
        return None
    centred = np.where(inner, difference - total / inner.sum(), 0.0)
    slow = np.convolve(centred, np.full(_SLOW, 1 / _SLOW), "same")
    return np.asarray(np.where(inner, centred - slow, 0.0) / total, np.float64)


def _skew(profile: Floats, frequency: float) -> float:
    """Above 0 if the profile, folded by its period, has peaks of the width `frequency`; below 0 if it has holes."""
    places = np.arange(len(profile))
    places = places[places % 8 != 7]
    part = (places[:, None] * frequency - np.arange(24) / 24) % 1 < frequency
    fold = (part.T @ profile[places]) / np.maximum(part.sum(axis=0), 1)
    return float(fold.max() + fold.min())
