"""The protocol of candidate generators, which propose the pairs of contents that are worth measuring.

A new generator is a subclass in a file of its own and a line in `stage.GENERATORS`. Several nights propose the same
pairs as one batch: new units meet all units of their scope, and old units never meet each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark import Broadcast
from pyspark.sql import DataFrame, Row

from dupelake.config import LshConfig
from dupelake.propose.promises import WithinBits, WithinCosine
from dupelake.propose.srp import PLANNING_ITEMS


@dataclass(frozen=True)
class JoinInputs:
    """The contents of one join and what is known about them.

    Attributes:
        units: (scope, content_id, is_new boolean), one row per scope and content.
        hashes: HASHES of one version, a row for each unit.
        features: FEATURES of one version; units without a row and rows without words are skipped.
        keys: join keys (content_id, embedding_code, word_keys) of all units, from JOIN_KEYS.
        new_keys: the same columns; covers at least the new units, and on a small night hardly any other.
        centre: float32 (dim,) of the model; None if embeddings are not compared.
        cfg: radii, wanted cosine and recall, limits of words.
        n_units: approximate number of units; changes cost, never pairs.
        n_new: approximate number of new units; changes cost, never pairs.
        n_items: approximate number of units to plan hash keys for; changes cost, never pairs.
    """

    units: DataFrame
    hashes: DataFrame
    features: DataFrame
    keys: DataFrame
    new_keys: DataFrame
    centre: npt.NDArray[np.float32] | None
    cfg: LshConfig
    n_units: int
    n_new: int
    n_items: float = PLANNING_ITEMS


@dataclass(frozen=True)
class Actions:
    """The Spark actions that a generator may run. Stage files run no actions themselves.

    Attributes:
        save: computes a DataFrame once and returns it without lineage; the name labels the staged data.
        rows: collects the rows of a small DataFrame.
        count: records a count of the run under its name.
    """

    save: Callable[[DataFrame, str], DataFrame]
    rows: Callable[[DataFrame], list[Row]]
    count: Callable[[str, int], None]


class CandidateGenerator(ABC):
    """Proposes pairs of units of one scope; bound to the contents of one join."""

    name: ClassVar[str]
    """Value of `found_by` for the pairs of this generator."""

    def __init__(self, inputs: JoinInputs, actions: Actions) -> None:
        self.inputs, self.actions = inputs, actions

    @classmethod
    def is_wanted(cls, inputs: JoinInputs) -> bool:
        """Whether the generator takes part in this join."""
        return True

    @classmethod
    def revisions(cls, cfg: LshConfig) -> tuple[int, ...]:
        """Numbers to raise when the generator proposes other pairs; the join version depends on them."""
        return ()

    @classmethod
    def promise(cls, cfg: LshConfig) -> WithinBits | WithinCosine | None:
        """The pairs that brute force expects of the generator; None if only the generator defines its pairs."""
        return None

    def filters(self) -> DataFrame | None:
        """(bitmap binary): filters of the keys that new units probe, to be combined by bitwise or; or None.

        A small night sends the combined filter to all tasks (`propose/keyfilter.py`). Keys that nothing probes are
        then not shuffled.
        """
        return None

    @abstractmethod
    def pairs(self, probed: Broadcast[Any] | None = None) -> DataFrame:
        """(low binary, high binary): ids as bytes, low < high, at least one new; a pair may be repeated.

        Args:
            probed: the combined filter of `filters`; without one, all keys of all units are shuffled.
        """
