"""The maintain job: compact small files, drop old versions, checkpoint the logs; between nights, about once a week."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from dupelake.pipeline.cluster import settle_changes
from dupelake.pipeline.common import job_parser, run_job
from dupelake.runtime.run_record import Run, human_bytes, last_complete, table_versions
from dupelake.warehouse.delta_log import Extent
from dupelake.warehouse.schema import ALL_TABLES, DECISIONS
from dupelake.warehouse.tables import Maintained

log = logging.getLogger(__name__)

MIN_RETAIN_HOURS = 168.0  # Delta's own guard: readers and time travel may need a week's files


def body(run: Run, args: argparse.Namespace) -> None:
    """Every table in turn; rows stay what they are."""
    settle_changes(run.warehouse)
    last = last_complete(run.warehouse)
    # What a night left half done is not made complete by compaction.
    versions = table_versions(run.warehouse)
    run.is_complete = last is not None and last["tables"] == versions
    decided = run.warehouse.read(DECISIONS, versions[DECISIONS.name]).count()
    old = 0
    for table in ALL_TABLES:
        with run.step(table.name):
            done = run.warehouse.maintain(table, args.retain_hours)
        run.count(f"files.{table.name}", done.after.files)
        log.info("%s", told(table.name, done))
        old += max(0, done.after.disk_bytes - done.after.live_bytes)
    run.decisions_version = run.warehouse.version(DECISIONS)
    if run.warehouse.read(DECISIONS, run.decisions_version).count() != decided:
        run.is_complete = False  # somebody decided meanwhile, and no night has applied it
    log.info(
        "%s on disk are old versions and logs; data of old versions leaves with the first maintain that starts more "
        "than %g hours after it was replaced",
        human_bytes(old),
        args.retain_hours,
    )


def told(name: str, done: Maintained) -> str:
    """What maintenance did to a table, as a line."""
    files, live, disk = zip(*map(_words, done), strict=True)  # each (before, after)
    return (
        f"{name}: {files[1]} files, were {files[0]}; {live[1]} live, were {live[0]}; {disk[1]} on disk, were {disk[0]}"
    )


def _words(extent: Extent) -> tuple[str, str, str]:
    return str(extent.files), human_bytes(extent.live_bytes), human_bytes(extent.disk_bytes)


def _hours(text: str) -> float:
    hours = float(text)
    if hours < MIN_RETAIN_HOURS:
        raise argparse.ArgumentTypeError(f"{text}: must be {MIN_RETAIN_HOURS:.0f} or more")
    return hours


def parser(prog: str = "maintain.py") -> argparse.ArgumentParser:
    """The options of the job."""
    options = job_parser(prog, __doc__ or "", manifests=False)
    options.add_argument(
        "--retain-hours",
        type=_hours,
        default=MIN_RETAIN_HOURS,
        metavar="N",
        help="keep the files of versions of the last N hours (default and least: 168, a week)",
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/maintain.py."""
    return run_job("maintain", parser(), body, argv)
