"""Groups of similar pictures of one subject: a burst, a person in front of two walls, a product in two colours."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.group.components_stage import connected_components
from dupelake.group.decisions_stage import vertex_name
from dupelake.group.keepers_stage import class_of
from dupelake.ingest.live_stage import live_images, pixel_classes, scope_of
from dupelake.verify.decide_stage import SIMILAR
from dupelake.warehouse.schema import SIMILAR_GROUPS, conform


def similar_groups(
    images: DataFrame,
    hashes: DataFrame,
    pairs: DataFrame,
    cfg: Config,
    checkpoint: Callable[[DataFrame], DataFrame],
) -> DataFrame:
    """Groups of images of one scope that are connected by pairs of kind similar, with the copies of each.

    Args:
        images: schema.IMAGES.
        hashes: schema.HASHES; a pair of one content is a pair of all contents with its pixels.
        pairs: schema.PAIRS.
        cfg: lsh.scope `across` puts all images in one scope, ''.
        checkpoint: materialises a DataFrame and returns one without lineage.

    Returns:
        schema.SIMILAR_GROUPS, one row per image; images with copies only, and no similar picture, are left out.

    Cost: live images, hashes and the used pairs are read and shuffled by ids.
    """
    classes = pixel_classes(hashes)
    live = class_of(
        live_images(images).select("image_id", scope_of(cfg.lsh), "content_id"), classes, "content_id", "class_id"
    )
    present = live.select("scope", "class_id").distinct()
    is_similar = F.col("kind") == SIMILAR
    ends = pairs.where(is_similar | F.col("is_duplicate")).select("src_id", "dst_id", is_similar.alias("is_similar"))
    between = class_of(class_of(ends, classes, "src_id", "a"), classes, "dst_id", "b").where("a <> b")
    within = between.join(present.withColumnRenamed("class_id", "a"), "a").join(
        present.withColumnRenamed("class_id", "b"), ["scope", "b"]
    )
    scope = F.col("scope")
    src, dst = (vertex_name(F.col(end), scope) for end in "ab")
    edges = checkpoint(within.select(src.alias("src"), dst.alias("dst"), "is_similar"))
    components = connected_components(edges.select("src", "dst"), checkpoint)
    shots = edges.where("is_similar").select(F.col("src").alias("vertex")).join(components, "vertex")
    several = components.join(shots.select("component").distinct(), "component", "left_semi")
    rows = live.withColumn("vertex", vertex_name(F.col("class_id"), scope)).join(several, "vertex")
    group = W.partitionBy("component")
    rows = rows.select(
        "image_id",
        F.min("image_id").over(group).alias("similar_group_id"),
        "scope",
        "content_id",
        F.count(F.lit(1)).over(group).cast("int").alias("group_size"),
    )
    return conform(rows, SIMILAR_GROUPS.schema)
