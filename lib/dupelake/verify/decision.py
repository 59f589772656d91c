"""The probability that two pictures are made from one, computed from the measures of a pair.

It is a product of logistic models, because a copy must pass each of them. The content must be at the same places and
in the same light (else it is another photograph), and most of it must agree (else the content was replaced). In one
linear model a good value of one measure would compensate for a bad value of another.

The numbers of the model are in `assets/decision.json`. `benchmarks/decision.py` fits them on real look-alikes and on
seeded edits of real photographs. Each term is a stored column, clipped to a range, so that no extreme value outweighs
the other measures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dupelake.shipped import shipped_asset

Floats = NDArray[np.float64]

MIN_OVERLAP = 0.3  # the larger of both overlaps; pictures that share less have only a logo or a background in common
TURN_DEGREES = 3.0  # smaller rotations may be errors of the alignment
CROP_OVERLAP = 0.98  # if the other shows a smaller share of a picture, the pair is a `crop`; measured on 48 x 48 points
MIN_AGREEING = 0.3  # agreeing_share; no edit leaves less, and below it the other measures are not reliable


@dataclass(frozen=True)
class Term:
    """One measure of a pair.

    Attributes:
        column: name in schema.PAIRS.
        low: smaller values count as this; above 0 if `is_log`.
        high: larger values count as this.
        is_log: whether the term is the natural logarithm of the value.
        weight: coefficient of the term in the logit.
    """

    column: str
    low: float
    high: float
    is_log: bool
    weight: float

    def of(self, values: Any) -> Floats:
        """The term without its weight, float64 (n,), for values of its column."""
        clipped = np.clip(np.asarray(values, np.float64), self.low, self.high)
        return np.asarray(np.log(clipped) if self.is_log else clipped, np.float64)


@dataclass(frozen=True)
class Factor:
    """A logistic model: the logit is `intercept` and the sum of the terms."""

    name: str
    intercept: float
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Model:
    """The product of its factors."""

    factors: tuple[Factor, ...]

    def probability(self, evidence: Mapping[str, Any]) -> Floats:
        """Probabilities, float64 (n,), for columns of n values. `verify/decide_stage.py` computes the same in Spark."""
        product: Any = np.float64(1.0)
        for factor in self.factors:
            logit: Any = np.float64(factor.intercept)
            for term in factor.terms:
                logit = logit + term.weight * term.of(evidence[term.column])
            product = product / (1.0 + np.exp(-logit))
        return np.asarray(product, np.float64)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of schema.PAIRS that it reads."""
        return tuple(term.column for factor in self.factors for term in factor.terms)

    def as_dict(self) -> dict[str, Any]:
        """The model in the form of its JSON file."""
        return {
            factor.name: {"intercept": factor.intercept, "terms": [vars(term) for term in factor.terms]}
            for factor in self.factors
        }


def copy_probability(evidence: Mapping[str, Any]) -> float | None:
    """Score of one aligned pair, by the rule of `verify/decide_stage.py`.

    Returns 0 where the pair shares or agrees too little, and None where the pictures have too little structure.

    Args:
        evidence: columns of schema.PAIRS by name, such as the fields of `verify.pair.Alignment`.
    """
    if evidence["aligned_ncc"] == 0 and evidence["agreeing_share"] == 0:
        return None
    is_part = max(evidence["src_overlap"], evidence["dst_overlap"]) < MIN_OVERLAP
    if is_part or evidence["agreeing_share"] < MIN_AGREEING:
        return 0.0
    return float(aligned_model().probability(evidence))


def aligned_model() -> Model:
    """The shipped model of the probability that two aligned pictures are made from one."""
    return _shipped("decision.json")


def altered_model() -> Model:
    """The shipped model of the probability that a copy was edited or recoloured, not only encoded, resized or cut."""
    return _shipped("altered.json")


@cache
def _shipped(name: str) -> Model:
    text = shipped_asset(name).read_text(encoding="utf-8")
    return Model(
        tuple(
            Factor(name, float(values["intercept"]), tuple(Term(**term) for term in values["terms"]))
            for name, values in json.loads(text).items()
        )
    )
