"""Runs work in a child process, so that a crash, a hang or a lack of memory does not end the parent.

A decoder is native code that processes untrusted bytes. If it crashes in a Spark Python worker, the task fails, and
each retry fails on the same bytes; after four attempts (in local mode after one) the run ends. So the worker forks one
child for a task, sends it one item at a time, and forks another child if one is lost.

Alternatives: a process for each item costs 5 to 10 ms, as much as a small picture. A journal of the images in progress,
read after the stage failed, repeats the whole stage for each bad image and cannot tell which image was the cause. Here
a good item costs two more messages through a socket (well below 1 ms), the bad item is known, and only that item is
repeated. Forking is safe: Spark's workers are forked, single-threaded processes, and the child runs nothing but `work`.
The child is not a sandbox: it protects against faults, not against attacks.

A crash and a lack of memory are tried once more in a new child, because an earlier item may have corrupted or filled
the heap. A timeout is not, because the second attempt would take as long again.
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
_NO_MEMORY_CODE = 12  # ENOMEM: exit code of a child that cannot take its item
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

Work = Callable[[Any, Callable[[Any], None]], Any]


@dataclass(frozen=True)
class Lost:
    """The result of an item whose work failed.

    Attributes:
        reason: crashed, timeout, out_of_memory, or internal_error (an exception in Python).
        message: what happened, at most 500 characters.
        noted: the last value that `work` noted about the item, or None.
    """

    reason: str
    message: str
    noted: Any = None


@dataclass
class _Child:
    pid: int
    pipe: Connection


class Guard:
    """Calls `work` in a child process; a lost child is replaced.

    Args:
        work: function (item, note) -> answer. It may call `note` with a value for `Lost.noted` at any time. Items,
            answers and notes must pickle. Each child starts with the state of the parent at the fork. MemoryError means
            out_of_memory.
        timeout_s: seconds for one item.
        max_memory_bytes: address space that the child may use beyond that of the parent at the fork. The kernel
            enforces it (RLIMIT_AS), so an allocation fails at once and nothing is swapped; not enforced on macOS.
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
        """The answer to `item`, or Lost. The first note may come `extra_s` later than the timeout, for reading."""
        answer = self._attempt(item, extra_s)
        if isinstance(answer, Lost) and answer.reason in (CRASHED, OUT_OF_MEMORY):
            answer = self._attempt(item, extra_s)
        return answer

    def close(self) -> None:
        """Ends the child; the guard may be used again."""
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
            status = self._kill(child, after_s=1.0)
            if status is not None and os.waitstatus_to_exitcode(status) == _NO_MEMORY_CODE:
                return Lost(OUT_OF_MEMORY, self._too_much("its bytes alone are more"), noted)
            return Lost(CRASHED, f"the process that worked on it {_ending(status)}", noted)
        self.close()
        return Lost(TIMEOUT, f"it took longer than {self._timeout_s:g} s", noted)

    def _fork(self) -> _Child:
        mine, its = Pipe()
        parent = os.getpid()
        for stream in (sys.stdout, sys.stderr):  # both processes would write what is buffered
            with contextlib.suppress(Exception):
                stream.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads: a worker has only one
            pid = os.fork()
        if pid == 0:
            try:
                self._serve(its, parent)
            finally:
                os._exit(1)  # never back into the parent's code, nor into its exit handlers
        its.close()
        return _Child(pid, mine)

    def _serve(self, pipe: Connection, parent: int) -> None:
        """The loop of the child; it leaves only by an exception or by exiting."""
        _prepare_child(pipe.fileno(), parent, self._max_memory_bytes)
        while True:
            try:
                item = pipe.recv()
            except EOFError:
                os._exit(0)
            except MemoryError:  # the parent may still be sending, so an answer would not reach it
                os._exit(_NO_MEMORY_CODE)
            try:
                answer = (_DONE, self._work(item, lambda value: pipe.send((_NOTE, value))))
            except MemoryError as error:
                answer = OUT_OF_MEMORY, self._too_much(error)
            except Exception as error:
                answer = (FAULT, f"{type(error).__name__}: {error}"[:500])
            pipe.send(answer)

    def _too_much(self, why: object) -> str:
        return f"more than {self._max_memory_bytes} bytes (guard.max_memory_bytes) were wanted; {why}"[:500]

    @staticmethod
    def _kill(child: _Child, after_s: float = 0.0) -> int | None:
        """Kills the child after it had `after_s` seconds to end; returns its wait status, or None if there is none."""
        child.pipe.close()
        status = _reap(child.pid, after_s) if after_s else None
        if status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            # A process that waits for a dead network mount cannot be killed until the mount answers.
            status = _reap(child.pid, _REAP_SECONDS)
        return status


def _prepare_child(pipe: int, parent: int, max_memory_bytes: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # an endless loop must not outlive a killed worker
        if os.getppid() != parent:
            os._exit(1)
    # Close the parent's sockets: open here, they would hide the death of the worker from Spark.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    highest = max((int(name) for name in os.listdir("/dev/fd") if name.isdigit()), default=limit - 1)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, highest + 1)
    # Decoders write to stderr about damaged files and do not say which file it is; the answer does.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    held = _address_space()
    if held is not None:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = held + max_memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _address_space() -> int | None:
    """Bytes of this process's address space; None if the kernel does not give them."""
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
    """Simulates a fault of a decoder, for tests of a whole run.

    DUPELAKE_BAD_IMAGE=KIND:TEXT;KIND:TEXT... causes a fault for data that contain TEXT: `crash` reads address 0
    (SIGSEGV), `kill` sends SIGKILL, `hang` never ends, `memory` allocates until an allocation fails.
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
