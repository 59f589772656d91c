"""Fault points: places where a process can be told to die, so that tests kill it where they mean to.

DUPELAKE_FAULT=kill:POINT kills the process that reaches POINT with SIGKILL. With DUPELAKE_FAULT_ONCE=FILE it does so
once: the file is made first, and a process that finds it goes on. Without these variables a point costs a lookup.
Points of the driver: before:TABLE and after:TABLE of each commit. Points of Python workers: worker:hash, worker:embed,
worker:words, worker:align.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def reached(point: str) -> None:
    """Die here if told to."""
    if os.environ.get("DUPELAKE_FAULT") != f"kill:{point}":
        return
    once = os.environ.get("DUPELAKE_FAULT_ONCE")
    if once:
        try:
            Path(once).touch(exist_ok=False)
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
