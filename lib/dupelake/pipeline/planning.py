"""The plan of a large join: what each leg will cost, told before it starts, held against what came of it."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.propose.counts_stage import forecasts
from dupelake.propose.forecast import words_by_blocks, words_by_keys
from dupelake.propose.frequent_words_stage import HotWords, Sample, thinned
from dupelake.propose.join_keys_stage import by_keys
from dupelake.propose.packed_stage import FALSE_SHARE
from dupelake.propose.stage import LEGS, Leg
from dupelake.propose.word_blocks_stage import BLOCK_UNITS
from dupelake.propose.word_counts_stage import FORECAST_UNITS, same_scope, sampled_pairs
from dupelake.propose.word_keys_stage import KEYS_PER_UNIT
from dupelake.runtime.run_record import Run, human_bytes
from dupelake.warehouse.schema import RUNS
from dupelake.warehouse.tables import Warehouse, single_row

log = logging.getLogger(__name__)

_SMALL_NIGHT = 5  # times more units than new ones
PLANNED_UNITS = 100_000  # counting costs a scan of the codes: seconds, as the whole join of so many does
_LEAST_WORTH = 0.001  # forecasts are divided by it
_MIN_BLOCK_UNITS = 512  # below it, the overhead of a task is more than its work
_ONE_BY_ONE_BYTES = 4 << 30  # of keys on disk at a time

Forecasts = list[dict[str, Any]]


def is_small_night(n_new: int, n_units: int) -> bool:
    """Whether keys are filtered before they are shuffled: most of them nobody looks for."""
    return n_new * _SMALL_NIGHT <= n_units


@dataclass
class JoinPlan:
    """Of a small join nothing is forecast. `words`: of the visual words, which are joined before the other legs."""

    run: Run
    legs: Forecasts = field(default_factory=list)
    words: dict[str, Any] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def one_by_one(self) -> bool:
        """Whether legs are joined one after another, for their keys together would fill much disk."""
        return sum(leg["n_bytes"] for leg in self.legs) > _ONE_BY_ONE_BYTES

    def begin(self) -> None:
        """The legs of bit codes start now."""
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
        told = {"cores": n_cores, "seconds": round(seconds, 1), "legs": self.legs}
        if self.words is not None:
            n_words = sum(row["n"] for row in rows if "words" in row["found_by"].split("+"))
            told["words"] = self.words | {"n_proposed": n_words}
        self.run.plan = json.dumps(told)
        forecast = sum(leg["core_seconds"] for leg in self.legs) / n_cores
        log.info("plan: the legs were forecast to take %.0f s and took %.0f s", forecast, seconds)

    def plan_words(self, sample: Sample, hot: HotWords, n_units: int, n_new: int) -> None:
        """Forecast the words leg where the others are forecast, and print the forecast.

        Args:
            sample: of its units.
            hot: words left out where they are joined by keys.
            n_units: how many there are.
            n_new: how many of them are new.
        """
        if not self.legs:
            return
        wh = self.run.warehouse
        self.words = told_of_words(wh, sample, hot, self.run.config.lsh, n_units, n_new)
        log.info("plan: %s", line_of_words(self.words, wh.spark.sparkContext.defaultParallelism))

    def note_words(self, seconds: float, n_compared: int | None) -> None:
        """What came of the words leg.

        Args:
            seconds: it took.
            n_compared: pairs of pictures compared; None where they were not counted.
        """
        if self.words is not None:
            self.words |= {"seconds": round(seconds, 1), "n_compared": n_compared}


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


def told_of_words(
    warehouse: Warehouse, sample: Sample, hot: HotWords, lsh: LshConfig, n_units: int, n_new: int
) -> dict[str, Any]:
    """The forecast of the words leg as it is configured, and the core-seconds of the other way.

    Args:
        warehouse: its `runs` are read: the forecast is corrected by what the last one of this way was worth.
        sample: of the units.
        hot: words left out.
        lsh: word_join, word_min_keys, word_key_max_images.
        n_units: how many there are.
        n_new: how many of them are new.
    """
    n_cores = warehouse.spark.sparkContext.defaultParallelism
    few = thinned(sample, n_units, FORECAST_UNITS)
    has_new = 1.0 - ((n_units - n_new) / n_units) ** 2  # of the pairs
    n_pairs = sampled_pairs(few, lsh, hot).count() * few.one_in**2 * has_new
    n_read = n_new + (n_units - n_new) * FALSE_SHARE if is_small_night(n_new, n_units) else n_units
    share = single_row(same_scope(sample))["share"]
    ways = {
        "keys": words_by_keys(n_read * KEYS_PER_UNIT, n_pairs),
        "blocks": words_by_blocks(n_units, n_new, share or 0.0, block_units(n_units, n_cores)),
    }
    way, other = ("keys", "blocks") if by_keys(lsh) else ("blocks", "keys")
    worth = _worth(warehouse, words=way)
    return {
        "way": way,
        **vars(ways[way]),
        "core_seconds": round(ways[way].core_seconds * worth, 6),
        "worth": round(worth, 3),
        "other_core_seconds": round(ways[other].core_seconds, 6),
    }


def block_units(n_units: int, n_cores: int) -> int:
    """So few units a block that every core gets work: two blocks a core make twice as many meetings."""
    return min(BLOCK_UNITS, max(_MIN_BLOCK_UNITS, math.ceil(n_units / (2 * n_cores))))


def line_of_words(one: dict[str, Any], n_cores: int) -> str:
    """The forecast of the words leg in a line."""
    other = "blocks" if one["way"] == "keys" else "keys"
    return (
        f"words by {one['way']}: {human_bytes(one['n_bytes'])} to shuffle, {one['n_meetings']:,} pairs of pictures to "
        f"compare; about {one['core_seconds'] / n_cores:.0f} s on {n_cores} cores "
        f"({one['other_core_seconds'] / n_cores:.0f} s with lsh.word_join={other})"
    )


def lines(found: Forecasts, n_cores: int) -> list[str]:
    """A line a leg."""
    return [
        f"{one['leg']}: {one['n_stored'] + one['n_probing']:,} keys ({human_bytes(one['n_bytes'])} to shuffle), "
        f"{one['n_meetings']:,} codes to compare, {one['hottest']:,} of them under one key; "
        f"about {one['core_seconds'] / n_cores:.0f} s on {n_cores} cores"
        for one in found
    ]


def _worth(warehouse: Warehouse, words: str | None = None) -> float:
    """Core-seconds taken over core-seconds forecast, of the last run with a plan; 1 before the first.

    Args:
        warehouse: its `runs` are read.
        words: of the words leg joined in this way; None for the legs of bit codes together.
    """
    rows = warehouse.read(RUNS).where("plan IS NOT NULL")
    if words is not None:
        rows = rows.where(F.get_json_object("plan", "$.words.way") == words)
        rows = rows.where(F.get_json_object("plan", "$.words.seconds").isNotNull())
    last = rows.orderBy(F.desc("started_at")).select("plan").first()
    if last is None:
        return 1.0
    plan = json.loads(last["plan"])
    told, seconds = (plan["legs"], plan["seconds"]) if words is None else ([plan["words"]], plan["words"]["seconds"])
    forecast = sum(leg["core_seconds"] / leg["worth"] for leg in told)
    return max(_LEAST_WORTH, float(seconds * plan["cores"] / forecast)) if forecast else 1.0
