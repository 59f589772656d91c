"""Decide measured pairs: score, is_duplicate and kind from the evidence, as Spark column expressions.

A decision is a function of the stored evidence, the model and `decide.min_score`. So another model or option decides
stored pairs again without reading hashes, embeddings or images.
"""

from __future__ import annotations

import dataclasses
import operator
from functools import reduce

from pyspark.sql import Column, DataFrame

from dupelake.config import DecideConfig, fingerprint
from dupelake.frames.functions import F
from dupelake.verify.decision import (
    CROP_OVERLAP,
    MIN_AGREEING,
    MIN_OVERLAP,
    TURN_DEGREES,
    Model,
    aligned_model,
    altered_model,
)
from dupelake.warehouse.rules import PDQ_MIN_QUALITY
from dupelake.warehouse.schema import PAIRS, conform

PIXEL = "pixel"  # found_by, kind and join_version of pairs with equal pixels, which no join proposes
SIMILAR = "similar"
DECIDE_REVISION = 5  # raise it when a change here decides the same evidence otherwise
# Score by hash bits, for pairs that could not be aligned. PDQ's threshold is ThreatExchange's; both hashes must agree.
BITS_HALF, BITS_STEP = 31.5, 4.0  # PDQ bits at probability one half, and PDQ bits for one unit of the logit
PHASH_HALF, PHASH_STEP = 10.5, 1.5  # the same for pHash
MAX_LOCAL_DIFFERENCE = 0.06  # above it an altered copy is `edited`, else `recoloured`
COVERED = 0.02  # smallest share that a bar over an edge hides, and largest difference between the two shares
_SCORE_DIGITS = 6


def decide_version(cfg: DecideConfig) -> str:
    """Fingerprint of the models, of the option, and of DECIDE_REVISION."""
    models = {"model": aligned_model().as_dict(), "altered": altered_model().as_dict()}
    return fingerprint({"revision": DECIDE_REVISION} | models | dataclasses.asdict(cfg))


def decide(pairs: DataFrame, cfg: DecideConfig) -> DataFrame:
    """Score, is_duplicate and kind of pairs from their evidence.

    The score is the probability that both pictures are made from one. For aligned pairs the model computes it from
    measures of the alignment. Hashes and the cosine do not count there, because they describe the whole picture
    coarsely. For pairs that could not be aligned (flat or empty pictures) both hashes must be close; if PDQ is below
    its quality, the score is 0. Pictures that share only a small part, or agree in little of it, also score 0.

    Args:
        pairs: the evidence columns of PAIRS, with found_by and the versions; existing decisions are replaced.
        cfg: the option.

    Returns:
        PAIRS.
    """
    is_pixel = F.col("found_by") == PIXEL
    straight, mirrored = _bits_score(""), _bits_score("_mirrored")
    bits = F.greatest(straight, mirrored)
    is_refuted = (F.greatest("src_overlap", "dst_overlap") < MIN_OVERLAP) | (F.col("agreeing_share") < MIN_AGREEING)
    aligned = F.when(is_aligned() & is_refuted, 0.0).when(is_aligned(), probability_of(aligned_model()))
    score = F.round(F.when(is_pixel, 1.0).otherwise(F.coalesce(aligned, bits)), _SCORE_DIGITS)
    known = F.when(F.col("aligned_ncc").isNotNull(), F.col("is_mirrored")).otherwise(mirrored > straight)
    valued = pairs.withColumns({"score": score, "is_mirrored": ~is_pixel & F.coalesce(known, F.lit(False))})
    is_duplicate = F.col("score") >= cfg.min_score
    unaligned = F.when(F.col("is_mirrored"), "mirrored").otherwise("edited")
    kind = (
        F.when(is_pixel, F.lit(PIXEL))
        .when(is_duplicate, F.when(is_aligned(), aligned_kind()).otherwise(unaligned))
        .when(is_aligned() & is_related(), SIMILAR)
    )
    decided = {
        "kind": kind,
        "is_duplicate": is_pixel | is_duplicate,
        "decide_version": F.lit(decide_version(cfg)),
    }
    return conform(valued.withColumns(decided), PAIRS.schema)


def probability_of(model: Model) -> Column:
    """The probability of a model, from the columns of schema.PAIRS; a null counts as the lowest value of its term."""
    product = F.lit(1.0)
    for factor in model.factors:
        logit = F.lit(factor.intercept)
        for term in factor.terms:
            value = F.least(F.greatest(F.col(term.column).cast("double"), F.lit(term.low)), F.lit(term.high))
            logit = logit + term.weight * (F.log(value) if term.is_log else value)
        product = product * _sigmoid(logit)
    return product


def is_measured(model: Model) -> Column:
    """Whether a pair has all measures that a model reads; rows of an earlier release may lack one."""
    return reduce(operator.and_, (F.col(term.column).isNotNull() for f in model.factors for term in f.terms))


def _sigmoid(logit: Column) -> Column:
    return 1.0 / (1.0 + F.exp(-logit))


def _bits_score(middle: str) -> Column:
    """Score by hash bits, straight (`middle` is "") or mirrored ("_mirrored"): the lower of the two hashes' scores."""
    pdq = (BITS_HALF - F.col(f"pdq{middle}_bits")) / BITS_STEP
    phash = (PHASH_HALF - F.col(f"phash{middle}_bits")) / PHASH_STEP
    usable = F.col("pdq_quality") >= PDQ_MIN_QUALITY
    return F.coalesce(F.when(usable, _sigmoid(F.when(pdq <= phash, pdq).otherwise(phash))), F.lit(0.0))


def is_aligned() -> Column:
    """Whether an alignment was found and compared; both are exactly 0 where pictures have too little structure."""
    return F.coalesce((F.col("aligned_ncc") != 0) | (F.col("agreeing_share") != 0), F.lit(False))


def covers_edge(frame: str, other_beyond: str) -> Column:
    """Whether what looks like a frame is a bar over an edge: it hides as much of the other picture as its own area."""
    return (F.col(frame) >= COVERED) & (F.abs(F.col(frame) - F.col(other_beyond)) <= COVERED)


def is_related() -> Column:
    """Whether keypoints and structure agree in many places: two pictures of one subject."""
    return (
        (F.col("n_inliers") >= 20)
        & (F.col("inlier_spread") >= 0.25)
        & (F.col("aligned_ncc") >= 0.75)
        & (F.col("agreeing_share") >= 0.5)
    )


def aligned_kind() -> Column:
    """Kind of an aligned duplicate. The first that applies: change of content, of colours, then of the visible part."""
    hides = covers_edge("src_frame", "dst_beyond") | covers_edge("dst_frame", "src_beyond")
    is_altered = ~is_measured(altered_model()) | (probability_of(altered_model()) >= 0.5)
    is_local = F.col("largest_local_difference") > MAX_LOCAL_DIFFERENCE
    return (
        F.when((is_altered | hides) & is_local, F.lit("edited"))
        .when(is_altered, F.lit("recoloured"))
        .when(F.col("is_mirrored"), F.lit("mirrored"))
        .when(F.abs("rotation_degrees") > TURN_DEGREES, F.lit("rotated"))
        .when(F.least("src_overlap", "dst_overlap") < CROP_OVERLAP, F.lit("crop"))
        .otherwise(F.lit("near"))
    )
