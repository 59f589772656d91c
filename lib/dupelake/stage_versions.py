"""Versions of the results of all stages. Rows of different versions are never mixed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dupelake.config import Config
from dupelake.fingerprint.hashing import hash_version
from dupelake.group.touched_stage import cluster_version
from dupelake.propose.stage import join_version
from dupelake.verify.decide_stage import decide_version
from dupelake.verify.stage import verify_version
from dupelake.words.vocabulary import feature_version


@dataclass(frozen=True)
class StageVersions:
    """Fingerprints of the results of each stage under one configuration, computed on first use.

    Rows of two versions are never compared. The file of each algorithm says which revisions and options its version
    depends on.
    """

    config: Config

    @cached_property
    def hash(self) -> str:
        """Of a row of `hashes`."""
        return hash_version(self.config)

    @cached_property
    def feature(self) -> str:
        """Of a row of `features`; ModelError where the vocabulary of visual words cannot be read."""
        return feature_version(self.config)

    @cached_property
    def verify(self) -> str:
        """Of the alignment of two contents; ModelError as `feature`."""
        return verify_version(self.feature)

    @cached_property
    def decide(self) -> str:
        """Of the decision on a pair."""
        return decide_version(self.config.decide)

    @cached_property
    def cluster(self) -> str:
        """Of the grouping of accepted pairs."""
        return cluster_version(self.config)

    def join(self, model: str | None, preprocess: str | None) -> str:
        """Of the proposal and the measures of a pair; ModelError as `feature`.

        Args:
            model: id of the model whose embeddings are compared; None without one.
            preprocess: of that model.
        """
        compared = {"hash": self.hash, "verify": self.verify, "model": model, "preprocess": preprocess}
        return join_version(self.config.lsh, compared)
