"""Candidate generators whose contents carry bit codes: pairs within a Hamming radius, by keys of slots (propose.mih).

What is shuffled is packed (propose.keyjoin): for each part of the keys a task's units there, with their codes, and the
keys as numbers. So a part finds pairs and checks their distance in its own memory, and only pairs within the radius
leave it.
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
    n_parts,
    that_may_be_probed,
    unit_columns,
    unit_type,
)
from dupelake.runtime.batches import SLICE_BYTES, Batches, sliced

IS_NEW, IS_MIRRORED = 1, 2
"""Bits of an entry's flags."""
_MET_AT_ONCE = 1_000_000  # meetings held at once, some 60 bytes each
_SPREAD_SCHEMA = "part int, units binary, stored binary, probing binary"


class CodeGenerator(CandidateGenerator):
    """A generator that gives every content a bit code and cuts it into keys; how it does is for subclasses to say.

    Only ids, keys and codes are shuffled, packed. The distance is checked inside the join: what leaves it are pairs
    within the radius of the plan.

    Cost: n_slots keys of 8 bytes a unit are shuffled, and n_probes a new unit (twice both where mirrored), and each
    unit's code once for each part and batch. Contents with equal codes and different pixels are all true pairs of each
    other and come out as such, in each part that holds a slot of theirs: n of them make n^2 / 2 rows times the parts,
    n_slots at most.
    """

    @property
    def is_mirrored(self) -> bool:
        """Whether mirrored copies are sought: `codes` has the column `mirror` then."""
        return False

    @abstractmethod
    def codes(self) -> DataFrame:
        """(content_id, code, mirror) of all units that have a code, binary of 8 bytes a word."""

    def new_codes(self) -> DataFrame:
        """`codes`, of the new units at least."""
        return self.codes()

    @abstractmethod
    def plan(self) -> SlotPlan:
        """How codes become keys, and the radius."""

    def filters(self) -> DataFrame:
        """Filters of the slots' keys that the new units' codes probe."""
        plan, n_new = self.plan(), self.inputs.n_new
        log2_bits = filter_log2(n_new * plan.n_probes * (2 if self.is_mirrored else 1))
        new = coded(self.inputs.units.where("is_new"), self.new_codes(), self.is_mirrored)
        emit = partial(_emit_bitmap, plan=plan, log2_bits=log2_bits)
        return new.repartition(FILTER_TASKS, "id").mapInArrow(emit, "bitmap binary")

    def pairs(self, probed: Broadcast[Any] | None = None) -> DataFrame:
        """`code_pairs` of these codes."""
        inputs = self.inputs
        return code_pairs(
            inputs.units,
            self.codes(),
            self.plan(),
            mirrored=self.is_mirrored,
            probed=probed,
            n_units=inputs.n_units,
            n_new=inputs.n_new,
        )


def code_pairs(
    units: DataFrame,
    codes: DataFrame,
    plan: SlotPlan,
    *,
    mirrored: bool,
    probed: Broadcast[Any] | None,
    n_units: int,
    n_new: int,
) -> DataFrame:
    """(low binary, high binary): pairs within the plan's radius, one unit at least of each new; perhaps repeated.

    The smaller mirrored distance of a pair is min(d(m(a), b), d(a, m(b))). New units probe straight and mirrored;
    stored are all units straight and, of the old, which do not probe, the mirrored too. So both directions are looked
    up for every pair, and two mirrored codes, which are the straight ones again, never meet.

    Args:
        units: (scope, content_id, is_new).
        codes: (content_id, code, mirror), binary of 8 bytes a word; `mirror` where `mirrored`.
        plan: how codes become keys.
        mirrored: look for mirrored copies too.
        probed: filter of the keys that are probed: others are not emitted on the stored side.
        n_units: about how many units there are; changes cost, never pairs.
        n_new: about how many of them are new.
    """
    ways = 2 if mirrored else 1
    stored_share = 1.0 if probed is None else FALSE_SHARE
    n_keys = n_units * plan.n_slots * ways * stored_share + n_new * plan.n_probes * ways
    parts, n_tasks = n_parts(units, n_keys)
    emit = partial(_emit_spread, plan=plan, parts=parts, probed=probed)
    # By number, which adaptive execution leaves alone: it would put these few bytes in one task, and a unit
    # becomes hundreds of keys here.
    spread = coded(units, codes, mirrored).repartition(n_tasks, "id").mapInArrow(emit, _SPREAD_SCHEMA)
    join = partial(_emit_pairs, n_words=plan.n_words, max_bits=plan.max_bits)
    return spread.repartitionById(parts, "part").mapInArrow(join, "low binary, high binary")


def coded(units: DataFrame, codes: DataFrame, mirrored: bool) -> DataFrame:
    """`unit_columns`, is_new, code and, where `mirrored`, mirror of each unit that has a code."""
    columns = ["code", *(["mirror"] if mirrored else [])]
    return units.join(codes.select("content_id", *columns), "content_id").select(*unit_columns(), "is_new", *columns)


