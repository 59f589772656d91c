"""The model of a decision: its formula, its file, and its probabilities for clear cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dupelake.verify.decision import Factor, Model, Term, aligned_model
from dupelake.warehouse.schema import PAIRS

COPY = {"cell_shift_px": 0.05, "unexplained_colour": 0.5, "contradicting_share": 0.0}
ANOTHER_SHOT = {"cell_shift_px": 0.9, "unexplained_colour": 9.0, "contradicting_share": 0.1}


def probability(**evidence: float) -> float:
    return float(aligned_model().probability(evidence))


def test_a_product_of_logistic_models_by_hand() -> None:
    terms = (Term("a", 0.1, 1.0, True, -2.0), Term("b", 0.0, 1.0, False, 3.0))
    model = Model((Factor("one", 0.5, terms), Factor("two", -1.0, (Term("a", 0.1, 1.0, False, 4.0),))))
    first = 1 / (1 + math.exp(-(0.5 - 2.0 * math.log(0.5) + 3.0 * 1.0)))
    second = 1 / (1 + math.exp(-(-1.0 + 4.0 * 0.5)))
    assert model.probability({"a": [0.5], "b": [7.0]}).tolist() == pytest.approx([first * second])


def test_terms_are_columns_of_pairs_and_their_limits_hold() -> None:
    for factor in aligned_model().factors:
        for term in factor.terms:
            assert term.column in PAIRS.columns
            assert term.low < term.high
            assert term.of([-1e9, 1e9]).tolist() == term.of([term.low, term.high]).tolist()


def test_a_copy_another_shot_and_another_content() -> None:
    assert probability(**COPY) > 0.99
    assert probability(**ANOTHER_SHOT) < 0.05
    assert probability(**COPY | {"contradicting_share": 0.3}) < 0.5  # content was replaced
    assert probability(**COPY | {"contradicting_share": 0.05}) > 0.9  # a caption


@pytest.mark.parametrize("column", ["cell_shift_px", "unexplained_colour", "contradicting_share"])
def test_worse_evidence_never_raises_the_score(column: str) -> None:
    values = np.linspace(0.0, 2.0, 50)
    evidence = {name: np.full(50, value) for name, value in COPY.items()} | {column: values}
    assert (np.diff(aligned_model().probability(evidence)) <= 0).all()
