"""Fault points: places where a process can be told to die, so that tests kill it where they mean to.

DUPELAKE_FAULT=kill:POINT kills the process that reaches POINT with SIGKILL, kill-executor:POINT the executor of the
Python worker that reaches it as well. With DUPELAKE_FAULT_ONCE=FILE it does so once: the file is made first, and a
process that finds it goes on. Without these variables a point costs a lookup. Points of the driver: before:TABLE and
after:TABLE of each commit. Points of Python workers: worker:hash, worker:embed, worker:words, worker:align.
memory:worker:model lets every run of the embedding model fail for want of memory, as a full GPU does.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def reached(point: str) -> None:
    """Die here if told to."""
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
    """Fail as torch does when told to.

    Raises:
        RuntimeError: in torch's words.
    """
    if os.environ.get("DUPELAKE_FAULT") == f"memory:{point}":
        raise RuntimeError("out of memory, on purpose (DUPELAKE_FAULT)")


def _executor() -> int:
    """The JVM over a Python worker: it started the daemon that forked the worker. Reads Linux's /proc."""
    stat = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8")
    return int(stat.rpartition(")")[2].split()[1])  # after the name, which may hold spaces: state, parent
