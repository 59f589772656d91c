"""The candidate generator of PDQ: contents whose 256 bits differ in at most lsh.pdq_max_bits."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.code_join_stage import CodeGenerator
from dupelake.propose.mih import SlotPlan, plan_exact
from dupelake.propose.promises import WithinBits


class Pdq(CodeGenerator):
    """Every pair within the radius, straight or mirrored."""

    name = "pdq"

    @classmethod
    def promise(cls, cfg: LshConfig) -> WithinBits:
        """The radius, on both codes where lsh.mirrored."""
        return WithinBits("pdq", "pdq_mirrored" if cfg.mirrored else None, cfg.pdq_max_bits)

    @property
    def is_mirrored(self) -> bool:
        """As lsh.mirrored says."""
        return self.inputs.cfg.mirrored

    def codes(self) -> DataFrame:
        """The 256 bits of the hash, which are keys as they stand."""
        return self.inputs.hashes.select(
            "content_id", F.col("pdq").alias("code"), F.col("pdq_mirrored").alias("mirror")
        )

    def plan(self) -> SlotPlan:
        """Slots by which no pair within the radius is missed."""
        return plan_exact(256, self.inputs.cfg.pdq_max_bits, self.inputs.n_items)
