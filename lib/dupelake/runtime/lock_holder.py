"""Which process holds a lock, and whether it has certainly ended."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any


def identity() -> dict[str, Any]:
    """The identity of this process, unique among all machines."""
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pid_ns": _pid_namespace(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def is_dead(text: str) -> bool:
    """Whether the holder ran on this machine, in this boot and PID namespace, and has ended.

    False if that is unknown: containers may share a host name and a kernel, and each numbers its processes from 1.
    """
    try:
        holder = json.loads(text)
        pid, started, boot, namespace = int(holder["pid"]), holder["started"], holder["boot"], holder["pid_ns"]
    except (ValueError, KeyError, TypeError):
        return False
    if holder.get("host") != socket.gethostname() or not (boot and started and namespace and pid > 0):
        return False
    if boot != _boot_id() or namespace != _pid_namespace():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # the process exists and belongs to another user
    now = _started(pid)
    return now is not None and now != started


def _boot_id() -> str:
    return _text_of("/proc/sys/kernel/random/boot_id").strip()


def _pid_namespace() -> str | None:
    """The PID namespace of this process; None if /proc does not give it, or shows another namespace."""
    try:
        if int(os.readlink("/proc/self")) != os.getpid():
            return None
        return os.readlink("/proc/self/ns/pid")
    except (OSError, ValueError):
        return None


def _started(pid: int) -> str | None:
    """The start time of a process in clock ticks since boot; "ended" for a zombie; None if it is unknown."""
    fields = _text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()  # the name before it may contain spaces
    if len(fields) < 20:
        return None
    return "ended" if fields[0] in ("Z", "X") else fields[19]


def _text_of(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""
