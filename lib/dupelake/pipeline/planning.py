"""The plan of a large join: the forecast cost of each candidate generator, and the outcome."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import functions as F

from dupelake.propose.forecast import Forecast, of_codes, of_word_blocks, of_word_keys
from dupelake.propose.generator_stage import CandidateGenerator, JoinInputs
from dupelake.propose.stage import code_generators
from dupelake.propose.versions import by_keys
from dupelake.propose.word_blocks_stage import units_per_block
from dupelake.propose.word_keys_stage import n_word_keys
from dupelake.propose.words_stage import Words
from dupelake.runtime.run_report import human_bytes
from dupelake.warehouse.schema import RUNS
from dupelake.warehouse.tables import Warehouse

log = logging.getLogger(__name__)

_SMALL_NIGHT = 5  # a small night has at least so many times more units than new units
PLANNED_UNITS = 100_000  # a smaller join takes minutes at most on two cores
_LEAST_WORTH = 0.001  # forecasts are divided by it, so it is not 0
_ONE_BY_ONE_BYTES = 4 << 30  # bytes of keys on disk; with more, generators run one after the other
_LAST_PLANS = 20  # newest plans on record that are searched for one with the same value of lsh.word_join


def is_small_night(n_new: int, n_units: int) -> bool:
    """Whether keys are filtered before the shuffle, because new units probe few of them."""
    return n_new * _SMALL_NIGHT <= n_units


@dataclass
class JoinPlan:
    """The forecast costs of the generators of a join.

    Attributes:
        n_cores: cores that the join uses.
        legs: for each generator of bit codes its name (`leg`), the fields of `propose.forecast.Forecast`, and `worth`,
            by which `core_seconds` was scaled.
        words: the same of the words generator; with `way`, the value of lsh.word_join, and `other_core_seconds`, which
            the other value would take. None if the generator takes no part.
        generator: the words generator.
    """

    n_cores: int
    legs: list[dict[str, Any]]
    words: dict[str, Any] | None
    generator: Words | None
    started: float = field(default_factory=time.monotonic)

    @property
    def one_by_one(self) -> bool:
        """Whether generators run one after the other, because all their keys together would need much disk space."""
        return sum(leg["n_bytes"] for leg in self.legs) > _ONE_BY_ONE_BYTES

    def lines(self) -> list[str]:
        """One line for each generator."""
        told = [f"{leg['leg']}: {leg['n_keys']:,} keys, {self._cost(leg)}" for leg in self.legs]
        if self.words is not None:
            n_keys = self.words["n_keys"]
            by, bound, other = (f"{n_keys:,} keys", "about", "blocks") if n_keys else ("blocks", "at most", "keys")
            told.append(
                f"words by {by}: {bound} {self.words['n_meetings']:,} pairs of pictures to compare, "
                f"{self._cost(self.words)} "
                f"({self.words['other_core_seconds'] / self.n_cores:.0f} s with lsh.word_join={other})"
            )
        return told

    def _cost(self, one: Mapping[str, Any]) -> str:
        seconds = one["core_seconds"] / self.n_cores
        return f"{human_bytes(one['n_bytes'])} to shuffle; about {seconds:.0f} s on {self.n_cores} cores"

    def outcome(self, n_proposed: Mapping[str, int]) -> str:
        """JSON for `runs.plan`: the forecasts, the seconds of all generators, and the number of pairs of each.

        Args:
            n_proposed: number of proposed pairs by name of the generator.
        """
        words_seconds = self.generator.seconds if self.generator else 0.0
        seconds = time.monotonic() - self.started - words_seconds
        legs = [leg | {"n_proposed": n_proposed[leg["leg"]]} for leg in self.legs]
        told: dict[str, Any] = {"cores": self.n_cores, "seconds": round(seconds, 1), "legs": legs}
        if self.words is not None and self.generator is not None:
            came = {"seconds": round(words_seconds, 1), "n_compared": self.generator.n_compared}
            told["words"] = self.words | came | {"n_proposed": n_proposed[self.generator.name]}
        forecast = sum(leg["core_seconds"] for leg in self.legs) / self.n_cores
        log.info("plan: forecast for the generators of bit codes: %.0f s; they took %.0f s", forecast, seconds)
        return json.dumps(told)


def plan_large_join(
    warehouse: Warehouse, inputs: JoinInputs, generators: Sequence[CandidateGenerator]
) -> JoinPlan | None:
    """As `plan_join`, and each line is logged; None for a small join."""
    if inputs.n_units < PLANNED_UNITS or not code_generators(generators):
        return None
    plan = plan_join(warehouse, inputs, generators)
    for line in plan.lines():
        log.info("plan: %s", line)
    return plan


def plan_join(warehouse: Warehouse, inputs: JoinInputs, generators: Sequence[CandidateGenerator]) -> JoinPlan:
    """The plan of a join, by arithmetic; seconds are scaled by the error of the last forecast.

    Args:
        warehouse: its `runs` are read.
        inputs: the numbers of units; nothing else of them is read.
        generators: those that take part.
    """
    past, n_cores = _past_plans(warehouse), warehouse.spark.sparkContext.defaultParallelism
    n_units, n_new = inputs.n_units, inputs.n_new
    is_filtered, worth = is_small_night(n_new, n_units), _worth(past)
    legs = [
        {"leg": each.name} | _scaled(of_codes(sum(each.n_keys(is_filtered=is_filtered))), worth)
        for each in code_generators(generators)
    ]
    words = next((each for each in generators if isinstance(each, Words)), None)
    if words is None:
        return JoinPlan(n_cores, legs, None, None)
    ways = {
        "keys": of_word_keys(n_word_keys(n_units, n_new, is_filtered=is_filtered), n_units, n_new),
        "blocks": of_word_blocks(n_units, n_new, units_per_block(n_units, n_cores)),
    }
    way, other = ("keys", "blocks") if by_keys(inputs.cfg) else ("blocks", "keys")
    told = {"way": way} | _scaled(ways[way], _worth(past, way))
    return JoinPlan(n_cores, legs, told | {"other_core_seconds": round(ways[other].core_seconds, 6)}, words)


def _scaled(forecast: Forecast, worth: float) -> dict[str, Any]:
    scaled = {"core_seconds": round(forecast.core_seconds * worth, 6), "worth": round(worth, 6)}
    return vars(forecast) | scaled


def _past_plans(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Values of `runs.plan`, newest first."""
    plans = warehouse.read(RUNS).where("plan IS NOT NULL").orderBy(F.desc("started_at")).select("plan")
    return [json.loads(row["plan"]) for row in plans.limit(_LAST_PLANS).collect()]


def _worth(past: Sequence[Mapping[str, Any]], way: str | None = None) -> float:
    """Ratio of actual to forecast core-seconds of the newest plan; 1 without any.

    Args:
        past: values of `runs.plan`, newest first.
        way: take the words generator with this value of lsh.word_join; None takes all generators of bit codes together.
    """
    for plan in past:
        words = plan.get("words", {})
        if way in (None, words.get("way")):
            told, seconds = (plan["legs"], plan["seconds"]) if way is None else ([words], words["seconds"])
            forecast = sum(one["core_seconds"] / one["worth"] for one in told)
            return max(_LEAST_WORTH, float(seconds * plan["cores"] / forecast)) if forecast else 1.0
    return 1.0
