"""The nightly job: hash, embed, join and cluster in one session; only what is new is worked on."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from pyspark.sql import Row

from dupelake.pipeline import cluster, embed, hash, lsh_join, versions
from dupelake.pipeline.common import job_parser, run_job
from dupelake.pipeline.decisions import pin_decisions
from dupelake.runtime.run_record import Run, last_complete, table_versions
from dupelake.warehouse.schema import DECISIONS

log = logging.getLogger(__name__)


def body(run: Run, args: argparse.Namespace) -> None:
    """The four jobs one after the other; versions that must not mix are refused before the first of them works."""
    with run.step("versions"):
        versions.note_versions(run)
        last = None if args.full else _still_standing(run)
        if last is None:
            pin_decisions(run.warehouse, run.staging.checkpoint)  # what people saw, before a manifest may change it
            versions.refuse_other_versions(run, args.full)
    model = embed.prepare_model(run)
    with run.step("versions"):
        joined = lsh_join.note_versions(run)
        if last is None or last["versions"] != run.versions:
            lsh_join.refuse_other_versions(run, joined, args.full)
    hash.work(run, args)
    if (
        last is not None
        and last["versions"] == run.versions
        and not last["counts"].get("embed_waiting")
        and last["tables"] == table_versions(run.warehouse)
    ):
        _settle(run, last)
        return
    embed.work(run, model, joined.join, full=args.full)
    lsh_join.work(run, args, joined)
    cluster.body(run, args)


def _still_standing(run: Run) -> Row | None:
    """The last complete night, where it had these options and versions and no table changed since.

    Then what it checked and pinned holds; and should the manifests bring nothing, what it found as well.
    """
    last = last_complete(run.warehouse, "nightly")
    if (
        last is None
        or last["config_fingerprint"] != run.config.fingerprint()
        or any(last["versions"].get(name) != version for name, version in run.versions.items())
        or last["tables"] != table_versions(run.warehouse)
    ):
        return None
    return last


def _settle(run: Run, last: Row) -> None:
    """End a night that found nothing to do: the results of `last` stand, for the report and for collectors too."""
    for name in cluster.STANDING:
        run.count(name, last["counts"].get(name, 0))
    for name, n in last["counts"].items():
        if name.startswith("pairs."):
            run.count(name, n)
    for name in (*cluster.OF_A_NIGHT, "embedded", "embed_failed", "embed_waiting", "pairs_measured", "pairs_withdrawn"):
        run.count(name, 0)
    run.count("nothing_changed", 1)
    run.is_complete, run.decisions_version = True, last["tables"].get(DECISIONS.name)
    log.info("nothing changed since run %s: its pairs and groups stand", last["run_id"])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of jobs/nightly.py."""
    return run_job("nightly", job_parser("nightly.py", __doc__, manifests=True), body, argv)
