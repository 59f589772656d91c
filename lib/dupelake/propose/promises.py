"""Promises of candidate generators: which pairs each must propose. Brute force checks the generators against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class WithinBits:
    """Every pair of contents whose bit codes differ in at most `max_bits`.

    Attributes:
        code: a column of HASHES, bigint, or binary with 8 bytes for each word.
        mirror: the column with the code of the mirrored picture; None if mirrored copies are not searched for.
        max_bits: radius, inclusive. Of the two directions of a mirrored comparison the smaller distance counts.
    """

    code: str
    mirror: str | None
    max_bits: int


@dataclass(frozen=True)
class WithinCosine:
    """Each pair of contents whose embeddings have at least `min_cosine`, with probability `share`."""

    min_cosine: float
    share: float


Promises = Mapping[str, WithinBits | WithinCosine]
"""By the name of the generator, in the order of the list of generators."""


def bits(promises: Promises) -> dict[str, WithinBits]:
    """The promises about bit codes."""
    return {name: one for name, one in promises.items() if isinstance(one, WithinBits)}


def cosines(promises: Promises) -> dict[str, WithinCosine]:
    """The promises about embeddings."""
    return {name: one for name, one in promises.items() if isinstance(one, WithinCosine)}
