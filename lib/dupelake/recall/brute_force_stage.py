"""Pairs that brute force finds around a sample, and the share that each generator proposed (design 5.7).

The generators of hash bits (pHash, PDQ) promise every pair within their radius, the embedding generator a share of the
pairs at the wanted cosine. A sample is compared with all hashes and embeddings by the definitions of the distances.
Words have no definition apart from their generator; planted copies measure them.
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
from dupelake.ingest.live_stage import of_contents
from dupelake.propose.keyjoin import Places
from dupelake.propose.mih import Codes, binary_rows, words_of
from dupelake.recall.brute_force import near_codes, near_vectors
from dupelake.runtime.batches import Batches, sliced

_ROWS_AT_ONCE = 2_048  # 10 MB of float32 vectors
_NEAR = "sample_id string, sample_scope string, content_id string, leg string"
_HASHES = ("phash", "phash_mirrored", "pdq", "pdq_mirrored")


@dataclass(frozen=True)
class Sample:
    """k sampled units (a content within a scope).

    Attributes:
        ids: content id of each unit.
        scopes: scope of each unit.
        codes: for each hash column of HASHES, uint64 (k, words).
        embedded: indices of the units with an embedding.
        vectors: float16 (len(embedded), dim), their embeddings; None if no model is compared.
    """

    ids: list[str]
    scopes: list[str]
    codes: dict[str, Codes]
    embedded: Places
    vectors: npt.NDArray[np.float16] | None


def sampled(sample: DataFrame, hashes: DataFrame, embeddings: DataFrame | None) -> DataFrame:
    """(scope, content_id, hashes, embedding) of a few units, for `sample_of`; null if there is no embedding."""
    rows_of_units = sample.join(hashes.select("content_id", *_HASHES), "content_id")
    if embeddings is None:
        return rows_of_units.withColumn("embedding", F.lit(None).cast("binary"))
    own = of_contents(
        embeddings.select("content_id", "embedding"), sample
    )  # without this filter a left join shuffles all embeddings
    return rows_of_units.join(own, "content_id", "left")


def sample_of(rows: Sequence[Row]) -> Sample:
    """The collected rows of `sampled` as arrays."""
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
    """(src_id, dst_id, leg): pairs of a sampled unit and another of its scope that a generator must propose, each once.

    Args:
        sample: a `Sample`.
        units: (scope, content_id), all units.
        hashes: HASHES of one version.
        embeddings: EMBEDDINGS of one model; None if no sampled unit has one.
        cfg: radii, wanted cosine, mirrored.

    Cost: hashes and embeddings are scanned once and not shuffled; about 20 ns for each content and sampled unit.
    """
    near = hashes.select("content_id", *_HASHES).mapInArrow(partial(_near_hashes, sample=sample, cfg=cfg), _NEAR)
    if embeddings is not None:
        vectors = embeddings.where("embedding IS NOT NULL").select("content_id", "embedding")
        near = near.unionAll(vectors.mapInArrow(partial(_near_embeddings, sample=sample, cfg=cfg), _NEAR))
    rows_of_units = units.select("content_id", "scope").join(near, "content_id").where("scope = sample_scope")
    ends = [
        order("sample_id", "content_id").alias(name) for order, name in ((F.least, "src_id"), (F.greatest, "dst_id"))
    ]
    return rows_of_units.where("content_id <> sample_id").select(*ends, "leg").distinct()


def proposed_of(near: DataFrame, candidates: DataFrame) -> DataFrame:
    """(leg, n_true, n_proposed): for each generator, the number of pairs of `near`, and of those that it proposed.

    Args:
        near: result of `near_sample`, staged, because it is read twice.
        candidates: (src_id, dst_id, found_by).
    """
    proposed = near.join(candidates.select("src_id", "dst_id", "found_by"), ["src_id", "dst_id"])
    own = proposed.where(F.array_contains(F.split("found_by", r"\+"), F.col("leg"))).select(
        "leg", F.lit(1).alias("own")
    )
    both = near.select("leg", F.lit(0).alias("own")).unionAll(own)
    return both.groupBy("leg").agg(F.count_if(F.col("own") == 0).alias("n_true"), F.sum("own").alias("n_proposed"))


def _near_hashes(batches: Batches, sample: Broadcast[Any], cfg: LshConfig) -> Batches:
    few: Sample = sample.value
    for batch in sliced(batches, _ROWS_AT_ONCE):
        codes = {name: np.asarray(batch[name], np.int64).view(np.uint64)[:, None] for name in _HASHES[:2]}
        codes |= {name: words_of(binary_rows(batch[name], 32)) for name in _HASHES[2:]}
        for generator, max_bits in (("phash", cfg.phash_max_bits), ("pdq", cfg.pdq_max_bits)):
            mirror = f"{generator}_mirrored"
            sides = [few.codes[mirror], codes[mirror]] if cfg.mirrored else [None, None]
            which, rows = near_codes(few.codes[generator], sides[0], codes[generator], sides[1], max_bits)
            yield _rows(few, which, batch["content_id"], rows, generator)


def _near_embeddings(batches: Batches, sample: Broadcast[Any], cfg: LshConfig) -> Batches:
    few: Sample = sample.value
    assert few.vectors is not None  # noqa: S101 - of `near_sample`
    dim = few.vectors.shape[1]
    for batch in sliced(batches, _ROWS_AT_ONCE):
        many = binary_rows(batch["embedding"], 2 * dim).view("<f2")
        which, rows = near_vectors(few.vectors, many, cfg.embedding_min_cosine)
        yield _rows(few, few.embedded[which], batch["content_id"], rows, "embedding")


def _rows(few: Sample, which: Places, ids: pa.Array, rows: Places, generator: str) -> pa.RecordBatch:
    places = which.tolist()
    columns = [
        pa.array([few.ids[place] for place in places], pa.string()),
        pa.array([few.scopes[place] for place in places], pa.string()),
        ids.take(pa.array(rows, pa.int64())),
        pa.array([generator] * len(places), pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, names=["sample_id", "sample_scope", "content_id", "leg"])
