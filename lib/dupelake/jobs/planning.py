"""The plan of a large join: what each leg will cost, told before it starts, held against what came of it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.runtime.run import Run, human_bytes
from dupelake.schema import RUNS
from dupelake.stages.candidates import LEGS, Leg
from dupelake.stages.leg_counts import forecasts
from dupelake.tables import Warehouse

log = logging.getLogger(__name__)

_SMALL_NIGHT = 5  # times more units than new ones
PLANNED_UNITS = 100_000  # counting costs a scan of the codes: seconds, as the whole join of so many does
_ONE_BY_ONE_BYTES = 4 << 30  # of keys on disk at a time

Forecasts = list[dict[str, Any]]


def is_small_night(n_new: int, n_units: int) -> bool:
    """Whether keys are filtered before they are shuffled: most of them nobody looks for."""
    return n_new * _SMALL_NIGHT <= n_units


@dataclass
class JoinPlan:
    """Of the legs of bit codes; of a small join nothing is forecast."""

    run: Run
    legs: Forecasts = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def one_by_one(self) -> bool:
        """Whether legs are joined one after another, for their keys together would fill much disk."""
        return sum(leg["n_bytes"] for leg in self.legs) > _ONE_BY_ONE_BYTES

    def begin(self) -> None:
        """The legs start now; visual words, which are not forecast, come before them."""
        self.started = time.monotonic()

    def note_outcome(self, candidates: DataFrame) -> None:
        """Into the run: the forecast, and beside it the pairs that each leg proposed and the seconds of all.

        Args:
            candidates: (src_id, dst_id, found_by), staged.
        """
        if not self.legs:
            return
        seconds = time.monotonic() - self.started
        rows = candidates.groupBy("found_by").agg(F.count("*").alias("n")).collect()  # 15 at most
        n_cores = self.run.warehouse.spark.sparkContext.defaultParallelism
        for leg in self.legs:
            leg["n_proposed"] = sum(row["n"] for row in rows if leg["leg"] in row["found_by"].split("+"))
        self.run.plan = json.dumps({"cores": n_cores, "seconds": round(seconds, 1), "legs": self.legs})
        forecast = sum(leg["core_seconds"] for leg in self.legs) / n_cores
        log.info("plan: the legs were forecast to take %.0f s and took %.0f s", forecast, seconds)


def plan_join(run: Run, legs: Sequence[Leg], units: DataFrame, n_units: int, *, is_filtered: bool) -> JoinPlan:
    """Forecast the legs of a large join, and print the forecast.

    Args:
        run: its warehouse holds what past forecasts were worth.
        legs: of `legs_of`.
        units: (scope, content_id, is_new).
        n_units: about how many there are.
        is_filtered: whether keys that no new unit looks for are dropped.
    """
    if n_units < PLANNED_UNITS:
        return JoinPlan(run)
    found = told(forecasts(units, list(legs), is_filtered=is_filtered), run.warehouse)
    n_cores = run.warehouse.spark.sparkContext.defaultParallelism
    for line in lines(found, n_cores):
        log.info("plan: %s", line)
    return JoinPlan(run, found)


def told(rows: DataFrame, warehouse: Warehouse) -> Forecasts:
    """Forecasts by leg's name, their seconds corrected by what the last forecast was worth.

    Args:
        rows: of `stages.leg_counts.forecasts`.
        warehouse: its `runs` are read.
    """
    worth = _worth(warehouse)
    found = [row.asDict() for row in rows.collect()]  # one a leg
    for one in found:
        one |= {
            "leg": LEGS[one["leg"]],
            "core_seconds": round(one["core_seconds"] * worth, 3),
            "worth": round(worth, 3),
        }
    return found


def lines(found: Forecasts, n_cores: int) -> list[str]:
    """A line a leg."""
    return [
        f"{one['leg']}: {one['n_stored'] + one['n_probing']:,} keys ({human_bytes(one['n_bytes'])} to shuffle), "
        f"{one['n_meetings']:,} codes to compare, {one['hottest']:,} of them under one key; "
        f"about {one['core_seconds'] / n_cores:.0f} s on {n_cores} cores"
        for one in found
    ]


def _worth(warehouse: Warehouse) -> float:
    """Core-seconds taken over core-seconds forecast, of the last run with a plan; 1 before the first."""
    last = warehouse.read(RUNS).where("plan IS NOT NULL").orderBy(F.desc("started_at")).select("plan").first()
    if last is None:
        return 1.0
    plan = json.loads(last["plan"])
    forecast = sum(leg["core_seconds"] / leg["worth"] for leg in plan["legs"])
    return float(plan["seconds"] * plan["cores"] / forecast) if forecast else 1.0
