"""What all jobs share: the command line, the order of start-up, the end of a run and its exit code."""

from __future__ import annotations

import argparse
import datetime as dt
import errno
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dupelake import __version__, errors
from dupelake.config import Config, load_config
from dupelake.errors import ConfigError, DupelakeError, EnvironmentFault, GateError, first_line
from dupelake.ingest.uris import local_path
from dupelake.pipeline.arguments import Parser, add_spark, spark_settings
from dupelake.pipeline.decisions import alone
from dupelake.runtime import clock
from dupelake.runtime.faults import reached
from dupelake.runtime.interrupts import Interrupted, Interrupts
from dupelake.runtime.lock import RunLock, lock_of
from dupelake.runtime.logs import EventLog, configure_logging
from dupelake.runtime.metrics import prometheus_text, write_metrics
from dupelake.runtime.redaction import Redactor, redact_uris
from dupelake.runtime.run_record import START, Run, new_run_id
from dupelake.runtime.session import build_session
from dupelake.warehouse.paths import known_local
from dupelake.warehouse.tables import Warehouse

log = logging.getLogger(__name__)

Body = Callable[[Run, argparse.Namespace], None]
FULL = (
    "a disk is full: the warehouse's, or the one that holds spark.local.dir (/tmp unless set); make room, then run the "
    "same command again: what is committed stands"
)
GO_ON = "what is committed stands; run the same command again, it goes on from there"


def job_parser(prog: str, description: str, *, manifests: bool) -> argparse.ArgumentParser:
    """The options of a job; `manifests` adds the paths and the selection of partitions."""
    parser = Parser(prog=prog, description=description)
    if manifests:
        parser.add_argument(
            "paths", nargs="+", metavar="PATH", help="manifest (CSV, JSON lines, Parquet, Delta) or directory of images"
        )
        parser.add_argument("--partitions", metavar="A,B", help="only these partitions of the manifest")
        parser.add_argument("--since", metavar="PARTITION", help="only partitions from this one on (text order)")
        parser.add_argument(
            "--listing",
            action="store_true",
            help="the manifests list all that exists: what they cover and lack is gone (docs/removals.md)",
        )
    if manifests or prog in ("embed.py", "lsh_join.py"):
        parser.add_argument(
            "--full", action="store_true", help="read, hash and join everything again; embed again what failed"
        )
    parser.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are")
    parser.add_argument("--config", metavar="FILE", help="YAML file over the defaults (conf/base.yaml lists them)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="sets",
        help="one option over the file; may be repeated",
    )
    add_spark(parser)
    return parser


