"""Forecasts of a leg's join, against a count of every key and meeting."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dupelake.propose.forecast import N_VALUES, count_values, forecast, words_by_blocks, words_by_keys
from dupelake.propose.mih import SlotPlan, plan_exact, probe_keys, slot_keys

PLANS = {
    "phash": plan_exact(64, 7, 1e6),
    "pdq": plan_exact(256, 31, 1e6),
    "four slots of two probes": SlotPlan(64, ((0, 12), (12, 12), (24, 12), (36, 12)), 2, 11),
}


def brute(stored, probing, plan, is_filtered):
    held = Counter(slot_keys(stored, plan).ravel().tolist())
    sought = Counter(probe_keys(probing, plan).ravel().tolist())
    passed = sum(n for key, n in held.items() if not is_filtered or key in sought)
    meetings = {key: n * sought[key] for key, n in held.items() if key in sought}
    return passed, sum(sought.values()), sum(meetings.values()), max(meetings.values())


def skewed(rng, n, n_words):
    """Codes of which a tenth are nearly one: keys that come once, and keys that come often."""
    codes = rng.integers(0, 2**63, (n, n_words)).astype(np.uint64)
    codes[: n // 10] = codes[0]
    codes[: n // 20, 0] ^= rng.integers(0, 4, n // 20).astype(np.uint64)
    return codes


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("is_filtered", [False, True])
def test_meetings_and_keys_are_those_of_a_count(name, is_filtered):
    plan, rng = PLANS[name], np.random.default_rng(1)
    stored, scope = skewed(rng, 4_000, plan.n_words), np.zeros(4_000, np.int64)
    probing = np.concatenate([stored[:50], skewed(rng, 350, plan.n_words)])
    counts = count_values(stored, plan, scope), count_values(probing, plan, scope[:400])
    found = forecast(*counts, plan, is_filtered=is_filtered)
    passed, n_probing, meetings, hottest = brute(stored, probing, plan, is_filtered)
    assert found.n_probing == n_probing
    assert found.n_bytes == 8 * (found.n_stored + found.n_probing)
    counted = 1e-9 if plan.n_slots == 4 else 0.3  # all slots are counted, or four of sixteen
    assert found.n_meetings == pytest.approx(meetings, rel=counted)
    assert found.hottest == pytest.approx(hottest, rel=counted)
    assert found.n_stored == pytest.approx(passed, rel=counted)


def test_a_share_of_the_new_is_a_share_of_the_work():
    plan, rng = PLANS["phash"], np.random.default_rng(2)
    codes, scope = skewed(rng, 4_000, 1), np.zeros(4_000, np.int64)
    counts = count_values(codes, plan, scope)
    whole, tenth = (forecast(counts, counts, plan, is_filtered=False, new_share=share) for share in (1.0, 0.1))
    assert tenth.n_meetings == pytest.approx(whole.n_meetings / 10, rel=1e-4)
    assert tenth.n_probing == pytest.approx(whole.n_probing / 10, rel=1e-4)
    assert tenth.n_stored == whole.n_stored
    rare = forecast(counts, counts, plan, is_filtered=True, new_share=1e-9)
    assert rare.n_stored < whole.n_stored / 100, "what nobody looks for is not sent"


def test_scopes_meet_by_chance_alone():
    plan, rng = PLANS["pdq"], np.random.default_rng(3)
    code = rng.integers(0, 2**63, (1, 4)).astype(np.uint64)
    codes = np.repeat(code, 100, axis=0)
    keys = rng.integers(-(2**62), 2**62, 100)
    counts = count_values(codes, plan, keys)
    found = forecast(counts, counts, plan, is_filtered=False)
    assert found.n_meetings < 100 * plan.n_slots * 2, "each meets itself, and not the other ninety-nine"


def test_wide_slots_are_folded_and_nothing_is_counted_of_nothing():
    plan = SlotPlan(64, ((0, 48),), 0, 0)
    none = count_values(np.zeros((0, 1), np.uint64), plan, np.zeros(0, np.int64))
    assert none.shape == (1, N_VALUES)
    assert not none.any()
    codes = np.random.default_rng(4).integers(0, 2**63, (1_000, 1)).astype(np.uint64)
    counts = count_values(codes, plan, np.zeros(1_000, np.int64))
    assert counts.sum() == 1_000
    assert forecast(counts, counts, plan, is_filtered=False).n_meetings >= 1_000


def test_words_by_blocks_meet_within_their_scope():
    one = words_by_blocks(1_000, 1_000, 1.0, 100)
    assert one.n_meetings == 1_000 * 999 // 2
    assert one.n_bytes == 1_000 * 10 * 2_400, "each to ten blocks"
    half = words_by_blocks(1_000, 1_000, 0.5, 100)
    assert (half.n_meetings, half.n_bytes) == (round(one.n_meetings / 2), one.n_bytes // 2)
    night = words_by_blocks(1_000, 10, 1.0, 100)
    assert night.n_meetings == 10 * 990 + 45
    assert night.core_seconds == pytest.approx(one.core_seconds * night.n_meetings / one.n_meetings)
    many = words_by_blocks(1_000, 1_000, 1e-4, 100)
    assert many.n_bytes == 1_000 * 2_400, "each is sent once, to a task of many scopes"


def test_words_by_keys_cost_keys_and_comparisons():
    keys, both = words_by_keys(1e6, 0), words_by_keys(1e6, 1e4)
    assert (keys.n_meetings, both.n_meetings) == (0, 10_000)
    assert both.n_bytes - keys.n_bytes == 10_000 * 4_800
    assert both.core_seconds > 2 * keys.core_seconds > 0
