"""Which live images are stored under versions of hashes or features that a run does not compare."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.ingest.live_stage import live_images


def is_other(column: str, version: str) -> Column:
    """Whether the row is of another version than `version`."""
    return F.col(column) != F.lit(version)


def of_other_versions(
    images: DataFrame, hashes: DataFrame, features: DataFrame, hash_version: str, feature_version: str
) -> DataFrame:
    """The live images of which a hash or the features are of another version.

    Contents that no live image holds count for nothing: nobody compares them, and who brings one back replaces it.

    Args:
        images: IMAGES.
        hashes: HASHES.
        features: FEATURES.
        hash_version: what the run compares.
        feature_version: the same of features.

    Returns:
        (image_id, uri, content_id), each image once.
    """
    others = (
        hashes.where(is_other("hash_version", hash_version))
        .select("content_id")
        .unionAll(features.where(is_other("feature_version", feature_version)).select("content_id"))
    )
    return live_images(images).select("image_id", "uri", "content_id").join(others, "content_id", "left_semi")
