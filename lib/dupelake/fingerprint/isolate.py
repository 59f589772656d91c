"""Work done in a child process that may crash, hang or run out of memory without taking its parent along.

A decoder is native code that meets bytes of strangers. In a Spark Python worker its crash fails the task, which meets
the same bytes again at the next attempt, and after four of them (in local mode: after one) the night ends. So the
worker forks one child for a task, hands it one item after the other, and forks another where that one was lost.

Why so, and not otherwise: a process for each item costs 5 to 10 ms each, as much as a small picture; a journal of what
is being decoded, read after the stage failed, does its whole work again for each bad image, and guesses which of the
images at work it was. Here the way of a good item is longer by two messages through a socket (well below 1 ms), the
culprit is known, and nothing is done twice but its own item. Forking is safe: Spark's workers are forked processes of
one thread themselves, and the child runs nothing but `work`. It is no sandbox: it guards against faults, not attacks.

A crash, and memory that ran out, are tried once more in a fresh child: the item before may have corrupted the heap or
left it full. Time that ran out is not: the second try would cost as much again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any

CRASHED, TIMEOUT, OUT_OF_MEMORY, FAULT = "crashed", "timeout", "out_of_memory", "internal_error"
BAD_IMAGE_VARIABLE = "DUPELAKE_BAD_IMAGE"

_DONE, _NOTE = "done", "note"
_REAP_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

Work = Callable[[Any, Callable[[Any], None]], Any]


@dataclass(frozen=True)
class Lost:
    """An item without an answer.

    Attributes:
        reason: crashed, timeout, out_of_memory, or internal_error (an exception in Python).
        message: what happened, in words, at most 500 characters.
        noted: what `work` said of the item before it was lost, or None.
    """

    reason: str
    message: str
    noted: Any = None


@dataclass
class _Child:
    pid: int
    pipe: Connection


class Guard:
    """Calls `work` in a child process, which is replaced when it is lost.

    Args:
        work: (item, note) to an answer. Items, answers and what is given to `note` (at any time, for `Lost.noted`)
            must pickle. Each child works on the state that the parent has when it is forked. MemoryError means
            out_of_memory.
        timeout_s: seconds for one item.
        max_memory_bytes: address space that the child may take beyond what the parent holds when it forks. Counted by
            the kernel (RLIMIT_AS), so an allocation fails at once and swaps nothing; not enforced on macOS.
    """

    def __init__(self, work: Work, timeout_s: float, max_memory_bytes: int) -> None:
        self._work = work
        self._timeout_s = timeout_s
        self._max_memory_bytes = max_memory_bytes
        self._child: _Child | None = None

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, item: Any, extra_s: float = 0.0) -> Any:
        """The answer to `item`, or Lost. It may take `extra_s` longer until it notes something: to read it."""
        answer = self._attempt(item, extra_s)
        if isinstance(answer, Lost) and answer.reason in (CRASHED, OUT_OF_MEMORY):
            answer = self._attempt(item, extra_s)
        return answer

    def close(self) -> None:
        """End the child; the guard may be used again."""
        if self._child is not None:
            self._kill(self._child)
            self._child = None

    def _attempt(self, item: Any, extra_s: float) -> Any:
        child = self._child = self._child or self._fork()
        until = time.monotonic() + self._timeout_s + extra_s
        noted = None
        try:
            child.pipe.send(item)
            while child.pipe.poll(max(0.0, until - time.monotonic())):
                kind, value = child.pipe.recv()
                if kind == _NOTE:
                    noted = value
                    until = min(until, time.monotonic() + self._timeout_s)
                    continue
                if kind == _DONE:
                    return value
                if kind == OUT_OF_MEMORY:
                    self.close()
                return Lost(kind, value, noted)
        except (EOFError, OSError):
            self._child = None
            return Lost(CRASHED, f"the process that worked on it {_ending(self._kill(child, after_s=1.0))}", noted)
        self.close()
        return Lost(TIMEOUT, f"it took longer than {self._timeout_s:g} s", noted)

    def _fork(self) -> _Child:
        mine, its = Pipe()
        parent = os.getpid()
        for stream in (sys.stdout, sys.stderr):  # what is buffered would come out of both
            with contextlib.suppress(Exception):
                stream.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on threads: a worker has but one
            pid = os.fork()
        if pid == 0:
            try:
                self._serve(its, parent)
            finally:
                os._exit(1)  # never back into the parent's code, nor into its exit handlers
        its.close()
        return _Child(pid, mine)

    def _serve(self, pipe: Connection, parent: int) -> None:
        """The child: never returns but by an exception."""
        _prepare_child(pipe.fileno(), parent, self._max_memory_bytes)
        while True:
            try:
                item = pipe.recv()
            except EOFError:
                os._exit(0)
            try:
                answer = (_DONE, self._work(item, lambda value: pipe.send((_NOTE, value))))
            except MemoryError as error:
                answer = (
                    OUT_OF_MEMORY,
                    f"more than {self._max_memory_bytes} bytes (guard.max_memory_bytes) were wanted; {error}"[:500],
                )
            except Exception as error:
                answer = (FAULT, f"{type(error).__name__}: {error}"[:500])
            pipe.send(answer)

    @staticmethod
    def _kill(child: _Child, after_s: float = 0.0) -> int | None:
        """Ends the child, after giving it time to end by itself; its wait status, or None where there is none."""
        child.pipe.close()
        status = _reap(child.pid, after_s) if after_s else None
        if status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            # A process that waits for a dead network mount cannot be ended; it dies when the mount answers.
            status = _reap(child.pid, _REAP_SECONDS)
        return status


def _prepare_child(pipe: int, parent: int, max_memory_bytes: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # an endless loop must not outlive a killed worker
        if os.getppid() != parent:
            os._exit(1)
    # The parent's sockets: held open here, they would keep Spark from seeing that the worker died.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    highest = max((int(name) for name in os.listdir("/dev/fd") if name.isdigit()), default=limit - 1)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, highest + 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    held = _address_space()
    if held is not None:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = held + max_memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _address_space() -> int | None:
    """Bytes of this process's address space; None where the kernel does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _reap(pid: int, seconds: float) -> int | None:
    until = time.monotonic() + seconds
    wait = 0.0005
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        if done:
            return status
        if time.monotonic() >= until:
            return None
        time.sleep(wait)
        wait = min(2 * wait, 0.05)


def _ending(status: int | None) -> str:
    if status is None:
        return "died"
    if not os.WIFSIGNALED(status):
        return f"ended with exit code {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    hint = ", as the kernel does when a machine runs out of memory" if number == signal.SIGKILL else ""
    return f"was killed by signal {number} ({signal.Signals(number).name}){hint}"


def fail_on_purpose(data: bytes) -> None:
    """For tests of a whole run: what a decoder might do to `data`, when the environment asks for it.

    DUPELAKE_BAD_IMAGE=KIND:TEXT;KIND:TEXT... does so to data that hold TEXT: `crash` reads address 0 (SIGSEGV), `kill`
    is SIGKILL, `hang` never ends, `memory` allocates until it may not.
    """
    for fault in filter(None, os.environ.get(BAD_IMAGE_VARIABLE, "").split(";")):
        kind, _, text = fault.partition(":")
        if text and text.encode() in data:
            _FAULTS[kind]()


def _crash() -> None:
    ctypes.string_at(0)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    while True:
        pass


def _fill_memory() -> None:
    held = []
    while True:
        held.append(bytearray(1 << 24))


_FAULTS = {"crash": _crash, "kill": _kill, "hang": _hang, "memory": _fill_memory}
