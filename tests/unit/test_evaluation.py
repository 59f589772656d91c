"""Figures of quality against definitions worked out by brute force."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupelake.kernels.evaluation import b_cubed, group_pairs, recall_by_relation, score_groups, score_pair_sets

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
def test_group_scores_are_those_of_their_pairs(found, truth):
    assert score_groups(found, truth) == score_pair_sets(group_pairs(found), group_pairs(truth))


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
