"""Candidate generators that compare bit codes: pairs within a Hamming radius, found by slot keys (`propose/mih.py`).

The shuffled data is packed (`propose/keyjoin.py`). Keys are divided into parts. For each part a task sends its units
with their codes, and the keys as numbers. A part finds pairs and checks their distance in memory, so only pairs within
the radius leave it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame

from dupelake.propose.generator_stage import CandidateGenerator
from dupelake.propose.keyfilter import filter_log2
from dupelake.propose.keyjoin import Keys, Places, by_part, mixed, near_meetings, ranks
from dupelake.propose.mih import Codes, SlotPlan, binary_rows, probe_keys, slot_keys, words_of
from dupelake.propose.packed_stage import (
    FALSE_SHARE,
    FILTER_TASKS,
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
from dupelake.runtime.batches import SLICE_BYTES, Batches, sliced

_IS_NEW, _IS_MIRRORED = 1, 2  # bits of an entry's flags
_MEETINGS_AT_ONCE = 1_000_000  # meetings in memory at once, some 60 bytes each
_SPREAD_SCHEMA = "part int, units binary, stored binary, probing binary"


class CodeGenerator(CandidateGenerator):
    """A generator that makes keys from a bit code of each content. Subclasses define the codes and the plan.

    Only packed ids, keys and codes are shuffled. The distance is checked inside the join, which returns pairs within
    the radius of the plan only.

    Cost: the join shuffles n_slots keys of 8 bytes for each unit and n_probes keys for each new unit, twice both with
    mirrored codes. It also shuffles the code of each unit once for each part and batch. Contents with equal codes and
    different pixels are all true pairs. Each part that has one of their slots returns these pairs: n contents make
    n^2 / 2 rows for each such part, at most n_slots times.
    """

    @property
    def is_mirrored(self) -> bool:
        """Whether mirrored copies are searched for. If so, `codes` has the column `mirror`."""
        return False

    @abstractmethod
    def codes(self) -> DataFrame:
        """(content_id, code, mirror) of all units that have a code; codes are binary, 8 bytes for each word."""

    def new_codes(self) -> DataFrame:
        """As `codes`, but rows of old units may be missing."""
        return self.codes()

    @abstractmethod
    def plan(self) -> SlotPlan:
        """The slots that become keys, and the radius."""

    def filters(self) -> DataFrame:
        """Filters with the slot keys that the codes of new units probe."""
        plan, n_new = self.plan(), self.inputs.n_new
        log2_bits = filter_log2(n_new * plan.n_probes * (2 if self.is_mirrored else 1))
        new = _coded(self.inputs.units.where("is_new"), self.new_codes(), self.is_mirrored)
        emit = partial(_emit_bitmap, plan=plan, log2_bits=log2_bits)
        return new.repartition(FILTER_TASKS, "id").mapInArrow(emit, "bitmap binary")

    def n_keys(self, *, is_filtered: bool) -> tuple[float, float]:
        """(number of stored keys, number of probing keys), if all units have a code.

        Args:
            is_filtered: whether the keys of old units pass a filter of the probed keys.
        """
        ways, plan, n_new = 2 if self.is_mirrored else 1, self.plan(), self.inputs.n_new
        n_stored = n_new + (self.inputs.n_units - n_new) * ways * (FALSE_SHARE if is_filtered else 1.0)
        return n_stored * plan.n_slots, n_new * ways * plan.n_probes

    def pairs(self, probed: Broadcast[Any] | None = None) -> DataFrame:
        """Pairs within the plan's radius with at least one new unit; a pair may be repeated.

        The mirrored distance of a pair is min(d(m(a), b), d(a, m(b))). New units probe with the straight and the
        mirrored code. All units are stored with the straight code. Old units do not probe, so they are also stored with
        the mirrored code. This looks up both directions of every pair. Two mirrored codes never meet, because that
        comparison equals the straight one.

        Args:
            probed: filter of the probed keys. The stored side emits no other keys.
        """
        plan = self.plan()
        parts, n_tasks = n_parts(self.inputs.units, sum(self.n_keys(is_filtered=probed is not None)))
        emit = partial(_emit_spread, plan=plan, parts=parts, probed=probed)
        units = _coded(self.inputs.units, self.codes(), self.is_mirrored)
        # A fixed number of partitions, which adaptive execution does not change. It would put these few bytes into one
        # task, but each unit becomes hundreds of keys here.
        spread = units.repartition(n_tasks, "id").mapInArrow(emit, _SPREAD_SCHEMA)
        join = partial(_emit_pairs, n_words=plan.n_words, max_bits=plan.max_bits)
        return spread.repartitionById(parts, "part").mapInArrow(join, "low binary, high binary")


def _coded(units: DataFrame, codes: DataFrame, mirrored: bool) -> DataFrame:
    """`unit_columns`, is_new and code of each unit that has a code; also mirror if `mirrored`."""
    columns = ["code", *(["mirror"] if mirrored else [])]
    return units.join(codes.select("content_id", *columns), "content_id").select(*unit_columns(), "is_new", *columns)


def _entry(n_words: int) -> np.dtype[np.void]:
    return unit_type(("flags", "u1"), ("code", "<u8", n_words))


def _slices(batches: Batches, plan: SlotPlan) -> Batches:
    """The rows of `batches` in pieces with about 16 MB of probe keys each."""
    return sliced(batches, max(1, SLICE_BYTES // (8 * plan.n_probes)))


def _emit_bitmap(batches: Batches, plan: SlotPlan, log2_bits: int) -> Batches:
    def probed() -> Iterator[Keys]:
        for batch in _slices(batches, plan):
            entries = _entries_of(batch, plan)
            yield _keys(batch, entries, np.arange(len(entries)), plan, probe_keys)[1]

    return emit_bitmap(probed(), log2_bits)


def _entries_of(batch: pa.RecordBatch, plan: SlotPlan) -> Units:
    """The units of a batch with their codes, then again with their mirrored codes if the batch has them."""
    n = batch.num_rows
    sides = [name for name in ("code", "mirror") if name in batch.schema.names]
    out = np.empty(n * len(sides), _entry(plan.n_words))
    for at, side in enumerate(sides):
        rows = out[at * n : (at + 1) * n]
        fill_units(rows, batch)
        rows["flags"] = np.asarray(batch["is_new"]).astype(np.uint8) * _IS_NEW + at * _IS_MIRRORED
        rows["code"] = words_of(binary_rows(batch[side], 8 * plan.n_words))
    return out


def _keys(
    batch: pa.RecordBatch,
    entries: Units,
    rows: Places,
    plan: SlotPlan,
    make: Callable[[Codes, SlotPlan], npt.NDArray[np.int64]],
) -> tuple[Places, Keys]:
    """(entry, key) of the given entries of a batch; keys are well mixed and differ between scopes."""
    scope_key = np.asarray(batch["scope_key"])[rows % batch.num_rows]
    values = make(np.ascontiguousarray(entries["code"][rows]), plan) ^ scope_key[:, None]
    return np.repeat(rows, values.shape[1]), mixed(values.view(np.uint64).ravel())


def _emit_spread(batches: Batches, plan: SlotPlan, parts: int, probed: Broadcast[Any] | None) -> Batches:
    """One row for each part that gets keys from a batch."""
    bitmap = bitmap_of(probed)
    for batch in _slices(batches, plan):
        entries = _entries_of(batch, plan)
        is_new, is_mirrored = (entries["flags"] & flag > 0 for flag in (_IS_NEW, _IS_MIRRORED))
        stored = _keys(batch, entries, np.flatnonzero(~(is_new & is_mirrored)), plan, slot_keys)
        stored_owner, stored_keys = keys_passing_filter(*stored, bitmap)
        owner, keys = _keys(batch, entries, np.flatnonzero(is_new), plan, probe_keys)
        owner, keys = np.concatenate([stored_owner, owner]), np.concatenate([stored_keys, keys])
        for part, present, mine, numbers in by_part(owner, keys, parts):
            n = int(np.searchsorted(mine, len(stored_keys)))  # stored keys come first
            blobs = (entries[present].tobytes(), numbers[:n].tobytes(), numbers[n:].tobytes())
            yield pa.RecordBatch.from_arrays(
                [pa.array([part], pa.int32()), *(pa.array([blob], pa.binary()) for blob in blobs)],
                names=["part", "units", "stored", "probing"],
            )


@dataclass(frozen=True)
class _Columns:
    """The entries of one part as columns; `rank` compares as the ids do."""

    ids: npt.NDArray[np.uint64]
    rank: Places
    scope: npt.NDArray[np.uint64]
    flags: npt.NDArray[np.uint8]
    code: npt.NDArray[np.uint64]

    @staticmethod
    def of(entries: Units) -> _Columns:
        ids, scope, flags, code = (np.ascontiguousarray(entries[name]) for name in ("id", "scope", "flags", "code"))
        return _Columns(ids, ranks(ids), scope, flags, code)


def _emit_pairs(batches: Batches, n_words: int, max_bits: int) -> Batches:
    """The pairs of one part."""
    entries, (stored, probing) = gathered(batches, _entry(n_words), "stored", "probing")
    units = _Columns.of(entries)
    for a, b in near_meetings(stored, probing, units.code, max_bits, _MEETINGS_AT_ONCE):
        pairs = _valid_pairs(units, a, b)
        if len(pairs):
            sides = [id_column(units.ids[pairs[:, side]]) for side in (0, 1)]
            yield pa.RecordBatch.from_arrays(sides, names=["low", "high"])


def _valid_pairs(units: _Columns, probing: Places, stored: Places) -> Places:
    """(low, high) entries of the valid meetings, int64 (p, 2), each pair of ids once."""
    rank, flags = units.rank, units.flags
    low_first = rank[probing] < rank[stored]
    # Two new units probe each other; one of the two meetings is taken.
    once = (flags[stored] & _IS_NEW == 0) | (flags[probing] & _IS_MIRRORED > 0) | low_first
    kept = once & (rank[probing] != rank[stored]) & (units.scope[probing] == units.scope[stored]).all(axis=1)
    kept &= flags[probing] & flags[stored] & _IS_MIRRORED == 0
    a, b, low_first = probing[kept], stored[kept], low_first[kept]
    low, high = np.where(low_first, a, b), np.where(low_first, b, a)
    _, first = np.unique(rank[low] << np.int64(32) | rank[high], return_index=True)
    return np.stack([low[first], high[first]], axis=1)
