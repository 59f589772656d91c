"""What brute force finds of a sample of new units, and which of it each candidate generator proposed (design 5.7).

Generators say what they promise (propose.promises): those of bits (pHash, PDQ) every pair within their radius, that of
embeddings a share of those at the wanted cosine. A sample is held against all hashes and embeddings, by the promises
alone. Words promise nothing that could be said without them: in blocks, all pictures are compared; planted copies say
what keys find.
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

from dupelake.ingest.live_stage import rows_of_contents
from dupelake.propose.keyjoin import Places
from dupelake.propose.mih import Codes, binary_rows, words_of
from dupelake.propose.promises import Promises, WithinBits, WithinCosine, bits, cosines
from dupelake.recall.brute_force import near_codes, near_vectors
from dupelake.runtime.batches import Batches, sliced

_ROWS_AT_ONCE = 2_048  # 10 MB of float32 vectors
_NEAR = "sample_id string, sample_scope string, content_id string, leg string"


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


def sampled(sample: DataFrame, hashes: DataFrame, embeddings: DataFrame | None, promises: Promises) -> DataFrame:
    """(scope, content_id, hashes, embedding) of a few units, null where there is no embedding; for `sample_of`."""
    held = sample.join(hashes.select("content_id", *_columns(promises)), "content_id")
    if embeddings is None:
        return held.withColumn("embedding", F.lit(None).cast("binary"))
    own = rows_of_contents(
        embeddings.select("content_id", "embedding"), sample
    )  # a left join sends all that it may need
    return held.join(own, "content_id", "left")


def sample_of(rows: Sequence[Row], promises: Promises) -> Sample:
    """The rows of `sampled`, collected, as arrays."""
    packed = [bytes(row["embedding"]) for row in rows if row["embedding"] is not None]
    vectors = np.stack([np.frombuffer(row, "<f2") for row in packed]) if packed else None
    return Sample(
        [row["content_id"] for row in rows],
        [row["scope"] for row in rows],
        {name: _codes(pa.array([row[name] for row in rows])) for name in _columns(promises)},
        np.flatnonzero([row["embedding"] is not None for row in rows]),
        vectors,
    )


def near_sample(
    sample: Broadcast[Any], units: DataFrame, hashes: DataFrame, embeddings: DataFrame | None, promises: Promises
) -> DataFrame:
    """(src_id, dst_id, leg): pairs of a sampled unit and another of its scope that a generator is to propose, once.

    Args:
        sample: a `Sample`.
        units: (scope, content_id), all units.
        hashes: HASHES of one version.
        embeddings: EMBEDDINGS of one model; None where no sampled unit has one.
        promises: by name of the generator, which is in `leg`.

    Cost: hashes and embeddings are scanned once and not shuffled; about 20 ns for each content and sampled unit.
    """
    codes = hashes.select("content_id", *_columns(promises))
    near = codes.mapInArrow(partial(_near_hashes, sample=sample, promises=bits(promises)), _NEAR)
    if embeddings is not None:
        vectors = embeddings.where("embedding IS NOT NULL").select("content_id", "embedding")
        emit = partial(_near_embeddings, sample=sample, promises=cosines(promises))
        near = near.unionAll(vectors.mapInArrow(emit, _NEAR))
    held = units.select("content_id", "scope").join(near, "content_id").where("scope = sample_scope")
    ends = [
        order("sample_id", "content_id").alias(name) for order, name in ((F.least, "src_id"), (F.greatest, "dst_id"))
    ]
    return held.where("content_id <> sample_id").select(*ends, "leg").distinct()


def proposed_of(near: DataFrame, candidates: DataFrame) -> DataFrame:
    """(leg, n_true, n_proposed): how many of `near` there are, and how many the generator itself proposed.

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


def _columns(promises: Promises) -> list[str]:
    """The columns of HASHES that promises are about."""
    named = {name: None for one in bits(promises).values() for name in (one.code, one.mirror) if name is not None}
    return [*named]


def _codes(column: pa.Array) -> Codes:
    """A column of HASHES as uint64 (n, words)."""
    if pa.types.is_integer(column.type):
        return np.asarray(column, np.int64).view(np.uint64)[:, None]
    return words_of(binary_rows(column, len(column[0].as_buffer())))


def _near_hashes(batches: Batches, sample: Broadcast[Any], promises: dict[str, WithinBits]) -> Batches:
    few: Sample = sample.value
    for batch in sliced(batches, _ROWS_AT_ONCE):
        if not batch.num_rows:
            continue
        for name, one in promises.items():
            mirrors = (None, None) if one.mirror is None else (few.codes[one.mirror], _codes(batch[one.mirror]))
            near = near_codes(few.codes[one.code], mirrors[0], _codes(batch[one.code]), mirrors[1], one.max_bits)
            yield _rows(few, near[0], batch["content_id"], near[1], name)


def _near_embeddings(batches: Batches, sample: Broadcast[Any], promises: dict[str, WithinCosine]) -> Batches:
    few: Sample = sample.value
    assert few.vectors is not None  # noqa: S101 - of `near_sample`
    dim = few.vectors.shape[1]
    for batch in sliced(batches, _ROWS_AT_ONCE):
        many = binary_rows(batch["embedding"], 2 * dim).view("<f2")
        for name, one in promises.items():
            which, rows = near_vectors(few.vectors, many, one.min_cosine)
            yield _rows(few, few.embedded[which], batch["content_id"], rows, name)


def _rows(few: Sample, which: Places, ids: pa.Array, rows: Places, generator: str) -> pa.RecordBatch:
    places = which.tolist()
    columns = [
        pa.array([few.ids[place] for place in places], pa.string()),
        pa.array([few.scopes[place] for place in places], pa.string()),
        ids.take(pa.array(rows, pa.int64())),
        pa.array([generator] * len(places), pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, names=["sample_id", "sample_scope", "content_id", "leg"])
