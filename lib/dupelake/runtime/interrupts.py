"""Handles SIGINT and SIGTERM: the job stops at its next step or commit, releases its lock and prints how to continue.

A handler must not raise during a call to the JVM, because the connection of the call would be left half read. So it
only records the signal and cancels Spark's jobs, which ends the call with an error. The code that catches this error
calls `check`. Before the session exists the process ends at once, or, with `unwinds`, KeyboardInterrupt is raised.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from dupelake.runtime.bars import is_terminal, write_line

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CLEAR = "\r\033[K"  # the line of a terminal may contain a bar
_CANCEL_EVERY_S = 0.5
_QUIET_S = 2.0  # a job that stops within this time need not say that it is stopping
GO_ON = "what is committed stands; run the same command again, it goes on from there"
"""How to continue a job."""
STOPPING = threading.Event()
"""Set while a job of this process stops after a signal: what Spark's processes say of being cut off is no news."""
_PATIENCE_S = 60.0  # then a job that has not reached its next step is ended anyway


class Interrupted(KeyboardInterrupt):
    """The job received a signal to stop."""


class Interrupts:
    """Handlers of both signals during one command; the previous handlers are restored at the end.

    Args:
        name: the command, for the printed line.
        advice: how to continue, for the printed line.
        patience_s: seconds that the main thread may take to stop.
        unwinds: without Spark, the first signal raises KeyboardInterrupt, so that locks are given back and temporary
            files go; else it ends the process.
    """

    def __init__(self, name: str, advice: str, patience_s: float = _PATIENCE_S, *, unwinds: bool = False) -> None:
        self._name, self._advice, self._patience_s, self._unwinds = name, advice, patience_s, unwinds
        self._signal: signal.Signals | None = None
        self._is_late = False
        self._spark: Any = None
        self._told, self._settling = threading.Event(), threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settling.set()
        STOPPING.clear()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def watch(self, spark: Any) -> None:
        """From now on a signal cancels the jobs of `spark`; before, it ends the process."""
        self._spark = spark
        self._install()  # PySpark has replaced our handlers

    def note(self, number: signal.Signals) -> None:
        """Notes a signal that came while PySpark, which starts, had put its own handler in the place of ours."""
        self._signal = self._signal or number

    @property
    def exit_code(self) -> int:
        """As in shells: 130 for SIGINT, 143 for SIGTERM; 0 if there was no signal."""
        return 128 + self._signal if self._signal else 0

    @property
    def message(self) -> str:
        """One line: the signal and how to continue."""
        return f"stopped by {self._signal.name if self._signal else 'nobody'}; {self._advice}"

    def check(self) -> None:
        """Stops the job if there was a signal.

        Raises:
            Interrupted: there was a signal.
        """
        if self._signal is not None and not self._settling.is_set():
            raise Interrupted(self.message)

    def pause(self, seconds: float) -> None:
        """Sleeps until a signal, at most `seconds`.

        Raises:
            Interrupted: there was a signal.
        """
        self._told.wait(seconds)
        self.check()

    def settle(self) -> None:
        """Marks the end phase of the job: no more jobs are cancelled, and a second signal ends the process at once."""
        self._settling.set()

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python delivers signals only to the main thread
        for number in _SIGNALS:
            found = signal.signal(number, self._handle)
            self._before.setdefault(number, found)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._settling.is_set() and self._signal is None and not self._is_late:
            self._is_late = True  # the job is done except for its final output
            return
        again = self._signal is not None or self._is_late
        self._signal = self._signal or signal.Signals(number)
        if self._spark is None and self._unwinds and not again:
            raise KeyboardInterrupt
        if again or self._spark is None:
            self._end()
        STOPPING.set()
        self._told.set()
        threading.Thread(target=self._cancel, name="dupelake-cancel", daemon=True).start()

    def _cancel(self) -> None:
        """Cancels jobs until the main thread stops, because it may start another job before it does."""
        context = self._spark.sparkContext
        with suppress(Exception):
            context.setLogLevel("OFF")  # Spark's messages about cancelled jobs do not help
        waited = 0.0
        while not self._settling.wait(_CANCEL_EVERY_S if waited else 0):
            with suppress(Exception):
                context.cancelAllJobs()
            waited += _CANCEL_EVERY_S
            if waited == _QUIET_S and is_terminal():
                write_line(f"{self._name}: stopping at the next commit; press Ctrl-C again to end it at once")
            if waited > self._patience_s:
                self._end()

    def _end(self) -> None:
        with suppress(OSError):  # nobody reads it
            os.write(2, f"{_CLEAR if is_terminal() else ''}{self._name}: {self.message}\n".encode())
        os._exit(self.exit_code)
