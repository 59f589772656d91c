"""Fault points, at which tests can kill a process.

DUPELAKE_FAULT=kill:POINT kills the process that reaches POINT with SIGKILL. kill-executor:POINT also kills the executor
of the Python worker that reaches POINT. With DUPELAKE_FAULT_ONCE=FILE this happens once: the first process creates the
file, and a process that finds it continues. Without these variables a point costs a lookup. Points of the driver:
before:TABLE and after:TABLE of each commit. Points of Python workers: worker:hash, worker:embed, worker:words,
worker:align. memory:worker:model makes every call of the embedding model fail for lack of memory, as on a full GPU.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def reached(point: str) -> None:
    """Kills this process if DUPELAKE_FAULT names `point`."""
    verb, _, wanted = os.environ.get("DUPELAKE_FAULT", "").partition(":")
    if wanted != point or verb not in ("kill", "kill-executor"):
        return
    once = os.environ.get("DUPELAKE_FAULT_ONCE")
    if once:
        try:
            Path(once).touch(exist_ok=False)
        except FileExistsError:
            return
    if verb == "kill-executor":
        os.kill(_executor(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def short_of_memory(point: str) -> None:
    """Simulates a lack of memory in torch if DUPELAKE_FAULT asks for it at `point`.

    Raises:
        RuntimeError: with torch's text.
    """
    if os.environ.get("DUPELAKE_FAULT") == f"memory:{point}":
        raise RuntimeError("out of memory, on purpose (DUPELAKE_FAULT)")


def _executor() -> int:
    """The JVM of a Python worker: it started the daemon that forked the worker. Reads Linux's /proc."""
    stat = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8")
    return int(stat.rpartition(")")[2].split()[1])  # after the name, which may contain spaces: state, parent
