"""Planted copies: each run measures its recall on copies of its own new images (design 5.7).

The copies are made in memory from stored thumbnails, pass through every candidate generator together with the run's
contents, and are removed before anything is stored. No original is read twice, so a copy has at most 320 pixels, and
the recall of planted copies is a lower bound of the recall of copies of the originals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from dupelake.config import Config
from dupelake.fingerprint.fingerprint import fingerprint_image
from dupelake.fingerprint.hashing import hash_version
from dupelake.fingerprint.thumbnails import decode_thumbnail
from dupelake.ingest.failure import Failure
from dupelake.recall.edits import PLANTED, planted_copy
from dupelake.warehouse.schema import FEATURES, HASHES, THUMBNAILS
from dupelake.words.vocabulary import Vocabulary, feature_version, load_vocabulary

_STORED = [
    f
    for table in (HASHES, THUMBNAILS, FEATURES)
    for f in table.schema.fields
    if f.name not in ("content_id", "error_message")
]
_NULLABLE = list({f.name: T.StructField(f.name, f.dataType) for f in _STORED}.values())
COPIES = T.StructType(
    [
        T.StructField("content_id", T.StringType()),
        T.StructField("parent_id", T.StringType()),
        T.StructField("scope", T.StringType()),
        T.StructField("edit", T.StringType()),
        T.StructField("error_message", T.StringType()),
        T.StructField("full_width_px", T.IntegerType()),
        *_NULLABLE,
    ]
)
"""The result of `plant_copies`: ids, and the columns of HASHES, THUMBNAILS and FEATURES of each copy."""


def sample_units(units: DataFrame, n_images: int) -> DataFrame:
    """(scope, content_id) of at most `n_images` new units with the smallest hashes; a function of the units."""
    order = F.xxhash64(F.lit("planted"), "content_id")
    return units.where("is_new").select("scope", "content_id").orderBy(order, "scope").limit(n_images)


def plant_copies(sample: DataFrame, thumbnails: DataFrame, cfg: Config) -> DataFrame:
    """Copies of each sampled unit, one for each edit of `recall.edits.PLANTED`, fingerprinted as the hash stage does.

    Args:
        sample: (scope, content_id).
        thumbnails: schema.THUMBNAILS.
        cfg: configuration of the run.

    Returns:
        COPIES; a copy that could not be made is a row with `error_message`.

    Raises:
        ModelError: the vocabulary cannot be read. The driver reads it and sends it to the tasks.
    """
    versions = {"hash_version": hash_version(cfg), "feature_version": feature_version(cfg)}
    vocabulary = load_vocabulary(cfg.features.vocabulary)
    parents = sample.join(thumbnails.select("content_id", "bytes"), "content_id")
    n_tasks = parents.sparkSession.sparkContext.defaultParallelism

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrow = to_arrow_schema(COPIES)
        for batch in batches:
            for parent in batch.to_pylist():
                rows = [versions | _copy(parent, edit, strength, cfg, vocabulary) for edit, strength in PLANTED]
                yield pa.RecordBatch.from_arrays(
                    [pa.array([row.get(field.name) for row in rows], field.type) for field in arrow], schema=arrow
                )

    return parents.repartition(n_tasks, "content_id").mapInArrow(run, COPIES)


def _copy(parent: dict[str, Any], edit: str, strength: float, cfg: Config, vocabulary: Vocabulary) -> dict[str, Any]:
    name = f"{edit} {strength}"
    digest = hashlib.sha256(f"planted\n{parent['content_id']}\n{name}".encode()).hexdigest()
    row = {"content_id": digest[:32], "parent_id": parent["content_id"], "scope": parent["scope"], "edit": name}
    try:
        edited = planted_copy(decode_thumbnail(parent["bytes"]), edit, strength, int(digest[32:47], 16))
        found = fingerprint_image(edited, cfg.decode, cfg.hash, cfg.features, vocabulary)
    except Exception as error:  # a copy that cannot be made counts as not found
        return row | {"error_message": f"{type(error).__name__}: {error}"[:500]}
    if isinstance(found, Failure):
        return row | {"error_message": f"{found.reason}: {found.message}"}
    return {
        **vars(found),
        **row,
        "full_width_px": found.width_px,
        "bytes": found.thumbnail_bytes,
        "width_px": found.thumbnail_width_px,
        "height_px": found.thumbnail_height_px,
    }


def found_copies(copies: DataFrame, decided: DataFrame) -> DataFrame:
    """(edit, n_planted, n_proposed, n_found): n_found copies are duplicates of their own originals.

    Args:
        copies: COPIES.
        decided: schema.PAIRS; only pairs of a copy and its parent count.
    """
    ends = decided.select(
        F.col("src_id").alias("a"), F.col("dst_id").alias("b"), F.col("is_duplicate").cast("int").alias("found")
    )
    both = ends.unionByName(ends.select(F.col("b").alias("a"), F.col("a").alias("b"), "found"))
    decided_pairs = both.groupBy(F.col("a").alias("content_id"), F.col("b").alias("parent_id")).agg(
        F.max("found").alias("found")
    )
    return (
        copies.select("content_id", "parent_id", "edit")
        .join(decided_pairs, ["content_id", "parent_id"], "left")
        .groupBy("edit")
        .agg(
            F.count(F.lit(1)).alias("n_planted"),
            F.count("found").alias("n_proposed"),
            F.coalesce(F.sum("found"), F.lit(0)).alias("n_found"),
        )
    )
