"""The processes that check images, and the requests that wait for one.

A process that dies is replaced and its job tried once more, as the guard does with the child that decodes
(fingerprint/isolate.py). A process that does not answer is ended. So an image that kills or hangs what works on it
costs its own request, and no other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dupelake.errors import EnvironmentFault
from dupelake.fingerprint.isolate import CRASHED, TIMEOUT
from dupelake.ingest.failure import Failure
from dupelake.serve.process import ANSWER, DONE, OPENED, REFUSED, Job, check_jobs
from dupelake.serve.refused import Refused

log = logging.getLogger(__name__)

_START_S = 120.0  # imports, and a large index from a cold disk
_EXTRA_S = 10.0  # for all but reading the image
_LOOK_S = 1.0

Said = tuple[str, str]
"""Status and JSON of one answer."""


class _Died(Exception):
    """The process ended during a job."""


class _Late(Exception):
    """The process did not answer in time."""


class Worker:
    """One process. Its methods block; one thread at a time uses them.

    Args:
        folder: of the index.
        n_processes: that check at the same time.
        timeout_s: to read one image.

    Attributes:
        run_id: of the night that its index shows; None before it is open.
        refused: why it did not open the newest index; None if it did.
        n_starts: how often it was started.
    """

    def __init__(self, folder: Path, n_processes: int, timeout_s: float) -> None:
        self._args = (str(folder), n_processes, timeout_s)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()  # of the process and its pipe: the server closes from another thread
        self._is_closed = False
        self._process: Any = None
        self._pipe: Connection | None = None
        self.run_id: str | None = None
        self.refused: str | None = None
        self.n_starts = 0

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        process = self._process
        return process is not None and bool(process.is_alive())

    def start(self) -> None:
        """Start the process, and wait until it has the index open.

        Raises:
            EnvironmentFault: it cannot open the index, does not start, or was closed.
        """
        try:
            self._fork()
            kind, value = self._next(time.monotonic() + _START_S)
        except (_Died, _Late, OSError, EOFError) as error:
            self.end()
            raise EnvironmentFault("a process that checks images did not start") from error
        if kind == REFUSED:
            self.end()
            raise EnvironmentFault(value)

    def _fork(self) -> None:
        with self._lock:
            self._end()
            if self._is_closed:
                raise EnvironmentFault("the server ends")
            context = get_context("forkserver")
            context.set_forkserver_preload(["dupelake.serve.process"])
            self._pipe, its = context.Pipe()
            with its:
                process = context.Process(
                    target=check_jobs, args=(*self._args, its), daemon=True, name="dupelake-check"
                )
                process.start()
            self._process = process
            self.n_starts += 1

    def close(self) -> None:
        """End the process for good; a job that it works on fails."""
        self._is_closed = True
        self.end()

    def end(self) -> None:
        """End the process and the child that decodes for it."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def hear(self) -> None:
        """Take the messages that the process sent without a job."""
        with contextlib.suppress(_Died, _Late):
            while self._pipe is not None and self._pipe.poll(0):
                self._next(time.monotonic())

    def ask(self, job: Job) -> list[Said]:
        """The answers to a job, one for each of its images; those that end the process twice, or hang it, failed.

        Raises:
            EnvironmentFault: as `start`.
        """
        try:
            return self._ask_twice(job)
        except _Died:
            failure = Failure(CRASHED, "the process that worked on the request ended twice")
        except _Late:
            failure = Failure(TIMEOUT, f"the request took longer than {self._patience_s(job):g} s")
        try:
            return self._ask_twice(replace(job, failures=dict.fromkeys(range(len(job.items)), failure)))
        except (_Died, _Late) as error:
            raise EnvironmentFault("the processes that check images end again and again") from error

    def _ask_twice(self, job: Job) -> list[Said]:
        if not self.is_alive:
            self.start()
        try:
            return self._ask(job)
        except _Died:
            log.warning("a process that checks images ended during a request; it is started again")
            self.start()
            return self._ask(job)

    def _patience_s(self, job: Job) -> float:
        """For all images of a job; one of them may be read twice."""
        return (len(job.items) + 1) * self._timeout_s + _EXTRA_S

    def _ask(self, job: Job) -> list[Said]:
        pipe, process = self._pipe, self._process
        if pipe is None or process is None:
            raise _Died
        patience_s = self._patience_s(job)
        until = time.monotonic() + patience_s
        # The end of the process also ends a `send` or `recv` that it blocks.
        timer = threading.Timer(patience_s, process.kill)
        timer.daemon = True
        timer.start()
        try:
            pipe.send(job)
            said: list[Said] = []
            while len(said) < len(job.items):
                kind, value = self._next(until)
                if kind == ANSWER:
                    said.append(value)
            while self._next(until)[0] != DONE:
                pass
        except (_Died, OSError) as error:
            self.end()
            raise (_Late if time.monotonic() >= until else _Died) from error
        finally:
            timer.cancel()
        return said

    def _next(self, until: float) -> tuple[str, Any]:
        """The next message; what it says about the index is kept."""
        pipe = self._pipe
        if pipe is None:  # closed meanwhile
            raise _Died
        try:
            if not pipe.poll(max(0.0, until - time.monotonic())):
                self.end()
                raise _Late
            kind, value = pipe.recv()
        except (EOFError, OSError) as error:
            self.end()
            raise _Died from error
        if kind == OPENED:
            self.run_id, self.refused = value, None
        elif kind == REFUSED:
            if value != self.refused:
                log.warning("%s", value)
            self.refused = value
        return kind, value


