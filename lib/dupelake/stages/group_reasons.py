"""Why an image is a keeper or a member, in words that a person understands."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

_SAME = {
    "near": "same picture as the keeper",
    "mirrored": "the keeper's picture, mirrored",
    "edited": "the keeper's picture, edited",
    "crop": "a crop of the keeper's picture",
    "rotated": "the keeper's picture, rotated",
    "recoloured": "the keeper's picture, recoloured",
}


def evidence_of() -> Column:
    """What a row of schema.PAIRS was accepted on, as text; signals that were not measured are not named."""

    def bits(name: str, straight: str, mirrored: str, n_bits: int) -> Column:
        distance = F.when(F.col("is_mirrored"), F.col(mirrored)).otherwise(F.col(straight))
        return F.when(distance.isNotNull(), F.format_string(f"{name} %d of {n_bits} bits", distance))

    cosine = F.when(F.col("cosine_similarity").isNotNull(), F.format_string("cosine %.3f", "cosine_similarity"))
    return F.concat_ws(
        ", ",
        bits("PDQ", "pdq_bits", "pdq_mirrored_bits", 256),
        bits("pHash", "phash_bits", "phash_mirrored_bits", 64),
        cosine,
    )


def keeper_reason(order: Sequence[str]) -> Column:
    """The first criterion in which the keeper differs from the next best image, and those in which both are alike.

    Args:
        order: the criteria, as the fields of `rank` and `next_rank`.

    Returns:
        Text from rank, next_rank, width_px, height_px, format, captured_at and group_size.
    """
    bits = -F.col("rank.compression") * 8
    texts = {
        "pixels": F.format_string("most pixels (%dx%d)", "width_px", "height_px"),
        "compression": F.format_string("least compressed (%.2f bits a pixel)", bits),
        "format": F.concat(F.lit("preferred format ("), F.coalesce("format", F.lit("unknown")), F.lit(")")),
        "captured_at": F.concat(
            F.lit("captured first ("), F.date_format("captured_at", "yyyy-MM-dd HH:mm:ss"), F.lit(")")
        ),
        "image_id": F.lit("smallest image_id"),
    }
    reasons = []
    for place, name in enumerate(order):
        alike = f" and the next best are alike in {', '.join(order[:place])}" if place else ""
        said = F.concat(
            F.lit("keeper: "),
            texts[name],
            F.lit(" of "),
            F.col("group_size").cast("string"),
            F.lit(f" images; it{alike}" if alike else " images"),
        )
        reasons.append(F.when(F.col(f"rank.{name}") != F.col(f"next_rank.{name}"), said))
    return F.coalesce(*reasons)


def member_reason() -> Column:
    """How a member relates to its keeper; from kind, evidence, sizes and the struct `keeper`."""
    size = F.format_string("%dx%d", "width_px", "height_px")
    keeper_size = F.format_string("%dx%d", "keeper.width_px", "keeper.height_px")
    sizes = F.when(size == keeper_size, F.concat(F.lit(", both "), size)).otherwise(
        F.concat(F.lit(", "), size, F.lit(" against "), keeper_size)
    )
    measured = F.when(F.col("evidence") != "", F.concat(F.lit(" ("), F.col("evidence"), F.lit(")"))).otherwise("")
    words = F.lit("another version of the keeper's picture")
    for kind, text in _SAME.items():
        words = F.when(F.col("kind") == kind, text).otherwise(words)
    return (
        F.when(F.col("kind") == "exact", "same bytes as the keeper")
        .when(F.col("kind") == "pixel", "same pixels as the keeper, in a file with other bytes")
        .otherwise(F.concat(words, measured, sizes))
    )
