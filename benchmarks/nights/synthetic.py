"""Contents drawn from real ones, in Spark: hashes, words and embeddings of any number of images, some of them copies.

A drawn content takes what a real one has and scrambles it, so that it is like none, while what decides the cost of a
join stays as it is in real pictures: how often each bit is set, how often each word comes, where words lie, how close
unrelated embeddings are. One in ten is a copy of the content before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from dupelake.warehouse.schema import EMBEDDINGS, FEATURES, HASHES, IMAGES
from dupelake.warehouse.tables import Warehouse
from dupelake.words.vocabulary import N_CENTROIDS, NO_WORD, PACKED_HEADER, PACKED_WORD

COPY_EVERY = 10
_FLIPPED = 0.35  # of the bits of a real hash: as far from it, and from its other children, as unrelated pictures are
_OF_COPY = 0.02  # of the bits of a copy
_KEPT_WORDS = 0.7  # of a copy
_WHOLE_WORDS = 0.5  # as they come; of the others each half is drawn by itself
_MARK_WORDS = 20
_NOISE = 1.0  # added to a real embedding, as a multiple of its spread about the centre
_NOISE_OF_COPY = 0.15

SCHEMA = (
    "id bigint, content_id string, pixel_digest string, phash bigint, phash_mirrored bigint, pdq binary, "
    "pdq_mirrored binary, pdq_quality int, words binary, embedding binary"
)


@dataclass(frozen=True)
class Pool:
    """What real contents have: bits (n, 8 * bytes), words of all as one array, unit embeddings float32 (n, dim)."""

    phash: np.ndarray
    phash_mirrored: np.ndarray
    pdq: np.ndarray
    pdq_mirrored: np.ndarray
    quality: np.ndarray
    sizes: np.ndarray
    n_words: np.ndarray
    words: np.ndarray
    embedding: np.ndarray
    spread: float
    versions: dict[str, Any]


def read_pool(warehouse: Warehouse) -> Pool:
    """All contents with words of a warehouse of some thousand real images."""
    hashes = warehouse.read(HASHES).where("NOT is_low_information")
    rows = (
        hashes.join(warehouse.read(FEATURES).where(F.length("words") > 4), "content_id")
        .join(warehouse.read(EMBEDDINGS).where("embedding IS NOT NULL"), "content_id")
        .orderBy("content_id")
        .toPandas()
    )

    def bits(name: str) -> np.ndarray:
        return np.unpackbits(np.frombuffer(b"".join(map(bytes, rows[name])), np.uint8).reshape(len(rows), -1), axis=1)

    def of_longs(name: str) -> np.ndarray:
        return np.unpackbits(rows[name].to_numpy(">i8").view(np.uint8).reshape(-1, 8), axis=1)

    packed = [bytes(w) for w in rows["words"]]
    embedding = np.stack([np.frombuffer(bytes(e), "<f2").astype(np.float32) for e in rows["embedding"]])
    names = ("hash_version", "feature_version", "model_id", "preprocess_id")
    return Pool(
        of_longs("phash"),
        of_longs("phash_mirrored"),
        bits("pdq"),
        bits("pdq_mirrored"),
        rows["pdq_quality"].to_numpy(np.int32),
        np.stack([np.frombuffer(w, PACKED_HEADER, count=1)[0] for w in packed]),
        np.array([(len(w) - PACKED_HEADER.itemsize) // PACKED_WORD.itemsize for w in packed]),
        np.concatenate([np.frombuffer(w, PACKED_WORD, offset=PACKED_HEADER.itemsize) for w in packed]),
        embedding,
        float(np.linalg.norm(embedding - embedding.mean(axis=0), axis=1).mean()),
        {name: rows[name].iloc[0] for name in names},
    )


@dataclass(frozen=True)
class Skew:
    """What is not evenly spread: `burst` contents, the first, are copies of the first; `marked` of all share words."""

    burst: int = 0
    marked: float = 0.0


def contents(spark: SparkSession, pool: Pool, first: int, last: int, tasks: int, skew: Skew = Skew()) -> DataFrame:
    """SCHEMA of contents first to last - 1; content n is the same whichever range holds it."""
    shared = spark.sparkContext.broadcast(pool)

    def draw(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            rows = [_content(shared.value, int(n), skew) for n in frame["id"]]
            yield pd.DataFrame(rows, columns=[part.split()[0] for part in SCHEMA.split(", ")])

    return spark.range(first, last, 1, tasks).mapInPandas(draw, SCHEMA)


def _content(pool: Pool, number: int, skew: Skew) -> tuple[Any, ...]:
    is_copy = number % COPY_EVERY == COPY_EVERY - 1
    origin = number - 1 if is_copy else number
    if 0 < number < skew.burst:
        is_copy, origin = True, 0
    rng = np.random.default_rng([1, origin])
    real = int(rng.integers(len(pool.quality)))
    near = np.random.default_rng([2, number])

    def flipped(bits: np.ndarray) -> bytes:
        made = bits ^ (rng.random(len(bits)) < _FLIPPED)
        return np.packbits(made ^ (near.random(len(bits)) < _OF_COPY) if is_copy else made).tobytes()

    phash, mirrored = (int.from_bytes(flipped(b[real]), "big", signed=True) for b in (pool.phash, pool.phash_mirrored))
    pdq, pdq_mirrored = flipped(pool.pdq[real]), flipped(pool.pdq_mirrored[real])
    words = _words(pool, int(pool.n_words[real]), rng)
    vector = pool.embedding[real] + _noise(pool, _NOISE, rng)
    if is_copy:
        other = _words(pool, len(words), near)
        words = np.where(near.random(len(words)) < _KEPT_WORDS, words, other)
        vector = vector + _noise(pool, _NOISE_OF_COPY, near)
    if near.random() < skew.marked:
        mark = pool.words[: min(_MARK_WORDS, len(words))]  # where it lies and how, in each of them
        words = np.concatenate([mark, words[len(mark) :]])
    digest = hashlib.sha256(f"content {number}".encode()).hexdigest()
    return (
        number,
        digest[:32],
        digest[32:],
        phash,
        mirrored,
        pdq,
        pdq_mirrored,
        int(pool.quality[real]),
        pool.sizes[real].tobytes() + words.tobytes(),
        (vector / np.linalg.norm(vector)).astype("<f2").tobytes(),
    )


def _noise(pool: Pool, share: float, rng: np.random.Generator) -> np.ndarray:
    dim = pool.embedding.shape[1]
    return rng.standard_normal(dim).astype(np.float32) * np.float32(share * pool.spread / dim**0.5)


def _words(pool: Pool, n: int, rng: np.random.Generator) -> np.ndarray:
    """Words of pictures here and there, each with its own place, scale and angle."""
    made = pool.words[rng.integers(len(pool.words), size=n)].copy()
    mixed = rng.random(n) >= _WHOLE_WORDS
    for cell in ("stored", "second"):
        first, second = (pool.words[cell][rng.integers(len(pool.words), size=n)] for _ in range(2))
        is_cell = (first != NO_WORD) & (second != NO_WORD) & (made[cell] != NO_WORD)
        halves = first // N_CENTROIDS * N_CENTROIDS + second % N_CENTROIDS
        made[cell] = np.where(mixed & is_cell, halves, made[cell])
    return made


def write(
    warehouse: Warehouse, drawn: DataFrame, versions: dict[str, Any], is_low_information: Column | None = None
) -> None:
    """Add drawn contents to `warehouse` as the hash and embed jobs would leave them, an image each; no thumbnails."""
    is_low = F.lit(False) if is_low_information is None else is_low_information
    common = {name: F.lit(value) for name, value in versions.items()}
    null = F.lit(None)
    hashed = {"is_low_information": is_low, "detail": F.lit(1.0)} | common
    n_words = F.expr(f"CAST((length(words) - {PACKED_HEADER.itemsize}) / {PACKED_WORD.itemsize} AS INT)")
    none = {"keypoints": F.lit(b""), "descriptors": F.lit(b""), "n_keypoints": n_words, "error_message": null}
    for table, columns in (
        (HASHES, hashed),
        (FEATURES, none | common),
        (EMBEDDINGS, {"error_message": null, "attempts": null, "tried_at": null} | common),
    ):
        warehouse.append(table, drawn.withColumns(columns).select(table.columns))
    write_images(warehouse, drawn)


def write_images(warehouse: Warehouse, drawn: DataFrame) -> None:
    """Add an image for each row of (id, content_id)."""
    values = {name: F.lit(None) for name in IMAGES.columns if name != "content_id"} | {
        "image_id": F.concat(F.lit("i"), F.col("id")),
        "uri": F.concat(F.lit("synthetic/"), F.col("id")),
        "partition": F.lit("2026-11-01"),
        "scope": F.lit(""),
        "byte_size": F.lit(100_000).cast("long"),
        "width_px": F.lit(800),
        "height_px": F.lit(600),
        "format": F.lit("JPEG"),
        "status": F.lit("ok"),
        "ingested_at": F.lit("2026-11-01").cast("timestamp"),
        "attempts": F.lit(0),
    }
    warehouse.append(IMAGES, drawn.withColumns(values).select(IMAGES.columns))


def numbered(warehouse: Warehouse) -> DataFrame:
    """(content_id, n): the number of each content, from the id of its image."""
    return warehouse.read(IMAGES).select("content_id", F.substring("image_id", 2, 20).cast("long").alias("n"))
