"""Shared parts of all jobs: start-up, end of a run and exit codes."""

from __future__ import annotations

import datetime as dt
import errno
import logging
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from dupelake import errors
from dupelake.config import Config
from dupelake.errors import ConfigError, DupelakeError, EnvironmentFault, GateError, first_line
from dupelake.pipeline.command_lines import Command
from dupelake.pipeline.decisions import alone
from dupelake.pipeline.indexing import update_index
from dupelake.pipeline.job import Job
from dupelake.runtime import clock
from dupelake.runtime.counts import Counts
from dupelake.runtime.faults import reached
from dupelake.runtime.interrupts import Interrupted, Interrupts
from dupelake.runtime.lock import RunLock, lock_of
from dupelake.runtime.logs import EventLog, configure_logging
from dupelake.runtime.metrics import prometheus_text, write_metrics
from dupelake.runtime.redaction import Redactor, redact_uris
from dupelake.runtime.run_record import START, Run, new_run_id
from dupelake.runtime.session import build_session
from dupelake.version import __version__
from dupelake.warehouse.tables import Warehouse

log = logging.getLogger(__name__)

O = TypeVar("O")  # noqa: E741 - as in pipeline.job
V = TypeVar("V")
FULL = (
    "a disk is full: the warehouse's, or the one that holds spark.local.dir (/tmp unless set); make room, then run the "
    "same command again: what is committed stands"
)
GO_ON = "what is committed stands; run the same command again, it goes on from there"


def run_job(job: Job[O, V], command: Command[O], argv: Sequence[str] | None = None) -> int:
    """Parse and check the command line, start Spark, run the job, write the row of the run and print the report.

    Returns:
        The exit code: 0; 2 for configuration, manifest, model or environment faults; 3 for a passed limit (results
        stand); 4 where another run holds the warehouse; 130 and 143 after SIGINT and SIGTERM; 1 for anything else.
    """
    argv, prog = list(sys.argv[1:] if argv is None else argv), command.parser.prog
    begun = clock.begin()
    parsed = command.parse(argv)
    start = _Start(job.name, new_run_id(dt.datetime.now(dt.UTC)), begun, Redactor.of(parsed.settings))
    configure_logging(start.run_id, redact=start.redactor)
    with Interrupts(prog, GO_ON) as interrupts:
        try:
            given = parsed.check()
        except ConfigError as error:
            return _refused(start, parsed.config(), error, f"{prog}: refused; nothing was started:\n{error}")
        for path in parsed.addresses:
            if redact_uris(path) != path:
                log.warning("%s holds a secret, and so will images.uri; docs/operations.md has better ways", path)
        log.info("dupelake %s starts Spark, which takes some seconds", __version__)
        try:
            spark = build_session(f"dupelake-{job.name}", given.settings)
        except DupelakeError as error:
            return _refused(start, given.config, error, f"{prog}: {error}")
        interrupts.watch(spark)
        redactor = Redactor.of(dict(spark.sparkContext.getConf().getAll()) | given.settings)
        configure_logging(start.run_id, redact=redactor)
        try:
            found = Warehouse(spark, given.warehouse)
        except ConfigError as error:
            return _refused(start, given.config, error, f"{prog}: nothing was started:\n{error}")
        run = Run(job.name, given.config, found, argv, run_id=start.run_id, begun=begun, redactor=redactor)
        run.at_step = interrupts.check
        return _execute(run, job, given.options, interrupts)


@dataclass(frozen=True)
class _Start:
    """The facts about a run that are known before Spark starts."""

    job: str
    run_id: str
    begun: float
    redactor: Redactor


def _refused(start: _Start | Run, config: Config | None, error: DupelakeError, message: str) -> int:
    """Report a run that never started, and return its exit code. Events and metrics need a valid configuration."""
    print(start.redactor(message), file=sys.stderr)  # noqa: T201
    if config is not None:
        events = EventLog(config.run.event_log, start.run_id, start.job, start.redactor)
        events.emit("run_refused", exit_code=error.exit_code, error=str(error))
        _write_metrics(config, start.job, error.exit_code, dt.datetime.now(dt.UTC))
    return error.exit_code


