"""Decisions: score, verdict and kind of measured pairs, by thresholds, in JVM expressions only.

A decision is a function of the stored evidence and the thresholds, so that other thresholds decide stored pairs again
without a look at hashes, embeddings or images.
"""

from __future__ import annotations

import dataclasses

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import DecideConfig, fingerprint
from dupelake.schema import PAIRS, conform

PIXEL = "pixel"  # found_by, kind and join_version of pairs of equal pixels: no join found them
DECIDE_REVISION = 2  # raise it when a change here decides the same evidence otherwise
ACCEPTED = 0.5  # score at the threshold of the best signal
REFUTED = 0.49  # most that bits score where the alignment refutes them
PHASH_RANDOM_BITS, PDQ_RANDOM_BITS = 32, 128  # what unrelated pictures are apart
CROP_OVERLAP = 0.95  # a picture of which the other shows less is shown in part
TURN_DEGREES = 3.0  # a smaller turn is within what alignment leaves


def decide_version(cfg: DecideConfig) -> str:
    """Fingerprint of the thresholds, and of how they are used."""
    return fingerprint({"revision": DECIDE_REVISION} | dataclasses.asdict(cfg))


def decide(pairs: DataFrame, cfg: DecideConfig) -> DataFrame:
    """Score, verdict and kind of pairs from their evidence.

    Each signal has a value: 1 for identical, exactly 0.5 at its threshold, 0 where unrelated pictures are, linear
    between. Bits count only where the alignment, if one was found, does not refute them: pages of one template have
    equal bits, and what agrees of them may be a logo alone.
    The value of the geometry is the smallest of its measures', for all must pass; of bits and geometry
    the best is the score. Signals that are null, and PDQ below its quality, have no value. The cosine proposes pairs
    and decides none: at any threshold that finds crops it takes look-alikes too (design 6).

    Args:
        pairs: the evidence columns of PAIRS, with found_by and the versions; decisions that are there are replaced.
        cfg: thresholds, each inclusive.

    Returns:
        PAIRS.
    """
    is_apart = F.col("agreeing_share") < cfg.bits_min_agreeing_share
    is_elsewhere = F.greatest("src_overlap", "dst_overlap") < cfg.min_overlap  # bits are of the whole picture
    refuted = F.coalesce(is_apart | is_elsewhere, F.lit(False))
    straight, mirrored = (
        F.when(refuted, F.least(value, F.lit(REFUTED))).otherwise(value) for value in _bits_values(cfg)
    )
    valued = pairs.select(
        "*",
        F.coalesce(straight, F.lit(0.0)).alias("_straight"),
        F.coalesce(mirrored, F.lit(0.0)).alias("_mirrored"),
        F.coalesce(_geometry_value(cfg), F.lit(0.0)).alias("_geometry"),
    )
    is_pixel, is_aligned = F.col("found_by") == PIXEL, F.col("aligned_ncc").isNotNull()
    straight, mirrored, geometry = F.col("_straight"), F.col("_mirrored"), F.col("_geometry")
    score = F.when(is_pixel, F.lit(1.0)).otherwise(F.greatest(straight, mirrored, geometry))
    is_mirrored = ~is_pixel & F.when(is_aligned, F.col("is_mirrored")).otherwise(mirrored > straight)
    kind = F.when(is_pixel, F.lit(PIXEL)).when(
        score >= ACCEPTED,
        F.when(geometry >= ACCEPTED, _aligned_kind(cfg)).when(is_mirrored, "mirrored").otherwise("edited"),
    )
    decided = {
        "is_mirrored": is_mirrored,
        "kind": kind,
        "score": score,
        "is_duplicate": score >= ACCEPTED,
        "decide_version": F.lit(decide_version(cfg)),
    }
    return conform(valued.withColumns(decided), PAIRS.schema)


