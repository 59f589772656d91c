"""The evidence of a pair in words, for people who look at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def evidence_lines(evidence: Mapping[str, Any] | None) -> list[str]:
    """The evidence of a pair in lines of at most about 70 characters; null measures are left out."""
    if evidence is None:
        return ["not measured"]
    e = evidence
    kind = e.get("kind") or "no duplicate"
    return [
        line
        for line in (
            f"score {e['score']:.3f}, {kind}, proposed by {e['found_by'].replace('+', ' + ')}",
            _join(
                _part("bits that differ: pHash {} of 64", e, "phash_bits"),
                _part("mirrored {}", e, "phash_mirrored_bits"),
                _part("PDQ {} of 256", e, "pdq_bits"),
                _part("mirrored {}", e, "pdq_mirrored_bits"),
                _part("PDQ quality {}", e, "pdq_quality"),
            ),
            _join(
                _part("embeddings' cosine {:.3f}", e, "cosine_similarity"),
                _part("{} keypoints fit", e, "n_inliers"),
                _part("in {:.0%} of the cells", e, "inlier_spread"),
                _part("correlation {:.3f}", e, "aligned_ncc"),
                _part("cells that agree {:.0%}", e, "agreeing_share"),
                _part("contradict {:.0%}", e, "contradicting_share"),
            ),
            _join(
                _part("shared part {:.0%}", e, "src_overlap"),
                _part("and {:.0%}", e, "dst_overlap"),
                _part("scale {:.2f}", e, "scale"),
                _part("rotated by {:z.0f}°", e, "rotation_degrees"),
                "mirrored" if e.get("is_mirrored") else "",
            ),
            _join(
                _part("largest local difference {:.2f}", e, "largest_local_difference"),
                _part("colour difference {:.2f}", e, "colour_difference"),
            ),
            _part("not aligned: {}", e, "error_message"),
        )
        if line
    ]


def _part(form: str, evidence: Mapping[str, Any], name: str) -> str:
    value = evidence.get(name)
    return "" if value is None else form.format(value)


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
