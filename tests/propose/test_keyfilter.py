"""The filter of probed keys: no probed key is lost, most others are kept out."""

from __future__ import annotations

import numpy as np
import pytest

from dupelake.propose.keyfilter import filter_log2, make_bitmap, may_hold


@pytest.mark.parametrize("n", [1, 1_000, 300_000])
def test_no_key_is_lost_and_few_others_pass(n):
    rng = np.random.default_rng(n)
    keys = rng.integers(-(2**63), 2**63, n)
    bitmap = make_bitmap(keys, filter_log2(n))
    assert may_hold(bitmap, keys).all()
    others = rng.integers(-(2**63), 2**63, (1000, 50))
    assert may_hold(bitmap, others).shape == others.shape
    assert may_hold(bitmap, others).mean() < 0.08


def test_filters_join_by_or():
    a, b = np.arange(100), np.arange(10_000, 10_100)
    both = make_bitmap(a, 16) | make_bitmap(b, 16)
    assert np.array_equal(both, make_bitmap(np.concatenate([a, b]), 16))


def test_an_empty_filter_holds_nothing():
    assert not may_hold(make_bitmap(np.empty(0, np.int64), 16), np.arange(1000)).any()


def test_sizes_are_bounded():
    assert filter_log2(0) == 16
    assert filter_log2(1e12) == 27
