"""The candidate generator of embeddings: contents whose vectors have a cosine of lsh.embedding_min_cosine or more."""

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
    """Each such pair with probability .95, and some that are less near."""

    name = "embedding"

    @classmethod
    def is_wanted(cls, inputs: JoinInputs) -> bool:
        """Where embeddings are compared."""
        return inputs.centre is not None

    @classmethod
    def promise(cls, cfg: LshConfig) -> WithinCosine:
        """The wanted cosine, by the wanted recall."""
        return WithinCosine(cfg.embedding_min_cosine, cfg.embedding_recall)

    def codes(self) -> DataFrame:
        """The stored codes; contents without an embedding have none."""
        return _codes(self.inputs.keys)

    def new_codes(self) -> DataFrame:
        """The same, of the new units at least."""
        return _codes(self.inputs.new_keys)

    def plan(self) -> SlotPlan:
        """Of the model and the configuration alone, never of the corpus."""
        assert self.inputs.centre is not None  # noqa: S101 - by `is_wanted`
        return embedding_plan(self.inputs.centre, self.inputs.cfg)


def _codes(keys: DataFrame) -> DataFrame:
    return keys.where("embedding_code IS NOT NULL").select("content_id", F.col("embedding_code").alias("code"))
