"""SIGINT and SIGTERM: a job stops at its next step or commit, gives back its lock and says how to go on.

A signal must not raise while a call to the JVM is under way: the call's connection would be left half read. So a
handler only notes the signal and cancels Spark's jobs, which ends the call with an error; whoever sees that error asks
`signal` whether it was meant. Before there is a session nothing is held yet, and the process ends at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CANCEL_EVERY_S = 0.5
_PATIENCE_S = 60.0  # after which a job that does not come to its next step is ended all the same


class Interrupted(KeyboardInterrupt):
    """The job was told to stop."""


class Interrupts:
    """Handlers of both signals for one command; those of before come back when it is left.

    Args:
        name: the command, for the line that is printed.
        advice: how to go on, for that line.
        patience_s: how long the main thread may take to notice.
    """

    def __init__(self, name: str, advice: str, patience_s: float = _PATIENCE_S) -> None:
        self._name, self._advice, self._patience_s = name, advice, patience_s
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
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def watch(self, spark: Any) -> None:
        """From now on a signal cancels the jobs of `spark`, where it ended the process before."""
        self._spark = spark
        self._install()  # PySpark has put its own in the place of ours

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 for SIGINT, 143 for SIGTERM; 0 where there was no signal."""
        return 128 + self._signal if self._signal else 0

    @property
    def message(self) -> str:
        """One line: what happened and how to go on."""
        return f"stopped by {self._signal.name if self._signal else 'nobody'}; {self._advice}"

    def check(self) -> None:
        """Stop here if told to.

        Raises:
            Interrupted: there was a signal.
        """
        if self._signal is not None and not self._settling.is_set():
            raise Interrupted(self.message)

    def pause(self, seconds: float) -> None:
        """Sleep, but no longer than until a signal.

        Raises:
            Interrupted: there was a signal.
        """
        self._told.wait(seconds)
        self.check()

    def settle(self) -> None:
        """The job is being wound up: nothing is cancelled any more, and a further signal ends the process at once."""
        self._settling.set()

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python hands signals to the main thread alone
        for number in _SIGNALS:
            found = signal.signal(number, self._handle)
            self._before.setdefault(number, found)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._settling.is_set() and self._signal is None and not self._is_late:
            self._is_late = True  # the job is done but for its last words
            return
        again = self._signal is not None or self._is_late
        self._signal = self._signal or signal.Signals(number)
        if again or self._spark is None:
            self._end()
        self._told.set()
        threading.Thread(target=self._cancel, name="dupelake-cancel", daemon=True).start()

    def _cancel(self) -> None:
        """Cancel jobs until the main thread notices: it may start another before it does."""
        context = self._spark.sparkContext
        with suppress(Exception):
            context.setLogLevel("OFF")  # of what is cancelled Spark has nothing to tell that would help
        waited = 0.0
        while not self._settling.wait(_CANCEL_EVERY_S if waited else 0):
            with suppress(Exception):
                context.cancelAllJobs()
            waited += _CANCEL_EVERY_S
            if waited > self._patience_s:
                self._end()

    def _end(self) -> None:
        sys.stderr.write(f"{self._name}: {self.message}\n")
        sys.stderr.flush()
        os._exit(self.exit_code)
