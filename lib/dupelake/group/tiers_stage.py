"""Tiers of removable copies, the strictest first; benchmarks/quality.md has the measured error of each.

identical: equal bytes or equal pixels. verified: only encoding, scale or cut edges differ, and the keeper is at
least as good. copies: shows nothing that the keeper lacks. A member that did not pass against the keeper has no tier.
"""

from __future__ import annotations

from pyspark.sql import Column

from dupelake.config import TIERS
from dupelake.frames.functions import F
from dupelake.group.bridges import FINER, WHOLE
from dupelake.group.finer_stage import is_finer
from dupelake.verify.decide_stage import probability_of
from dupelake.verify.decision import altered_model

IDENTICAL, VERIFIED, COPIES = TIERS
# Limits that nine of ten copies keep after re-encoding (JPEG 30 and better), resizing to a quarter and cropping.
_SCORE, _NCC, _SHARE = 0.95, 0.95, 0.98
_CONTRADICTING, _LOCAL, _COLOUR, _ADDED = 0.01, 0.01, 0.03, 0.001
_ALTERED = 0.01  # probability that one of the two was edited or recoloured
_NARROWER = 0.99  # width and height of a crop relative to those of its keeper
_MOST = 0.6  # share of the keeper that a crop shows; pictures in a collage or on a screen take less
_SAME_SCALE = 1.02  # scale of a member relative to its keeper, above which it may show detail that the keeper lacks


def is_verified() -> Column:
    """Whether only encoding, scale or cut edges differ, for a row of schema.PAIRS; null if not aligned."""
    laid = F.greatest(F.coalesce("src_added", F.lit(0.0)), F.coalesce("dst_added", F.lit(0.0)))
    framed = F.greatest("src_frame", "dst_frame")
    return (
        F.col("kind").isin("near", "crop")
        & (F.col("score") >= _SCORE)
        & (F.col("aligned_ncc") >= _NCC)
        & (F.col("agreeing_share") >= _SHARE)
        & (F.col("contradicting_share") <= _CONTRADICTING)
        & (F.col("largest_local_difference") <= _LOCAL)
        & (F.col("colour_difference") <= _COLOUR)
        & (laid <= _ADDED)
        & (framed <= _ADDED)
        & (probability_of(altered_model()) <= _ALTERED)
    )


def shows_no_more() -> Column:
    """Whether a member shows nothing that its keeper lacks: the keeper shows all of it, and it is not finer.

    A member without a pair with the keeper is compared by its measured pixels.
    """
    sides = [F.col(f"{of}width_px").cast("double") * F.col(f"{of}height_px") for of in ("", "keeper.")]
    finer = F.sqrt(sides[0] / sides[1]) * F.col("detail") / F.col("keeper.detail")
    measured = (F.col("link.overlap") >= WHOLE) & ~is_finer()
    return F.when(F.col("link").isNull(), finer <= FINER).otherwise(measured)


def is_keepers_file() -> Column:
    """Whether a member is the same file as the keeper, under another name."""
    return (F.col("content_id") == F.col("keeper.content_id")) & (F.col("file_id") == F.col("keeper.file_id"))


def _is_cut_at_edges() -> Column:
    """Whether a crop shows most of its keeper, and is narrower and lower than it.

    Otherwise the keeper may be the same picture on a screen, in a collage, or with a caption added along a side, on a
    blank background that seems to go on.
    """
    sides = [F.col(name) / F.col("link.scale") / F.col(f"keeper.{name}") for name in ("width_px", "height_px")]
    return (F.greatest(*sides) <= _NARROWER) & (F.col("link.other_overlap") > _MOST)


def tier_of() -> Column:
    """The tier of a member, from relation, kind, partner, star, in_conflict, in_set and link."""
    is_copy = (F.col("relation") == "copy") & ~F.col("in_conflict")
    is_direct = F.coalesce(F.col("partner") == F.col("star"), F.lit(False))
    no_worse = (F.col("link.favours") <= 0) & (F.col("link.scale") <= _SAME_SCALE)
    is_same_or_cut = (F.col("kind") != "crop") | _is_cut_at_edges()
    return (
        F.when(~is_copy, None)
        .when(F.col("kind").isin("exact", "pixel"), IDENTICAL)
        .when(is_direct & F.col("link.is_verified") & no_worse & is_same_or_cut, VERIFIED)
        .when(is_direct | F.col("in_set"), COPIES)
    )
