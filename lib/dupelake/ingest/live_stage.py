"""Live images, the scope of comparison, and classes of contents with equal pixels."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame

from dupelake.config import LshConfig
from dupelake.frames.functions import F
from dupelake.warehouse.rules import LIVE


def live_images(images: DataFrame) -> DataFrame:
    """The rows of schema.IMAGES that were read and are not deleted. Only they are compared and grouped."""
    return images.where(LIVE)


def scope_of(cfg: LshConfig) -> Column:
    """The scope in which an image is compared, as column `scope`: its own, or '' if `lsh.scope` is `across`."""
    scope = F.lit("") if cfg.scope == "across" else F.col("scope")
    return scope.alias("scope")


def contents_of_pairs(pairs: DataFrame) -> DataFrame:
    """(content_id): the distinct contents of pairs (src_id, dst_id)."""
    return pairs.select(F.explode(F.array("src_id", "dst_id")).alias("content_id")).distinct()


def rows_of_contents(rows: DataFrame, contents: DataFrame) -> DataFrame:
    """The rows whose content_id is in `contents`, which Spark broadcasts if it is small."""
    return rows.join(contents.select("content_id"), "content_id", "left_semi")


def pixel_representatives(hashes: DataFrame, *also: str) -> DataFrame:
    """(pixel_digest, class_id, n, *also): for each pixel digest its smallest content id, which stands for all of them.

    Args:
        hashes: HASHES of all contents of the digests in question.
        also: columns of the row of that content.
    """
    first = F.min(F.struct("content_id", *also)) if also else F.min("content_id")
    found = hashes.groupBy("pixel_digest").agg(first.alias("first"), F.count("*").alias("n"))
    if not also:
        return found.select("pixel_digest", F.col("first").alias("class_id"), "n")
    columns = [F.col(f"first.{name}").alias(name) for name in also]
    return found.select("pixel_digest", F.col("first.content_id").alias("class_id"), "n", *columns)


def pixel_classes(hashes: DataFrame) -> DataFrame:
    """(content_id, class_id) of the contents that share their pixels with another content.

    All other contents are classes of their own and are left out. The id of a class is its smallest content id.
    """
    shared = pixel_representatives(hashes).where("n > 1")
    return hashes.select("content_id", "pixel_digest").join(shared, "pixel_digest").select("content_id", "class_id")
