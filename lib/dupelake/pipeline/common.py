"""Shared parts of all jobs: start of Spark, end of a run and exit codes."""

from __future__ import annotations

import datetime as dt
import errno
import logging
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from dupelake import errors
from dupelake.errors import (
    ConfigError,
    DupelakeError,
    EnvironmentFault,
    GateError,
    ManifestError,
    first_line,
    unexpected,
    unread_file,
    unread_manifest,
)
from dupelake.pipeline.beginning import Begun, begin, put_metrics, refuse
from dupelake.pipeline.command_lines import Checked, Command
from dupelake.pipeline.decisions import alone
from dupelake.pipeline.indexing import update_index
from dupelake.pipeline.job import Job
from dupelake.runtime.faults import reached
from dupelake.runtime.interrupts import GO_ON, Interrupted, Interrupts
from dupelake.runtime.lock import RunLock, lock_of
from dupelake.runtime.logs import configure_logging
from dupelake.runtime.progress import Progress
from dupelake.runtime.redaction import Redactor
from dupelake.runtime.run_record import START, Run
from dupelake.runtime.session import build_session
from dupelake.runtime.streams import spared_streams
from dupelake.warehouse.store_faults import is_of_store, told
from dupelake.warehouse.tables import Warehouse

log = logging.getLogger(__name__)

O = TypeVar("O")  # noqa: E741 - as in pipeline.job
V = TypeVar("V")
AGAIN = "then run the same command again: what is committed stands"
FULL = f"a disk is full: the warehouse's, or the one that holds spark.local.dir (/tmp unless set); make room, {AGAIN}"


def run_job(job: Job[O, V], command: Command[O], argv: Sequence[str] | None = None) -> int:
    """Begin the job with its command line, and do it (`run_begun`)."""
    with spared_streams(), Interrupts(command.parser.prog, GO_ON) as interrupts:
        return run_begun(job, begin(job.name, command, argv), interrupts)


def run_begun(job: Job[O, V], begun: Begun[O], interrupts: Interrupts) -> int:
    """Start Spark, run the job, write the row of the run and print the report.

    Args:
        job: the job.
        begun: its checked command line.
        interrupts: the signals of the command; from Spark's start on they cancel its jobs.

    Returns:
        The exit code: 0; 2 for configuration, manifest, model or environment faults; 3 for a passed limit (results
        stand); 4 where another run holds the warehouse; 130 and 143 after SIGINT and SIGTERM; 1 for anything else.
    """
    if isinstance(begun.given, int):
        return begun.given
    try:
        return _start(job, begun, begun.given, interrupts)
    except Exception as error:
        log.error("%s stopped: %s", begun.prog, unexpected(error), exc_info=begun.is_debug)  # noqa: TRY400
        return 1


def _start(job: Job[O, V], begun: Begun[O], given: Checked[O], interrupts: Interrupts) -> int:
    refused = partial(refuse, job.name, begun.run_id)
    try:
        spark = build_session(f"dupelake-{job.name}", given.settings)
    except DupelakeError as error:
        return refused(begun.redactor, given.config, error, f"{begun.prog}: {error}")
    except KeyboardInterrupt:
        interrupts.note(signal.SIGINT)
        print(f"{begun.prog}: {interrupts.message}", file=sys.stderr)  # noqa: T201
        return interrupts.exit_code
    interrupts.watch(spark)
    redactor = Redactor.of(dict(spark.sparkContext.getConf().getAll()) | given.settings)
    configure_logging(begun.run_id, redact=redactor, is_debug=begun.is_debug)
    try:
        found = Warehouse(spark, given.warehouse)
    except ConfigError as error:
        return refused(redactor, given.config, error, f"{begun.prog}: nothing was started:\n{error}")
    run = Run(
        job.name, given.config, found, begun.argv, run_id=begun.run_id, begun=begun.begun, redactor=redactor
    )  # fmt: skip
    run.at_step = interrupts.check
    return _execute(run, job, begun, given.options, interrupts)


def _acquire(lock: RunLock, run: Run, begun: Begun[O], interrupts: Interrupts) -> int:
    """Take the lock of the warehouse; 0, or the exit code where that cannot be."""
    try:
        lock.acquire()
    except Interrupted as error:
        print(f"{begun.prog}: nothing was started: {error}", file=sys.stderr)  # noqa: T201
        return interrupts.exit_code
    except Exception as error:
        fault = error
        if not isinstance(fault, DupelakeError):  # the disk or store refuses to write
            fault = EnvironmentFault(
                f"--warehouse {run.warehouse.root} cannot be written: {told(error, innermost=True)}"
            )
        message = f"{begun.prog}: nothing was started: {fault}"
        return refuse(run.job, run.run_id, run.redactor, run.config, fault, message)
    return 0


