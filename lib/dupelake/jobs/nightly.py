"""The nightly job: hash, embed, join and cluster in one session; only what is new is worked on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dupelake.jobs import cluster, embed, hash, lsh_join
from dupelake.jobs.common import job_parser, run_job
from dupelake.jobs.decisions import pin_decisions
from dupelake.runtime.run import Run


def body(run: Run, args: argparse.Namespace) -> None:
    """The four jobs one after the other; versions that must not mix are refused before the first of them works."""
    pin_decisions(run.warehouse, run.staging.checkpoint)  # what people saw, before a manifest may change it
    hash.refuse_other_versions(run, args.full)
    if run.config.embed.model != "none":
        with run.step("model"):
            embed.prepare_model(run)
    lsh_join.check_versions(run, args.full)
    for job in (hash, embed, lsh_join, cluster):
        job.body(run, args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/nightly.py."""
    return run_job("nightly", job_parser("nightly.py", __doc__, manifests=True), body, argv)
