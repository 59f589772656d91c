"""The cluster job: accepted pairs in; groups with a keeper each, and what changed since the last run, out."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.jobs.common import job_parser, run_job
from dupelake.kernels.bridges import COMPOSITE_DST, COMPOSITE_SRC, SINGLE
from dupelake.runtime.run import Run
from dupelake.schema import GROUP_CHANGES, GROUPS, HASHES, IMAGES, PAIRS
from dupelake.stages.groups import build_groups
from dupelake.tables import single_row

log = logging.getLogger(__name__)

_WHY = {
    SINGLE: "the only link between two clusters",
    COMPOSITE_SRC: "the first is a composite",
    COMPOSITE_DST: "the second is a composite",
}
_NAMED = 5  # cut links that the log names


def body(run: Run, args: argparse.Namespace) -> None:
    """Build the groups anew and write the difference to the stored ones."""
    wh = run.warehouse
    with run.step("cluster"):
        previous = wh.read(GROUPS)
        built = build_groups(
            wh.read(IMAGES),
            wh.read(HASHES),
            wh.read(PAIRS),
            previous,
            wh.read(GROUP_CHANGES),
            run.config,
            run.run_id,
            run.started_at,
            run.staging.checkpoint,
        )
        groups = run.staging.save(built.groups, "groups")
        changes = run.staging.save(built.changes, "changes")
        cuts = run.staging.save(built.cuts, "cuts")
        stored = previous.select("image_id", F.struct(*GROUPS.columns).alias("before"))
        differing = (
            groups.withColumn("after", F.struct(*GROUPS.columns))
            .join(stored, "image_id", "left")
            .where(~F.col("after").eqNullSafe(F.col("before")))
        )
        gone = previous.join(groups, "image_id", "left_anti").select("image_id")
        wh.merge(
            GROUPS,
            run.staging.save(differing.select(GROUPS.columns), "changed"),
            update_when="true",
            delete=run.staging.save(gone, "gone"),
        )
        if not changes.isEmpty():
            wh.append(GROUP_CHANGES, changes)
    for row in changes.groupBy("event").agg(F.count(F.lit(1)).alias("n")).collect():  # one row per event
        run.count(f"changes.{row['event']}", row["n"])
    _count_cuts(run, cuts)
    _count(run)


def _count_cuts(run: Run, cuts: DataFrame) -> None:
    """Count links that were cut as bridges, and the components that they held together; the log names some."""
    row = single_row(cuts.agg(F.count(F.lit(1)).alias("links"), F.count_distinct("component").alias("components")))
    run.count("bridges_cut", row["links"])
    run.count("components_split", row["components"])
    if not row["links"]:
        return
    some = cuts.orderBy("component", "src", "dst").limit(_NAMED).collect()  # at most _NAMED rows
    named = "; ".join(f"{_content(r['src'])} and {_content(r['dst'])} ({_WHY[r['cut']]})" for r in some)
    log.info(
        "cluster: %d components were held together by bridges: %d links cut, such as between contents %s",
        row["components"],
        row["links"],
        named,
    )


def _content(vertex: str) -> str:
    """The content id in the name of a vertex, content/scope."""
    return vertex.partition("/")[0]


def _count(run: Run) -> None:
    groups = run.warehouse.read(GROUPS)
    sizes = run.warehouse.read(IMAGES).select("image_id", "byte_size")
    row = single_row(
        groups.join(sizes, "image_id").agg(
            F.count(F.lit(1)).alias("images_grouped"),
            F.count_if("is_keeper").alias("groups"),
            F.count_if(F.col("relation") == "copy").alias("copies"),
            F.count_if("is_removable").alias("removable"),
            F.coalesce(F.sum(F.when(F.col("is_removable"), F.col("byte_size"))), F.lit(0)).alias("removable_bytes"),
        )
    )
    for name in ("groups", "images_grouped", "copies", "removable", "removable_bytes"):
        run.count(name, row[name])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/cluster.py."""
    return run_job("cluster", job_parser("cluster.py", __doc__, manifests=False), body, argv)
