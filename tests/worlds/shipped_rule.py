"""The shipped decision on an aligned pair, in plain Python: the models of assets/ as verify/decide_stage.py uses them.

Hash bits do not count here, so a pair that could not be aligned is not the same picture.
"""

from __future__ import annotations

from dupelake.config import DecideConfig
from dupelake.verify.decide_stage import MAX_LOCAL_DIFFERENCE
from dupelake.verify.decision import altered_model, copy_probability
from dupelake.verify.pair import Alignment


def is_same(found: Alignment | None) -> bool:
    """Whether the pair is a duplicate by the default configuration."""
    return found is not None and (copy_probability(vars(found)) or 0.0) >= DecideConfig().min_score


def is_altered(found: Alignment) -> bool:
    """Whether the copy was edited or recoloured."""
    return float(altered_model().probability(vars(found))) >= 0.5


def is_edited(found: Alignment) -> bool:
    """Whether the copy was altered at some place (kind edited), and not only in its colours (kind recoloured)."""
    return is_altered(found) and found.largest_local_difference > MAX_LOCAL_DIFFERENCE
