"""What counts: images that are there, and contents that show the same pixels."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.warehouse.schema import OK


def live_images(images: DataFrame) -> DataFrame:
    """The rows of schema.IMAGES that were read and are not deleted: only they are joined and grouped."""
    return images.where((F.col("status") == OK) & F.col("deleted_at").isNull())


def scope_of(cfg: LshConfig) -> Column:
    """The scope in which an image is compared, `scope`: its own, or '' for all where scopes are crossed."""
    scope = F.lit("") if cfg.scope == "across" else F.col("scope")
    return scope.alias("scope")


def ends_of(pairs: DataFrame) -> DataFrame:
    """(content_id) of the contents of pairs (src_id, dst_id), each once."""
    return pairs.select(F.explode(F.array("src_id", "dst_id")).alias("content_id")).distinct()


def of_contents(rows: DataFrame, contents: DataFrame) -> DataFrame:
    """The rows whose content_id is among `contents`, which are sent to the many rows where they are few."""
    return rows.join(contents.select("content_id"), "content_id", "left_semi")


def pixel_classes(hashes: DataFrame) -> DataFrame:
    """(content_id, class_id) of the contents that share their pixels with another; every other one is its own class.

    A class is named by its smallest content id.
    """
    shared = hashes.groupBy("pixel_digest").agg(F.min("content_id").alias("class_id"), F.count("*").alias("n"))
    return (
        hashes.select("content_id", "pixel_digest")
        .join(shared.where("n > 1"), "pixel_digest")
        .select("content_id", "class_id")
    )
