"""Decisions: score, verdict and kind of measured pairs from their evidence, in JVM expressions only.

A decision is a function of the stored evidence, the model and `decide.min_score`, so that another model or option
decides stored pairs again without a look at hashes, embeddings or images.
"""

from __future__ import annotations

import dataclasses

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import DecideConfig, fingerprint
from dupelake.verify.decision import MIN_AGREEING, MIN_OVERLAP, Model, aligned_model, altered_model
from dupelake.warehouse.schema import PAIRS, conform

PIXEL = "pixel"  # found_by, kind and join_version of pairs of equal pixels: no join found them
SIMILAR = "similar"
DECIDE_REVISION = 4  # raise it when a change here decides the same evidence otherwise
PDQ_MIN_QUALITY = 50  # PDQ of a flatter picture says nothing (ThreatExchange's own advice)
# Of bits, where nothing could be aligned: PDQ's threshold is ThreatExchange's; both hashes must say the same.
BITS_HALF, BITS_STEP = 31.5, 4.0  # PDQ bits at which the odds are even, and of one unit of the logit
PHASH_HALF, PHASH_STEP = 10.5, 1.5
MAX_LOCAL_DIFFERENCE = 0.06  # above it an altered copy is edited, else recoloured
CROP_OVERLAP = 0.98  # a picture of which the other shows less is shown in part; by grids of 48 x 48 points
COVERED = 0.02  # share of a picture that a bar over its edge hides at least, and by which the two shares may differ
TURN_DEGREES = 3.0  # a smaller turn is within what alignment leaves
_DIGITS = 6  # of a score


def decide_version(cfg: DecideConfig) -> str:
    """Fingerprint of the model, of the option, and of how they are used."""
    models = {"model": aligned_model().as_dict(), "altered": altered_model().as_dict()}
    return fingerprint({"revision": DECIDE_REVISION} | models | dataclasses.asdict(cfg))


def decide(pairs: DataFrame, cfg: DecideConfig) -> DataFrame:
    """Score, verdict and kind of pairs from their evidence.

    The score is the probability that both pictures are made from one. Of aligned pairs the model tells it from all
    measures of the alignment together; hashes and the cosine have no say, for they are of the whole picture, coarse,
    and blind to what differs. Of pairs that nothing could be aligned in (flat or empty pictures) both hashes must be
    close; where PDQ is below its quality, the score is 0. Pictures that share a small part alone, or agree in little of
    it, score 0, too.

    Args:
        pairs: the evidence columns of PAIRS, with found_by and the versions; decisions that are there are replaced.
        cfg: the option.

    Returns:
        PAIRS.
    """
    is_pixel = F.col("found_by") == PIXEL
    # Both are exactly 0 where too little structure was found to be compared.
    is_aligned = F.coalesce((F.col("aligned_ncc") != 0) | (F.col("agreeing_share") != 0), F.lit(False))
    straight, mirrored = _bits_score(""), _bits_score("_mirrored")
    bits = F.greatest(straight, mirrored)
    is_refuted = (F.greatest("src_overlap", "dst_overlap") < MIN_OVERLAP) | (F.col("agreeing_share") < MIN_AGREEING)
    aligned = F.when(is_aligned & is_refuted, 0.0).when(is_aligned, _probability(aligned_model()))
    score = F.round(F.when(is_pixel, 1.0).otherwise(F.coalesce(aligned, bits)), _DIGITS)
    known = F.when(F.col("aligned_ncc").isNotNull(), F.col("is_mirrored")).otherwise(mirrored > straight)
    valued = pairs.withColumns({"score": score, "is_mirrored": ~is_pixel & F.coalesce(known, F.lit(False))})
    is_duplicate = F.col("score") >= cfg.min_score
    unaligned = F.when(F.col("is_mirrored"), "mirrored").otherwise("edited")
    kind = (
        F.when(is_pixel, F.lit(PIXEL))
        .when(is_duplicate, F.when(is_aligned, aligned_kind()).otherwise(unaligned))
        .when(is_aligned & is_related(), SIMILAR)
    )
    decided = {
        "kind": kind,
        "is_duplicate": is_pixel | is_duplicate,
        "decide_version": F.lit(decide_version(cfg)),
    }
    return conform(valued.withColumns(decided), PAIRS.schema)


def _probability(model: Model) -> Column:
    product = F.lit(1.0)
    for factor in model.factors:
        logit = F.lit(factor.intercept)
        for term in factor.terms:
            value = F.least(F.greatest(F.col(term.column).cast("double"), F.lit(term.low)), F.lit(term.high))
            logit = logit + term.weight * (F.log(value) if term.is_log else value)
        product = product * _sigmoid(logit)
    return product


def _sigmoid(logit: Column) -> Column:
    return 1.0 / (1.0 + F.exp(-logit))


def _bits_score(middle: str) -> Column:
    """Of both hashes, straight or mirrored: the less certain of the two speaks."""
    pdq = (BITS_HALF - F.col(f"pdq{middle}_bits")) / BITS_STEP
    phash = (PHASH_HALF - F.col(f"phash{middle}_bits")) / PHASH_STEP
    usable = F.col("pdq_quality") >= PDQ_MIN_QUALITY
    return F.coalesce(F.when(usable, _sigmoid(F.when(pdq <= phash, pdq).otherwise(phash))), F.lit(0.0))


def is_related() -> Column:
    """Whether keypoints and structure of two pictures fit each other in many places: one thing, taken twice."""
    return (
        (F.col("n_inliers") >= 20)
        & (F.col("inlier_spread") >= 0.25)
        & (F.col("aligned_ncc") >= 0.75)
        & (F.col("agreeing_share") >= 0.5)
    )


def aligned_kind() -> Column:
    """What differs, the gravest first: a change of content, of colours, then of the frame.

    A bar that was laid over an edge looks like a frame, and hides as much of the picture as it is large.
    """
    hidden = [
        (F.col(f"{one}_frame") >= COVERED) & (F.abs(F.col(f"{one}_frame") - F.col(f"{other}_beyond")) <= COVERED)
        for one, other in (("src", "dst"), ("dst", "src"))
    ]
    is_altered = _probability(altered_model()) >= 0.5
    is_local = F.col("largest_local_difference") > MAX_LOCAL_DIFFERENCE
    return (
        F.when((is_altered & is_local) | hidden[0] | hidden[1], F.lit("edited"))
        .when(is_altered, F.lit("recoloured"))
        .when(F.col("is_mirrored"), F.lit("mirrored"))
        .when(F.abs("rotation_degrees") > TURN_DEGREES, F.lit("rotated"))
        .when(F.least("src_overlap", "dst_overlap") < CROP_OVERLAP, F.lit("crop"))
        .otherwise(F.lit("near"))
    )
