"""Scores: measure proposed pairs by all signals, then decide by thresholds.

Measuring and deciding are apart. The evidence of a pair is a function of its two contents and the versions; a decision
is a function of the evidence and the thresholds, in JVM expressions only, so that other thresholds decide stored pairs
again without a look at hashes, embeddings or images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from dupelake.config import DecideConfig, fingerprint
from dupelake.kernels.mih import binary_rows, words_of
from dupelake.kernels.scoring import cosines, refuse_mixed, straight_and_mirrored_bits
from dupelake.schema import PAIRS, conform

PIXEL = "pixel"  # found_by, kind and join_version of pairs of equal pixels: no join found them
ACCEPTED = 0.5  # score at the threshold of the best signal
PHASH_RANDOM_BITS, PDQ_RANDOM_BITS = 32, 128  # what unrelated pictures are apart
_SLICE_BYTES = 16 << 20  # of one intermediate array in a Python worker, whatever the size of a batch
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

Batches = Iterator[pa.RecordBatch]


def score_pairs(
    pairs: DataFrame,
    hashes: DataFrame,
    embeddings: DataFrame | None,
    cfg: DecideConfig,
    join_version: str,
    model_id: str | None,
) -> DataFrame:
    """Measure each pair by hashes and embeddings, and decide it.

    Args:
        pairs: (src_id, dst_id, found_by), src_id < dst_id, each once.
        hashes: HASHES; a pair without hashes on both sides is left out.
        embeddings: EMBEDDINGS, or None. A pair without embeddings of `model_id` on both sides has a null cosine.
        cfg: thresholds.
        join_version: fingerprint of what proposed the pairs.
        model_id: model whose embeddings are compared.

    Returns:
        PAIRS, one row per pair.

    Raises:
        VersionMixError: inside the worker, so that Spark hands on a PythonException whose message holds it: two
            versions of hash or preprocessing meet in a pair.

    Cost: two equi-joins on content_id with hashes, two with embeddings; no action is run.
    """
    measured = pairs.select("src_id", "dst_id", "found_by")
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
        columns = [F.col(name).alias(f"{side}_{name}") for name in ("embedding", "preprocess_id")]
        measured = measured.join(held.select(F.col("content_id").alias(key), *columns), key, "left")
    evidence = measured.mapInArrow(_measure_batches, _EVIDENCE)
    model = F.when(F.col("cosine_similarity").isNotNull(), F.lit(model_id)).cast("string")
    return decide(evidence.select("*", model.alias("model_id"), F.lit(join_version).alias("join_version")), cfg)


def pixel_pairs(hashes: DataFrame, cfg: DecideConfig) -> DataFrame:
    """The pairs of contents with equal pixels: a star from the representative of each pixel_digest to the others.

    Args:
        hashes: HASHES, all contents of the digests in question. The smallest id is the representative, as in
            `stages.candidates.joinable_units`.
        cfg: thresholds; they decide nothing here, but their fingerprint goes on the row.

    Returns:
        PAIRS of kind pixel and score 1, with the distances that equal pixels have: 0 straight, and mirrored the
        distance of a picture to its own mirror image. The cosine is null: nobody need compute it.

    Raises:
        VersionMixError: as in `score_pairs`.
    """
    first = hashes.groupBy("pixel_digest").agg(F.min(F.struct("content_id", "hash_version")).alias("first"))
    star = hashes.join(first, "pixel_digest").where(F.col("content_id") > F.col("first.content_id"))  # src_id < dst_id
    # Hashes are functions of the pixels and the version, so one side's are the other's.
    sides = [F.col(name).alias(f"{side}_{name}") for side in "ab" for name in _HASHES[:-1]]
    rows = star.select(
        F.col("first.content_id").alias("src_id"),
        F.col("content_id").alias("dst_id"),
        F.lit(PIXEL).alias("found_by"),
        *sides,
        F.col("first.hash_version").alias("a_hash_version"),
        F.col("hash_version").alias("b_hash_version"),
        *[F.lit(None).cast("binary").alias(f"{side}_embedding") for side in "ab"],
        *[F.lit(None).cast("string").alias(f"{side}_preprocess_id") for side in "ab"],
    )
    evidence = rows.mapInArrow(_measure_batches, _EVIDENCE)
    versions = F.lit(None).cast("string").alias("model_id"), F.lit(PIXEL).alias("join_version")
    return decide(evidence.select("*", *versions), cfg)


def decide_version(cfg: DecideConfig) -> str:
    """Fingerprint of the thresholds."""
    return fingerprint(dataclasses.asdict(cfg))


def decide(pairs: DataFrame, cfg: DecideConfig) -> DataFrame:
    """Score, verdict and kind of pairs from their evidence, by JVM expressions alone.

    Each signal has a value: 1 for identical, exactly 0.5 at its threshold, 0 where unrelated pictures are,
    linear between. The best signal is the score. Signals that are null, and PDQ below its quality, have no value.

    Args:
        pairs: the evidence columns of PAIRS, with found_by and the versions; decisions that are there are replaced.
        cfg: thresholds, each inclusive.

    Returns:
        PAIRS.
    """
    usable = F.col("pdq_quality") >= cfg.pdq_min_quality
    phash, phash_mirrored = (
        _bits_value(F.col(name), cfg.phash_max_bits, PHASH_RANDOM_BITS)
        for name in ("phash_bits", "phash_mirrored_bits")
    )
    pdq, pdq_mirrored = (
        F.when(usable, _bits_value(F.col(name), cfg.pdq_max_bits, PDQ_RANDOM_BITS))
        for name in ("pdq_bits", "pdq_mirrored_bits")
    )
    valued = pairs.select(
        "*",
        F.coalesce(F.greatest(phash, pdq), F.lit(0.0)).alias("_straight"),
        F.coalesce(F.greatest(phash_mirrored, pdq_mirrored), F.lit(0.0)).alias("_mirrored"),
        F.coalesce(_cosine_value(F.col("cosine_similarity"), cfg.min_cosine), F.lit(0.0)).alias("_cosine"),
    )
    is_pixel = F.col("found_by") == PIXEL
    straight, mirrored, cosine = F.col("_straight"), F.col("_mirrored"), F.col("_cosine")
    score = F.when(is_pixel, F.lit(1.0)).otherwise(F.greatest(straight, mirrored, cosine))
    is_mirrored = ~is_pixel & (mirrored > straight)
    kind = (
        F.when(is_pixel, F.lit(PIXEL))
        .when(is_mirrored & (mirrored >= ACCEPTED), F.lit("mirrored"))
        .when(straight >= ACCEPTED, F.lit("near"))
        .when(cosine >= ACCEPTED, F.lit("edited"))
    )
    decided = {
        "is_mirrored": is_mirrored,
        "kind": kind,
        "score": score,
        "is_duplicate": score >= ACCEPTED,
        "decide_version": F.lit(decide_version(cfg)),
    }
    return conform(valued.withColumns(decided), PAIRS.schema)


def _bits_value(bits: Column, threshold: int, random_bits: int) -> Column:
    """1 at 0 bits, exactly 0.5 at the threshold (which is whole, so threshold / threshold is 1), 0 at random_bits."""
    inside = 1.0 - 0.5 * bits / threshold if threshold else F.lit(1.0)
    outside = F.greatest(0.5 * (random_bits - bits) / (random_bits - threshold), F.lit(0.0))  # below 0.5
    return F.when(bits <= threshold, inside).when(bits > threshold, outside)


def _cosine_value(cosine: Column, threshold: float) -> Column:
    """1 at cosine 1, exactly 0.5 at the threshold, 0 at 0 and below."""
    inside = 0.5 + 0.5 * ((cosine - threshold) / (1.0 - threshold)) if threshold < 1 else F.lit(1.0)
    # x / t < 1 for all floats x < t, since the quotient is at most 1 - 2^-53, which is a float.
    outside = F.greatest(0.5 * (cosine / threshold), F.lit(0.0))
    return F.when(cosine >= threshold, inside).when(cosine < threshold, outside)


def _measure_batches(batches: Batches) -> Batches:
    for whole in batches:
        # An Arrow batch is bounded by the session's settings; intermediate float64 are four times the vectors.
        step = max(1, whole.num_rows * _SLICE_BYTES // max(_SLICE_BYTES, 4 * whole.nbytes))
        for start in range(0, whole.num_rows, step):
            yield _measure(whole.slice(start, step))


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
    """float64, null where a side has no embedding."""
    has_both = np.asarray(batch["a_embedding"].is_valid()) & np.asarray(batch["b_embedding"].is_valid())
    values = np.zeros(batch.num_rows)
    if has_both.any():
        held = batch.filter(pa.array(has_both))
        refuse_mixed("embeddings prepared by", held["a_preprocess_id"].to_pylist(), held["b_preprocess_id"].to_pylist())
        n_bytes = len(held["a_embedding"][0].as_buffer())
        a, b = (binary_rows(held[f"{side}_embedding"], n_bytes).view("<f2") for side in "ab")
        values[has_both] = cosines(a, b)
    return pa.array(values, mask=~has_both)
