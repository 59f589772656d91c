"""Words that a crowd of pictures bears - a watermark, a frame, a line of print - told from a sample of the corpus.

Keys of two words of a mark are held by all that bear it and stay out of the join for that. A mark's words make keys
with their neighbours too, and those vary: each has few enough holders, and together they bring nearly all marked
pictures together, which then agree by the mark. So such words are left out as words, as `word_blocks_stage` leaves out
those over its own limit when pictures meet in blocks.
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

SAMPLE_UNITS = 65_536  # 160 MB of words, read by one task; a word of the smallest crowd of a million is in 200 of them
MIN_SAMPLED = 32  # pictures of a sample that bear a word, below which it tells nothing of a crowd
CROWD_SHARE = 300  # one in so many units at least; of 20,000 edited photographs .6 % of the words are in more

HotWords = Mapping[int, npt.NDArray[np.uint32]]
"""Words, ascending, by `scope_number` of the scopes that have any."""
NONE_HOT: HotWords = {}
_SCHEMA = "scope_digest binary, word bigint, n_units bigint"


def scope_number(digest: bytes) -> int:
    """What stands for a scope among numbers of 64 bits: the start of its `scope_digest` (`packed_stage`)."""
    return int.from_bytes(digest[:8], "little")


@dataclass(frozen=True)
class Sample:
    """(scope, content_id, words binary), one row for each unit with words whose content id is low: `one_in` of all.

    Content ids are digests, so this is drawn at random, and the same whatever night or machine asks.
    """

    rows: DataFrame
    one_in: int


def sampled(units: DataFrame, features: DataFrame, n_units: int, at_most: int = SAMPLE_UNITS) -> Sample:
    """Units with their words, lazily; all of them up to `at_most`.

    Args:
        units: (scope, content_id), one row each.
        features: FEATURES of one version; the words of all contents are scanned.
        n_units: how many units there are.
        at_most: about how many are wanted.
    """
    one_in = _one_in(n_units, at_most)
    sample = units.select("scope", "content_id")
    words = with_words(features).select("content_id", "words")
    if one_in > 1:
        sample, words = (_with_low_id(frame, one_in) for frame in (sample, words))
    return Sample(words.join(F.broadcast(sample), "content_id").select("scope", "content_id", "words"), one_in)


def thinned(sample: Sample, n_units: int, at_most: int) -> Sample:
    """The part of a sample of `n_units` that is a sample of `at_most` or so, or all of it."""
    one_in = max(sample.one_in, _one_in(n_units, at_most))
    return Sample(_with_low_id(sample.rows, one_in) if one_in > sample.one_in else sample.rows, one_in)


def _one_in(n_units: int, at_most: int) -> int:
    one_in = 1
    while n_units > one_in * at_most:
        one_in *= 2
    return one_in  # up to 2^32 there are ids low enough


def _with_low_id(frame: DataFrame, one_in: int) -> DataFrame:
    """The rows of one in so many contents, a power of two up to 2^32."""
    return frame.where(F.col("content_id") < f"{(1 << 32) // one_in:08x}")


def count_hot_words(sample: Sample, cfg: LshConfig) -> DataFrame:
    """(scope_digest binary, word bigint, n_units bigint): words that a crowd of a scope bears, by the sample.

    A crowd is more than `cfg.word_key_max_images` units of a scope and more than one in CROWD_SHARE of those with
    words. A word counts under the nearest cell and under the second nearest: keys are made with both. Where the sample
    is a part, MIN_SAMPLED pictures of it must bear the word: a cap below so many times `one_in` is taken for that, so
    that of many small scopes too few words are hot, never too many. Lazy; one task.
    """
    emit = partial(_emit_hot, one_in=sample.one_in, min_units=cfg.word_key_max_images)
    return sample.rows.select(scope_digest(), "words").repartition(1).mapInArrow(emit, _SCHEMA)


def by_scope(rows: list[Row]) -> HotWords:
    """Hot words of rows of `count_hot_words`."""
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(scope_number(bytes(row["scope_digest"])), []).append(row["word"])
    return {scope: np.array(sorted(words), np.uint32) for scope, words in found.items()}


def _emit_hot(batches: Batches, one_in: int, min_units: int) -> Batches:
    scopes: dict[bytes, int] = {}
    sizes = np.zeros(0, np.int64)
    codes, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for batch in sliced_by_bytes(batches):
        held = batch["scope_digest"].dictionary_encode()
        known = np.array([scopes.setdefault(scope, len(scopes)) for scope in held.dictionary.to_pylist()], np.int64)
        scope = known[np.asarray(held.indices)]
        sizes = np.pad(sizes, (0, len(scopes) - len(sizes))) + np.bincount(scope, minlength=len(scopes))
        codes, counts = _summed(codes, counts, *_cells(scope, batch["words"]))
    of = codes >> 32
    is_hot = (counts * one_in > min_units) & (counts * CROWD_SHARE > sizes[of])
    if one_in > 1:
        is_hot &= counts >= MIN_SAMPLED
    digests = pa.array([*scopes], pa.binary()).take(pa.array(of[is_hot]))
    yield pa.RecordBatch.from_arrays(
        [digests, pa.array(codes[is_hot] & 0xFFFFFFFF), pa.array(counts[is_hot] * one_in)],
        names=["scope_digest", "word", "n_units"],
    )


def _cells(scope: npt.NDArray[np.int64], words: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(scope << 32 | word, ascending; rows that stand under it, be it their nearest cell or the second nearest)."""
    block = unpack_block(words.to_pylist())
    owner = np.repeat(np.arange(len(block)), np.diff(block.start)) << np.int64(32)
    has_second = block.second != NO_WORD
    held = np.unique(np.concatenate([owner | block.stored, (owner | block.second)[has_second]]))  # by a row once
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
