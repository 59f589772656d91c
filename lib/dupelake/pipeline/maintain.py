"""The maintain job: compacts files, drops old versions, checkpoints logs. Run it between nights, about once a week."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dupelake.pipeline.cluster import settle_changes
from dupelake.pipeline.common import run_job
from dupelake.pipeline.job import Job, unversioned
from dupelake.pipeline.job_commands import command_of
from dupelake.pipeline.options import MaintainOptions
from dupelake.runtime.run_record import Run, last_complete, table_versions
from dupelake.runtime.run_report import human_bytes
from dupelake.warehouse.delta_log import Extent
from dupelake.warehouse.schema import ALL_TABLES, DECISIONS
from dupelake.warehouse.tables import Maintained

log = logging.getLogger(__name__)


def work(run: Run, options: MaintainOptions, versions: None) -> None:
    """Maintain every table, one after the other. No row changes."""
    settle_changes(run.warehouse)
    last = last_complete(run.warehouse)
    # Compaction does not complete a night that ended early.
    tables = table_versions(run.warehouse)
    run.is_complete = last is not None and last["tables"] == tables
    decided = run.warehouse.read(DECISIONS, tables[DECISIONS.name]).count()
    old = 0
    for table in ALL_TABLES:
        with run.step(table.name):
            done = run.warehouse.maintain(table, options.retain_hours)
        run.counts.files_by_table[table.name] = done.after.files
        log.info("%s", told(table.name, done))
        old += max(0, done.after.disk_bytes - done.after.live_bytes)
    run.decisions_version = run.warehouse.version(DECISIONS)
    if run.warehouse.read(DECISIONS, run.decisions_version).count() != decided:
        run.is_complete = False  # a verdict was added meanwhile, and no night has applied it
    log.info(
        "%s on disk are old versions and logs; data of old versions leaves with the first maintain that starts more "
        "than %g hours after it was replaced",
        human_bytes(old),
        options.retain_hours,
    )


def told(name: str, done: Maintained) -> str:
    """One line about the maintenance of a table."""
    files, live, disk = zip(*map(_words, done), strict=True)  # each (before, after)
    return (
        f"{name}: {files[1]} files, were {files[0]}; {live[1]} live, were {live[0]}; {disk[1]} on disk, were {disk[0]}"
    )


def _words(extent: Extent) -> tuple[str, str, str]:
    return str(extent.files), human_bytes(extent.live_bytes), human_bytes(extent.disk_bytes)


JOB = Job("maintain", unversioned, work)


def main(argv: Sequence[str] | None = None, prog: str = "maintain.py") -> int:
    """Entry point of jobs/maintain.py, and of the command `prog`."""
    return run_job(JOB, command_of(JOB.name, prog), argv)
