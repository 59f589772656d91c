"""Core-seconds of a process and of all that it starts: what a JVM and its Python workers really used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_POLL_S = 0.2


@dataclass(frozen=True)
class Cost:
    """Of one or several processes, one after another."""

    core_s: float
    wall_s: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.core_s + other.core_s, self.wall_s + other.wall_s)


def measured(command: Sequence[str], log: Path, limit_s: float | None = None) -> Cost:
    """Run `command` to its end, its output into `log`.

    Raises:
        SystemExit: it failed; the end of the log is told. Or it was not done within `limit_s`, and killed.
    """
    started, used, over = time.monotonic(), {}, threading.Event()
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        watch = threading.Thread(target=_watch, args=(process.pid, used, over))
        watch.start()
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            sys.exit(f"not done when {limit_s:.0f} s were over")
        except BaseException:  # it is in a session of its own, and would go on
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            over.set()
            watch.join()
    if code:
        text = log.read_text(encoding="utf-8", errors="replace")
        sys.exit(f"{' '.join(command)} ended with {code}:\n{text[-3000:]}")
    return Cost(sum(used.values()) / _TICKS, time.monotonic() - started)


def _watch(root: int, used: dict[tuple[int, int], int], over: threading.Event) -> None:
    """Keep the ticks of every process below `root`; one that outlives its parent is followed on."""
    known = {root}
    while not over.wait(_POLL_S):
        stats = {}
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    text = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
                except OSError:  # it has just ended
                    continue
                fields = text.rpartition(")")[2].split()
                # state, parent, ..., user and system ticks (11, 12), ..., start time (19)
                stats[int(entry.name)] = int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[19])
        grown = True
        while grown:
            grown = {pid for pid, (parent, _, _) in stats.items() if parent in known and pid not in known}
            known |= grown
        known &= stats.keys() | {root}  # numbers are given again
        for pid in known & stats.keys():
            used[pid, stats[pid][2]] = stats[pid][1]
