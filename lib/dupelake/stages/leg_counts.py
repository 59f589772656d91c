"""The legs of the join, counted before it starts: what kernels.forecast makes its forecasts of."""

from __future__ import annotations

from functools import partial, reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from dupelake.kernels.forecast import N_VALUES, count_values, forecast
from dupelake.kernels.mih import SlotPlan
from dupelake.stages.batches import Batches
from dupelake.stages.candidates import Leg
from dupelake.stages.code_join import IS_MIRRORED, IS_NEW, coded, entries_of, slices

_COUNTS = "leg int, stored binary, probing binary"
_FORECASTS = (
    "leg int, n_stored bigint, n_probing bigint, n_meetings bigint, hottest bigint, n_bytes bigint, core_seconds double"
)

_FIELDS = [
    ("leg", pa.int32()),
    *((name, pa.int64()) for name in ("n_stored", "n_probing", "n_meetings", "hottest", "n_bytes")),
    ("core_seconds", pa.float64()),
]


def forecasts(units: DataFrame, legs: list[Leg], *, is_filtered: bool, new_share: float = 1.0) -> DataFrame:
    """A row (leg int, and the fields of kernels.forecast.Forecast) for each leg.

    Args:
        units: (scope, content_id, is_new), as they will be joined.
        legs: of `stages.candidates.legs_of`.
        is_filtered: as the join will be.
        new_share: as in `forecast`: the join of so many of the new ones.

    Cost: a scan of the codes; each task sends 8 MB of counts a leg.
    """
    counts = [
        coded(units, leg.codes, leg.is_mirrored).mapInArrow(
            partial(_emit_counts, leg=leg.number, plan=leg.plan), _COUNTS
        )
        for leg in legs
    ]
    plans = {leg.number: leg.plan for leg in legs}
    emit = partial(_emit_forecasts, plans=plans, is_filtered=is_filtered, new_share=new_share)
    return reduce(DataFrame.unionAll, counts).coalesce(1).mapInArrow(emit, _FORECASTS)


def _emit_counts(batches: Batches, leg: int, plan: SlotPlan) -> Batches:
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
    columns = [pa.array([leg], pa.int32()), *(pa.array([each.tobytes()], pa.binary()) for each in (stored, probing))]
    yield pa.RecordBatch.from_arrays(columns, names=["leg", "stored", "probing"])


def _emit_forecasts(batches: Batches, plans: dict[int, SlotPlan], is_filtered: bool, new_share: float) -> Batches:
    held: dict[int, list[np.ndarray]] = {}
    for batch in batches:
        for leg, *blobs in zip(batch["leg"].to_pylist(), batch["stored"], batch["probing"], strict=True):
            counts = [np.frombuffer(blob.as_buffer(), np.int64) for blob in blobs]
            held[leg] = [a + b for a, b in zip(held[leg], counts, strict=True)] if leg in held else counts
    for leg, flat in sorted(held.items()):
        stored, probing = (one.reshape(-1, N_VALUES) for one in flat)
        found = forecast(stored, probing, plans[leg], is_filtered=is_filtered, new_share=new_share)
        values = {"leg": leg} | vars(found)
        yield pa.RecordBatch.from_pylist([values], pa.schema(_FIELDS))
