"""How far a step of a job is: a bar on a terminal, a line now and then in a log.

Spark's executors tell the driver what their tasks have done with each heartbeat, and the driver keeps the sums for its
UI. They are read here, so progress costs no query, and is right on a cluster as well as on two cores.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO

from pyspark.sql import SparkSession

from dupelake.runtime.bars import Bar, how_far, is_terminal

log = logging.getLogger(__name__)

_REFRESH_S = 0.5
_FIRST_LINE_S, _MOST_S = 15.0, 120.0  # between lines of a log: each pause is twice the one before, up to the second
_TASKS = "tasks of Spark"
_ROWS_OUT = "number of output rows"  # Spark's name of the count of what a Python function gave back
_SETTLE_MS = 2000  # for the last news of tasks that have ended


@dataclass(frozen=True)
class Work:
    """What a step works through.

    Attributes:
        total: how many there are in the run; None if that is not known.
        unit: what they are, in the plural.
        function: name of the Python function (of `mapInArrow`) that gives one row back for each of them.
        done: how many of them earlier steps of this name did.
    """

    total: int | None
    unit: str
    function: str
    done: int = 0


class RowsBack:
    """Counts the rows that a Python function has given back in the queries that began after this object was made.

    Args:
        spark: the session.
        function: the name of the function.
    """

    def __init__(self, spark: SparkSession, function: str) -> None:
        self._store: Any = spark._jsparkSession.sharedState().statusStore()
        self._function = f" {function}("
        self._first = self._newest() + 1
        self._ended: dict[int, int] = {}  # rows by query

    def __call__(self) -> int:
        """The rows so far; those of tasks that run as of their last heartbeat."""
        return sum(self._rows(query) for query in range(self._first, self._newest() + 1))

    def _newest(self) -> int:
        n = self._store.executionsCount()
        return int(self._store.executionsList(n - 1, 1).last().executionId()) if n else -1

    def _rows(self, query: int) -> int:
        if query in self._ended:
            return self._ended[query]
        found = self._store.execution(query)
        if not found.isDefined():
            return 0
        is_ended = found.get().completionTime().isDefined()
        metrics, rows = self._store.executionMetrics(query), 0
        for node in _each(self._store.planGraph(query).allNodes()):
            if node.name() == "MapInArrow" and self._function in node.desc():
                for metric in _each(node.metrics()):
                    value = metrics.get(metric.accumulatorId())
                    if metric.name() == _ROWS_OUT and value.isDefined():
                        rows += int(value.get().replace(",", ""))
        if is_ended:
            self._ended[query] = rows
        return rows


def _each(sequence: Any) -> list[Any]:
    """The items of a sequence of Scala."""
    return [sequence.apply(i) for i in range(sequence.size())]


class Progress:
    """Shows the progress of a step until the context ends.

    Args:
        spark: the session that works.
        step: the name of the step.
        work: what it works through. Without it, the tasks are counted that Spark has done in this step; how many are to
            come is not known then.
        stream: the output (default: stderr). A terminal gets a bar that is redrawn; otherwise lines go to the log.
    """

    def __init__(self, spark: SparkSession, step: str, work: Work | None = None, stream: TextIO | None = None) -> None:
        self._context, self._step = spark.sparkContext, step
        self._work = work or Work(None, _TASKS, "")
        self._stream = stream or sys.stderr
        self._rows: RowsBack | None = None
        self._tasks_before = 0
        with suppress(Exception):  # Spark is gone, which the job itself reports, or forgot a query meanwhile
            if work:
                self._rows = RowsBack(spark, work.function)
            else:
                self._tasks_before = self._tasks()
        self._started, self._stop = time.monotonic(), threading.Event()
        self._bar: Bar | None = None
        self._thread = threading.Thread(target=self._watch, name="dupelake-progress", daemon=True)

    def __enter__(self) -> Progress:
        if is_terminal(self._stream):
            self._bar = Bar(self._stream, self._step, self._work.unit, self._work.total, self._work.done)
        else:
            log.info("%s: started", self._step)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        if self._bar is None:
            if error is None:
                log.info("%s: done in %.1f s", self._step, time.monotonic() - self._started)
            return
        if error is None and self._rows is not None:
            with suppress(Exception):
                self._context._jsc.sc().listenerBus().waitUntilEmpty(_SETTLE_MS)
                self._bar.show(self._done())
        self._bar.end(is_kept=error is None)

    def _tasks(self) -> int:
        """The tasks that all executors have completed since the session began."""
        executors = self._context._jsc.sc().statusStore().executorList(False)
        return sum(executor.completedTasks() for executor in _each(executors))

    def _done(self) -> int:
        if self._rows is not None:
            return self._work.done + self._rows()
        return self._tasks() - self._tasks_before

    def _tell(self) -> None:
        done, work = self._done(), self._work
        if self._bar is not None:
            self._bar.show(done)
            return
        seconds = time.monotonic() - self._started
        log.info("%s: %s", self._step, how_far(done, work.total, work.unit, seconds, work.done))

    def _watch(self) -> None:
        pause = _REFRESH_S if self._bar is not None else _FIRST_LINE_S
        while not self._stop.wait(pause):
            try:
                self._tell()
            except Exception:  # the session is ending; the job itself reports why
                return
            if self._bar is None:
                pause = min(2 * pause, _MOST_S)
