"""What all jobs share: the command line, the order of start-up, the end of a run and its exit code."""

from __future__ import annotations

import argparse
import datetime as dt
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from dupelake import errors
from dupelake.config import Config, load_config
from dupelake.errors import BusyError, ConfigError, DupelakeError, GateError
from dupelake.jobs.decisions import alone
from dupelake.kernels.faults import reached
from dupelake.kernels.uris import local_path
from dupelake.paths import known_local
from dupelake.runtime.lock import RunLock, lock_of
from dupelake.runtime.logs import EventLog, configure_logging
from dupelake.runtime.metrics import prometheus_text, write_metrics
from dupelake.runtime.run import Run, new_run_id
from dupelake.runtime.session import build_session
from dupelake.tables import Warehouse

log = logging.getLogger(__name__)

Body = Callable[[Run, argparse.Namespace], None]


def job_parser(prog: str, description: str, *, manifests: bool) -> argparse.ArgumentParser:
    """The options of a job; `manifests` adds the paths and the selection of partitions."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
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
    parser.add_argument(
        "--spark",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a Spark setting, outside spark-submit; may be repeated",
    )
    return parser


def run_job(job: str, parser: argparse.ArgumentParser, body: Body, argv: Sequence[str] | None = None) -> int:
    """Parse, check, start Spark, run `body`, write the run's row, print the report.

    Returns:
        The exit code: 0; 2 for configuration, manifest, model or environment faults; 3 for a
        passed limit (results stand); 4 where another run holds the warehouse; 1 for anything else.
    """
    args = parser.parse_args(argv)
    try:
        config, warehouse, spark_settings = check_arguments(args)
    except ConfigError as error:
        message = f"{parser.prog}: the configuration is refused; nothing was started:\n{error}"
        return _refused(job, _loaded(args), error, message)
    try:
        spark = build_session(f"dupelake-{job}", spark_settings)
    except DupelakeError as error:
        return _refused(job, config, error, f"{parser.prog}: {error}")
    try:
        found = Warehouse(spark, warehouse)
    except ConfigError as error:
        return _refused(job, config, error, f"{parser.prog}: nothing was started:\n{error}")
    run = Run(job, config, found, list(sys.argv[1:] if argv is None else argv))
    configure_logging(run.run_id)
    return _execute(run, args, body)


def _loaded(args: argparse.Namespace) -> Config | None:
    """The configuration, where only other arguments are at fault."""
    try:
        return load_config(args.config, args.sets)
    except ConfigError:
        return None


def _refused(job: str, config: Config | None, error: DupelakeError, message: str) -> int:
    """The exit code of a run that never started; people are told, and collectors where it is known what they read."""
    print(message, file=sys.stderr)  # noqa: T201
    if config is not None:
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        events = EventLog(config.run.event_log, new_run_id(now), job)
        events.emit("run_refused", exit_code=error.exit_code, error=str(error))
        _write_metrics(config, job, error.exit_code, now)
    return error.exit_code


def _execute(run: Run, args: argparse.Namespace, body: Body) -> int:
    code, message = 0, None
    limits = run.config.run
    lock = lock_of(run.warehouse.spark, run.warehouse.root, run.run_id, limits.lock_wait_s, limits.lock_stale_s)
    try:
        lock.acquire()
    except BusyError as error:
        return _refused(run.job, run.config, error, f"{run.job}: nothing was started: {error}")
    run.warehouse.at_commit = partial(_at_commit, lock)
    run.warehouse.alone = partial(alone, run.warehouse, f"run {run.run_id}")
    run.events.emit("run_started", arguments=list(run.arguments), warehouse=run.warehouse.root, versions=run.versions)
    try:
        run.staging.begin()
        run.warehouse.ensure()
        body(run, args)
        check_failure_gate(run)
    except Exception as error:
        code, message = explain(error)
        log.error("%s stopped: %s", run.job, message, exc_info=code == 1)  # noqa: TRY400 - ours say it all
    try:
        run.staging.remove()
        run.finish(message)
    except Exception:  # Spark is gone; the exit code must still tell
        log.exception("the run's row could not be written")
        code = code or 1
    lock.release()
    _tell_collectors(run, code, message)
    print(run.report(), flush=True)  # noqa: T201
    return code


def _at_commit(lock: RunLock, point: str) -> None:
    """Before each commit: is the warehouse still ours? Then the fault points of tests."""
    if point.startswith("before:"):
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
    finished = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    try:
        write_metrics(path, prometheus_text(job, code, started, finished, counts or {}, seconds or {}))
    except OSError as error:
        log.warning("run.metrics_file: %s cannot be written: %s", path, error)


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and message of an error; one of ours that a worker raised comes wrapped in Spark's."""
    if isinstance(error, DupelakeError):
        return error.exit_code, str(error)
    found = re.search(r"dupelake\.errors\.(\w+): (.+)", str(error))
    kind = getattr(errors, found.group(1), None) if found else None
    if found and isinstance(kind, type) and issubclass(kind, DupelakeError):
        return kind.exit_code, found.group(2)
    return 1, f"{type(error).__name__}: {str(error)[:2000]}"


def check_failure_gate(run: Run) -> None:
    """Raise GateError when steps saw a limit passed, such as run.max_failed_fraction."""
    if run.gate_faults:
        raise GateError("\n".join(run.gate_faults))


def check_arguments(args: argparse.Namespace) -> tuple[Config, str, dict[str, str]]:
    """Configuration, warehouse and Spark settings of a command line; ConfigError names all faults at once."""
    faults: list[str] = []
    config = Config()
    try:
        config = load_config(args.config, args.sets)
    except ConfigError as error:
        faults += error.faults
    settings = {}
    for item in args.spark:
        key, equals, value = item.partition("=")
        if not equals or not key.startswith("spark."):
            faults.append(f"--spark {item}: must be spark.KEY=VALUE")
        settings[key] = value
    for path in getattr(args, "paths", ()):
        if is_local(path) and not Path(local(path)).exists():
            faults.append(f"PATH {path}: there is nothing; give a manifest or a directory that exists")
    if hasattr(args, "check"):  # what a job's own options need
        faults += args.check(args)
    try:
        folder = known_local(args.warehouse, settings)
        if folder is not None and folder.is_file():
            faults.append(f"--warehouse {args.warehouse}: is a file; give a folder")
    except ConfigError as error:
        faults += error.faults
    if faults:
        raise ConfigError(faults)
    return config, args.warehouse, settings


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
