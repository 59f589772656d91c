"""The maintain job: compact the tables, drop old versions, checkpoint the logs; between nights, about once a week."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from dupelake.jobs.cluster import settle_changes
from dupelake.jobs.common import job_parser, run_job
from dupelake.runtime.run import Run, last_complete, table_versions
from dupelake.schema import ALL_TABLES, DECISIONS

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
    for table in ALL_TABLES:
        with run.step(table.name):
            before, after = run.warehouse.maintain(table, args.retain_hours)
        run.count(f"files.{table.name}", after)
        log.info("%s: %d files, were %d", table.name, after, before)
    run.decisions_version = run.warehouse.version(DECISIONS)
    if run.warehouse.read(DECISIONS, run.decisions_version).count() != decided:
        run.is_complete = False  # somebody decided meanwhile, and no night has applied it


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
