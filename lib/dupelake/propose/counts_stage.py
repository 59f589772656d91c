"""Counts the keys of bit codes before the join starts. `propose/forecast.py` makes its forecasts from these counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from dupelake.propose.code_join_stage import IS_MIRRORED, IS_NEW, CodeGenerator, coded, entries_of, slices
from dupelake.propose.forecast import SLOTS, count_values, counted_slots, forecast
from dupelake.propose.mih import SlotPlan
from dupelake.runtime.batches import Batches

# part: SLOTS * index of the generator + index of its counted slot
_COUNTS = "part int, stored binary, probing binary"
_COUNT_FIELDS = [("part", pa.int32()), ("stored", pa.binary()), ("probing", pa.binary())]
_FORECASTS = (
    "leg string, n_stored bigint, n_probing bigint, n_meetings bigint, hottest bigint, n_bytes bigint, "
    "core_seconds double"
)

_FIELDS = [
    ("leg", pa.string()),
    *((name, pa.int64()) for name in ("n_stored", "n_probing", "n_meetings", "hottest", "n_bytes")),
    ("core_seconds", pa.float64()),
]


def forecasts(generators: Sequence[CodeGenerator], *, is_filtered: bool, new_share: float = 1.0) -> DataFrame:
    """One row for each generator: `leg`, the name of the generator, and the fields of `propose.forecast.Forecast`.

    Args:
        generators: bound to the units that will be joined.
        is_filtered: whether the join will use a filter of probed keys.
        new_share: as in `forecast`: the share of the new units that will be joined.

    Cost: a scan of the codes. Each task sends 8 MB of counts for each generator, 2 MB to the task of each counted slot.
    One task makes the forecasts from the sums, 8 MB for each generator. It uses a repartition, because a coalesce would
    move the scans into that task.
    """
    plans = [each.plan() for each in generators]
    counts = [
        coded(each.inputs.units, each.codes(), each.is_mirrored).mapInArrow(
            partial(_emit_counts, place=place, plan=plans[place]), _COUNTS
        )
        for place, each in enumerate(generators)
    ]
    names = [each.name for each in generators]
    emit = partial(_emit_forecasts, names=names, plans=plans, is_filtered=is_filtered, new_share=new_share)
    n_parts = SLOTS * len(plans)
    sums = reduce(DataFrame.unionAll, counts).repartitionById(n_parts, "part").mapInArrow(_emit_sums, _COUNTS)
    return sums.repartition(1).mapInArrow(emit, _FORECASTS)


def _emit_counts(batches: Batches, place: int, plan: SlotPlan) -> Batches:
    nothing = np.zeros((0, plan.n_words), np.uint64), np.zeros(0, np.int64)
    stored, probing = (count_values(nothing[0], plan, nothing[1]) for _ in range(2))
    for batch in slices(batches, plan):
        entries = entries_of(batch, plan)
        scope_keys = np.resize(np.asarray(batch["scope_key"]), len(entries))
        is_new, is_mirrored = (entries["flags"] & flag > 0 for flag in (IS_NEW, IS_MIRRORED))
        sides = [
            count_values(np.ascontiguousarray(entries["code"][kept]), plan, scope_keys[kept])
            for kept in (~(is_new & is_mirrored), is_new)
        ]
        stored, probing = stored + sides[0], probing + sides[1]
    parts = pa.array(range(SLOTS * place, SLOTS * place + len(stored)), pa.int32())
    blobs = [pa.array([row.tobytes() for row in each], pa.binary()) for each in (stored, probing)]
    yield pa.RecordBatch.from_arrays([parts, *blobs], names=["part", "stored", "probing"])


def _emit_sums(batches: Batches) -> Batches:
    for part, counts in sorted(_summed(batches).items()):
        values = {"part": part, "stored": counts[0].tobytes(), "probing": counts[1].tobytes()}
        yield pa.RecordBatch.from_pylist([values], pa.schema(_COUNT_FIELDS))


def _summed(batches: Batches) -> dict[int, np.ndarray]:
    """By part: int64 (2, N_VALUES), the counts of stored and of probing codes."""
    held: dict[int, np.ndarray] = {}
    for batch in batches:
        for part, *blobs in zip(batch["part"].to_pylist(), batch["stored"], batch["probing"], strict=True):
            counts = np.stack([np.frombuffer(blob.as_buffer(), np.int64) for blob in blobs])
            held[part] = held[part] + counts if part in held else counts
    return held


def _emit_forecasts(
    batches: Batches, names: list[str], plans: list[SlotPlan], is_filtered: bool, new_share: float
) -> Batches:
    held = _summed(batches)
    for place in sorted({part // SLOTS for part in held}):
        plan = plans[place]
        counts = np.stack([held[SLOTS * place + at] for at in range(len(counted_slots(plan)))])
        found = forecast(counts[:, 0], counts[:, 1], plan, is_filtered=is_filtered, new_share=new_share)
        values = {"leg": names[place]} | vars(found)
        yield pa.RecordBatch.from_pylist([values], pa.schema(_FIELDS))
