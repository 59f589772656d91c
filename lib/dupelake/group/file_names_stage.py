"""Images that are one file under several names: none is removable unless all are, and their bytes count once.

Two images are one file if the same file was read for both (`images.file_id`) with the same bytes. If the bytes differ,
the file changed between both readings, and the earlier reading is out of date.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame

from dupelake.config import TIERS
from dupelake.frames.functions import F, W
from dupelake.ingest.live_stage import live_images
from dupelake.warehouse.rules import FILE_ID

_FILE = ("content_id", "file_id")
_OWN = tuple(f"own_{name}" for name in _FILE)


def file_of() -> Column:
    """The file of an image; its uri where an older run stored no file_id."""
    return F.expr(FILE_ID).alias("file_id")


def keep_shared_files(rows: DataFrame, members: DataFrame) -> DataFrame:
    """Make images not removable whose file is also the file of an image that stays, and say so in the reason.

    Args:
        rows: image_id, is_removable, reason and more, of images in groups.
        members: image_id, scope, content_id, file_id of all live images of these contents, in all scopes.
    """
    goes = F.coalesce("is_removable", F.lit(False))
    by_file = W.partitionBy(*_OWN)
    names = members.select("image_id", *(F.col(name).alias(f"own_{name}") for name in ("scope", *_FILE)))
    marked = names.join(rows, "image_id", "left").withColumns(  # one join, because `rows` is expensive to compute
        {
            "stays": F.max(~goes).over(by_file),
            "staying_image": F.min(F.when(~goes, F.col("image_id"))).over(W.partitionBy(*_OWN, "own_scope")),
        }
    )
    # Do not name an image of another scope, because it may belong to another owner.
    staying_image = F.coalesce(F.concat(F.lit("image "), F.col("staying_image")), F.lit("an image of another scope"))
    why = F.concat(F.lit(" Not removable: the same file as "), staying_image, F.lit(" under another name."))
    is_kept = F.col("is_removable") & F.col("stays")
    return (
        marked.where("is_removable IS NOT NULL")
        .withColumn("reason", F.concat("reason", F.when(is_kept, why).otherwise("")))
        .withColumn("is_removable", F.col("is_removable") & ~F.col("stays"))
        .select(rows.columns)
    )


def totals_of(groups: DataFrame) -> DataFrame:
    """One row (images_grouped, groups, copies, removable) of numbers of images, and of groups, in schema.GROUPS."""
    return groups.agg(
        F.count(F.lit(1)).alias("images_grouped"),
        F.count_if("is_keeper").alias("groups"),
        F.count_if(F.col("relation") == "copy").alias("copies"),
        F.count_if("is_removable").alias("removable"),
    )


def what_may_go(groups: DataFrame, images: DataFrame) -> DataFrame:
    """One row: images and bytes that the removal of each tier would free, and removable_bytes; each file counts once.

    A file is freed only if all live images that name it are removed. A tier includes the stricter tiers.

    Args:
        groups: schema.GROUPS.
        images: schema.IMAGES.

    Returns:
        (identical, identical_bytes, verified, verified_bytes, copies, copies_bytes, removable_bytes), bigint each.
    """
    level = F.coalesce(F.array_position(F.array(*map(F.lit, TIERS)), F.col("tier")), F.lit(0)).cast("int")
    stays = F.lit(len(TIERS) + 1)
    known = groups.select("image_id", F.when(level > 0, level).otherwise(stays).alias("level"), "is_removable")
    named = groups.where(level > 0).select("content_id").distinct()
    names = live_images(images).join(named, "content_id", "left_semi")
    names = names.select("image_id", "content_id", "byte_size", file_of())
    files = (
        names.join(known, "image_id", "left")
        .groupBy(*_FILE)
        .agg(
            F.max(F.coalesce("level", stays)).alias("level"),
            F.count(F.lit(1)).alias("n"),
            F.max("byte_size").alias("size"),
            F.bool_or("is_removable").alias("goes"),
        )
    )
    sums: dict[str, Column] = {}
    for place, tier in enumerate(TIERS, start=1):
        sums |= {tier: F.when(F.col("level") <= place, F.col("n"))}
        sums |= {f"{tier}_bytes": F.when(F.col("level") <= place, F.col("size"))}
    sums["removable_bytes"] = F.when(F.col("goes"), F.col("size"))
    return files.agg(*(F.coalesce(F.sum(value), F.lit(0)).alias(name) for name, value in sums.items()))
