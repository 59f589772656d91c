"""Forget images by hand: they leave pairs and groups, and do not return even if manifests still list them.

No image file is changed. With --purge the data of these pictures in the warehouse is deleted (docs/removals.md).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dupelake.group.decisions_stage import moved_pins
from dupelake.ingest.removals_stage import forgotten, marked, unknown, without_live_image
from dupelake.pipeline import cluster, lsh_join
from dupelake.pipeline.common import run_job
from dupelake.pipeline.decisions import pin_decisions
from dupelake.pipeline.job import Job, Task
from dupelake.pipeline.job_commands import command_of
from dupelake.pipeline.options import ForgetOptions, FullOption
from dupelake.pipeline.versions import refuse_other_options
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import DECIDED, EMBEDDINGS, FEATURES, HASHES, IMAGES, JOIN_KEYS, JOINED, THUMBNAILS

log = logging.getLogger(__name__)

# Tables with data of a picture. Hashes go first: a content with hashes may stand for all contents of its pixels, and
# must have its thumbnail and features even after a kill. The next purge finds the remaining rows of each table.
CONTENT_TABLES = (HASHES, JOIN_KEYS, THUMBNAILS, EMBEDDINGS, FEATURES)
_NAMED = 5  # unknown images that the message names
Tasks = tuple[Task, ...]
_CHANGED = "NOT (t.deleted_at <=> s.deleted_at) OR NOT (t.deleted_reason <=> s.deleted_reason)"


def check(run: Run, options: ForgetOptions) -> Tasks:
    """The checked jobs that follow; none if pairs and groups do not change.

    With --undo nothing changes until a later night reads the images.

    Raises:
        ModelError: as the join.
        VersionMixError: as the join, and as `refuse_other_options`.
    """
    if options.undo or run.warehouse.read(JOINED).isEmpty():
        return ()
    refuse_other_options(run)
    return lsh_join.JOB.ready(run, FullOption()), cluster.JOB.ready(run, None)


def work(run: Run, options: ForgetOptions, following: Tasks) -> None:
    """Mark the images, purge them if asked to, and remove them from pairs and groups at once.

    Groups must change at once: if a keeper is forgotten, its copies must not be removed because of it.
    """
    _forget(run, options)
    if options.purge:
        with run.step("purge"):
            _purge(run)
    for task in following:
        task(run)
    if options.purge:
        print(_vacuum_advice(run), flush=True)  # noqa: T201


def _forget(run: Run, options: ForgetOptions) -> None:
    counts = run.counts
    with run.step("forget"):
        images = run.warehouse.read(IMAGES)
        given = run.warehouse.spark.createDataFrame(options.names, "image_id string, uri string")
        named = run.staging.save(given, "named")
        counts.named = named.count()
        change = run.staging.save(forgotten(images, named, undo=options.undo), "change")
        rows = run.staging.save(marked(images, change, run.started_at), "marked")
        run.warehouse.merge(IMAGES, rows, update_when=_CHANGED)
        if options.undo:
            counts.undone = change.count()
        else:
            counts.forgotten = change.count()
        missing = run.staging.save(unknown(images, named), "unknown")
        counts.unknown = missing.count()
    if counts.unknown:
        some = [row["image_id"] or row["uri"] for row in missing.orderBy("image_id", "uri").limit(_NAMED).collect()]
        n_known = counts.named - counts.unknown
        run.gate_faults.append(
            f"{counts.unknown} of the {counts.named} names given are of no image in the warehouse, such "
            f"as {', '.join(some)}; " + (f"the other {n_known} are done" if n_known else "nothing was changed")
        )


def _purge(run: Run) -> None:
    images = run.warehouse.read(IMAGES)
    _move_pins(run)
    for table in CONTENT_TABLES:
        stored = run.warehouse.read(table)
        gone = run.staging.save(without_live_image(stored, images).select(*table.key), "purged")
        report = run.warehouse.merge(table, stored.limit(0), delete=gone)
        run.counts.purged_by_table[table.name] = report.deleted


def _move_pins(run: Run) -> None:
    """Before hashes go: verdicts on their contents hold on for contents of equal pixels."""
    wh = run.warehouse
    pin_decisions(wh, run.staging.save)
    if wh.is_empty(DECIDED):
        return
    hashes = wh.read(HASHES)
    gone = run.staging.save(without_live_image(hashes, wh.read(IMAGES)).select("content_id"), "gone")
    moved = run.staging.save(moved_pins(wh.read(DECIDED), hashes, gone), "pins")
    wh.merge(DECIDED, moved, update_when="t.content_id <> s.content_id")


def _vacuum_advice(run: Run) -> str:
    paths = [run.warehouse.path(table) for table in CONTENT_TABLES]
    vacuum = "\n".join(f"    VACUUM delta.`{path}` RETAIN 0 HOURS;" for path in paths)
    versions = ", ".join(
        f"{table.name} before version {run.warehouse.version(table)}"
        for table in CONTENT_TABLES
        if run.counts.purged_by_table[table.name]
    )
    return (
        "\nThe rows are purged, their old files are not: until VACUUM removes those, time travel still gives what was "
        f"purged{f' ({versions})' if versions else ''}.\nWhen nothing else reads or writes the warehouse, at once:\n"
        f"    SET spark.databricks.delta.retentionDurationCheck.enabled = false;\n{vacuum}\n"
        "Else the same without the first line and without RETAIN 0 HOURS once the tables' retention (7 days) is over.\n"
        f"Folders of killed runs under {run.warehouse.root}/_staging, backups, and the image files are yours to remove."
    )


JOB = Job("forget", check, work)


def main(argv: Sequence[str] | None = None, prog: str = "forget.py") -> int:
    """Entry point of jobs/forget.py, and of the command `prog`."""
    return run_job(JOB, command_of(JOB.name, prog), argv)
