"""Logging of jobs, events for log collectors, and progress: a bar on a terminal, a plain line now and then in a log."""

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

_CLEAR = "\r\033[K"  # to the start of the line, and empty it
_BAR_CELLS = 30
_REFRESH_SECONDS = 0.3
_LINE_SECONDS = 15.0
_NO_TASK = "planning or committing"  # no task runs at the moment; "0 of 0" would tell nobody anything


class _Redacted(logging.Formatter):
    """Lines and traces without secrets."""

    def __init__(self, form: str, redact: Callable[[str], str]) -> None:
        super().__init__(form, "%Y-%m-%d %H:%M:%S%z")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def configure_logging(run_id: str, level: int = logging.INFO, redact: Callable[[str], str] = redact_uris) -> None:
    """Send dupelake's log lines to stderr, each with time, zone and run id; touches no other logger.

    Args:
        run_id: stands in each line.
        level: the least that is told.
        redact: takes secrets out of a line.
    """
    handler = logging.StreamHandler(sys.stderr)
    start = _CLEAR if sys.stderr.isatty() else ""  # a bar may stand in the line
    handler.setFormatter(_Redacted(f"{start}%(asctime)s %(levelname)s [{run_id}] %(message)s", redact))
    root = logging.getLogger("dupelake")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False


class EventLog:
    """One JSON object a line for each event of a run: `time` (UTC), `event`, `run_id`, `job`, then what belongs to it.

    Events: run_started (arguments, warehouse, versions), step_started (step), step_finished (step, seconds, ok),
    image_failed (reason, count; one for each reason), run_finished (status, exit_code, seconds, counts, error);
    run_refused (exit_code, error) alone where nothing was started: bad options, no Java, another run at work.

    Args:
        target: a file that lines are added to, `-` for stderr, or "" for none.
        run_id: stands in each line.
        job: stands in each line.
        redactor: takes secrets out of what is told.
    """

    def __init__(self, target: str, run_id: str, job: str, redactor: Redactor | None = None) -> None:
        self._target = target
        self._redactor = redactor or Redactor()
        self._common = {"run_id": run_id, "job": job}
        self._is_broken = False

    def emit(self, event: str, **values: Any) -> None:
        """Write one line. A log that cannot be written stops no night: it is warned of, once."""
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
            # One write to a file opened for appending: lines of runs that work side by side do not mix.
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
    """Shows how many of Spark's tasks of the present step are done, until it is left.

    Args:
        spark: the session whose tasks are counted.
        step: the name that stands before the bar or in the line.
        stream: where to draw; a terminal gets a bar that redraws, anything else plain lines.
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
        """Tasks done and tasks in all, over the stages that run now."""
        infos = [self._tracker.getStageInfo(stage) for stage in self._tracker.getActiveStageIds()]
        known = [info for info in infos if info is not None]
        return sum(info.numCompletedTasks for info in known), sum(info.numTasks for info in known)

    def _watch(self) -> None:
        wait = _REFRESH_SECONDS if self._is_terminal else _LINE_SECONDS
        while not self._stop.wait(wait):
            try:
                done, total = self._tasks()
            except Exception:  # the session is going down; the job itself will say why
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
