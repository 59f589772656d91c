"""What the join keeps of each content: the code of its embedding and the keys of its words, both dear to compute.

A night meets all old contents. Their hashes are keys as they stand; a code takes a product of 1,280 by 765 numbers, and
the keys of neighbouring words all distances within a picture. So these are computed once, when a content first joins.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig, fingerprint
from dupelake.kernels.mih import binary_column, binary_rows
from dupelake.kernels.srp import srp_codes
from dupelake.stages.candidates import embedding_plan
from dupelake.stages.word_keys import packed_keys
from dupelake.stages.words import with_words

KEYS_REVISION = 1  # raise it when other keys or codes are computed, and with it JOIN_REVISION: other pairs meet
_ROWS_AT_ONCE = 512

Batches = Iterator[pa.RecordBatch]


def key_version(
    feature_version: str, model: tuple[str, str] | None, centre: npt.NDArray[np.float32] | None, cfg: LshConfig
) -> str:
    """Fingerprint of what `compute_keys` makes of a content.

    Args:
        feature_version: of the features.
        model: (model_id, preprocess_id) of the embeddings, None without.
        centre: of that model.
        cfg: as for `compute_keys`.
    """
    n_bits = None if centre is None else embedding_plan(centre, cfg).n_bits
    digest = None if centre is None else centre.astype("<f4").tobytes().hex()
    words = feature_version if by_keys(cfg) else None
    return fingerprint({"revision": KEYS_REVISION, "words": words, "model": model, "bits": n_bits, "centre": digest})


def by_keys(cfg: LshConfig) -> bool:
    """Whether words are joined, and by keys."""
    return cfg.words and cfg.word_join == "keys"


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
        cfg: wanted cosine and recall, and whether words are joined by keys: else there are none.
        version: of `key_version`.
    """
    words = with_words(features) if by_keys(cfg) else features.where("false")
    rows = contents.join(words.select("content_id", "words"), "content_id", "left")
    if embeddings is None:
        rows = rows.withColumn("embedding", F.lit(None).cast("binary"))
    else:
        rows = rows.join(embeddings.select("content_id", "embedding"), "content_id", "left")
    n_bits = None if centre is None else embedding_plan(centre, cfg).n_bits
    emit = partial(_emit_keys, centre=centre, n_bits=n_bits)
    made = rows.mapInArrow(emit, "content_id string, embedding_code binary, word_keys binary")
    return made.withColumn("key_version", F.lit(version))


def outdated(
    stored: DataFrame, features: DataFrame, embeddings: DataFrame | None, cfg: LshConfig, version: str
) -> DataFrame:
    """(content_id) of rows of JOIN_KEYS of another version, or without what there is now to make them of.

    Args:
        stored: JOIN_KEYS.
        features: as for `compute_keys`: some are mended when all images are hashed again.
        embeddings: as for `compute_keys`: some come later, where the jobs are run one by one.
        cfg: as for `compute_keys`.
        version: of `key_version`.
    """
    found = stored.where(F.col("key_version") != version).select("content_id")
    sources = [("embedding_code", embeddings.where("embedding IS NOT NULL"))] if embeddings is not None else []
    if by_keys(cfg):
        sources.append(("word_keys", with_words(features)))
    for column, source in sources:
        bare = stored.where((F.col("key_version") == version) & F.col(column).isNull()).select("content_id")
        found = found.unionAll(bare.join(source.select("content_id"), "content_id", "left_semi"))
    return found.distinct()  # hardly ever any


def _emit_keys(batches: Batches, centre: npt.NDArray[np.float32] | None, n_bits: int | None) -> Batches:
    for whole in batches:
        for start in range(0, whole.num_rows, _ROWS_AT_ONCE):
            batch = whole.slice(start, _ROWS_AT_ONCE)
            yield pa.RecordBatch.from_arrays(
                [batch["content_id"], _codes(batch["embedding"], centre, n_bits), packed_keys(batch["words"])],
                names=["content_id", "embedding_code", "word_keys"],
            )


def _codes(vectors: pa.Array, centre: npt.NDArray[np.float32] | None, n_bits: int | None) -> pa.Array:
    """A code for each float16 vector, null for null."""
    is_there = pc.is_valid(vectors)
    if centre is None or n_bits is None or not pc.any(is_there).as_py():
        return pa.nulls(len(vectors), pa.binary())
    dense = binary_rows(vectors.filter(is_there), 2 * len(centre)).view("<f2").astype(np.float32)
    codes = binary_column(srp_codes(dense, centre, n_bits).astype(">u8").view(np.uint8))
    place = pc.subtract(pc.cumulative_sum(is_there.cast(pa.int64())), 1)
    return codes.take(pc.if_else(is_there, place, None))
