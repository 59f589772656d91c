"""The PDQ generator: pairs of contents whose 256 bits differ in at most lsh.pdq_max_bits bits."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.code_join_stage import CodeGenerator
from dupelake.propose.mih import SlotPlan, plan_exact
from dupelake.propose.promises import WithinBits


class Pdq(CodeGenerator):
    """Finds every pair within the radius, straight or mirrored."""

    name = "pdq"

    @classmethod
    def promise(cls, cfg: LshConfig) -> WithinBits:
        """The radius; with lsh.mirrored for mirrored pictures too."""
        return WithinBits("pdq", "pdq_mirrored" if cfg.mirrored else None, cfg.pdq_max_bits)

    @property
    def is_mirrored(self) -> bool:
        """Value of lsh.mirrored."""
        return self.inputs.cfg.mirrored

    def codes(self) -> DataFrame:
        """The 256 bits of the hash."""
        return self.inputs.hashes.select(
            "content_id", F.col("pdq").alias("code"), F.col("pdq_mirrored").alias("mirror")
        )

    def plan(self) -> SlotPlan:
        """A plan that finds every pair within the radius."""
        return plan_exact(256, self.inputs.cfg.pdq_max_bits, self.inputs.n_items)
