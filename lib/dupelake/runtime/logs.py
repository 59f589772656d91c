"""Logging of jobs, events for log collectors, and progress: a bar on a terminal, a periodic line in a log."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from pyspark.sql import SparkSession

from dupelake.runtime.redaction import Redactor, redact_uris

log = logging.getLogger(__name__)

_CLEAR = "\r\033[K"  # moves to the start of the line and clears it
_BAR_CELLS = 30
_REFRESH_SECONDS = 0.3
_LINE_SECONDS = 15.0
_NO_TASK = "planning or committing"  # shown while no task runs, instead of "0 of 0"


class _Redacted(logging.Formatter):
    """Formats lines and traces without secrets."""

    def __init__(self, form: str, redact: Callable[[str], str]) -> None:
        super().__init__(form, "%Y-%m-%d %H:%M:%S%z")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def configure_logging(run_id: str, redact: Callable[[str], str] = redact_uris) -> None:
    """Sends dupelake's log lines to stderr, each with time, zone and run id; other loggers are unchanged.

    Args:
        run_id: part of each line.
        redact: removes secrets from a line.
    """
    handler = logging.StreamHandler(sys.stderr)
    start = _CLEAR if sys.stderr.isatty() else ""  # the line may contain a progress bar
    handler.setFormatter(_Redacted(f"{start}%(asctime)s %(levelname)s [{run_id}] %(message)s", redact))
    root = logging.getLogger("dupelake")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False


class EventLog:
    """Writes the events of a run, one JSON object a line: `time` (UTC), `event`, `run_id`, `job`, values of the event.

    Events: run_started (arguments, warehouse, versions), step_started (step), step_finished (step, seconds, ok),
    image_failed (reason, count; one for each reason), run_finished (status, exit_code, seconds, counts, error). A run
    that does not start has only run_refused (exit_code, error): bad options, no Java, another run at work.

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


class Progress:
    """Shows the progress of Spark's tasks in a step, until the context ends.

    Args:
        spark: the session whose tasks are counted.
        step: the name of the step, part of the bar or line.
        stream: the output; a terminal gets a bar that is redrawn, other streams get plain lines.
    """

    def __init__(self, spark: SparkSession, step: str, stream: TextIO | None = None) -> None:
        self._tracker = spark.sparkContext.statusTracker()
        self._step = step
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="dupelake-progress", daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        if self._is_terminal:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _tasks(self) -> tuple[int, int]:
        """Completed tasks and all tasks of the Spark stages that run now."""
        infos = [self._tracker.getStageInfo(stage) for stage in self._tracker.getActiveStageIds()]
        known = [info for info in infos if info is not None]
        return sum(info.numCompletedTasks for info in known), sum(info.numTasks for info in known)

    def _watch(self) -> None:
        wait = _REFRESH_SECONDS if self._is_terminal else _LINE_SECONDS
        while not self._stop.wait(wait):
            try:
                done, total = self._tasks()
            except Exception:  # the session is ending; the job itself reports why
                return
            seconds = time.monotonic() - self._started
            if self._is_terminal:
                filled = _BAR_CELLS * done // total if total else 0
                bar = "#" * filled + "." * (_BAR_CELLS - filled)
                told = f"{done}/{total} tasks" if total else _NO_TASK
                self._stream.write(f"{_CLEAR}{self._step:<9} [{bar}] {told} {seconds:5.0f} s")
                self._stream.flush()
            elif total:
                log.info("%s: %d of %d tasks of the running stages done after %.0f s", self._step, done, total, seconds)
            else:
                log.info("%s: %s, after %.0f s", self._step, _NO_TASK, seconds)
