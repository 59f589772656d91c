"""What a candidate generator promises to propose, stated without its keys: brute force is held against this alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class WithinBits:
    """Every pair of contents whose bit codes differ in at most `max_bits`.

    Attributes:
        code: a column of HASHES, bigint, or binary of 8 bytes a word.
        mirror: the column of the same code of the mirrored picture; None where mirrored copies are not sought.
        max_bits: radius, inclusive; mirrored, the smaller of both directions counts.
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
"""By name of the generator, in the order of the list of generators."""


def bits(promises: Promises) -> dict[str, WithinBits]:
    """The promises about bit codes."""
    return {name: one for name, one in promises.items() if isinstance(one, WithinBits)}


def cosines(promises: Promises) -> dict[str, WithinCosine]:
    """The promises about embeddings."""
    return {name: one for name, one in promises.items() if isinstance(one, WithinCosine)}
