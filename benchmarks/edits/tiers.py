"""What a tier of removal would lose: members of groups by `groups.tier`, and those of them that should have stayed.

Tiers are nested: whoever removes `verified` removes `identical`, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from dupelake.evaluate.scores import wilson_interval

TIERS = ("identical", "verified", "copies")
RULE_OF_THREE = 3.0  # with no failure of n the upper bound is 3 / n at 95 % (Hanley and Lippman-Hand 1983)
# What is wrong with a removal; a loss of quality is told apart from a loss of content.
OTHER, ALTERNATE, MORE, FINER = "another picture", "alternate", "shows more", "finer or less damaged"
WRONG = (OTHER, ALTERNATE, MORE)


@dataclass
class Tier:
    """Members that a tier would remove.

    Attributes:
        n: members.
        faults: what is wrong with how many.
        examples: (member, keeper, fault), the first of each fault that counts as wrong.
    """

    n: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def n_wrong(self) -> int:
        """Members whose removal loses content."""
        return sum(self.faults[fault] for fault in WRONG)

    def bound(self) -> str:
        """`0.10 % (0.03 to 0.31 %)`, or `none (at most 0.06 %)` by the rule of three."""
        if not self.n:
            return "-"
        if not self.n_wrong:
            return f"none (at most {min(1.0, RULE_OF_THREE / self.n):.2%})"
        low, high = wilson_interval(self.n_wrong, self.n)
        return f"{self.n_wrong / self.n:.2%} ({low:.2%} to {high:.2%})"


def tally(members: Mapping[str, tuple[str, str, str]]) -> dict[str, Tier]:
    """Tiers of the members of groups.

    Args:
        members: image to (tier, keeper, fault); the tier is "" where no tier would remove it, the fault "" where
            nothing is wrong.
    """
    out = {name: Tier() for name in TIERS}
    for image, (strictest, keeper, fault) in sorted(members.items()):
        if strictest not in TIERS:
            continue
        for name in TIERS[TIERS.index(strictest) :]:
            one = out[name]
            one.n += 1
            if fault:
                one.faults[fault] += 1
            if fault in WRONG:
                one.examples.append((image, keeper, fault))
    return out


HEADER = ("tier", "images", "wrong", "of them", "share wrong, 95 %", "kept in worse quality")


def lines(tiers: Mapping[str, Tier]) -> list[tuple[object, ...]]:
    """Rows of a table under HEADER."""
    out: list[tuple[object, ...]] = []
    for name, one in tiers.items():
        kinds = ", ".join(f"{fault} {one.faults[fault]}" for fault in WRONG if one.faults[fault]) or "-"
        out.append((name, one.n, one.n_wrong, kinds, one.bound(), one.faults[FINER]))
    return out
