"""Visual words by keys, for large corpora: only pictures that share keys of neighbouring words are compared.

The cost of blocks (`propose/word_blocks_stage.py`) grows with the square of the corpus. Here pictures meet only if they
share keys of two neighbouring words (`propose/word_neighbours.py`), which few pictures do. Then the rule of words
decides, as it does in blocks. So keys find a subset of the pairs of blocks (benchmarks/scale.md has the figures). One
shared key is often a coincidence, and the number of such pairs grows with the square of the corpus. So two shared keys
are needed.

Keys are shuffled packed (`propose/keyjoin.py`), some 14 bytes for each key including the units. A part sorts its keys
as numbers in memory, about 130 MB. Old pictures never meet each other.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.frequent_words_stage import NO_FREQUENT_WORDS, FrequentWords
from dupelake.propose.keyfilter import filter_log2
from dupelake.propose.keyjoin import UNIT_BITS, by_part, ranks, unpacked
from dupelake.propose.packed_stage import (
    FALSE_SHARE,
    FILTER_TASKS,
    KEYS_PER_PART,
    Units,
    bitmap_of,
    emit_bitmap,
    fill_units,
    gathered,
    id_column,
    keys_passing_filter,
    n_parts,
    unit_columns,
    unit_type,
)
from dupelake.propose.word_blocks_stage import proposed, with_words, without
from dupelake.propose.word_neighbours import holds_any, pair_keys
from dupelake.ranges import bounded_slices
from dupelake.runtime.batches import Batches
from dupelake.runtime.faults import reached
from dupelake.words.vocabulary import N_CENTROIDS, mirrored_words
from dupelake.words.votes import LEFT, RIGHT, unpack_block

_KEYS_PER_UNIT = 1_500
_PAIRS_AT_ONCE = 4_000_000  # rows of two pictures and a key in memory at once
_NO_WORDS = bytes(4)  # the packed form of a picture without words: the header only
_HAS_FREQUENT_WORD = np.uint64(1)  # this bit of a key says whether one of its words is frequent
_UNIT = unit_type(("is_new", "?"))
_MET_SCHEMA = (
    "low binary, high binary, scope bigint, n_keys bigint, n_hot_keys bigint, n_hot_pairs bigint, largest bigint"
)


@dataclass(frozen=True)
class KeyPairs:
    """Result of `meet_by_keys`.

    Attributes:
        met: (low binary, high binary, scope bigint, n_keys bigint, n_hot_keys bigint, n_hot_pairs bigint, largest
            bigint), rows of two kinds. With ids (as bytes, low < high): two units of a scope and the number of keys
            that they share in one part; a pair may be repeated. Without ids: the keys that one part left out, because
            more units than the cap have them or because a word is frequent. n_hot_keys is their number, n_hot_pairs
            the number of pairs with a new unit that they would have made, largest the most units of one key.
        min_keys: smallest number of keys that a pair must share.
    """

    met: DataFrame
    min_keys: int

    def pairs(self) -> DataFrame:
        """(low, high, scope bigint), each pair once; scope is a `scope_number`."""
        met = self.met.where("low IS NOT NULL")
        shared = met.groupBy("low", "high", "scope").agg(F.sum("n_keys").alias("n_keys"))
        return shared.where(F.col("n_keys") >= self.min_keys).select("low", "high", "scope")

    def left_out(self) -> DataFrame:
        """One row (keys, pairs, largest), all null if no key was left out; a pair counts once for each key."""
        return self.met.where("low IS NULL").agg(
            F.sum("n_hot_keys").alias("keys"), F.sum("n_hot_pairs").alias("pairs"), F.max("largest").alias("largest")
        )


def n_word_keys(n_units: int, n_new: int, *, is_filtered: bool) -> float:
    """Number of shuffled keys; `is_filtered`: whether the keys of old units pass a filter of the probed keys."""
    return (n_new + (n_units - n_new) * (FALSE_SHARE if is_filtered else 1.0)) * _KEYS_PER_UNIT


def probed_word_keys(units: DataFrame, keys: DataFrame, n_new: int) -> DataFrame:
    """(bitmap binary): filters of the keys of new units, to be combined by bitwise or.

    Args:
        units: as for `meet_by_keys`.
        keys: as for `meet_by_keys`.
        n_new: approximate number of new units.
    """
    log2_bits = filter_log2(n_new * _KEYS_PER_UNIT)
    new = units.where("is_new").select("content_id").distinct()
    held = keys.where("word_keys IS NOT NULL").join(new, "content_id", "left_semi").select("word_keys")
    return held.coalesce(FILTER_TASKS).mapInArrow(partial(_emit_bitmap, log2_bits=log2_bits), "bitmap binary")


def meet_by_keys(
    units: DataFrame,
    keys: DataFrame,
    cfg: LshConfig,
    n_units: int,
    n_new: int,
    probed: Broadcast[Any] | None = None,
    *,
    frequent: FrequentWords = NO_FREQUENT_WORDS,
    keys_per_partition: int = KEYS_PER_PART,
) -> KeyPairs:
    """Pairs of units of one scope that share a key, at least one of them new.

    Args:
        units: (scope, content_id, is_new boolean), one row per scope and content.
        keys: (content_id, word_keys binary) as `packed_keys` makes them; units without keys are skipped.
        cfg: word_min_keys and word_key_max_images. Keys of more units, over all scopes, make no pairs and are counted.
        n_units: approximate number of units; changes cost, never pairs.
        n_new: approximate number of new units.
        probed: filter of the keys of new units of all scopes (`propose/keyfilter.py`). Without one, every key of every
            unit is shuffled.
        frequent: words whose keys make no pairs; the keys that this leaves out are counted.
        keys_per_partition: changes cost, never pairs.

    Lazy. Cost: some 22 shuffled bytes for each key, 30 KB for each unit. With a filter the keys of old units are
    scanned, and only those that pass are shuffled.
    """
    n_keys = n_word_keys(n_units, n_new, is_filtered=probed is not None)
    parts, n_tasks = n_parts(units, n_keys, keys_per_partition)
    n_tasks = max(n_tasks, math.ceil(n_units / 16_384))
    known = keys.where("word_keys IS NOT NULL").select("content_id", "word_keys")
    if probed is not None:
        known = known.mapInArrow(partial(_emit_probed, probed=probed), known.schema)
    # Both sides are repartitioned by the join column with a fixed number of partitions. So keys are shuffled once
    # before they go to their parts, and adaptive execution does not merge the tasks.
    held = units.repartition(n_tasks, "content_id").join(known.repartition(n_tasks, "content_id"), "content_id")
    rows = held.select(*unit_columns(), "is_new", "word_keys")
    emit = partial(_emit_keys, parts=parts, frequent=frequent)
    spread = rows.mapInArrow(emit, "part int, units binary, keys binary").repartitionById(parts, "part")
    emit_met = partial(_emit_met, max_units=cfg.word_key_max_images, are_marked=bool(frequent))
    met = spread.mapInArrow(emit_met, _MET_SCHEMA)
    return KeyPairs(met, cfg.word_min_keys)


def check_words(
    pairs: DataFrame,
    features: DataFrame,
    cfg: LshConfig,
    *,
    are_few: bool = False,
    frequent: FrequentWords = NO_FREQUENT_WORDS,
) -> DataFrame:
    """The rows of `pairs` (low binary, high binary, scope bigint) that pass the rule of words (`word_blocks_stage`).

    The result is (low, high); a pair of several scopes is repeated. Frequent words of the scope do not count.

    Cost: the words of both pictures, 4.8 KB, are shuffled once for each pair. The words of pictures without a pair are
    shuffled too, unless pairs `are_few`: then the ids of the pairs are broadcast first.
    """
    words = with_words(features).select(F.unhex("content_id").alias("id"), "words")
    if are_few:
        ids = pairs.select(F.explode(F.array("low", "high")).alias("id")).distinct()
        words = words.join(F.broadcast(ids), "id", "left_semi")
    wide = pairs
    for side in ("low", "high"):
        wide = wide.join(words.select(F.col("id").alias(side), F.col("words").alias(f"{side}_words")), side)
    return wide.mapInArrow(partial(_emit_checked, cfg=cfg, frequent=frequent), "low binary, high binary")


def packed_keys(words: pa.Array) -> pa.Array:
    """The column `word_keys` of a column `words`: keys as little-endian uint64; null if `words` is null."""
    held = [value.as_py() for value in words]
    owner, numbers = pair_keys(unpack_block([value or _NO_WORDS for value in held]))
    counts = np.bincount(owner, minlength=len(held))
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]) * 8
    data = numbers.astype("<u8").tobytes()
    packed = [data[start:end] for start, end in itertools.pairwise(ends.tolist())]
    return pa.array([None if value is None else keys for value, keys in zip(held, packed, strict=True)], pa.binary())


def _keys_of(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """(owner, key): the stored keys of a batch; an owner is a row of it."""
    packed = batch["word_keys"].to_pylist()
    keys = np.frombuffer(b"".join(packed), "<u8")
    return np.repeat(np.arange(len(packed)), [len(value) // 8 for value in packed]), keys


def _emit_bitmap(batches: Batches, log2_bits: int) -> Batches:
    return emit_bitmap((_keys_of(batch)[1] for batch in batches), log2_bits)


def _emit_probed(batches: Batches, probed: Broadcast[Any]) -> Batches:
    """Each content with its keys that pass the filter. Contents without such keys are left out."""
    bitmap = bitmap_of(probed)
    for batch in batches:
        owner, keys = keys_passing_filter(*_keys_of(batch), bitmap)
        counts = np.bincount(owner, minlength=batch.num_rows)
        row = np.flatnonzero(counts)
        edges = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[row])]) * 8
        offsets = pa.py_buffer(edges.astype(np.int32).tobytes())
        blobs = pa.Array.from_buffers(pa.binary(), len(row), [None, offsets, pa.py_buffer(keys.tobytes())])
        ids = batch["content_id"].take(pa.array(row))
        yield pa.RecordBatch.from_arrays([ids, blobs], names=["content_id", "word_keys"])


def _emit_keys(batches: Batches, parts: int, frequent: FrequentWords) -> Batches:
    """One row for each part that gets keys from a batch; keys differ between scopes."""
    for batch in batches:
        owner, keys = _keys_of(batch)
        units = np.empty(batch.num_rows, _UNIT)
        fill_units(units, batch)
        units["is_new"] = np.asarray(batch["is_new"])
        is_frequent = _has_frequent_word(owner, keys, units["scope"][:, 0], frequent) if frequent else None
        keys = keys ^ np.asarray(batch["scope_key"]).view(np.uint64)[owner]
        if is_frequent is not None:
            keys = (keys & ~_HAS_FREQUENT_WORD) | is_frequent  # equal keys of a scope get the same bit
        for part, present, _, numbers in by_part(owner, keys, parts):
            blobs = (units[present].tobytes(), numbers.tobytes())
            yield pa.RecordBatch.from_arrays(
                [pa.array([part], pa.int32()), *(pa.array([blob], pa.binary()) for blob in blobs)],
                names=["part", "units", "keys"],
            )


def _has_frequent_word(
    owner: npt.NDArray[np.int64], keys: npt.NDArray[np.uint64], scopes: npt.NDArray[np.uint64], frequent: FrequentWords
) -> npt.NDArray[np.bool_]:
    """Whether each key has a frequent word of the scope of its unit."""
    out, is_word = np.zeros(len(keys), bool), np.zeros(N_CENTROIDS**2, bool)
    for scope in np.unique(scopes).tolist():
        if scope in frequent:
            words = np.concatenate([frequent[scope], mirrored_words(frequent[scope])])
            is_word[words] = True
            mine = np.flatnonzero((scopes == scope)[owner])
            out[mine] = holds_any(keys[mine], is_word)
            is_word[words] = False
    return out


def _emit_met(batches: Batches, max_units: int, are_marked: bool) -> Batches:
    """The pairs of one part. If `are_marked`, the lowest bit of a key says whether one of its words is frequent."""
    reached("worker:words")
    units, (whole,) = gathered(batches, _UNIT, "keys")
    if not len(whole):
        return
    whole.sort()
    whole = whole[np.diff(whole, prepend=whole[0] + np.uint64(1)) != 0]  # a picture may have a key twice
    key = whole >> UNIT_BITS
    edges = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1], [True]]))
    starts, sizes = edges[:-1], np.diff(edges)
    is_left_out = sizes > max_units
    if are_marked:
        is_left_out |= (sizes > 1) & (key[starts] & _HAS_FREQUENT_WORD).astype(bool)
    if is_left_out.any():
        n_old = np.add.reduceat(~units["is_new"][unpacked(whole)], starts, dtype=np.int64)
        n_pairs = sizes * (sizes - 1) // 2 - n_old * (n_old - 1) // 2
        out = is_left_out & (n_pairs > 0)  # keys of old units only were counted on an earlier night
        if out.any():
            totals = int(out.sum()), int(n_pairs[out].sum()), int(sizes[out].max())
            yield _met_batch([pa.nulls(1, pa.binary())] * 2, None, None, *totals)
    shared = np.flatnonzero((sizes > 1) & ~is_left_out)
    yield from _met_pairs(units, whole, starts[shared], sizes[shared])


def _met_pairs(
    units: Units,
    keys: npt.NDArray[np.uint64],
    starts: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
) -> Batches:
    order = np.argsort(sizes, kind="stable")
    starts, sizes = starts[order], sizes[order]
    ids, scope, is_new = (np.ascontiguousarray(units[name]) for name in ("id", "scope", "is_new"))
    rank = ranks(ids)
    for part in bounded_slices(sizes * (sizes - 1) // 2, _PAIRS_AT_ONCE):
        codes = []
        for size in np.unique(sizes[part]):
            begin = starts[part][sizes[part] == size]
            members = unpacked(keys[begin[:, None] + np.arange(size)])
            i, j = np.triu_indices(size, 1)
            a, b = members[:, i].ravel(), members[:, j].ravel()
            kept = (is_new[a] | is_new[b]) & (scope[a] == scope[b]).all(axis=1)
            a, b = a[kept], b[kept]
            swap = rank[a] > rank[b]
            codes.append(np.where(swap, b, a) << np.int64(32) | np.where(swap, a, b))
        code, n_keys = np.unique(np.concatenate(codes), return_counts=True)
        low, high = code >> np.int64(32), code & np.int64(0xFFFFFFFF)
        yield _met_batch([id_column(ids[low]), id_column(ids[high])], scope[low, 0], n_keys)


def _met_batch(
    pair: list[pa.Array],
    scope: npt.NDArray[np.uint64] | None,
    n_shared: npt.NDArray[np.int64] | None,
    n_hot_keys: int = 0,
    n_hot_pairs: int = 0,
    largest: int = 0,
) -> pa.RecordBatch:
    n = len(pair[0])
    optional = [
        pa.nulls(n, pa.int64()) if each is None else pa.array(each.view(np.int64)) for each in (scope, n_shared)
    ]
    numbers = [pa.array(np.full(n, value, np.int64)) for value in (n_hot_keys, n_hot_pairs, largest)]
    names = ["low", "high", "scope", "n_keys", "n_hot_keys", "n_hot_pairs", "largest"]
    return pa.RecordBatch.from_arrays([*pair, *optional, *numbers], names=names)


def _emit_checked(batches: Batches, cfg: LshConfig, frequent: FrequentWords) -> Batches:
    for batch in batches:
        n = batch.num_rows
        packed = [side[at] for at in range(n) for side in (batch["low_words"], batch["high_words"])]
        block = unpack_block([value.as_py() for value in packed])
        if frequent:
            scopes, number = np.unique(np.asarray(batch["scope"]).view(np.uint64), return_inverse=True)
            block = without(block, np.repeat(number, 2), scopes.tolist(), frequent)
        pair = np.repeat(np.arange(n), 2)  # each pair is a scope of its own
        sides = np.tile(np.array([LEFT, RIGHT], np.uint8), n)
        kept = np.zeros(n, bool)
        for low, _ in proposed(block, pair, sides, cfg):
            kept[pair[low]] = True
        rows = pa.array(np.flatnonzero(kept))
        ids = [batch[side].take(rows) for side in ("low", "high")]
        yield pa.RecordBatch.from_arrays(ids, names=["low", "high"])
