"""The process that checks images for the server: it has the index open, and reads images in a guarded child.

Before each job, and each second without one, it looks whether the index was replaced. It opens the new index, then
closes the old one. A job that runs keeps the index with which it began.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from dupelake.errors import DupelakeError
from dupelake.fingerprint.isolate import FAULT
from dupelake.ingest.failure import Failure
from dupelake.lookup.answer import Answer
from dupelake.lookup.beside import Beside
from dupelake.lookup.checker import Checker, with_copies
from dupelake.lookup.command_lines import action_of
from dupelake.lookup.manifest import stamp_of
from dupelake.lookup.reading import Item
from dupelake.runtime.redaction import redact_uris

log = logging.getLogger(__name__)

OPENED, REFUSED, ANSWER, DONE = "opened", "refused", "answer", "done"
_LOOK_S = 1.0


@dataclass(frozen=True)
class Job:
    """The images of one request.

    Attributes:
        items: the images.
        scope: of the images; None for manifest.default_scope.
        on_duplicate: report, reject or link, for the field `action`.
        failures: of items that could not be had, by place; they are not read.
    """

    items: tuple[Item, ...]
    scope: str | None
    on_duplicate: str
    failures: Mapping[int, Failure] = field(default_factory=dict)


class _Opened:
    """The index that the process has open."""

    def __init__(self, folder: Path, n_processes: int, timeout_s: float) -> None:
        self._folder, self._n_processes, self._timeout_s = folder, n_processes, timeout_s
        self._stamp = stamp_of(folder)
        self._refused: str | None = None
        self.checker = self._open()

    def _open(self) -> Checker:
        return Checker(self._folder, n_processes=self._n_processes, timeout_s=self._timeout_s)

    def renew(self) -> tuple[str, str] | None:
        """Opens the index anew if it was replaced; returns what happened, as a message. A bad one is not opened."""
        try:
            stamp = stamp_of(self._folder)
            if stamp == self._stamp or stamp is None:
                return None
            new = self._open()
        except Exception as error:
            if not isinstance(error, (OSError, sqlite3.OperationalError)):  # those may pass: the next look tries again
                self._stamp = stamp
            told, before = f"the new index is not used, the old one stays open: {_said(error)}", self._refused
            self._refused = told
            return None if told == before else (REFUSED, told)
        self._stamp, self._refused = stamp, None
        old, self.checker = self.checker, new
        old.__exit__()
        return self.told()

    def told(self) -> tuple[str, str]:
        return OPENED, self.checker.index.manifest.run_id


def check_jobs(folder: str, n_processes: int, timeout_s: float, pipe: Connection) -> None:
    """Answer jobs until the other end of the pipe is closed.

    It sends (OPENED, run id) for each index that it opens, (REFUSED, why) for one that it cannot open; for each job
    (ANSWER, (status, JSON)) for each image and then (DONE, None).

    Args:
        folder: of the index.
        n_processes: that check at the same time.
        timeout_s: to read one image.
        pipe: gives jobs, takes messages.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the server ends the others
    try:
        held = _Opened(Path(folder), n_processes, timeout_s)
    except Exception as error:
        pipe.send((REFUSED, _said(error)))
        return
    pipe.send(held.told())
    try:
        while True:
            while not pipe.poll(_LOOK_S):
                _renew(held, pipe)
            job = pipe.recv()
            _renew(held, pipe)
            for answer in _answers(held.checker, job):
                pipe.send((ANSWER, (answer.status, _json(answer, job.on_duplicate))))
            pipe.send((DONE, None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the server has ended; the child of the guard ends with this process


def _renew(held: _Opened, pipe: Connection) -> None:
    told = held.renew()
    if told is not None:
        pipe.send(told)


def _answers(checker: Checker, job: Job) -> Iterator[Answer]:
    checker.scope = checker.index.config.manifest.default_scope if job.scope is None else job.scope
    beside = Beside(checker.index)
    for place, item in enumerate(job.items):
        failure = job.failures.get(place)
        if failure is not None:
            yield checker.failed(item, failure)
            continue
        try:
            answer, given = checker.check_item(item)
            yield with_copies(beside, answer, given) if len(job.items) > 1 else answer
        except Exception as error:  # a fault of one image must not end the process, which would cost the others
            log.exception("image %d of a request", place + 1)
            yield checker.failed(Item(f"image {place + 1}", None, b""), Failure(FAULT, _said(error)[:500]))


def _said(error: Exception) -> str:
    named = str(error) if isinstance(error, (DupelakeError, OSError)) else f"{type(error).__name__}: {error}"
    return redact_uris(named)


def _json(answer: Answer, on_duplicate: str) -> str:
    return json.dumps(answer.as_dict() | {"action": action_of(answer, on_duplicate)})
