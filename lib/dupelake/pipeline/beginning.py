"""The first second of a job: its command line is checked and its first line told, before Spark or torch is imported."""

from __future__ import annotations

import datetime as dt
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from dupelake.config import Config
from dupelake.errors import ConfigError, DupelakeError
from dupelake.pipeline.arguments import STARTS_SPARK
from dupelake.pipeline.command_lines import Checked, Command
from dupelake.runtime import clock
from dupelake.runtime.bars import is_terminal, write_line
from dupelake.runtime.counts import Counts
from dupelake.runtime.logs import EventLog, configure_logging
from dupelake.runtime.metrics import prometheus_text, write_metrics
from dupelake.runtime.redaction import Redactor, redact_uris
from dupelake.version import __version__

log = logging.getLogger(__name__)

O = TypeVar("O")  # noqa: E741 - as in pipeline.job


@dataclass(frozen=True)
class Begun(Generic[O]):
    """A job whose command line is parsed, and what is known of it before Spark starts.

    Attributes:
        job: name of the job.
        prog: name of the command, for messages.
        argv: its arguments.
        run_id: of the run.
        begun: by time.monotonic.
        redactor: hides the secrets of the command line.
        is_debug: whether --debug was given.
        given: the checked command line, or the exit code if it was refused.
    """

    job: str
    prog: str
    argv: list[str]
    run_id: str
    begun: float
    redactor: Redactor
    is_debug: bool
    given: Checked[O] | int


def begin(job: str, command: Command[O], argv: Sequence[str] | None = None) -> Begun[O]:
    """Parse and check the command line of a job, and say what begins, or what is refused.

    Args:
        job: name of the job, as in `runs`.
        command: its command line.
        argv: the arguments (default: those of the process).
    """
    argv, prog = list(sys.argv[1:] if argv is None else argv), command.parser.prog
    begun = clock.begin()
    parsed = command.parse(argv)
    is_debug, redactor = bool(parsed.args.debug), Redactor.of(parsed.settings)
    run_id = clock.new_run_id(dt.datetime.now(dt.UTC))
    configure_logging(run_id, redact=redactor, is_debug=is_debug)
    given: Checked[O] | int
    try:
        given = parsed.check()
    except ConfigError as error:
        message = f"{prog}: refused; nothing was started:\n{error}"
        given = refuse(job, run_id, redactor, parsed.config(), error, message)
    else:
        _tell(parsed.addresses, redactor)
    return Begun(job, prog, argv, run_id, begun, redactor, is_debug, given)


def _tell(addresses: Sequence[str], redactor: Redactor) -> None:
    """The first line: what goes where. And a warning for each address with a secret."""
    *paths, warehouse = addresses
    what = f"{len(paths)} path{'' if len(paths) == 1 else 's'}, " if paths else ""
    line = f"dupelake {__version__}: {what}warehouse {warehouse}; {STARTS_SPARK}"
    if is_terminal():
        write_line(redactor(line))
    else:
        log.info("%s", line)
    for path in addresses:
        if redact_uris(path) != path:
            log.warning("%s holds a secret, and so will images.uri; docs/operations.md has better ways", path)


def refuse(job: str, run_id: str, redactor: Redactor, config: Config | None, error: DupelakeError, message: str) -> int:
    """Report a run that never started, and return its exit code. Events and metrics need a valid configuration."""
    print(redactor(message), file=sys.stderr)  # noqa: T201
    if config is not None:
        events = EventLog(config.run.event_log, run_id, job, redactor)
        events.emit("run_refused", exit_code=error.exit_code, error=str(error))
        put_metrics(config, job, error.exit_code, dt.datetime.now(dt.UTC))
    return error.exit_code


def put_metrics(
    config: Config,
    job: str,
    code: int,
    started: dt.datetime,
    counts: Counts | None = None,
    seconds: Mapping[str, float] | None = None,
) -> None:
    """Write the file of run.metrics_file, if there is one. A fault here is a warning."""
    path = config.run.metrics_file
    if not path:
        return
    finished = dt.datetime.now(dt.UTC)
    try:
        write_metrics(path, prometheus_text(job, code, started, finished, counts or Counts(), seconds or {}))
    except OSError as error:
        log.warning("run.metrics_file: %s cannot be written: %s", path, error)
