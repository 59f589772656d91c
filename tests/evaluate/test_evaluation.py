"""Figures of quality compared with their definitions by brute force."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import comb

import pytest
from benchmarks.pair_scores import b_cubed, group_pairs, recall_by_relation, score_pair_sets
from hypothesis import given
from hypothesis import strategies as st

from dupelake.evaluate.scores import Scores, Tally, average_precision, sweep, wilson_interval

GROUPINGS = st.dictionaries(st.sampled_from("abcdefghij"), st.sampled_from("123"))


def test_pairs_in_either_order_repeats_and_loops():
    scores = score_pair_sets([("b", "a"), ("a", "b"), ("c", "d"), ("e", "e")], [("a", "b"), ("a", "c"), ("a", "d")])
    assert (scores.n_found, scores.n_true, scores.n_hit) == (2, 3, 1)
    assert (scores.precision, scores.recall) == (0.5, pytest.approx(1 / 3))
    assert scores.f1 == pytest.approx(0.4)


def test_ignored_pairs_count_on_neither_side():
    scores = score_pair_sets([("a", "b"), ("c", "d")], [("a", "b"), ("e", "f")], ignore=[("d", "c"), ("f", "e")])
    assert (scores.precision, scores.recall, scores.f1) == (1.0, 1.0, 1.0)


def test_nothing_found_and_nothing_true():
    assert score_pair_sets([], []).f1 == 1.0
    nothing = score_pair_sets([], [("a", "b")])
    assert (nothing.precision, nothing.recall, nothing.f1) == (1.0, 0.0, 0.0)
    assert score_pair_sets([("a", "b")], [("c", "d")]).f1 == 0.0


@given(GROUPINGS)
def test_group_pairs(groups):
    wanted = [(a, b) for a, b in combinations(sorted(groups), 2) if groups[a] == groups[b]]
    assert sorted(group_pairs(groups)) == wanted


@given(GROUPINGS, GROUPINGS)
def test_b_cubed_by_definition(found, truth):
    items = {*found, *truth}

    def group(labels, item):
        return {other for other in labels if labels[other] == labels[item]} if item in labels else {item}

    precision, recall = 0.0, 0.0
    for item in items:
        both = len(group(found, item) & group(truth, item))
        precision += both / len(group(found, item)) / len(items)
        recall += both / len(group(truth, item)) / len(items)
    result = b_cubed(found, truth)
    assert (result.precision, result.recall) == (
        pytest.approx(precision if items else 1),
        pytest.approx(recall if items else 1),
    )


def test_b_cubed_of_chosen_items():
    assert b_cubed({"a": "1", "b": "1"}, {"a": "x", "b": "x"}, items=["a", "b", "c"]).f1 == 1.0


def test_recall_by_relation():
    truth = {("b", "a"): "crop", ("a", "c"): "crop", ("x", "y"): "mirrored"}
    rows = recall_by_relation([("a", "b"), ("y", "x"), ("p", "q")], truth)
    assert {name: (s.n_hit, s.n_true, s.recall) for name, s in rows.items()} == {
        "crop": (1, 2, 0.5),
        "mirrored": (1, 1, 1.0),
        "all": (2, 3, pytest.approx(2 / 3)),
    }


def test_contradicting_truth_is_refused():
    with pytest.raises(ValueError, match="two relations"):
        recall_by_relation([], {("a", "b"): "crop", ("b", "a"): "mirrored"})


@pytest.mark.parametrize(
    ("n_hit", "n", "low", "high"),
    # statsmodels.stats.proportion.proportion_confint(..., method="wilson"), to four digits
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (1, 30, 0.0059, 0.1667), (0, 0, 0.0, 1.0)],
)
def test_wilson_interval(n_hit, n, low, high):
    assert wilson_interval(n_hit, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_interval_solves_its_equation_and_refuses_what_is_no_share():
    for bound in wilson_interval(37, 120, z=1.5):  # |share - bound| is z standard errors at the bound
        assert abs(37 / 120 - bound) == pytest.approx(1.5 * (bound * (1 - bound) / 120) ** 0.5)
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson_interval(3, 2)


VALUES = st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=30)


@given(VALUES, st.integers(0, 3), st.sets(st.integers(0, 9), min_size=1))
def test_sweep_is_that_of_each_threshold_on_its_own(values, n_never, thresholds):
    at = sorted(thresholds)
    buckets = {}
    for value, true in values:
        place = sum(value >= t for t in at)
        judged, hit = buckets.get(place, (0, 0))
        buckets[place] = (judged + 1, hit + true)
    n_true = sum(true for _, true in values) + n_never
    rows = sweep(at, buckets, (2, 1), n_true + 1)
    for (threshold, scores), wanted in zip(rows, at, strict=True):
        passed = [true for value, true in values if value >= wanted]
        assert (threshold, scores) == (wanted, Scores(len(passed) + 2, n_true + 1, sum(passed) + 1))


def test_sweep_refuses_buckets_beyond_its_thresholds():
    with pytest.raises(ValueError, match="of 2 thresholds"):
        sweep([0.1, 0.2], {3: (1, 1)}, (0, 0), 1)


def test_average_precision_of_a_ranking_worked_out_by_hand():
    # ranks: right, wrong, right, right of 4 true: 1/4 * 1 + 1/4 * 2/3 + 1/4 * 3/4
    curve = [Scores(1, 4, 1), Scores(2, 4, 1), Scores(3, 4, 2), Scores(4, 4, 3)]
    assert average_precision(curve) == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    assert average_precision([]) == 0.0


@given(GROUPINGS, GROUPINGS)
def test_tally_of_cells_is_the_score_of_groups(found, truth):
    cells = Counter((label, truth.get(item, f"alone {item}")) for item, label in found.items())
    tally = Tally()
    for label in {label for label, _ in cells}:
        sizes = [n for (block, _), n in cells.items() if block == label]
        same = sum(comb(n, 2) for n in sizes)
        tally += Tally(n_pairs=comb(sum(sizes), 2), n_same=same, n_certain=same)
    wanted = score_pair_sets(group_pairs(found), group_pairs(truth))
    assert tally.scores(wanted.n_true) == wanted


def test_tally_judges_what_a_truth_of_pairs_lists_and_what_it_excludes():
    # found: one block of a, b, c, x, y; a-b and b-c listed, a-c not; a-x different, b-x ambiguous, x-y nothing
    tally = Tally(n_pairs=10, n_same=3, n_listed_true=2, n_listed_same=2, n_ambiguous=1)
    assert (tally.n_judged, tally.n_hit) == (8, 2)  # of the ten, a-c and b-x are left out
