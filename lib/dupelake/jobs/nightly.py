"""The nightly job: hash, embed, join and cluster in one session; only what is new is worked on."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from dupelake.jobs import cluster, embed, hash, lsh_join
from dupelake.jobs.common import job_parser, run_job
from dupelake.jobs.decisions import pin_decisions
from dupelake.runtime.run import Run, last_complete, table_versions

log = logging.getLogger(__name__)


def body(run: Run, args: argparse.Namespace) -> None:
    """The four jobs one after the other; versions that must not mix are refused before the first of them works."""
    pin_decisions(run.warehouse, run.staging.checkpoint)  # what people saw, before a manifest may change it
    hash.refuse_other_versions(run, args.full)
    model = embed.prepare_model(run)
    versions = lsh_join.check_versions(run, args.full)
    hash.work(run, args)
    if not args.full and _is_settled(run):
        return
    embed.work(run, model)
    lsh_join.work(run, args, versions)
    cluster.body(run, args)


def _is_settled(run: Run) -> bool:
    """Whether no table changed since a night of the same options and versions: then the other jobs would find the same.

    What they found is counted for the report and for collectors.
    """
    last = last_complete(run.warehouse, "nightly")
    if (
        last is None
        or last["config_fingerprint"] != run.config.fingerprint()
        or last["versions"] != run.versions
        or last["tables"] != table_versions(run.warehouse)
    ):
        return False
    for name in cluster.STANDING:
        run.count(name, last["counts"].get(name, 0))
    for name, n in last["counts"].items():
        if name.startswith("pairs."):
            run.count(name, n)
    for name in (*cluster.OF_A_NIGHT, "embedded", "embed_failed", "pairs_measured", "pairs_withdrawn"):
        run.count(name, 0)
    run.count("nothing_changed", 1)
    run.is_complete = True
    log.info("nothing changed since run %s: its pairs and groups stand", last["run_id"])
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/nightly.py."""
    return run_job("nightly", job_parser("nightly.py", __doc__, manifests=True), body, argv)