class Pool:
    """Gives each job to a free process, in the order in which they came. For one event loop.

    Args:
        folder: of the index.
        n_processes: that check.
        timeout_s: to wait for a process, and to read one image.
        max_waiting: requests that may wait, above those that are worked on.
    """

    def __init__(self, folder: Path, n_processes: int, timeout_s: float, max_waiting: int) -> None:
        self.workers = [Worker(folder, n_processes, timeout_s) for _ in range(n_processes)]
        self._timeout_s, self._max_inside = timeout_s, n_processes + max_waiting
        self._free: deque[Worker] = deque()
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._threads = ThreadPoolExecutor(n_processes, "dupelake-worker")
        self._mended: asyncio.Task[None] | None = None
        self.n_inside = 0

    @property
    def n_busy(self) -> int:
        """Processes that work on a request."""
        return len(self.workers) - len(self._free)

    @property
    def any_lives(self) -> bool:
        """Whether a process runs."""
        return any(worker.is_alive for worker in self.workers)

    @property
    def n_restarts(self) -> int:
        """How often a process was replaced."""
        return sum(max(0, worker.n_starts - 1) for worker in self.workers)

    @property
    def refused(self) -> str | None:
        """Why the newest index is not used; None if it is."""
        for worker in list(self._free):
            worker.hear()
        return next((worker.refused for worker in self.workers if worker.refused), None)

    async def start(self) -> None:
        """Start all processes.

        Raises:
            EnvironmentFault: one cannot open the index.
        """
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, worker.start) for worker in self.workers))
        self._free.extend(self.workers)
        self._mended = asyncio.create_task(self._mend())

    async def close(self) -> None:
        """End all processes."""
        if self._mended is not None:
            self._mended.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self.workers:
            worker.close()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place of a request, from before its body is read until it is answered.

        Raises:
            Refused: too many requests are inside.
        """
        if self.n_inside >= self._max_inside:
            raise Refused(429, "too_many", f"{self.n_inside} requests are at work or wait; try again", retry_after_s=1)
        self.n_inside += 1
        try:
            yield
        finally:
            self.n_inside -= 1

    async def ask(self, job: Job) -> list[Said]:
        """The answers to a job.

        Raises:
            Refused: no process was free in time, or none can be started.
        """
        try:
            try:
                return await self._asked(job)
            except EnvironmentFault:
                if not self.any_lives:
                    raise
            return await self._asked(job)  # by another one, once
        except EnvironmentFault as error:
            raise Refused(503, "not_ready", str(error), retry_after_s=5) from error

    async def _asked(self, job: Job) -> list[Said]:
        worker = await self._take()
        asked = asyncio.get_running_loop().run_in_executor(self._threads, worker.ask, job)
        asked.add_done_callback(lambda _: self._give(worker))  # also if the request is given up meanwhile
        return await asyncio.shield(asked)

    async def _take(self) -> Worker:
        """A free process that lives; where none lives at all, one that its job starts again."""
        found = next((one for one in self._free if one.is_alive), None)
        if found is None and self._free and not self.any_lives:
            found = self._free[0]
        if found is not None:
            self._free.remove(found)
            return found
        ticket: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        try:
            return await asyncio.wait_for(asyncio.shield(ticket), self._timeout_s)
        except BaseException as error:
            if ticket.done():
                self._give(ticket.result())
            ticket.cancel()
            if isinstance(error, TimeoutError):
                told = f"no process was free within serve.timeout_s = {self._timeout_s:g} s; try again"
                raise Refused(503, "busy", told, retry_after_s=5) from error
            raise

    def _give(self, worker: Worker) -> None:
        # One that cannot start would fail request after request; `_mend` tries it again.
        while self._waiting and (worker.is_alive or not self.any_lives):
            ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_result(worker)
                return
        self._free.append(worker)

    async def _mend(self) -> None:
        """Replaces processes that ended while they were free."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            for worker in list(self._free):
                if worker.is_alive or worker not in self._free:  # taken while another one was started
                    continue
                self._free.remove(worker)
                started = loop.run_in_executor(self._threads, worker.start)
                started.add_done_callback(lambda _, mended=worker: self._give(mended))  # type: ignore[misc]
                try:
                    await asyncio.shield(started)
                except EnvironmentFault:
                    pass  # `refused` says it; the next look tries again
                except Exception:
                    log.exception("a process that checks images cannot be started again")
