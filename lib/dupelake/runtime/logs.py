"""Logging of jobs, for a terminal or a log, and events for log collectors. Knows no Spark."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from dupelake.runtime.bars import is_terminal, write_line
from dupelake.runtime.redaction import Redactor, redact_uris

log = logging.getLogger(__name__)


class _Redacted(logging.Formatter):
    """Formats lines and traces without secrets."""

    def __init__(self, form: str, redact: Callable[[str], str]) -> None:
        super().__init__(form, "%Y-%m-%d %H:%M:%S%z")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


class _OnTerminal(logging.Handler):
    """Writes lines above the bar of a terminal; a short one names the level, and neither time nor run."""

    def __init__(self, *, is_short: bool) -> None:
        super().__init__()
        self._is_short = is_short

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            write_line(f"{record.levelname.lower()}: {text}" if self._is_short else text)
        except Exception:  # the terminal may be gone; the job goes on, as with other handlers
            self.handleError(record)


def configure_logging(run_id: str, redact: Callable[[str], str] = redact_uris, *, is_debug: bool = False) -> None:
    """Sends dupelake's log lines to stderr; other loggers are unchanged.

    A log gets all of them, each with time, zone and run id. A terminal has bars and the report, so it gets warnings and
    errors alone, as bare sentences.

    Args:
        run_id: part of each line of a log.
        redact: removes secrets from a line.
        is_debug: the terminal gets what a log gets.
    """
    is_short = is_terminal() and not is_debug
    handler = _OnTerminal(is_short=is_short) if is_terminal() else logging.StreamHandler(sys.stderr)
    form = "%(message)s" if is_short else f"%(asctime)s %(levelname)s [{run_id}] %(message)s"
    handler.setFormatter(_Redacted(form, redact))
    root = logging.getLogger("dupelake")
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING if is_short else logging.INFO)
    root.propagate = False
    # Threads that make PySpark's loggers at once may leave its class as that of all loggers. Each logger of that class
    # has a handler, which writes to stderr what is not redacted.
    logging.setLoggerClass(logging.Logger)
    for name, one in list(logging.root.manager.loggerDict.items()):
        if name.startswith("dupelake.") and isinstance(one, logging.Logger):
            one.handlers.clear()


class EventLog:
    """Writes the events of a run, one JSON object a line: `time` (UTC), `event`, `run_id`, `job`, values of the event.

    Events: run_started (arguments, warehouse, versions), step_started (step), step_finished (step, seconds, ok),
    image_failed (reason, count; one for each reason), run_finished (status, exit_code, seconds, counts, error, and the
    traceback of an unexpected one). A run that does not start has only run_refused (exit_code, error): bad options, no
    Java, another run at work.

    Args:
        target: a file to which lines are appended, `-` for stderr, or "" for none.
        run_id: part of each line.
        job: part of each line.
        redactor: removes secrets from values.
    """

    def __init__(self, target: str, run_id: str, job: str, redactor: Redactor | None = None) -> None:
        self._target = target
        self._redactor = redactor or Redactor()
        self._common = {"run_id": run_id, "job": job}
        self._is_broken = False

    def emit(self, event: str, **values: Any) -> None:
        """Writes one line. A log that cannot be written does not stop the run; it gives one warning."""
        if not self._target:
            return
        time = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = self._redactor.deep(values)
        line = json.dumps({"time": time, "event": event, **self._common, **told}, default=str) + "\n"
        try:
            if self._target == "-":
                sys.stderr.write(line)
                sys.stderr.flush()
                return
            # One write to a file opened for appending, so that lines of concurrent runs do not mix.
            file = os.open(self._target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)
        except OSError as error:
            if not self._is_broken:
                log.warning("run.event_log: %s cannot be written: %s", self._target, error)
            self._is_broken = True
