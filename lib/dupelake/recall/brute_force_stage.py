"""What brute force finds of a sample of new units, and which of it each leg proposed (design 5.7).

The legs of bits (pHash, PDQ) promise every pair within their radius, the leg of embeddings a share of those at the
wanted cosine. A sample is held against all hashes and embeddings, by the definitions alone. Words have no such
definition apart from the leg: in blocks, all pictures are compared; planted copies say what keys find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.ingest.live_stage import rows_of_contents
from dupelake.propose.keyjoin import Places
from dupelake.propose.mih import Codes, binary_rows, words_of
from dupelake.recall.brute_force import near_codes, near_vectors
from dupelake.runtime.batches import Batches, sliced

_ROWS_AT_ONCE = 2_048  # 10 MB of float32 vectors
_NEAR = "sample_id string, sample_scope string, content_id string, leg string"
_HASHES = ("phash", "phash_mirrored", "pdq", "pdq_mirrored")


@dataclass(frozen=True)
class Sample:
    """Units that are looked for among all: k of them.

    Attributes:
        ids: content ids.
        scopes: of the same.
        codes: by column of HASHES, uint64 (k, words).
        embedded: places of those with an embedding.
        vectors: float16 (len(embedded), dim) of these; None where no model is compared.
    """

    ids: list[str]
    scopes: list[str]
    codes: dict[str, Codes]
    embedded: Places
    vectors: npt.NDArray[np.float16] | None


def sampled(sample: DataFrame, hashes: DataFrame, embeddings: DataFrame | None) -> DataFrame:
    """(scope, content_id, hashes, embedding) of a few units, null where there is no embedding; for `sample_of`."""
    held = sample.join(hashes.select("content_id", *_HASHES), "content_id")
    if embeddings is None:
        return held.withColumn("embedding", F.lit(None).cast("binary"))
    own = rows_of_contents(
        embeddings.select("content_id", "embedding"), sample
    )  # a left join sends all that it may need
    return held.join(own, "content_id", "left")


def sample_of(rows: Sequence[Row]) -> Sample:
    """The rows of `sampled`, collected, as arrays."""
    packed = [bytes(row["embedding"]) for row in rows if row["embedding"] is not None]
    vectors = np.stack([np.frombuffer(row, "<f2") for row in packed]) if packed else None
    longs = {name: np.array([row[name] for row in rows], np.int64) for name in _HASHES[:2]}
    bits = {name: np.frombuffer(b"".join(row[name] for row in rows), np.uint8).reshape(-1, 32) for name in _HASHES[2:]}
    codes = {name: values.view(np.uint64)[:, None] for name, values in longs.items()}
    return Sample(
        [row["content_id"] for row in rows],
        [row["scope"] for row in rows],
        codes | {name: words_of(values) for name, values in bits.items()},
        np.flatnonzero([row["embedding"] is not None for row in rows]),
        vectors,
    )


def near_sample(
    sample: Broadcast[Any], units: DataFrame, hashes: DataFrame, embeddings: DataFrame | None, cfg: LshConfig
) -> DataFrame:
    """(src_id, dst_id, leg): pairs of a sampled unit and another of its scope that a leg is to propose, each once.

    Args:
        sample: a `Sample`.
        units: (scope, content_id), all of them.
        hashes: HASHES of one version.
        embeddings: EMBEDDINGS of one model; None where no sampled unit has one.
        cfg: radii, wanted cosine, mirrored.

    Cost: hashes and embeddings are scanned once and not shuffled; some 20 ns a content and sampled unit.
    """
    near = hashes.select("content_id", *_HASHES).mapInArrow(partial(_near_hashes, sample=sample, cfg=cfg), _NEAR)
    if embeddings is not None:
        vectors = embeddings.where("embedding IS NOT NULL").select("content_id", "embedding")
        near = near.unionAll(vectors.mapInArrow(partial(_near_embeddings, sample=sample, cfg=cfg), _NEAR))
    held = units.select("content_id", "scope").join(near, "content_id").where("scope = sample_scope")
    ends = [
        order("sample_id", "content_id").alias(name) for order, name in ((F.least, "src_id"), (F.greatest, "dst_id"))
    ]
    return held.where("content_id <> sample_id").select(*ends, "leg").distinct()


def proposed_of(near: DataFrame, candidates: DataFrame) -> DataFrame:
    """(leg, n_true, n_proposed): how many of `near` there are, and how many the leg itself proposed.

    Args:
        near: of `near_sample`, staged: it is read twice.
        candidates: (src_id, dst_id, found_by).
    """
    met = near.join(candidates.select("src_id", "dst_id", "found_by"), ["src_id", "dst_id"])
    own = met.where(F.array_contains(F.split("found_by", r"\+"), F.col("leg"))).select("leg", F.lit(1).alias("own"))
    both = near.select("leg", F.lit(0).alias("own")).unionAll(own)
    return both.groupBy("leg").agg(F.count_if(F.col("own") == 0).alias("n_true"), F.sum("own").alias("n_proposed"))


def _near_hashes(batches: Batches, sample: Broadcast[Any], cfg: LshConfig) -> Batches:
    few: Sample = sample.value
    for batch in sliced(batches, _ROWS_AT_ONCE):
        codes = {name: np.asarray(batch[name], np.int64).view(np.uint64)[:, None] for name in _HASHES[:2]}
        codes |= {name: words_of(binary_rows(batch[name], 32)) for name in _HASHES[2:]}
        for leg, max_bits in (("phash", cfg.phash_max_bits), ("pdq", cfg.pdq_max_bits)):
            mirror = f"{leg}_mirrored"
            sides = [few.codes[mirror], codes[mirror]] if cfg.mirrored else [None, None]
            which, rows = near_codes(few.codes[leg], sides[0], codes[leg], sides[1], max_bits)
            yield _rows(few, which, batch["content_id"], rows, leg)


def _near_embeddings(batches: Batches, sample: Broadcast[Any], cfg: LshConfig) -> Batches:
    few: Sample = sample.value
    assert few.vectors is not None  # noqa: S101 - of `near_sample`
    dim = few.vectors.shape[1]
    for batch in sliced(batches, _ROWS_AT_ONCE):
        many = binary_rows(batch["embedding"], 2 * dim).view("<f2")
        which, rows = near_vectors(few.vectors, many, cfg.embedding_min_cosine)
        yield _rows(few, few.embedded[which], batch["content_id"], rows, "embedding")


def _rows(few: Sample, which: Places, ids: pa.Array, rows: Places, leg: str) -> pa.RecordBatch:
    places = which.tolist()
    columns = [
        pa.array([few.ids[place] for place in places], pa.string()),
        pa.array([few.scopes[place] for place in places], pa.string()),
        ids.take(pa.array(rows, pa.int64())),
        pa.array([leg] * len(places), pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, names=["sample_id", "sample_scope", "content_id", "leg"])