def _execute(run: Run, job: Job[O, V], begun: Begun[O], options: O, interrupts: Interrupts) -> int:
    limits = run.config.run
    lock = lock_of(run.warehouse.spark, run.warehouse.root, run.run_id, limits.lock_wait_s, limits.lock_stale_s)
    lock.pause = interrupts.pause
    if code := _acquire(lock, run, begun, interrupts):
        return code
    message = trace = None
    is_store_gone = False
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
        interrupts.check()  # a signal that came after the last commit
    except (Exception, Interrupted) as error:
        if interrupts.exit_code:  # the signal cancelled the Spark jobs, so the error itself does not matter
            code, message = interrupts.exit_code, interrupts.message
            print(f"{begun.prog}: {message}", file=sys.stderr)  # noqa: T201
        else:
            code, message = explain(error, run.warehouse.root)
            is_store_gone = is_of_store(error)
            if code == 1 and not message.endswith(AGAIN):  # no message of dupelake
                trace = traceback.format_exc()
            line = message if trace is None else unexpected(error)
            log.error("%s stopped: %s", begun.prog, line, exc_info=begun.is_debug)  # noqa: TRY400
    interrupts.settle()
    with Progress(run.warehouse.spark, "end"):  # no step: its seconds are noted while it lasts
        code = _leave(lock, code) if is_store_gone else _end(run, lock, code, message)
    _tell_collectors(run, code, message, trace)
    if not interrupts.exit_code:
        print(run.report(), flush=True)  # noqa: T201
    return code


def _leave(lock: RunLock, code: int) -> int:
    """End a run whose store refuses or does not answer: each try to clean up there would wait for minutes."""
    lock.abandon()
    log.warning("the run's lock and its staging folder stay in the store; the next run removes them")
    return code


def _end(run: Run, lock: RunLock, code: int, message: str | None) -> int:
    """Write the row of the run, give the lock back and update the index; returns the exit code."""
    try:
        run.staging.remove()
        run.finish(message)
    except Exception as error:  # Spark is gone; the exit code must still tell
        log.error("the run's row could not be written: %s", unexpected(error))  # noqa: TRY400
        code = code or 1
    try:
        lock.release()
    except Exception as error:  # a store that is reached through Spark, which is gone
        log.error("the lock could not be given back, and falls by itself: %s", first_line(error, innermost=True))  # noqa: TRY400
    if run.is_complete and run.config.check.index:
        update_index(run)
    run.note_rest()  # what came after the row of the run is on the clock as well
    return code


def _at_commit(lock: RunLock, interrupts: Interrupts, point: str) -> None:
    """Before each commit check for signals and for the lock. Then run the fault points of tests."""
    if point.startswith("before:"):
        interrupts.check()
        lock.check()
    reached(point)


def _tell_collectors(run: Run, code: int, message: str | None, trace: str | None) -> None:
    """Write the last event and the metrics, also for failed runs. A fault here does not change the exit code."""
    status = "succeeded" if code == 0 else "failed"
    fault = {"error": message} if trace is None else {"error": message, "traceback": trace}
    run.events.emit(
        "run_finished", status=status, exit_code=code, seconds=run.seconds, counts=dict(run.counts), **fault
    )  # fmt: skip
    put_metrics(run.config, run.job, code, run.started_at, run.counts, run.seconds)


def explain(error: BaseException, root: str = "") -> tuple[int, str]:
    """Exit code and message of an error. Spark wraps the errors of dupelake that a worker raises.

    Args:
        error: any.
        root: of the warehouse; other files that cannot be read are manifests.
    """
    if isinstance(error, DupelakeError):
        return error.exit_code, str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
        return 1, FULL
    if is_of_store(error):
        return 1, f"{told(error, innermost=True)}, {AGAIN}"
    if (unread := unread_file(error)) and not (root and unread[0].startswith(f"{root}/")):
        return ManifestError.exit_code, unread_manifest(*unread)
    found = re.search(r"dupelake\.errors\.(\w+): (.+)", str(error))
    kind = getattr(errors, found.group(1), None) if found else None
    if found and isinstance(kind, type) and issubclass(kind, DupelakeError):
        return kind.exit_code, found.group(2)
    return 1, f"{type(error).__name__}: {str(error)[:2000]}"


def check_failure_gate(run: Run) -> None:
    """Raise GateError if a limit such as run.max_failed_fraction was exceeded."""
    if run.gate_faults:
        raise GateError("\n".join(run.gate_faults))
