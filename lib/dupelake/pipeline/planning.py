"""The plan of a large join: the forecast cost of each candidate generator, and the outcome."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.propose.counts_stage import forecasts
from dupelake.propose.forecast import words_by_blocks, words_by_keys
from dupelake.propose.frequent_words_stage import thinned
from dupelake.propose.generator_stage import CandidateGenerator
from dupelake.propose.packed_stage import FALSE_SHARE
from dupelake.propose.stage import code_generators
from dupelake.propose.versions import by_keys
from dupelake.propose.word_blocks_stage import units_per_block
from dupelake.propose.word_counts_stage import FORECAST_UNITS, same_scope, sampled_pairs
from dupelake.propose.word_keys_stage import KEYS_PER_UNIT
from dupelake.propose.words_stage import Words
from dupelake.runtime.run_record import Run, human_bytes
from dupelake.warehouse.schema import RUNS
from dupelake.warehouse.tables import Warehouse, single_row

log = logging.getLogger(__name__)

_SMALL_NIGHT = 5  # a small night has at least so many times more units than new units
PLANNED_UNITS = 100_000  # counting scans the codes, which takes seconds, as the whole join of fewer units does
_LEAST_WORTH = 0.001  # forecasts are divided by it, so it is not 0
_ONE_BY_ONE_BYTES = 4 << 30  # bytes of keys on disk; with more, generators run one after the other

Forecasts = list[dict[str, Any]]


def is_small_night(n_new: int, n_units: int) -> bool:
    """Whether keys are filtered before the shuffle, because new units probe few of them."""
    return n_new * _SMALL_NIGHT <= n_units


@dataclass
class JoinPlan:
    """The forecast costs of the generators.

    Attributes:
        run: its `plan` is set.
        forecasts: the forecasts of the code generators; empty for a small join.
        words: the words generator; None if it takes no part.
        words_forecast: its forecast.
    """

    run: Run
    forecasts: Forecasts = field(default_factory=list)
    words: Words | None = None
    words_forecast: dict[str, Any] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def one_by_one(self) -> bool:
        """Whether generators run one after the other, because all their keys together would need much disk space."""
        return sum(one["n_bytes"] for one in self.forecasts) > _ONE_BY_ONE_BYTES

    def note_outcome(self, candidates: DataFrame) -> None:
        """Record in the run the forecasts, the number of pairs of each generator, and the seconds of all generators.

        Args:
            candidates: (src_id, dst_id, found_by), staged.
        """
        if not self.forecasts:
            return
        seconds = time.monotonic() - self.started - (self.words.seconds if self.words else 0.0)
        rows = candidates.groupBy("found_by").agg(F.count("*").alias("n")).collect()  # 15 at most
        n_cores = self.run.warehouse.spark.sparkContext.defaultParallelism
        for one in self.forecasts:
            one["n_proposed"] = sum(row["n"] for row in rows if one["leg"] in row["found_by"].split("+"))
        told = {"cores": n_cores, "seconds": round(seconds, 1), "legs": self.forecasts}
        if self.words is not None and self.words_forecast is not None:
            n_words = sum(row["n"] for row in rows if self.words.name in row["found_by"].split("+"))
            outcome = {"seconds": round(self.words.seconds, 1), "n_compared": self.words.n_compared}
            told["words"] = self.words_forecast | outcome | {"n_proposed": n_words}
        self.run.plan = json.dumps(told)
        forecast = sum(one["core_seconds"] for one in self.forecasts) / n_cores
        log.info("plan: forecast for the generators of bit codes: %.0f s; they took %.0f s", forecast, seconds)


def plan_join(
    run: Run, generators: Sequence[CandidateGenerator], n_units: int, n_new: int, *, is_filtered: bool
) -> JoinPlan:
    """Forecast a large join, and print the forecast; small joins skip it.

    Args:
        run: `runs` of its warehouse has the outcome of past forecasts.
        generators: the generators that take part.
        n_units: approximate number of units.
        n_new: approximate number of new units.
        is_filtered: whether keys that no new unit probes are dropped.
    """
    wh, codes = run.warehouse, code_generators(generators)
    if n_units < PLANNED_UNITS or not codes:
        return JoinPlan(run)
    found = told(forecasts(codes, is_filtered=is_filtered), wh)
    n_cores = wh.spark.sparkContext.defaultParallelism
    for line in lines(found, n_cores):
        log.info("plan: %s", line)
    words = next((each for each in generators if isinstance(each, Words)), None)
    if words is None:
        return JoinPlan(run, found)
    words_forecast = told_of_words(wh, words, n_units, n_new)
    log.info("plan: %s", line_of_words(words_forecast, n_cores))
    return JoinPlan(run, found, words, words_forecast)


def told(rows: DataFrame, warehouse: Warehouse) -> Forecasts:
    """Forecasts of the code generators; seconds are scaled by the error of the last forecast.

    Args:
        rows: result of `propose.counts_stage.forecasts`.
        warehouse: its `runs` are read.
    """
    worth = _worth(warehouse)
    found = [row.asDict() for row in rows.collect()]  # one a generator
    return [one | {"core_seconds": round(one["core_seconds"] * worth, 3), "worth": round(worth, 3)} for one in found]


def told_of_words(warehouse: Warehouse, words: Words, n_units: int, n_new: int) -> dict[str, Any]:
    """The forecast of the words generator as configured, and the core-seconds of the other value of lsh.word_join.

    Args:
        warehouse: its `runs` are read. Seconds are scaled by the error of the last forecast for the same option.
        words: bound to the units; its sample is read.
        n_units: number of units that there will be.
        n_new: number of new units.
    """
    n_cores, lsh, sample = warehouse.spark.sparkContext.defaultParallelism, words.inputs.cfg, words.sample
    few = thinned(sample, n_units, FORECAST_UNITS)
    has_new = 1.0 - ((n_units - n_new) / n_units) ** 2  # share of all pairs
    n_pairs = sampled_pairs(few, lsh, words.frequent).count() * few.one_in**2 * has_new
    n_read = n_new + (n_units - n_new) * FALSE_SHARE if is_small_night(n_new, n_units) else n_units
    share = single_row(same_scope(sample))["share"]
    ways = {
        "keys": words_by_keys(n_read * KEYS_PER_UNIT, n_pairs),
        "blocks": words_by_blocks(n_units, n_new, share or 0.0, units_per_block(n_units, n_cores)),
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


def line_of_words(one: dict[str, Any], n_cores: int) -> str:
    """One line with the forecast of the words generator."""
    other = "blocks" if one["way"] == "keys" else "keys"
    return (
        f"words by {one['way']}: {human_bytes(one['n_bytes'])} to shuffle, {one['n_meetings']:,} pairs of pictures to "
        f"compare; about {one['core_seconds'] / n_cores:.0f} s on {n_cores} cores "
        f"({one['other_core_seconds'] / n_cores:.0f} s with lsh.word_join={other})"
    )


def lines(found: Forecasts, n_cores: int) -> list[str]:
    """One line for each forecast of a code generator."""
    return [
        f"{one['leg']}: {one['n_stored'] + one['n_probing']:,} keys ({human_bytes(one['n_bytes'])} to shuffle), "
        f"{one['n_meetings']:,} codes to compare, {one['hottest']:,} of them under one key; "
        f"about {one['core_seconds'] / n_cores:.0f} s on {n_cores} cores"
        for one in found
    ]


def _worth(warehouse: Warehouse, words: str | None = None) -> float:
    """Ratio of actual to forecast core-seconds of the last run with a plan; 1 before the first.

    Args:
        warehouse: its `runs` are read.
        words: take the words generator with this value of lsh.word_join; None takes all code generators together.
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
    forecast = sum(one["core_seconds"] / one["worth"] for one in told)
    return max(_LEAST_WORTH, float(seconds * plan["cores"] / forecast)) if forecast else 1.0
