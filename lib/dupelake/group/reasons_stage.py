"""The column `reason` of groups: gathers the facts of each row, and calls the functions that put them into words."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql.window import WindowSpec

from dupelake.frames.functions import F, text_of_rows
from dupelake.group.bridges import WHOLE
from dupelake.group.finer_stage import is_finer
from dupelake.group.keeper_reasons import PHRASES
from dupelake.group.keeping import FULLER
from dupelake.group.reasons import reason_of
from dupelake.group.tiers_stage import is_keepers_file

_OF_ROW = (
    "image_id", "vertex", "width_px", "height_px", "format", "is_keeper", "relation", "kind", "verdicts", "in_set",
    "in_conflict", "group_size", "n_cut", "is_composite", "link",
)  # fmt: skip
_OF_KEEPER = ("is_beaten", "shows_all", "is_largest", "worse", "loss", "rank")


def group_reason() -> Column:
    """The reason of a row, from the columns of `group.stage`."""
    row = {name: F.col(name) for name in _OF_ROW}
    row |= {name: F.when(F.col("is_keeper"), F.col(name)) for name in _OF_KEEPER}  # null costs less
    is_indirect = F.coalesce(F.col("partner") != F.col("star"), F.lit(False))
    row |= {
        "jpeg_quality": F.col("condition.jpeg_quality"),
        "is_web_lossy": F.col("condition.is_web_lossy") > 0,
        "captured": F.date_format("captured_at", "yyyy-MM-dd HH:mm:ss"),
        "is_indirect": is_indirect,
        "other": F.when(is_indirect, F.col("partner_image")).otherwise(F.col("keeper.shown")),
        "is_keepers_file": is_keepers_file(),
        "is_finer": is_finer(),
        "next": F.struct("next.vertex", "next.rank", "next.loss", _is_worse("next.", "vertex").alias("is_worse")),
    }
    return text_of_rows(reason_of, F.struct(*(column.alias(name) for name, column in row.items())))


def shown_struct() -> Column:
    """What reasons say of an image that another was compared with."""
    return F.struct("image_id", "width_px", "height_px", F.col("condition.jpeg_quality").alias("jpeg_quality"))


def loss_struct() -> Column:
    """The parts of the loss in `group.keeper_order.order_of`."""
    return F.struct("n_fuller", "n_better", "doubt", "disagreement")


def star_facts(by_star: WindowSpec) -> dict[str, Column]:
    """The facts about all members of a star that `keeper_reason` reads, over a window without an order."""
    way, is_other = _way(), F.col("vertex") != F.col("star")
    pixels = F.col("width_px").cast("bigint") * F.col("height_px")
    is_direct = F.coalesce(F.col("partner") == F.col("star"), F.lit(False))
    lacks = is_other & ~(is_direct & F.coalesce(F.col("link.overlap") >= WHOLE, F.lit(False)))
    counts = (F.count_if(way == name).over(by_star).alias(name) for name in PHRASES)
    return {
        "is_beaten": F.coalesce(F.bool_or((F.col("link.favours") > 0) & is_direct).over(by_star), F.lit(False)),
        "shows_all": ~F.bool_or(lacks).over(by_star),
        "is_largest": pixels >= F.max(pixels).over(by_star),
        "worse": F.struct(*counts),
    }


def _is_worse(of: str, keeper: str) -> Column:
    is_direct = F.col(f"{of}partner") == F.col(keeper)
    return F.coalesce((F.col(f"{of}link.favours") < 0) & is_direct, F.lit(False))


def _way() -> Column:
    """The way in which a member is worse than the keeper, a key of PHRASES; null if it is not."""
    rule = F.col("link.rule")
    ways = F.when((rule == FULLER) & F.col("link.kind").isin("crop", "mirrored", "rotated"), "cropped")
    ways = ways.when((rule == FULLER) & F.col("link.covers"), "covered")
    for name, phrase in PHRASES.items():
        if name not in ("cropped", "covered"):
            ways = ways.when(rule == phrase.rule, name)
    return F.when(_is_worse("", "star"), ways)
