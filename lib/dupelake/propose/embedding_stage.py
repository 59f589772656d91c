"""The embedding generator: pairs of contents whose embeddings have a cosine of at least lsh.embedding_min_cosine."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.code_join_stage import CodeGenerator
from dupelake.propose.generator_stage import JoinInputs
from dupelake.propose.mih import SlotPlan
from dupelake.propose.promises import WithinCosine
from dupelake.propose.srp import embedding_plan


class Embedding(CodeGenerator):
    """Finds each such pair with probability .95, and some pairs with a lower cosine."""

    name = "embedding"

    @classmethod
    def is_wanted(cls, inputs: JoinInputs) -> bool:
        """Whether embeddings are compared."""
        return inputs.centre is not None

    @classmethod
    def promise(cls, cfg: LshConfig) -> WithinCosine:
        """The wanted cosine and recall."""
        return WithinCosine(cfg.embedding_min_cosine, cfg.embedding_recall)

    def codes(self) -> DataFrame:
        """The stored codes. Contents without an embedding have none."""
        return _codes(self.inputs.keys)

    def new_codes(self) -> DataFrame:
        """As `codes`, but rows of old units may be missing."""
        return _codes(self.inputs.new_keys)

    def plan(self) -> SlotPlan:
        """Depends on the model and the configuration only, never on the corpus."""
        assert self.inputs.centre is not None  # noqa: S101 - by `is_wanted`
        return embedding_plan(self.inputs.centre, self.inputs.cfg)


def _codes(keys: DataFrame) -> DataFrame:
    return keys.where("embedding_code IS NOT NULL").select("content_id", F.col("embedding_code").alias("code"))