def _entry(n_words: int) -> np.dtype[np.void]:
    return unit_type(("flags", "u1"), ("code", "<u8", n_words))


def slices(batches: Batches, plan: SlotPlan) -> Batches:
    """The rows of `batches` in pieces whose probe keys are some 16 MB."""
    return sliced(batches, max(1, SLICE_BYTES // (8 * plan.n_probes)))


def _emit_bitmap(batches: Batches, plan: SlotPlan, log2_bits: int) -> Batches:
    def probed() -> Iterator[Keys]:
        for batch in slices(batches, plan):
            entries = entries_of(batch, plan)
            yield _keys(batch, entries, np.arange(len(entries)), plan, probe_keys)[1]

    return emit_bitmap(probed(), log2_bits)


def entries_of(batch: pa.RecordBatch, plan: SlotPlan) -> Units:
    """The units of a batch with their codes, then again with the mirrored ones where the batch has these."""
    n = batch.num_rows
    sides = [name for name in ("code", "mirror") if name in batch.schema.names]
    out = np.empty(n * len(sides), _entry(plan.n_words))
    for at, side in enumerate(sides):
        rows = out[at * n : (at + 1) * n]
        fill_units(rows, batch)
        rows["flags"] = np.asarray(batch["is_new"]).astype(np.uint8) * IS_NEW + at * IS_MIRRORED
        rows["code"] = words_of(binary_rows(batch[side], 8 * plan.n_words))
    return out


def _keys(
    batch: pa.RecordBatch,
    entries: Units,
    rows: Places,
    plan: SlotPlan,
    make: Callable[[Codes, SlotPlan], npt.NDArray[np.int64]],
) -> tuple[Places, Keys]:
    """(entry, key) of the given entries of a batch; keys of two scopes are different, and well mixed."""
    scope_key = np.asarray(batch["scope_key"])[rows % batch.num_rows]
    values = make(np.ascontiguousarray(entries["code"][rows]), plan) ^ scope_key[:, None]
    return np.repeat(rows, values.shape[1]), mixed(values.view(np.uint64).ravel())


def _emit_spread(batches: Batches, plan: SlotPlan, parts: int, probed: Broadcast[Any] | None) -> Batches:
    """A row for each part that a batch has keys for."""
    bitmap = bitmap_of(probed)
    for batch in slices(batches, plan):
        entries = entries_of(batch, plan)
        is_new, is_mirrored = (entries["flags"] & flag > 0 for flag in (IS_NEW, IS_MIRRORED))
        stored = _keys(batch, entries, np.flatnonzero(~(is_new & is_mirrored)), plan, slot_keys)
        stored_owner, stored_keys = that_may_be_probed(*stored, bitmap)
        owner, keys = _keys(batch, entries, np.flatnonzero(is_new), plan, probe_keys)
        owner, keys = np.concatenate([stored_owner, owner]), np.concatenate([stored_keys, keys])
        for part, present, mine, numbers in by_part(owner, keys, parts):
            n = int(np.searchsorted(mine, len(stored_keys)))  # what is stored comes first
            blobs = (entries[present].tobytes(), numbers[:n].tobytes(), numbers[n:].tobytes())
            yield pa.RecordBatch.from_arrays(
                [pa.array([part], pa.int32()), *(pa.array([blob], pa.binary()) for blob in blobs)],
                names=["part", "units", "stored", "probing"],
            )


@dataclass(frozen=True)
class _Columns:
    """The entries of one part, a column each; rank is equal, or in order, as ids are."""

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
    for a, b in near_meetings(stored, probing, units.code, max_bits, _MET_AT_ONCE):
        pairs = _once(units, a, b)
        if len(pairs):
            sides = [id_column(units.ids[pairs[:, side]]) for side in (0, 1)]
            yield pa.RecordBatch.from_arrays(sides, names=["low", "high"])


def _once(units: _Columns, probing: Places, stored: Places) -> Places:
    """(low, high) entries of the meetings that count, int64 (p, 2), each pair of ids once."""
    rank, flags = units.rank, units.flags
    low_first = rank[probing] < rank[stored]
    # Two new units probe each other: taken once.
    once = (flags[stored] & IS_NEW == 0) | (flags[probing] & IS_MIRRORED > 0) | low_first
    kept = once & (rank[probing] != rank[stored]) & (units.scope[probing] == units.scope[stored]).all(axis=1)
    kept &= flags[probing] & flags[stored] & IS_MIRRORED == 0
    a, b, low_first = probing[kept], stored[kept], low_first[kept]
    low, high = np.where(low_first, a, b), np.where(low_first, b, a)
    _, first = np.unique(rank[low] << np.int64(32) | rank[high], return_index=True)
    return np.stack([low[first], high[first]], axis=1)
