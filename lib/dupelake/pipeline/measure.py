"""Measures the candidate pairs of the join job: proposal, evidence and decision."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.pipeline.bursts import find_followers
from dupelake.pipeline.contents import Contents, Versions, read_contents
from dupelake.pipeline.planning import is_small_night, plan_large_join
from dupelake.pipeline.planted import Planted
from dupelake.pipeline.recall import check_generators
from dupelake.propose.bursts_stage import Bursts
from dupelake.propose.generator_stage import Actions, CandidateGenerator
from dupelake.propose.stage import NAMES, Filters, candidate_pairs, generators_of, probed_keys
from dupelake.propose.words_stage import FEW_PAIRS
from dupelake.runtime.progress import Work
from dupelake.runtime.run_record import Run
from dupelake.verify.decide_stage import decide
from dupelake.verify.score_stage import measure_pairs, with_alignment
from dupelake.verify.stage import align_pairs

log = logging.getLogger(__name__)

PAIRS_PER_TASK = 256  # some 2 s of alignment
_KEY = ["src_id", "dst_id"]


@dataclass(frozen=True)
class Measured:
    """Result of `measure`: PAIRS, and the followers (scope, content_id, leaders) or None."""

    pairs: DataFrame
    followers: DataFrame | None


def measure(
    run: Run, units: DataFrame, sizes: Row, hashes: DataFrame, versions: Versions, stored: DataFrame | None
) -> Measured:
    """Decided PAIRS for every candidate pair of the new units. The recall of planted copies is recorded in the run.

    Args:
        run: its counts and `recall` are set.
        units: (scope, content_id, is_new), staged.
        sizes: Row(units, new): number of units, and of new ones.
        hashes: HASHES of the present version.
        versions: the versions of this run.
        stored: PAIRS that are kept; None if all are measured again.
    """
    bursts: list[CandidateGenerator] = []
    led = find_followers(run, units, hashes, sizes["units"])
    if led is not None:
        leading = units.join(led, ["scope", "content_id"], "left_anti")
        units, seen = run.staging.counted(leading, "leading", new=F.count_if("is_new"))
        sizes, bursts = Row(units=seen["n"], new=seen["new"]), [Bursts(led, stored)]
    with run.step("plant"):
        planted = Planted.of(run, units)
    own = read_contents(run, units, sizes["units"], sizes["new"], hashes, versions)
    contents = planted.added_to(own, versions)
    with run.step("join"):
        generators = bursts  # used alone if all new units are followers
        if sizes["new"]:
            actions = Actions(run.staging.save, DataFrame.collect, run.count)
            generators = [*generators_of(contents.join, actions), *bursts]
        candidates, n_pairs = _candidates(run, generators, contents, planted)
    check_generators(run, units, hashes, contents.embeddings, candidates)
    with run.step("align", Work(n_pairs, "pairs", "align_rows")):
        decided = _decide(run, candidates, contents, versions, n_pairs)
    return Measured(planted.taken_from(decided), led)


def _candidates(
    run: Run, generators: Sequence[CandidateGenerator], contents: Contents, planted: Planted
) -> tuple[DataFrame, int]:
    """(src_id, dst_id, found_by), staged, and their number. Planted copies have pairs with their originals only."""
    filters = _probe_filters(run, generators) if is_small_night(contents.join.n_new, contents.join.n_units) else None
    plan = plan_large_join(run.warehouse, contents.join, generators)
    proposed = candidate_pairs(generators, filters, run.staging.save if plan and plan.one_by_one else None)
    own = planted.with_originals_only(proposed).select(*_KEY, "found_by")
    by_name = {name: F.count_if(F.array_contains(F.split("found_by", r"\+"), name)) for name in NAMES}
    found, seen = run.staging.counted(own, "candidates", **by_name)
    if plan is not None:
        run.plan = plan.outcome(seen)
    return found, seen["n"]


def _probe_filters(run: Run, generators: Sequence[CandidateGenerator]) -> Filters | None:
    """Filters of the keys that a small night probes."""
    wanted = probed_keys(generators)
    if wanted is None:
        return None
    joined: dict[str, npt.NDArray[np.uint8]] = {}
    for row in wanted.collect():  # some bitmaps for each generator, at most 16 MB each
        bitmap, name = np.frombuffer(row["bitmap"], np.uint8), row["generator"]
        joined[name] = joined[name] | bitmap if name in joined else bitmap
    context = run.warehouse.spark.sparkContext
    return {name: context.broadcast(bitmap.tobytes()) for name, bitmap in joined.items()}


def _decide(run: Run, candidates: DataFrame, contents: Contents, versions: Versions, n_pairs: int) -> DataFrame:
    join = contents.join
    n_tasks = max(run.warehouse.spark.sparkContext.defaultParallelism, math.ceil(n_pairs / PAIRS_PER_TASK))
    measured = measure_pairs(candidates, join.hashes, contents.embeddings, versions.join, versions.model)
    widths = contents.full_widths(candidates)
    aligned = align_pairs(candidates, contents.thumbnails, join.features, widths, n_tasks, are_few=n_pairs <= FEW_PAIRS)
    evidence = with_alignment(measured, run.staging.save(aligned, "aligned"), versions.verify)
    is_failed = F.col("error_message").isNotNull()
    made = decide(evidence, run.config.decide)
    decided, seen = run.staging.counted(made, "decided", failed=F.count_if(is_failed))
    run.counts.pairs_not_aligned = seen["failed"]
    if run.counts.pairs_not_aligned:
        first = decided.where(is_failed).select(*_KEY, "error_message").first()
        log.warning("%d pairs could not be aligned, for example %s", run.counts.pairs_not_aligned, first)
    return decided
