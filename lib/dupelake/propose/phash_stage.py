"""The pHash generator: pairs of contents whose 64 bits differ in at most lsh.phash_max_bits bits."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.code_join_stage import CodeGenerator
from dupelake.propose.mih import SlotPlan, plan_exact
from dupelake.propose.promises import WithinBits


class PHash(CodeGenerator):
    """Finds every pair within the radius, straight or mirrored."""

    name = "phash"

    @classmethod
    def promise(cls, cfg: LshConfig) -> WithinBits:
        """The radius; with lsh.mirrored for mirrored pictures too."""
        return WithinBits("phash", "phash_mirrored" if cfg.mirrored else None, cfg.phash_max_bits)

    @property
    def is_mirrored(self) -> bool:
        """Value of lsh.mirrored."""
        return self.inputs.cfg.mirrored

    def codes(self) -> DataFrame:
        """The 64 bits of the hash."""
        return self.inputs.hashes.select(
            "content_id", _bytes_of("phash").alias("code"), _bytes_of("phash_mirrored").alias("mirror")
        )

    def plan(self) -> SlotPlan:
        """A plan that finds every pair within the radius."""
        return plan_exact(64, self.inputs.cfg.phash_max_bits, self.inputs.n_items)


def _bytes_of(bigint: str) -> Column:
    return F.unhex(F.lpad(F.hex(bigint), 16, "0"))
