"""Measure proposed pairs by hash bits and cosines, and join the columns of their alignment.

The evidence of a pair is a function of its two contents and the versions only. `verify/decide_stage.py` decides on it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from dupelake.config import DecideConfig
from dupelake.frames.functions import F
from dupelake.ingest.live_stage import contents_of_pairs, pixel_representatives, rows_of_contents
from dupelake.propose.distances import cosines, refuse_mixed, straight_and_mirrored_bits
from dupelake.propose.mih import binary_rows, words_of
from dupelake.runtime.batches import Batches, sliced_by_bytes
from dupelake.verify.decide_stage import PIXEL, decide
from dupelake.warehouse.schema import PAIRS

_DECISION = ("kind", "score", "is_duplicate", "decide_version")
_HASHES = ("phash", "phash_mirrored", "pdq", "pdq_mirrored", "pdq_quality", "hash_version")
_EVIDENCE = T.StructType(
    [
        T.StructField("src_id", T.StringType()),
        T.StructField("dst_id", T.StringType()),
        T.StructField("found_by", T.StringType()),
        *[
            T.StructField(name, T.IntegerType())
            for name in ("phash_bits", "phash_mirrored_bits", "pdq_bits", "pdq_mirrored_bits", "pdq_quality")
        ],
        T.StructField("cosine_similarity", T.DoubleType()),
        T.StructField("hash_version", T.StringType()),
    ]
)


def measure_pairs(
    pairs: DataFrame, hashes: DataFrame, embeddings: DataFrame | None, join_version: str, model_id: str | None
) -> DataFrame:
    """Measure each pair by hashes and embeddings.

    Args:
        pairs: (src_id, dst_id, found_by), src_id < dst_id, each once.
        hashes: HASHES; a pair without hashes on both sides is left out.
        embeddings: EMBEDDINGS, or None. A pair without embeddings of `model_id` on both sides has a null cosine.
        join_version: fingerprint of what proposed the pairs.
        model_id: model whose embeddings are compared.

    Returns:
        Columns of PAIRS, without those of the alignment and the decision; one row per pair.

    Raises:
        VersionMixError: two versions of hash or preprocessing meet in a pair. It is raised in a worker, so Spark
            raises a PythonException whose message contains it.

    Cost: two equi-joins on content_id with hashes, two with the embeddings of these contents; no action is run.
    """
    measured = pairs.select("src_id", "dst_id", "found_by")
    ids = contents_of_pairs(pairs)
    for side, key in (("a", "src_id"), ("b", "dst_id")):
        columns = [F.col(name).alias(f"{side}_{name}") for name in _HASHES]
        measured = measured.join(hashes.select(F.col("content_id").alias(key), *columns), key, "inner")
    for side, key in (("a", "src_id"), ("b", "dst_id")):
        if embeddings is None or model_id is None:
            columns = [
                F.lit(None).cast("binary").alias(f"{side}_embedding"),
                F.lit(None).cast("string").alias(f"{side}_preprocess_id"),
            ]
            measured = measured.select("*", *columns)
            continue
        held = embeddings.where((F.col("model_id") == model_id) & F.col("embedding").isNotNull())
        held = rows_of_contents(held, ids)  # a left join sends all that it may need
        columns = [F.col(name).alias(f"{side}_{name}") for name in ("embedding", "preprocess_id")]
        measured = measured.join(held.select(F.col("content_id").alias(key), *columns), key, "left")
    evidence = measured.mapInArrow(_measure_batches, _EVIDENCE)
    model = F.when(F.col("cosine_similarity").isNotNull(), F.lit(model_id)).cast("string")
    return evidence.select("*", model.alias("model_id"), F.lit(join_version).alias("join_version"))


def pixel_pairs(hashes: DataFrame, cfg: DecideConfig) -> DataFrame:
    """The pairs of contents with equal pixels: the representative of each pixel_digest with each other content.

    Args:
        hashes: HASHES, all contents of the digests in question. The smallest id is the representative, as in
            `propose.stage.joinable_units`.
        cfg: thresholds; they decide nothing here, but their fingerprint goes on the row.

    Returns:
        PAIRS of kind pixel and score 1. The straight distances are 0; the mirrored ones are the distances of a picture
        to its own mirror image. The cosine is null, because it is not needed.

    Raises:
        VersionMixError: as in `measure_pairs`.
    """
    first = pixel_representatives(hashes, "hash_version").withColumnRenamed("hash_version", "first_hash_version")
    star = hashes.join(first, "pixel_digest").where("content_id > class_id")  # src_id < dst_id
    # Hashes are functions of the pixels and the version, so one side's are the other's.
    sides = [F.col(name).alias(f"{side}_{name}") for side in "ab" for name in _HASHES[:-1]]
    rows = star.select(
        F.col("class_id").alias("src_id"),
        F.col("content_id").alias("dst_id"),
        F.lit(PIXEL).alias("found_by"),
        *sides,
        F.col("first_hash_version").alias("a_hash_version"),
        F.col("hash_version").alias("b_hash_version"),
        *[F.lit(None).cast("binary").alias(f"{side}_embedding") for side in "ab"],
        *[F.lit(None).cast("string").alias(f"{side}_preprocess_id") for side in "ab"],
    )
    evidence = rows.mapInArrow(_measure_batches, _EVIDENCE)
    versions = F.lit(None).cast("string").alias("model_id"), F.lit(PIXEL).alias("join_version")
    return decide(without_alignment(evidence.select("*", *versions)), cfg)


def with_alignment(measured: DataFrame, aligned: DataFrame, version: str) -> DataFrame:
    """Join `measured` with the columns of `verify.stage.ALIGNED`, and add the verify version."""
    both = measured.join(aligned, ["src_id", "dst_id"], "left")
    known = F.when(F.col("aligned_ncc").isNotNull(), F.lit(version)).cast("string")
    return both.withColumn("verify_version", known)


def without_alignment(measured: DataFrame) -> DataFrame:
    """Add the columns of the alignment to `measured`, all null."""
    fields = [f for f in PAIRS.schema.fields if f.name not in measured.columns and f.name not in _DECISION]
    return measured.select("*", *[F.lit(None).cast(f.dataType).alias(f.name) for f in fields])


def _measure_batches(batches: Batches) -> Batches:
    for batch in sliced_by_bytes(batches):  # intermediate float64 values take four times the memory of the vectors
        yield _measure(batch)


def _measure(batch: pa.RecordBatch) -> pa.RecordBatch:
    refuse_mixed("hashes of version", batch["a_hash_version"].to_pylist(), batch["b_hash_version"].to_pylist())
    sides = [
        words_of(np.asarray(batch[f"{side}_{name}"]).astype(">i8").view(np.uint8).reshape(-1, 8))
        for side in "ab"
        for name in ("phash", "phash_mirrored")
    ]
    phash, phash_mirrored = straight_and_mirrored_bits(*sides)
    sides = [words_of(binary_rows(batch[f"{side}_{name}"], 32)) for side in "ab" for name in ("pdq", "pdq_mirrored")]
    pdq, pdq_mirrored = straight_and_mirrored_bits(*sides)
    quality = np.minimum(np.asarray(batch["a_pdq_quality"]), np.asarray(batch["b_pdq_quality"])).astype(np.int32)
    return pa.RecordBatch.from_arrays(
        [
            batch["src_id"],
            batch["dst_id"],
            batch["found_by"],
            *[pa.array(column) for column in (phash, phash_mirrored, pdq, pdq_mirrored, quality)],
            _cosine_column(batch),
            batch["a_hash_version"],
        ],
        names=_EVIDENCE.fieldNames(),
    )


def _cosine_column(batch: pa.RecordBatch) -> pa.Array:
    """Cosine of each pair, float64; null where a side has no embedding."""
    has_both = np.asarray(batch["a_embedding"].is_valid()) & np.asarray(batch["b_embedding"].is_valid())
    values = np.zeros(batch.num_rows)
    if has_both.any():
        usable = batch.filter(pa.array(has_both))
        refuse_mixed(
            "embeddings prepared by", usable["a_preprocess_id"].to_pylist(), usable["b_preprocess_id"].to_pylist()
        )
        n_bytes = len(usable["a_embedding"][0].as_buffer())
        a, b = (binary_rows(usable[f"{side}_embedding"], n_bytes).view("<f2") for side in "ab")
        values[has_both] = cosines(a, b)
    return pa.array(values, mask=~has_both)
