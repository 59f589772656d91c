"""What stored spectra and quantiser fits of two copies say: which was enlarged, which is finer, which came from which.

Both are relative evidence: the spectrum of one picture is compared with that of the other at the same details, and the
steps of one file's quantiser are looked for in the pixels of the other.

An enlarged picture has no detail above the highest frequency of the smaller one, and less just below it: the filter
rolls off. A picture that was made smaller lost detail itself. Neither sign is certain, so a logistic model of both
decides; `benchmarks/enlarged.py` fits it (`assets/enlarged.json`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dupelake.fingerprint.detail import BANDS, STEPS_A_DB
from dupelake.fingerprint.quantiser import HIGHEST_QUALITY, LOWEST_QUALITY
from dupelake.propose.mih import binary_rows
from dupelake.shipped import shipped_asset

Floats = npt.NDArray[np.float64]
Stored: TypeAlias = "pa.Array | Sequence[bytes | None]"
"""A binary column, or its values."""

N_BANDS, N_QUALITIES = BANDS, HIGHEST_QUALITY - LOWEST_QUALITY + 1
_AROUND = 5  # bands; the borders of JPEG's blocks are peaks of one band
_COARSE = slice(5, 23)  # bands of the smaller picture in which both have the same power
_PARTS = (slice(25, 37), slice(37, 49), slice(49, 59))  # its finer bands
_SAMPLES = 9
_LAST, _FAR = 57.0, 1.25  # last band with a measurable cliff; scale from which cliffs are wide
_OFF = 0.8  # share of the best fit below which a fit does not count; neighbouring qualities share most steps


def levels_of(stored: Stored) -> Floats:
    """Smoothed levels in dB above the lowest that is stored, float64 (E, 64), of spectra; NaN where not measured."""
    raw = _table(stored, N_BANDS) / STEPS_A_DB
    padded = np.pad(raw, ((0, 0), (_AROUND // 2, _AROUND // 2)), mode="edge")
    near = np.sort(np.lib.stride_tricks.sliding_window_view(padded, _AROUND, axis=1), axis=2)
    return np.asarray(near[:, :, 1:-1].mean(axis=2))


def fits_of(stored: Stored) -> Floats:
    """How well pixels fit each quality, float64 (E, 77), 0 to 1; NaN where not measured."""
    return _table(stored, N_QUALITIES) / 100


def _table(stored: Stored, width: int) -> Floats:
    """float64 (E, width), NaN in rows of null; ValueError if a row has another width."""
    # A column of nulls alone may have no type.
    column = stored.cast(pa.binary()) if isinstance(stored, pa.Array) else pa.array(stored, pa.binary())
    values = binary_rows(pc.fill_null(column, bytes(width)), width).astype(np.float64)
    values[pc.is_null(column).to_numpy(zero_copy_only=False)] = np.nan
    return values


def fit_at(fits: Floats, quality: Floats, below: Floats) -> Floats:
    """How well the pixels fit the quantiser of a quality, float64 (E,); 0 where either is not known or not measurable.

    It is less where another quality fits clearly better.

    Args:
        fits: float64 (E, 77), result of `fits_of`.
        quality: float64 (E,), 1 to 100; NaN if there is none.
        below: float64 (E,), the quality that the file claims; other qualities are compared only below it.
    """
    at = np.nan_to_num(quality, nan=0.0).round().astype(np.int64) - LOWEST_QUALITY
    known = (at >= 0) & (at < N_QUALITIES)
    found = np.nan_to_num(np.take_along_axis(fits, np.clip(at, 0, N_QUALITIES - 1)[:, None], axis=1)[:, 0])
    others = np.arange(N_QUALITIES) + LOWEST_QUALITY < np.nan_to_num(below, nan=101.0)[:, None] - 2
    best = np.where(others, np.nan_to_num(fits), 0.0).max(axis=1, initial=0.0)
    share = found / np.maximum(np.maximum(best, found), 1e-6)
    return np.where(known, found * np.clip((share - _OFF) / (1 - _OFF) * 2, 0.0, 1.0), 0.0)


def fine_parts(small: Floats, large: Floats, scale: Floats) -> Floats:
    """Decibels by which the finer details of `small` are stronger, float64 (E, 3), the finest last.

    Args:
        small: float64 (E, 64), result of `levels_of`.
        large: the same of pictures with as many pixels or more.
        scale: float64 (E,), 1 or more: pixels of `large` for one of `small`, along a side.
    """
    places = np.arange(1, N_BANDS + 1) / np.maximum(scale, 1.0)[:, None]
    more = small - _at(large, places)
    more -= more[:, _COARSE].mean(axis=1, keepdims=True)
    return np.stack([more[:, part].mean(axis=1) for part in _PARTS], axis=1)


def fine_difference(src: Floats, dst: Floats, scale: Floats) -> Floats:
    """Decibels by which the fine details of `src` are stronger, float64 (E,).

    Args:
        src: float64 (E, 64), result of `levels_of`.
        dst: the same of the other ends.
        scale: float64 (E,), pixels of `dst` for one of `src`.
    """
    forth = fine_parts(src, dst, np.maximum(scale, 1.0))[:, 1:].mean(axis=1)
    back = fine_parts(dst, src, 1.0 / np.minimum(scale, 1.0))[:, 1:].mean(axis=1)
    return np.asarray(np.where(scale >= 1, forth, -back))


def enlarged_measures(small: Floats, large: Floats, scale: Floats) -> Floats:
    """Signs that `large` was enlarged, float64 (E, 7); arguments as in `fine_parts`."""
    limit = N_BANDS / np.maximum(scale, 1.0)
    coarse, below = _mean(large, limit, 0.3, 0.55), _mean(large, limit, 0.6, 0.85)
    above = _mean(large, limit, 1.1, 1.35)
    cliff = np.where(limit < _LAST, below - above, 0.0)
    rest = [cliff, coarse - below, np.where(scale > _FAR, cliff, 0.0), above]
    return np.concatenate([fine_parts(small, large, scale), np.stack(rest, axis=1)], axis=1)


def enlarged_terms(measures: Floats) -> Floats:
    """The terms of the model, float64 (E, 36): the measures, their products, and 1."""
    n = measures.shape[1]
    pairs = [measures[:, i] * measures[:, j] for i in range(n) for j in range(i, n)]
    return np.concatenate([measures, np.stack(pairs, axis=1) / 5, np.ones((len(measures), 1))], axis=1)


def enlarged_logit(small: Floats, large: Floats, scale: Floats) -> Floats:
    """Logit of the probability that `large` was made from `small`, float64 (E,); NaN where a spectrum is missing."""
    # No product of matrices, whose last bits depend on the number of rows: an edge is judged alike in any bucket.
    terms = enlarged_terms(enlarged_measures(small, large, scale))
    return np.asarray((terms * enlarged_weights()).sum(axis=1))


@cache
def enlarged_weights() -> Floats:
    """The shipped weights of `enlarged_terms`."""
    return np.array(json.loads(shipped_asset("enlarged.json").read_text(encoding="utf-8"))["weights"], np.float64)


def _mean(levels: Floats, limit: Floats, low: float, high: float) -> Floats:
    """Mean level between two shares of a limiting band, at most the last band."""
    shares = np.linspace(low, high, _SAMPLES)
    return np.asarray(_at(levels, np.minimum(limit[:, None] * shares, N_BANDS)).mean(axis=1))


def _at(levels: Floats, places: Floats) -> Floats:
    """Levels at places, 1 for the first band, by linear interpolation; float64 (E, K)."""
    at = np.clip(places - 1, 0, N_BANDS - 1)
    low = np.minimum(at.astype(np.int64), N_BANDS - 2)
    part = at - low
    return np.asarray(
        np.take_along_axis(levels, low, axis=1) * (1 - part) + np.take_along_axis(levels, low + 1, axis=1) * part
    )
