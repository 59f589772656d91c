"""The short ways of verify/cells.py give the bits of numpy's own: the evidence of stored pairs must not change."""

from __future__ import annotations

import numpy as np
import pytest

from dupelake.verify.agreement import _paper_share
from dupelake.verify.align import _area
from dupelake.verify.cells import median, sum_of_channels, times
from dupelake.verify.matching import _GUIDED_DISTANCE, _close
from dupelake.verify.picture import _largest


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 24, 121, 4800])
def test_median(n, kind):
    rng = np.random.default_rng(n)
    for values in (rng.normal(0, 9, n).astype(kind), np.round(rng.normal(0, 2, n)).astype(kind)):
        before = values.copy()
        assert median(values) == np.median(values)
        assert median(values).dtype == np.median(values).dtype
        assert (values == before).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_channels(kind):
    colours = np.random.default_rng(1).normal(0, 60, (61, 83, 3)).astype(kind)
    assert (sum_of_channels(colours) == colours.sum(axis=2)).all()
    assert (sum_of_channels(colours) / kind(3) == colours.mean(axis=2)).all()
    assert (_largest(np.abs(colours)) == np.abs(colours).max(axis=2)).all()
    weight = np.random.default_rng(2).random((61, 83)).astype(np.float32)
    if kind is np.float32:
        assert (times(colours, weight) == colours * weight[:, :, None]).all()


def test_the_share_of_the_commonest_level():
    rng = np.random.default_rng(3)
    for grey in (
        rng.normal(128, 90, (90, 70)),
        np.where(rng.random((90, 70)) < 0.6, 250.0, rng.random((90, 70)) * 255),
    ):
        inside = (rng.random((90, 70)) < 0.8).astype(np.uint8)
        levels = np.floor(np.clip(grey.astype(np.float32), 0, 255) / 4)[inside > 0]
        counts = np.array([(levels == level).sum() for level in range(64)])
        best = int(counts.argmax())
        wanted = counts[max(0, best - 1) : best + 2].sum() / len(levels)
        assert _paper_share(grey.astype(np.float32), inside) == wanted


def test_close_descriptors_and_areas():
    distances = np.random.default_rng(4).random((40, 60)).astype(np.float32) * 2 * _GUIDED_DISTANCE
    for found, wanted in zip(_close(distances), np.nonzero(distances < _GUIDED_DISTANCE), strict=True):
        assert (found == wanted).all()
    assert _area(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]])) == 12.0
