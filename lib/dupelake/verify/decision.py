"""The probability that two pictures are made from one, from what was measured of the pair.

It is a product of logistic models, for a copy must pass every one of them: what both show must lie in the same places
and have the same light (else it is another photograph), and most of it must agree (else something else was put into
the picture). One linear model would let a surplus of one make up for the lack of the other.

The model is a file of some numbers (`assets/decision.json`), which `benchmarks/decision.py` fits on real look-alikes
and on seeded edits of real photographs. Each term is a stored column, cut to a range, so that no single measure
outweighs the others however far it goes.
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

MIN_OVERLAP = 0.3  # of the picture of which more is shown; what shares less has a logo in common, or a wall
MIN_AGREEING = 0.3  # of the cells of the overlap; no edit leaves less, and below it nothing is measured exactly


@dataclass(frozen=True)
class Term:
    """One measure of a pair.

    Attributes:
        column: name in schema.PAIRS.
        low: smaller values count as this; above 0 where the scale is log.
        high: larger values count as this.
        is_log: whether the natural logarithm of the value counts, and not the value.
        weight: what the logit gains by one unit of that.
    """

    column: str
    low: float
    high: float
    is_log: bool
    weight: float

    def of(self, values: Any) -> Floats:
        """float64 (n,): what the term is of values of its column, without the weight."""
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
        """float64 (n,), 0 to 1, of columns of n values each; the oracle of what stages.decide has Spark compute."""
        product: Any = np.float64(1.0)
        for factor in self.factors:
            logit: Any = np.float64(factor.intercept)
            for term in factor.terms:
                logit = logit + term.weight * term.of(evidence[term.column])
            product = product / (1.0 + np.exp(-logit))
        return np.asarray(product, np.float64)

    def as_dict(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            factor.name: {"intercept": factor.intercept, "terms": [vars(term) for term in factor.terms]}
            for factor in self.factors
        }


def copy_probability(evidence: Mapping[str, Any]) -> float | None:
    """Of one aligned pair, as stages.decide has it: 0 where it is refuted, None where too little could be compared.

    Args:
        evidence: columns of schema.PAIRS by name, such as the fields of kernels.verify.Alignment.
    """
    if evidence["aligned_ncc"] == 0 and evidence["agreeing_share"] == 0:
        return None
    is_part = max(evidence["src_overlap"], evidence["dst_overlap"]) < MIN_OVERLAP
    if is_part or evidence["agreeing_share"] < MIN_AGREEING:
        return 0.0
    return float(aligned_model().probability(evidence))


def aligned_model() -> Model:
    """The probability that two pictures that were aligned are made from one, as shipped."""
    return _shipped("decision.json")


def altered_model() -> Model:
    """The probability that a copy was edited or recoloured, and not merely encoded, resized or cut; as shipped."""
    return _shipped("altered.json")


@cache
def _shipped(name: str) -> Model:
    text = shipped_asset(name).read_text(encoding="utf-8")
    return Model(
        tuple(
            Factor(name, float(held["intercept"]), tuple(Term(**term) for term in held["terms"]))
            for name, held in json.loads(text).items()
        )
    )
