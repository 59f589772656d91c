"""Finds frequent words, such as those of a watermark, a frame or printed text, in a sample of the corpus.

A key of two words of a mark is common to all pictures with the mark, so the cap on keys excludes it. But words of the
mark also make keys with their neighbours, which vary. Each such key is below the cap, and together these keys make
nearly all marked pictures meet, and the pictures then agree by the mark. So frequent words are left out as words.
`word_blocks_stage` does the same with words over its own limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.packed_stage import scope_digest
from dupelake.propose.word_blocks_stage import with_words
from dupelake.runtime.batches import Batches, sliced_by_bytes
from dupelake.words.vocabulary import NO_WORD
from dupelake.words.votes import unpack_block

SAMPLE_UNITS = 65_536  # 160 MB of words, read by one task; the rarest frequent word of a million is in 200 of them
MIN_SAMPLED = 32  # a word in fewer pictures of a partial sample is never taken as frequent
CROWD_SHARE = 300  # a frequent word is in more than one unit in 300; so are .6 % of the words of 20,000 edited photos

FrequentWords = Mapping[int, npt.NDArray[np.uint32]]
"""Frequent words, ascending, by the `scope_number` of scopes that have any."""
NO_FREQUENT_WORDS: FrequentWords = {}
_SCHEMA = "scope_digest binary, word bigint, n_units bigint"


def scope_number(digest: bytes) -> int:
    """The scope as a 64-bit number: the start of its `scope_digest` (`propose/packed_stage.py`)."""
    return int.from_bytes(digest[:8], "little")


@dataclass(frozen=True)
class Sample:
    """Rows (scope, content_id, words binary) of one in `one_in` units with words: those with the lowest content ids.

    Content ids are digests, so the sample is random, and it is the same in every night and on every machine.
    """

    rows: DataFrame
    one_in: int


def sampled(units: DataFrame, features: DataFrame, n_units: int, at_most: int = SAMPLE_UNITS) -> Sample:
    """A sample of units with their words, lazily. If there are at most `at_most` units, it has all of them.

    Args:
        units: (scope, content_id), one row each.
        features: FEATURES of one version; the words of all contents are scanned.
        n_units: number of units.
        at_most: approximate number of wanted units.
    """
    one_in = _sampling_step(n_units, at_most)
    sample = units.select("scope", "content_id")
    words = with_words(features).select("content_id", "words")
    if one_in > 1:
        sample, words = (_with_low_id(frame, one_in) for frame in (sample, words))
    return Sample(words.join(F.broadcast(sample), "content_id").select("scope", "content_id", "words"), one_in)


def _sampling_step(n_units: int, at_most: int) -> int:
    one_in = 1
    while n_units > one_in * at_most:
        one_in *= 2
    return one_in  # the first 32 bits of an id are compared, so at most 2^32


def _with_low_id(frame: DataFrame, one_in: int) -> DataFrame:
    """The rows of one in `one_in` contents; `one_in` is a power of two up to 2^32."""
    return frame.where(F.col("content_id") < f"{(1 << 32) // one_in:08x}")


def count_frequent_words(sample: Sample, cfg: LshConfig) -> DataFrame:
    """(scope_digest binary, word bigint, n_units bigint): the frequent words of each scope, estimated from the sample.

    A word is frequent if more than `cfg.word_key_max_images` units of a scope have it, and more than one in
    CROWD_SHARE of the scope's units with words. Both the nearest and the second nearest cell of a descriptor count,
    because keys are made with both. In a partial sample at least MIN_SAMPLED pictures must have the word. So many small
    scopes may give too few frequent words, never too many. Lazy; one task.
    """
    emit = partial(_emit_frequent, one_in=sample.one_in, min_units=cfg.word_key_max_images)
    return sample.rows.select(scope_digest(), "words").repartition(1).mapInArrow(emit, _SCHEMA)


def by_scope(rows: list[Row]) -> FrequentWords:
    """Frequent words by scope, from rows of `count_frequent_words`."""
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(scope_number(bytes(row["scope_digest"])), []).append(row["word"])
    return {scope: np.array(sorted(words), np.uint32) for scope, words in found.items()}


def _emit_frequent(batches: Batches, one_in: int, min_units: int) -> Batches:
    scopes: dict[bytes, int] = {}
    sizes = np.zeros(0, np.int64)
    codes, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for batch in sliced_by_bytes(batches):
        encoded = batch["scope_digest"].dictionary_encode()
        known = np.array([scopes.setdefault(scope, len(scopes)) for scope in encoded.dictionary.to_pylist()], np.int64)
        scope = known[np.asarray(encoded.indices)]
        sizes = np.pad(sizes, (0, len(scopes) - len(sizes))) + np.bincount(scope, minlength=len(scopes))
        codes, counts = _summed(codes, counts, *_cells(scope, batch["words"]))
    scope_of_code = codes >> 32
    is_frequent = (counts * one_in > min_units) & (counts * CROWD_SHARE > sizes[scope_of_code])
    if one_in > 1:
        is_frequent &= counts >= MIN_SAMPLED
    digests = pa.array([*scopes], pa.binary()).take(pa.array(scope_of_code[is_frequent]))
    yield pa.RecordBatch.from_arrays(
        [digests, pa.array(codes[is_frequent] & 0xFFFFFFFF), pa.array(counts[is_frequent] * one_in)],
        names=["scope_digest", "word", "n_units"],
    )


def _cells(scope: npt.NDArray[np.int64], words: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(scope << 32 | word, ascending; number of rows with the word as a nearest or second nearest cell)."""
    block = unpack_block(words.to_pylist())
    owner = np.repeat(np.arange(len(block)), np.diff(block.start)) << np.int64(32)
    has_second = block.second != NO_WORD
    held = np.unique(np.concatenate([owner | block.stored, (owner | block.second)[has_second]]))  # a row counts once
    return np.unique(scope[held >> 32] << np.int64(32) | (held & 0xFFFFFFFF), return_counts=True)


def _summed(
    codes: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    more: npt.NDArray[np.int64],
    n_more: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    both, place = np.unique(np.concatenate([codes, more]), return_inverse=True)
    total = np.bincount(place, weights=np.concatenate([counts, n_more]), minlength=len(both))
    return both, total.astype(np.int64)