def run_job(job: str, parser: argparse.ArgumentParser, body: Body, argv: Sequence[str] | None = None) -> int:
    """Parse, check, start Spark, run `body`, write the run's row, print the report.

    Returns:
        The exit code: 0; 2 for configuration, manifest, model or environment faults; 3 for a passed limit (results
        stand); 4 where another run holds the warehouse; 130 and 143 after SIGINT and SIGTERM; 1 for anything else.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    begun = clock.begin()
    args = parser.parse_args(argv)
    start = _Start(job, new_run_id(dt.datetime.now(dt.UTC)), begun, Redactor.of(spark_settings(args.spark, [])))
    configure_logging(start.run_id, redact=start.redactor)
    with Interrupts(parser.prog, GO_ON) as interrupts:
        try:
            config, warehouse, settings = check_arguments(args)
        except ConfigError as error:
            return _refused(start, _loaded(args), error, f"{parser.prog}: refused; nothing was started:\n{error}")
        for path in (*getattr(args, "paths", ()), warehouse):
            if redact_uris(path) != path:
                log.warning("%s holds a secret, and so will images.uri; docs/operations.md has better ways", path)
        log.info("dupelake %s starts Spark, which takes some seconds", __version__)
        try:
            spark = build_session(f"dupelake-{job}", settings)
        except DupelakeError as error:
            return _refused(start, config, error, f"{parser.prog}: {error}")
        interrupts.watch(spark)
        redactor = Redactor.of(dict(spark.sparkContext.getConf().getAll()) | settings)
        configure_logging(start.run_id, redact=redactor)
        try:
            found = Warehouse(spark, warehouse)
        except ConfigError as error:
            return _refused(start, config, error, f"{parser.prog}: nothing was started:\n{error}")
        run = Run(job, config, found, argv, run_id=start.run_id, begun=begun, redactor=redactor)
        run.at_step = interrupts.check
        return _execute(run, args, body, interrupts)


@dataclass(frozen=True)
class _Start:
    """What is known of a run before there is a session."""

    job: str
    run_id: str
    begun: float
    redactor: Redactor


def _loaded(args: argparse.Namespace) -> Config | None:
    """The configuration, where only other arguments are at fault."""
    try:
        return load_config(args.config, args.sets)
    except ConfigError:
        return None


def _refused(start: _Start | Run, config: Config | None, error: DupelakeError, message: str) -> int:
    """The exit code of a run that never started; people are told, and collectors where it is known what they read."""
    print(start.redactor(message), file=sys.stderr)  # noqa: T201
    if config is not None:
        events = EventLog(config.run.event_log, start.run_id, start.job, start.redactor)
        events.emit("run_refused", exit_code=error.exit_code, error=str(error))
        _write_metrics(config, start.job, error.exit_code, dt.datetime.now(dt.UTC))
    return error.exit_code


def _execute(run: Run, args: argparse.Namespace, body: Body, interrupts: Interrupts) -> int:
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
        if not isinstance(fault, DupelakeError):  # a disk or store that refuses
            fault = EnvironmentFault(
                f"--warehouse {run.warehouse.root} cannot be written: {first_line(error, innermost=True)}"
            )
        return _refused(run, run.config, fault, f"{run.job}: nothing was started: {fault}")
    run.started_at = dt.datetime.now(dt.UTC)  # with the lock, so that runs on a warehouse are ordered by it
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
        body(run, args)
        check_failure_gate(run)
    except (Exception, Interrupted) as error:
        if interrupts.exit_code:  # whatever ended the step: its Spark jobs were cancelled
            code, message = interrupts.exit_code, interrupts.message
            log.warning("%s %s", run.job, message)
        else:
            code, message = explain(error)
            is_told = code != 1 or message == FULL  # ours say it all
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
    _tell_collectors(run, code, message)
    print(run.report(), flush=True)  # noqa: T201
    return code


def _at_commit(lock: RunLock, interrupts: Interrupts, point: str) -> None:
    """Before each commit: is the warehouse still ours, and may we go on? Then the fault points of tests."""
    if point.startswith("before:"):
        interrupts.check()
        lock.check()
    reached(point)


def _tell_collectors(run: Run, code: int, message: str | None) -> None:
    """The last event and the metrics, of failed runs too; a collector that is out of reach changes no exit code."""
    status = "succeeded" if code == 0 else "failed"
    run.events.emit(
        "run_finished", status=status, exit_code=code, seconds=run.seconds, counts=run.counts, error=message
    )
    _write_metrics(run.config, run.job, code, run.started_at, run.counts, run.seconds)


def _write_metrics(
    config: Config,
    job: str,
    code: int,
    started: dt.datetime,
    counts: Mapping[str, int] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> None:
    path = config.run.metrics_file
    if not path:
        return
    finished = dt.datetime.now(dt.UTC)
    try:
        write_metrics(path, prometheus_text(job, code, started, finished, counts or {}, seconds or {}))
    except OSError as error:
        log.warning("run.metrics_file: %s cannot be written: %s", path, error)


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message of an error; one of ours that a worker raised comes wrapped in Spark's."""
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
    """Raise GateError when steps saw a limit passed, such as run.max_failed_fraction."""
    if run.gate_faults:
        raise GateError("\n".join(run.gate_faults))


def check_arguments(args: argparse.Namespace, *, is_written: bool = True) -> tuple[Config, str, dict[str, str]]:
    """Configuration, warehouse and Spark settings of a command line; ConfigError names all faults at once."""
    faults: list[str] = []
    config = Config()
    try:
        config = load_config(args.config, args.sets)
    except ConfigError as error:
        faults += error.faults
    settings = spark_settings(args.spark, faults)
    for path in getattr(args, "paths", ()):
        if is_local(path) and not os.path.exists(local(path)):  # False too where the user may not look
            faults.append(f"PATH {path}: there is nothing that may be read; give a manifest or a directory that exists")
    if hasattr(args, "check"):  # what a job's own options need
        faults += args.check(args)
    faults += faults_of_warehouse(args.warehouse, settings, is_written=is_written)
    if faults:
        raise ConfigError(faults)
    return config, args.warehouse, settings


def faults_of_warehouse(root: str, settings: Mapping[str, str], *, is_written: bool) -> list[str]:
    """What can be said of a local warehouse before Spark starts, with these settings."""
    try:
        folder = known_local(root, settings)
    except ConfigError as error:
        return error.faults
    if folder is None:
        return []
    path = str(folder)
    if os.path.isfile(path):
        return [f"--warehouse {root}: is a file; give a folder"]
    if os.path.exists(path) and not os.access(path, os.R_OK | os.X_OK):
        return [f"--warehouse {root}: user {os.getuid()} may not read it; have its owner allow it"]
    there = path
    while not os.path.exists(there):
        there = os.path.dirname(there)
    if is_written and not os.access(there, os.W_OK | os.X_OK):
        return [
            f"--warehouse {root}: user {os.getuid()} cannot write in {there} (its mode, or a read-only disk); have "
            "that changed, or give another folder"
        ]
    return []


def is_local(path: str) -> bool:
    """Whether the path of a manifest names this machine's file system, as kernels.uris has it."""
    return local_path(path) is not None


def local(path: str) -> str:
    """A local path without its `file:`."""
    return local_path(path) or path


def absolute(path: str) -> str:
    """A local path made absolute, so that executors see the same place; others as they are."""
    return str(Path(local(path)).expanduser().absolute()) if is_local(path) else path


def selection(args: argparse.Namespace) -> tuple[list[str] | None, str | None, bool]:
    """Partitions, since and full of the command line."""
    partitions = [p.strip() for p in args.partitions.split(",") if p.strip()] if args.partitions else None
    return partitions, args.since, args.full