def _execute(run: Run, job: Job[O, V], options: O, interrupts: Interrupts) -> int:
    code, message = 0, None
    limits = run.config.run
    lock = lock_of(run.warehouse.spark, run.warehouse.root, run.run_id, limits.lock_wait_s, limits.lock_stale_s)
    lock.pause = interrupts.pause
    try:
        lock.acquire()
    except Interrupted as error:
        print(f"{run.job}: nothing was started: {error}", file=sys.stderr)  # noqa: T201
        return interrupts.exit_code
    except Exception as error:
        fault = error
        if not isinstance(fault, DupelakeError):  # the disk or store refuses to write
            fault = EnvironmentFault(
                f"--warehouse {run.warehouse.root} cannot be written: {first_line(error, innermost=True)}"
            )
        return _refused(run, run.config, fault, f"{run.job}: nothing was started: {fault}")
    run.started_at = dt.datetime.now(dt.UTC)  # set while the lock is held, so start times order the runs of a warehouse
    run.seconds[START] = time.monotonic() - run.begun
    run.warehouse.at_commit = partial(_at_commit, lock, interrupts)
    run.warehouse.alone = partial(alone, run.warehouse, f"run {run.run_id}")
    run.events.emit(
        "run_started",
        arguments=run.redactor.arguments(run.arguments),
        warehouse=run.warehouse.root,
        versions=run.versions,
    )
    try:
        with run.step("tables"):
            run.staging.begin()
            run.warehouse.ensure()
        job.ready(run, options)(run)
        check_failure_gate(run)
    except (Exception, Interrupted) as error:
        if interrupts.exit_code:  # the signal cancelled the Spark jobs, so the error itself does not matter
            code, message = interrupts.exit_code, interrupts.message
            log.warning("%s %s", run.job, message)
        else:
            code, message = explain(error)
            is_told = code != 1 or message == FULL  # messages of dupelake need no traceback
            log.error("%s stopped: %s", run.job, message, exc_info=not is_told)  # noqa: TRY400
    interrupts.settle()
    try:
        run.staging.remove()
        run.finish(message)
    except Exception as error:  # Spark is gone; the exit code must still tell
        log.error("the run's row could not be written: %s", explain(error)[1], exc_info=not code)  # noqa: TRY400
        code = code or 1
    try:
        lock.release()
    except Exception as error:  # a store that is reached through Spark, which is gone
        log.error("the lock could not be given back, and falls by itself: %s", first_line(error, innermost=True))  # noqa: TRY400
    if run.is_complete and run.config.check.index:
        update_index(run)
    _tell_collectors(run, code, message)
    print(run.report(), flush=True)  # noqa: T201
    return code


def _at_commit(lock: RunLock, interrupts: Interrupts, point: str) -> None:
    """Before each commit check for signals and for the lock. Then run the fault points of tests."""
    if point.startswith("before:"):
        interrupts.check()
        lock.check()
    reached(point)


def _tell_collectors(run: Run, code: int, message: str | None) -> None:
    """Write the last event and the metrics, also for failed runs. A fault here does not change the exit code."""
    status = "succeeded" if code == 0 else "failed"
    run.events.emit(
        "run_finished", status=status, exit_code=code, seconds=run.seconds, counts=dict(run.counts), error=message
    )
    _write_metrics(run.config, run.job, code, run.started_at, run.counts, run.seconds)


def _write_metrics(
    config: Config,
    job: str,
    code: int,
    started: dt.datetime,
    counts: Counts | None = None,
    seconds: Mapping[str, float] | None = None,
) -> None:
    path = config.run.metrics_file
    if not path:
        return
    finished = dt.datetime.now(dt.UTC)
    try:
        write_metrics(path, prometheus_text(job, code, started, finished, counts or Counts(), seconds or {}))
    except OSError as error:
        log.warning("run.metrics_file: %s cannot be written: %s", path, error)


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message of an error. Spark wraps the errors of dupelake that a worker raises."""
    if isinstance(error, DupelakeError):
        return error.exit_code, str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
        return 1, FULL
    found = re.search(r"dupelake\.errors\.(\w+): (.+)", str(error))
    kind = getattr(errors, found.group(1), None) if found else None
    if found and isinstance(kind, type) and issubclass(kind, DupelakeError):
        return kind.exit_code, found.group(2)
    return 1, f"{type(error).__name__}: {str(error)[:2000]}"


def check_failure_gate(run: Run) -> None:
    """Raise GateError if a limit such as run.max_failed_fraction was exceeded."""
    if run.gate_faults:
        raise GateError("\n".join(run.gate_faults))
