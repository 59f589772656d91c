"""The start of a job: its id, and its time, which for the first job of a process is the start of the process.

So the start of Spark is included.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import time
from pathlib import Path

_IMPORTED = time.monotonic()
_begun = False


def begin() -> float:
    """The start of a job by time.monotonic: the start of the process for its first job, now for later jobs."""
    global _begun  # noqa: PLW0603 - a process has one first job
    if _begun:
        return time.monotonic()
    _begun = True
    # Under spark-submit the JVM starts before Python.
    age = _age(os.getppid() if "PYSPARK_GATEWAY_PORT" in os.environ else os.getpid())
    return _IMPORTED if age is None else time.monotonic() - age


def _age(pid: int) -> float | None:
    """Seconds since a process started; None if the system does not give it (only Linux does)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(stat.rpartition(")")[2].split()[19])  # after the name, which may contain spaces
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def new_run_id(started_at: dt.datetime) -> str:
    """Start time and a random suffix: sorts by time, and two runs of one second differ."""
    return f"{started_at:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
