"""The nightly job: hash, embed, join and cluster in one session. It processes new images only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Row

from dupelake.pair_rules import Rule
from dupelake.pipeline import cluster, embed, hash, lsh_join
from dupelake.pipeline.common import run_job
from dupelake.pipeline.decisions import pin_decisions
from dupelake.pipeline.job import Job, Task
from dupelake.pipeline.job_commands import command_of
from dupelake.pipeline.options import FullOption, HashOptions
from dupelake.pipeline.ruling import apply_rules, enabled_rules
from dupelake.pipeline.versions import note_versions, refuse_other_joins, refuse_other_versions
from dupelake.runtime.run_record import Run, last_complete, table_versions
from dupelake.warehouse.schema import DECISIONS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Night:
    """The jobs of a night after their checks.

    Attributes:
        last: the last complete night, if it had these options and versions and no table has changed since; else None.
        first: the hash job.
        others: the jobs that follow, in order. They are skipped if the first changes nothing and `last` is set.
        rules: that are applied at the end, unless the jobs are skipped.
    """

    last: Row | None
    first: Task
    others: tuple[Task, ...]
    rules: list[Rule]


def check(run: Run, options: HashOptions) -> Night:
    """Check the versions of all jobs before the first of them starts. Checks that `last` made are not repeated.

    Raises:
        ConfigError: rules are enabled, and the warehouse is not local.
        ModelError: the model or the vocabulary cannot be read.
        VersionMixError: the warehouse holds versions that must not mix with those of this run.
    """
    rules = enabled_rules(run)
    with run.step("versions"):
        versions = note_versions(run)
        # A release that decides or groups in another way does so in a night without new images as well.
        run.versions |= {"decide": versions.decide, "cluster": versions.cluster}
        last = None if options.full else _valid_last_night(run)
        if last is None:
            pin_decisions(run.warehouse, run.staging.save)  # before manifests may change what people saw
            refuse_other_versions(run, options.full)
    ids = embed.prepare_model(run)
    with run.step("versions"):
        joined = lsh_join.note_versions(run)
        if last is None or last["versions"] != run.versions:
            last = None
            refuse_other_joins(run, joined.join, options.full)
    model = None if ids is None else embed.Model(*ids, joined.join)
    return Night(
        last,
        hash.JOB.task(options, versions),
        (
            embed.JOB.task(FullOption(options.full), model),
            lsh_join.JOB.task(FullOption(options.full), joined),
            cluster.JOB.task(None, None),
        ),
        rules,
    )


def work(run: Run, options: HashOptions, night: Night) -> None:
    """Run the jobs one after the other."""
    night.first(run)
    last = night.last
    if last is not None and not last["counts"].get("embed_waiting") and last["tables"] == table_versions(run.warehouse):
        _reuse_results(run, last)
    else:
        for task in night.others:
            task(run)
    apply_rules(run, night.rules)


def _valid_last_night(run: Run) -> Row | None:
    """The last complete night, if it had these options and versions and no table has changed since; else None.

    Its checks and pins are still valid, and so are its results if the manifests bring nothing new.
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


def _reuse_results(run: Run, last: Row) -> None:
    """End a night without changes. Report, events and metrics use the counts of `last`."""
    run.counts.settle(last["counts"])
    run.is_complete, run.decisions_version = True, last["tables"].get(DECISIONS.name)
    log.info("nothing changed since run %s: its pairs and groups stand", last["run_id"])


JOB = Job("nightly", check, work)


def main(argv: Sequence[str] | None = None, prog: str = "nightly.py") -> int:
    """Entry point of jobs/nightly.py, and of the command `prog`."""
    return run_job(JOB, command_of(JOB.name, prog), argv)
