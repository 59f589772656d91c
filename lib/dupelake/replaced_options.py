"""Options that went away, and what does their work now."""

from __future__ import annotations

import re

_BY_SCORE = "decide.min_score, the probability that a model gives a pair"
_DECISIONS = (
    "bits_min_agreeing_share max_colour_difference max_contradicting_share max_direct_contradicting_share "
    "max_local_difference max_overlaid_contradicting_share min_agreeing_share min_aligned_ncc min_cosine "
    "min_direct_agreeing_share min_direct_ncc min_inlier_spread min_inliers min_overlaid_agreeing_share "
    "min_overlaid_inlier_spread min_overlaid_inliers min_overlap pdq_max_bits pdq_min_quality phash_max_bits"
)
REPLACED = dict.fromkeys(("cluster.copy_kinds", "cluster.removable_kinds"), "cluster.removable")
REPLACED |= {f"decide.{name}": _BY_SCORE for name in re.findall(r"\w+", _DECISIONS)}