def _bits_values(cfg: DecideConfig) -> tuple[Column, Column]:
    """Of the hashes, straight and mirrored; null where there are none."""
    usable = F.col("pdq_quality") >= cfg.pdq_min_quality
    values = []
    for middle in ("", "_mirrored"):
        phash = _bits_value(F.col(f"phash{middle}_bits"), cfg.phash_max_bits, PHASH_RANDOM_BITS)
        pdq = F.when(usable, _bits_value(F.col(f"pdq{middle}_bits"), cfg.pdq_max_bits, PDQ_RANDOM_BITS))
        values.append(F.greatest(phash, pdq))
    return values[0], values[1]


def _geometry_value(cfg: DecideConfig) -> Column:
    """Of the alignment; null where none was found. Three ways to pass, the best counts.

    Keypoints vouch for it; or pixels agree too closely to need any; or one picture was written over (a caption, a
    sticker): fewer cells agree then, but hardly one shows something of both, and more keypoints must vouch.
    """
    overlap = _share_value(F.greatest("src_overlap", "dst_overlap"), cfg.min_overlap)

    def pixels(min_ncc: float, min_agreeing: float, max_contradicting: float) -> Column:
        return F.least(
            overlap,
            _share_value(F.col("aligned_ncc"), min_ncc),
            _share_value(F.col("agreeing_share"), min_agreeing),
            _share_value(1.0 - F.col("contradicting_share"), 1.0 - max_contradicting),
        )

    def keypoints(min_inliers: int, min_spread: float) -> Column:
        return F.least(_inliers_value(min_inliers), _share_value(F.col("inlier_spread"), min_spread))

    vouched = F.least(
        keypoints(cfg.min_inliers, cfg.min_inlier_spread),
        pixels(cfg.min_aligned_ncc, cfg.min_agreeing_share, cfg.max_contradicting_share),
    )
    close = pixels(cfg.min_direct_ncc, cfg.min_direct_agreeing_share, cfg.max_direct_contradicting_share)
    overlaid = F.least(
        keypoints(cfg.min_overlaid_inliers, cfg.min_overlaid_inlier_spread),
        pixels(cfg.min_aligned_ncc, cfg.min_overlaid_agreeing_share, cfg.max_overlaid_contradicting_share),
    )
    return F.greatest(vouched, close, overlaid)


def _inliers_value(least: int) -> Column:
    n, threshold = F.col("n_inliers").cast("double"), float(least)
    return F.when(n >= threshold, 1.0 - 0.5 * (threshold / n)).otherwise(0.5 * (n / threshold))


def _aligned_kind(cfg: DecideConfig) -> Column:
    """What differs, the gravest first: a change of content, of colours, then of the frame."""
    return (
        F.when(F.col("largest_local_difference") > cfg.max_local_difference, F.lit("edited"))
        .when(F.col("colour_difference") > cfg.max_colour_difference, F.lit("recoloured"))
        .when(F.col("is_mirrored"), F.lit("mirrored"))
        .when(F.abs("rotation_degrees") > TURN_DEGREES, F.lit("rotated"))
        .when(F.least("src_overlap", "dst_overlap") < CROP_OVERLAP, F.lit("crop"))
        .otherwise(F.lit("near"))
    )


def _bits_value(bits: Column, threshold: int, random_bits: int) -> Column:
    """1 at 0 bits, exactly 0.5 at the threshold (which is whole, so threshold / threshold is 1), 0 at random_bits."""
    inside = 1.0 - 0.5 * bits / threshold if threshold else F.lit(1.0)
    outside = F.greatest(0.5 * (random_bits - bits) / (random_bits - threshold), F.lit(0.0))  # below 0.5
    return F.when(bits <= threshold, inside).when(bits > threshold, outside)


def _share_value(share: Column, threshold: float) -> Column:
    """1 at 1, exactly 0.5 at the threshold, 0 at 0 and below; null of null."""
    top = F.least(share, F.lit(1.0))
    inside = 0.5 + 0.5 * ((top - threshold) / (1.0 - threshold)) if threshold < 1 else F.lit(1.0)
    # x / t < 1 for all floats x < t, since the quotient is at most 1 - 2^-53, which is a float.
    outside = F.greatest(0.5 * (share / threshold), F.lit(0.0)) if threshold > 0 else F.lit(0.0)
    return F.when(share >= threshold, inside).when(share < threshold, outside)
