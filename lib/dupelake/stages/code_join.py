"""The join of one leg whose units carry bit codes: pairs within a Hamming radius, by keys of slots (kernels.mih).

What is shuffled is packed (kernels.keyjoin): for each part of the keys a task's units there, with their codes, and the
keys as numbers. So a part finds pairs and checks their distance in its own memory, and only pairs within the radius
leave it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dupelake.kernels.keyfilter import filter_log2, make_bitmap, may_hold
from dupelake.kernels.keyjoin import UNIT_MASK, Keys, Places, by_part, mixed, near_meetings, packed
from dupelake.kernels.mih import Codes, SlotPlan, binary_column, binary_rows, probe_keys, slot_keys, words_of

FILTER_TASKS = 4  # a filter of up to 16 MB comes from each
KEYS_PER_PART = 16_000_000  # 128 MB of numbers to sort
_FALSE_SHARE = 1 / 8  # of the keys of old units that pass the filter of a night
_SLICE_BYTES = 16 << 20  # of one intermediate array in a Python worker, whatever the size of a batch
_IS_NEW, _IS_MIRRORED = 1, 2  # bits of an entry's flags
_MET_AT_ONCE = 1_000_000  # meetings held at once, some 60 bytes each
_SPREAD_SCHEMA = "part int, entries binary, stored binary, probing binary"

Batches = Iterator[pa.RecordBatch]
Entries = npt.NDArray[np.void]


def leg_pairs(
    units: DataFrame,
    codes: DataFrame,
    plan: SlotPlan,
    leg: int,
    *,
    mirrored: bool,
    probed: Broadcast[Any] | None,
    n_units: int,
    n_new: int,
) -> DataFrame:
    """(low binary, high binary, leg int): pairs of one leg, at least one unit of each new; perhaps more than once.

    The smaller mirrored distance of a pair is min(d(m(a), b), d(a, m(b))). New units probe straight and mirrored;
    stored are all units straight and, of the old, which do not probe, the mirrored too. So both directions are looked
    up for every pair, and two mirrored codes, which are the straight ones again, never meet.

    Args:
        units: (scope, content_id, is_new).
        codes: (content_id, code, mirror), binary of 8 bytes a word; `mirror` where `mirrored`.
        plan: how codes become keys.
        leg: what the column `leg` holds.
        mirrored: look for mirrored copies too.
        probed: filter of the keys that are probed: others are not emitted on the stored side.
        n_units: about how many units there are; changes cost, never pairs.
        n_new: about how many of them are new.
    """
    ways = 2 if mirrored else 1
    stored_share = 1.0 if probed is None else _FALSE_SHARE
    n_keys = n_units * plan.n_slots * ways * stored_share + n_new * plan.n_probes * ways
    at_once = int(units.sparkSession.conf.get("spark.sql.shuffle.partitions") or 200)
    n_parts = max(at_once, math.ceil(n_keys / KEYS_PER_PART))
    emit = partial(_emit_spread, plan=plan, n_parts=n_parts, probed=probed)
    # By number, which adaptive execution leaves alone: it would put these few bytes in one task, and a unit
    # becomes hundreds of keys here.
    spread = _coded(units, codes, mirrored).repartition(at_once, "id").mapInArrow(emit, _SPREAD_SCHEMA)
    join = partial(_emit_pairs, n_words=plan.n_words, max_bits=plan.max_bits, leg=leg)
    return spread.repartitionById(n_parts, "part").mapInArrow(join, "low binary, high binary, leg int")


def leg_filters(
    units: DataFrame, codes: DataFrame, plan: SlotPlan, leg: int, n_new: int, *, mirrored: bool
) -> DataFrame:
    """(leg int, bitmap binary): filters of the keys that the new of `units` probe, to be joined by or."""
    log2_bits = filter_log2(n_new * plan.n_probes * (2 if mirrored else 1))
    coded = _coded(units.where("is_new"), codes, mirrored).repartition(FILTER_TASKS, "id")
    rows = coded.mapInArrow(partial(_emit_bitmap, plan=plan, log2_bits=log2_bits), "bitmap binary")
    return rows.select(F.lit(leg).alias("leg"), "bitmap")


def _coded(units: DataFrame, codes: DataFrame, mirrored: bool) -> DataFrame:
    columns = ["code", *(["mirror"] if mirrored else [])]
    return units.join(codes.select("content_id", *columns), "content_id").select(
        F.unhex("content_id").alias("id"), *scope_columns(), "is_new", *columns
    )


def scope_columns() -> tuple[Column, Column]:
    """(scope_key bigint, scope_digest binary of 16 bytes) of `scope`: the first spreads keys, the second decides."""
    return F.xxhash64("scope").alias("scope_key"), F.unhex(F.substring(F.sha2("scope", 256), 1, 32)).alias(
        "scope_digest"
    )


def _entry(n_words: int) -> np.dtype[np.void]:
    return np.dtype(
        [("id", "<u8", 2), ("scope_key", "<i8"), ("scope", "<u8", 2), ("flags", "u1"), ("code", "<u8", n_words)]
    )


def _slices(batches: Batches, plan: SlotPlan) -> Batches:
    step = max(1, _SLICE_BYTES // (8 * plan.n_probes))
    for whole in batches:
        for start in range(0, whole.num_rows, step):
            yield whole.slice(start, step)


def _emit_bitmap(batches: Batches, plan: SlotPlan, log2_bits: int) -> Batches:
    """One filter a task."""
    whole: npt.NDArray[np.uint8] | None = None
    for batch in _slices(batches, plan):
        entries = _entries(batch, plan)
        _, keys = _keys(entries, np.arange(len(entries)), plan, probe_keys)
        bitmap = make_bitmap(keys.view(np.int64), log2_bits)
        whole = bitmap if whole is None else whole | bitmap
    if whole is not None:
        yield pa.RecordBatch.from_arrays([pa.array([whole.tobytes()], pa.binary())], names=["bitmap"])


def _entries(batch: pa.RecordBatch, plan: SlotPlan) -> Entries:
    """The units of a batch with their codes, then again with the mirrored ones where the batch has these."""
    n = batch.num_rows
    sides = [name for name in ("code", "mirror") if name in batch.schema.names]
    out = np.zeros(n * len(sides), _entry(plan.n_words))
    for at, side in enumerate(sides):
        rows = out[at * n : (at + 1) * n]
        rows["id"] = binary_rows(batch["id"], 16).view(">u8").reshape(n, 2)
        rows["scope_key"] = np.asarray(batch["scope_key"])
        rows["scope"] = binary_rows(batch["scope_digest"], 16).view("<u8").reshape(n, 2)
        rows["flags"] = np.asarray(batch["is_new"]).astype(np.uint8) * _IS_NEW + at * _IS_MIRRORED
        rows["code"] = words_of(binary_rows(batch[side], 8 * plan.n_words))
    return out


def _keys(
    entries: Entries, rows: Places, plan: SlotPlan, make: Callable[[Codes, SlotPlan], npt.NDArray[np.int64]]
) -> tuple[Places, Keys]:
    """(entry, key) of the given entries; keys of two scopes are different, and well mixed."""
    values = make(np.ascontiguousarray(entries["code"][rows]), plan) ^ entries["scope_key"][rows][:, None]
    return np.repeat(rows, values.shape[1]), mixed(values.view(np.uint64).ravel())


def _emit_spread(batches: Batches, plan: SlotPlan, n_parts: int, probed: Broadcast[Any] | None) -> Batches:
    """A row for each part that a batch has keys for."""
    bitmap = None if probed is None else np.frombuffer(probed.value, np.uint8)
    for batch in _slices(batches, plan):
        entries = _entries(batch, plan)
        is_new, is_mirrored = (entries["flags"] & flag > 0 for flag in (_IS_NEW, _IS_MIRRORED))
        owner, keys = _keys(entries, np.flatnonzero(~(is_new & is_mirrored)), plan, slot_keys)
        if bitmap is not None:
            kept = may_hold(bitmap, keys.view(np.int64))
            owner, keys = owner[kept], keys[kept]
        n_stored = len(keys)
        probing_owner, probing = _keys(entries, np.flatnonzero(is_new), plan, probe_keys)
        owner, keys = np.concatenate([owner, probing_owner]), np.concatenate([keys, probing])
        place = np.zeros(len(entries), np.int64)
        for part, present, rows, order in by_part(owner, keys, n_parts):
            mine = order[rows]  # ascending: what is stored comes first
            place[present] = np.arange(len(present))
            numbers = packed(keys[mine], place[owner[mine]])
            n = int(np.searchsorted(mine, n_stored))
            blobs = (entries[present].tobytes(), numbers[:n].tobytes(), numbers[n:].tobytes())
            yield pa.RecordBatch.from_arrays(
                [pa.array([part], pa.int32()), *(pa.array([blob], pa.binary()) for blob in blobs)],
                names=["part", "entries", "stored", "probing"],
            )


@dataclass(frozen=True)
class _Units:
    """The entries of one part, a column each; rank is equal, or in order, as ids are."""

    ids: npt.NDArray[np.uint64]
    rank: Places
    scope: npt.NDArray[np.uint64]
    flags: npt.NDArray[np.uint8]
    code: npt.NDArray[np.uint64]

    @staticmethod
    def of(entries: Entries) -> _Units:
        ids, scope, flags, code = (np.ascontiguousarray(entries[name]) for name in ("id", "scope", "flags", "code"))
        return _Units(ids, _ranks(ids), scope, flags, code)


def _emit_pairs(batches: Batches, n_words: int, max_bits: int, leg: int) -> Batches:
    """The pairs of one part."""
    blobs: tuple[list[npt.NDArray[Any]], ...] = ([], [], [])
    n = 0
    for batch in batches:
        for row in zip(batch["entries"], batch["stored"], batch["probing"], strict=True):
            entries = np.frombuffer(row[0].as_buffer(), _entry(n_words))
            blobs[0].append(entries)
            for at in (1, 2):
                blobs[at].append(np.frombuffer(row[at].as_buffer(), np.uint64) + np.uint64(n))
            n += len(entries)
    if n == 0:
        return
    if n > int(UNIT_MASK):
        raise ValueError(f"{n} units in one part do not fit a number; KEYS_PER_PART must be smaller")
    units = _Units.of(np.concatenate(blobs[0]))
    stored, probing = np.concatenate(blobs[1]), np.concatenate(blobs[2])
    del blobs
    for a, b in near_meetings(stored, probing, units.code, max_bits, _MET_AT_ONCE):
        pairs = _once(units, a, b)
        if len(pairs):
            sides = [binary_column(units.ids[pairs[:, side]].astype(">u8").view(np.uint8)) for side in (0, 1)]
            legs = pa.array(np.full(len(pairs), leg, np.int32))
            yield pa.RecordBatch.from_arrays([*sides, legs], names=["low", "high", "leg"])


def _ranks(ids: npt.NDArray[np.uint64]) -> Places:
    """Numbers that are equal, or in order, as ids are."""
    order = np.lexsort((ids[:, 1], ids[:, 0]))
    ids = ids[order]
    is_other = np.concatenate([[False], (ids[1:] != ids[:-1]).any(axis=1)])
    rank = np.empty(len(ids), np.int64)
    rank[order] = np.cumsum(is_other)
    return rank


def _once(units: _Units, probing: Places, stored: Places) -> Places:
    """(low, high) entries of the meetings that count, int64 (p, 2), each pair of ids once."""
    rank, flags = units.rank, units.flags
    low_first = rank[probing] < rank[stored]
    # Two new units probe each other: taken once.
    once = (flags[stored] & _IS_NEW == 0) | (flags[probing] & _IS_MIRRORED > 0) | low_first
    kept = once & (rank[probing] != rank[stored]) & (units.scope[probing] == units.scope[stored]).all(axis=1)
    kept &= flags[probing] & flags[stored] & _IS_MIRRORED == 0
    a, b, low_first = probing[kept], stored[kept], low_first[kept]
    low, high = np.where(low_first, a, b), np.where(low_first, b, a)
    _, first = np.unique(rank[low] << np.int64(32) | rank[high], return_index=True)
    return np.stack([low[first], high[first]], axis=1)
