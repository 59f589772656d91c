"""What a candidate generator is: one way of proposing which pairs of contents are worth measuring.

A new one is a subclass in a file of its own and a line in `stage.GENERATORS`. Over nights a generator proposes the
pairs of one batch: new units meet all units of their scope, old units never meet old ones.
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
    """What is known of the contents that are joined.

    Attributes:
        units: (scope, content_id, is_new boolean), one row per scope and content.
        hashes: HASHES of one version, a row for each unit.
        features: FEATURES of one version; units without a row, and rows without words, are passed over.
        keys: (content_id, embedding_code, word_keys) of JOIN_KEYS, of all units.
        new_keys: the same, of the new units at least; on a small night hardly any other.
        centre: float32 (dim,) of the model; None where no embeddings are compared.
        cfg: radii, wanted cosine and recall, limits of words.
        n_units: about how many units there are; changes cost, never pairs.
        n_new: about how many of them are new; changes cost, never pairs.
        n_items: about how many units to plan keys of hashes for; changes cost, never pairs.
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
    """How a generator has something computed at once; files of a stage do not act themselves.

    Attributes:
        save: computes a DataFrame once and returns it without lineage; the name is for people.
        rows: collects rows that are few by their making.
        count: notes a count of the run under its name.
    """

    save: Callable[[DataFrame, str], DataFrame]
    rows: Callable[[DataFrame], list[Row]]
    count: Callable[[str, int], None]


class CandidateGenerator(ABC):
    """One way of proposing pairs of units of one scope, bound to the contents of one join."""

    name: ClassVar[str]
    """What `found_by` says of its pairs."""

    def __init__(self, inputs: JoinInputs, actions: Actions) -> None:
        self.inputs, self.actions = inputs, actions

    @classmethod
    def is_wanted(cls, inputs: JoinInputs) -> bool:
        """Whether it takes part in this join."""
        return True

    @classmethod
    def revisions(cls, cfg: LshConfig) -> tuple[int, ...]:
        """Numbers to be raised when it proposes other pairs; the version of the join depends on them."""
        return ()

    @classmethod
    def promise(cls, cfg: LshConfig) -> WithinBits | WithinCosine | None:
        """Which pairs brute force holds it to; None where its pairs have no definition apart from itself."""
        return None

    def filters(self) -> DataFrame | None:
        """(bitmap binary): filters of the keys that the new units probe, some rows, to be joined by or; or None.

        A small night sends the joined filter to all tasks (`propose.keyfilter`), and keys that nobody probes stay
        where they are.
        """
        return None

    @abstractmethod
    def pairs(self, probed: Broadcast[Any] | None = None) -> DataFrame:
        """(low binary, high binary): ids as bytes, low < high, one of them new; a pair perhaps more than once.

        Args:
            probed: the joined filter of `filters`; without one, all keys of all units are shuffled.
        """
