"""The cluster job: makes groups with a keeper from accepted pairs, and records the changes since the last run."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.group.bridges import COMPOSITE_DST, COMPOSITE_SRC, SINGLE
from dupelake.group.decisions_stage import conflict_rows, conflicts_of
from dupelake.group.ids_stage import EVENTS, is_move, list_moves
from dupelake.group.similar_stage import similar_groups
from dupelake.group.stage import build_groups
from dupelake.group.totals import totals_of, what_may_go
from dupelake.group.touched_stage import Touched, clustered_rows, find_touched, restrict
from dupelake.pipeline.command_lines import cluster_command
from dupelake.pipeline.common import run_job
from dupelake.pipeline.complete import is_up_to_date
from dupelake.pipeline.decisions import current_verdicts, pin_decisions, write_conflicts
from dupelake.pipeline.job import Job, unversioned
from dupelake.pipeline.versions import of_one_version
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import (
    CLUSTERED,
    DECISIONS,
    GROUP_CHANGES,
    GROUP_MOVES,
    GROUPS,
    IMAGES,
    SIMILAR_GROUPS,
)
from dupelake.warehouse.tables import Warehouse, single_row

log = logging.getLogger(__name__)

_WHY = {
    SINGLE: "the only link between two clusters",
    COMPOSITE_SRC: "the first is a composite",
    COMPOSITE_DST: "the second is a composite",
}
_NAMED = 5  # cut links that the log names


def work(run: Run, options: None, versions: None) -> None:
    """Group the components that this night changed again, and write the difference to the stored groups."""
    wh = run.warehouse
    with run.step("cluster"):
        hashes, pairs = of_one_version(run)
        sequence = settle_changes(wh, was_killed=run.staging.took_over) + 1
        # People decide at any time. The next night applies the decisions after this version.
        run.decisions_version = wh.version(DECISIONS)
        pin_decisions(wh, run.staging.save, run.decisions_version)
        verdicts = current_verdicts(wh, run.config, run.staging.save, run.decisions_version, hashes)
        touched = find_touched(
            wh.read(IMAGES),
            hashes,
            pairs,
            verdicts,
            wh.read(CLUSTERED),
            run.config,
            run.staging.save,
        )
        run.counts.contents_regrouped = touched.n_contents
        run.counts.bridges_cut = run.counts.conflicts = 0
        if touched.n_contents:
            _regroup(run, touched, hashes, pairs.where("is_duplicate"), verdicts, sequence)
        elif verdicts is not None:  # a verdict on unknown images changes no group but is a conflict
            found = conflict_rows(conflicts_of(verdicts))
            write_conflicts(wh, found, run.staging.save, wh.read(IMAGES).limit(0))
        _group_similar(run, hashes, pairs)
        _count(run)
        run.is_complete = is_up_to_date(run)


def settle_changes(wh: Warehouse, *, was_killed: bool = True) -> int:
    """Delete events whose change of `groups` was never committed, because the run was killed between the two commits.

    Events are written first, with a sequence number. The commit that changes `groups` then carries the same number. So
    events with a number above the last one of `groups` belong to a killed run, and the next run makes them again. The
    commits of events carry the number too, so the Delta log shows without a query whether there are such events.

    Args:
        wh: the tables.
        was_killed: whether an earlier run did not end. Then the events are deleted without looking at the log, because
            older versions of dupelake wrote no number into the commits of events.

    Returns:
        The number of the last change of `groups`.
    """
    last = wh.last_sequence(GROUPS)
    for table in (GROUP_CHANGES, GROUP_MOVES):
        if was_killed or wh.last_sequence(table) > last:
            wh.delete(table, f"sequence > {last}", sequence=last)
    return last


def _regroup(
    run: Run, touched: Touched, hashes: DataFrame, pairs: DataFrame, verdicts: DataFrame | None, sequence: int
) -> None:
    wh = run.warehouse
    previous = run.staging.save(restrict(wh.read(GROUPS), touched), "previous")
    built = build_groups(
        restrict(wh.read(IMAGES), touched),
        run.staging.save(restrict(hashes, touched), "hashes"),
        run.staging.save(restrict(pairs, touched, "src_id"), "pairs"),
        previous,
        wh.read(GROUP_CHANGES),
        run.config,
        run.run_id,
        run.started_at,
        run.staging.save,
        verdicts,
        sequence,
    )
    by_event = {event: F.count_if(F.col("event") == event) for event in EVENTS}
    changes, seen = run.staging.counted(built.changes, "changes", **by_event)
    events = {event: seen[event] for event in EVENTS if seen[event]}
    stored = previous.select("image_id", F.struct(*GROUPS.columns).alias("before"))
    both = built.groups.select("image_id", F.struct(*GROUPS.columns).alias("after")).join(stored, "image_id", "full")
    is_changed = ~F.col("after").eqNullSafe(F.col("before"))
    differing, n = run.staging.counted(both.where(is_changed), "differing", moved=F.count_if(is_move()))
    if events:
        wh.append(GROUP_CHANGES, changes, sequence=sequence)
    if n["moved"]:
        stamp = {"run_id": F.lit(run.run_id), "sequence": F.lit(sequence), "changed_at": F.lit(run.started_at)}
        wh.append(GROUP_MOVES, list_moves(differing).withColumns(stamp), sequence=sequence)
    changed, gone = differing.where("after IS NOT NULL").select("after.*"), differing.where("after IS NULL")
    if n["n"]:
        gone = gone.select("image_id")
        wh.merge(GROUPS, changed, update_when="true", delete=gone, sequence=sequence, is_change=True)
    if verdicts is not None:
        conflicts = write_conflicts(wh, built.conflicts, run.staging.save, restrict(wh.read(IMAGES), touched))
        run.counts.conflicts = conflicts.count()
    rows, lost = clustered_rows(touched, run.staging.save)
    wh.merge(
        CLUSTERED,
        run.staging.save(rows, "clustered"),
        update_when="t.fingerprint <> s.fingerprint OR t.component <> s.component",
        delete=lost,
        is_change=True,  # each touched component has a row with another fingerprint
    )
    run.counts.changes_by_event = events
    _count_cuts(run, built.cuts)


def _group_similar(run: Run, hashes: DataFrame, pairs: DataFrame) -> None:
    """Update SIMILAR_GROUPS, or empty it if cluster.similar_groups is off."""
    wh = run.warehouse
    if not run.config.cluster.similar_groups:
        wh.delete(SIMILAR_GROUPS, "true")
        return
    found = similar_groups(wh.read(IMAGES), hashes, pairs, run.config, run.staging.save)
    n_groups = F.count_if(F.col("image_id") == F.col("similar_group_id"))
    rows, seen = run.staging.counted(found, "similar_groups", groups=n_groups)
    gone = wh.read(SIMILAR_GROUPS).join(rows, "image_id", "left_anti").select("image_id")
    differs = " OR ".join(f"t.{name} <> s.{name}" for name in SIMILAR_GROUPS.columns if name != "image_id")
    wh.merge(SIMILAR_GROUPS, rows, update_when=differs, delete=gone)
    run.counts.similar_groups = seen["groups"]


def _count_cuts(run: Run, cuts: DataFrame) -> None:
    """Count the cut bridges and the components that they connected; the log names some."""
    row = single_row(cuts.agg(F.count(F.lit(1)).alias("links"), F.count_distinct("component").alias("components")))
    run.counts.bridges_cut, run.counts.components_split = row["links"], row["components"]
    if not row["links"]:
        return
    some = cuts.orderBy("component", "src", "dst").limit(_NAMED).collect()  # at most _NAMED rows
    named = "; ".join(f"{_content(r['src'])} and {_content(r['dst'])} ({_WHY[r['cut']]})" for r in some)
    log.info(
        "cluster: bridges connected %d components: %d links cut, such as between contents %s",
        row["components"],
        row["links"],
        named,
    )


def _content(vertex: str) -> str:
    """The content id in the name of a vertex, content/scope."""
    return vertex.partition("/")[0]


def _count(run: Run) -> None:
    spark, groups, images = run.warehouse.spark, run.warehouse.read(GROUPS), run.warehouse.read(IMAGES)
    totals = spark.sql(totals_of("{groups}"), groups=groups)
    for name, n in single_row(totals).asDict().items():
        run.counts.set(name, n)
    sizes = single_row(spark.sql(what_may_go("{groups}", "{images}"), groups=groups, images=images)).asDict()
    run.counts.removable_bytes = sizes.pop("removable_bytes")
    run.counts.may_go = sizes


JOB = Job("cluster", unversioned, work)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/cluster.py."""
    return run_job(JOB, cluster_command("cluster.py", __doc__), argv)
