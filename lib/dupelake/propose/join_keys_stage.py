"""Stored join keys of each content: the code of its embedding and the keys of its words.

Every night compares new contents with all old contents. Hashes are used as keys directly. A code takes a product with
1,280 by 765 numbers, and word keys take all distances within a picture. So these are computed once, when a content
first joins.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.ingest.live_stage import rows_of_contents
from dupelake.propose.mih import binary_column, binary_rows
from dupelake.propose.srp import embedding_plan, srp_codes
from dupelake.propose.versions import by_keys
from dupelake.propose.word_keys_stage import packed_keys
from dupelake.runtime.batches import Batches, sliced

EMBEDDING, WORDS = "embedding", "words"  # values of made_of, in this order
_ROWS_AT_ONCE = 512


def compute_keys(
    contents: DataFrame,
    features: DataFrame,
    embeddings: DataFrame | None,
    centre: npt.NDArray[np.float32] | None,
    cfg: LshConfig,
    version: str,
) -> DataFrame:
    """JOIN_KEYS of `contents`, lazily.

    Args:
        contents: (content_id), each once.
        features: FEATURES of one version.
        embeddings: EMBEDDINGS of one model, or None.
        centre: float32 (dim,) of that model.
        cfg: wanted cosine and recall. Word keys are made only if words are joined by keys.
        version: result of `key_version`.
    """
    words = rows_of_contents(features.select("content_id", "n_keypoints", "words"), contents)
    has_words = F.coalesce(F.col("n_keypoints") > 0, F.lit(False))
    if not by_keys(cfg):
        has_words, words = F.lit(False), words.where("false")
    rows = contents.join(words, "content_id", "left")
    if embeddings is None:
        rows = rows.withColumn("embedding", F.lit(None).cast("binary"))
    else:
        rows = rows.join(rows_of_contents(embeddings.select("content_id", "embedding"), contents), "content_id", "left")
    sources = [F.when(F.col("embedding").isNotNull(), EMBEDDING), F.when(has_words, WORDS)]
    rows = rows.withColumn("made_of", F.concat_ws("+", *sources)).withColumn("words", F.when(has_words, F.col("words")))
    n_bits = None if centre is None else embedding_plan(centre, cfg).n_bits
    emit = partial(_emit_keys, centre=centre, n_bits=n_bits)
    made = rows.mapInArrow(emit, "content_id string, embedding_code binary, word_keys binary, made_of string")
    return made.withColumn("key_version", F.lit(version))


def not_current(stored: DataFrame, contents: DataFrame, version: str) -> DataFrame:
    """(content_id, is_wanted, is_stored): contents without keys of this version.

    A content that got an embedding or features later has no keys: `pipeline/rejoin.py` deleted them.

    Args:
        stored: JOIN_KEYS.
        contents: (content_id), each once: the joined contents. Others are returned if outdated keys are stored.
        version: result of `key_version`.
    """
    known = stored.select("content_id", F.lit(True).alias("is_stored"), "key_version", "made_of")
    both = contents.withColumn("is_wanted", F.lit(True)).join(known, "content_id", "full").fillna(False)
    is_current = F.col("key_version").eqNullSafe(version) & F.col("made_of").isNotNull()
    return both.where(~is_current).select("content_id", "is_wanted", "is_stored")


def _emit_keys(batches: Batches, centre: npt.NDArray[np.float32] | None, n_bits: int | None) -> Batches:
    for batch in sliced(batches, _ROWS_AT_ONCE):
        yield pa.RecordBatch.from_arrays(
            [
                batch["content_id"],
                _codes(batch["embedding"], centre, n_bits),
                packed_keys(batch["words"]),
                batch["made_of"],
            ],
            names=["content_id", "embedding_code", "word_keys", "made_of"],
        )


def _codes(vectors: pa.Array, centre: npt.NDArray[np.float32] | None, n_bits: int | None) -> pa.Array:
    """A code for each float16 vector; null stays null."""
    is_there = pc.is_valid(vectors)
    if centre is None or n_bits is None or not pc.any(is_there).as_py():
        return pa.nulls(len(vectors), pa.binary())
    dense = binary_rows(vectors.filter(is_there), 2 * len(centre)).view("<f2").astype(np.float32)
    codes = binary_column(srp_codes(dense, centre, n_bits).astype(">u8").view(np.uint8))
    place = pc.subtract(pc.cumulative_sum(is_there.cast(pa.int64())), 1)
    return codes.take(pc.if_else(is_there, place, None))
