"""Memory that a picture takes while it is decoded and hashed, told from its header, and what one worker may take.

The figures are measured: tests/fingerprint/test_memory.py decodes one picture
of each kind and holds the peak against them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dupelake.fingerprint import jpegs

MIB = 1 << 20
# Bytes that Pillow keeps a pixel, by mode; of all others, 4.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_RGB = 3.7  # the picture that is hashed, and the bands at work
_HASHING = 6.3  # that picture, its grey, and the copy of that which pHash takes
# Decoders that hold the picture several times over, by format: bytes a pixel in all.
_HUNGRY = {"WEBP": 16.5, "AVIF": 16.0, "HEIF": 19.0, "JPEG2000": 25.0}
_COEFFICIENTS = 6.2  # of a progressive JPEG, at full size whatever the scale; of four components a third more
_APART = 32 * MIB  # whatever the picture
_HELD = 384 * MIB  # of a Python worker by itself: its libraries, and pages that it keeps
_LEAST, _MOST = 512 * MIB, 4096 * MIB  # of a limit that is told from the machine


@dataclass(frozen=True)
class Room:
    """What the processes of one executor share.

    Attributes:
        tasks: how many work at the same time; 0 for one on each core of the machine.
        heap_bytes: of the JVM beside them.
        python_bytes: that a cluster manager grants them; None where the machine or its container is the limit.
    """

    tasks: int = 0
    heap_bytes: int = 0
    python_bytes: int | None = None


def needed_bytes(opened: Image.Image, data: bytes, scale: int) -> int:
    """About the most memory at a time that decoding and hashing an opened picture takes, its file included.

    Args:
        opened: not yet loaded; its size is that of the whole picture, or of the reduced one where `scale` says so.
        data: its file.
        scale: by which a JPEG's sides are reduced while it is decoded.
    """
    name, mode = opened.format or "", opened.mode
    stored = _STORED.get(mode, 4)
    shown = opened.width * opened.height
    whole = shown * scale * scale
    each = max(_HUNGRY.get(name, stored + _RGB), _HASHING)
    needed = shown * each
    if name in ("JPEG", "MPO") and jpegs.is_progressive(data):
        needed += whole * _COEFFICIENTS * (4 / 3 if mode == "CMYK" else 1)
    elif name == "TIFF":
        needed = max(needed, shown * (stored + _strip_share(opened)))
    return int(needed) + 2 * len(data) + _APART


def _strip_share(opened: Image.Image) -> float:
    """Bytes a pixel that libtiff unpacks at a time beside the picture: a strip or tile, at most the whole picture."""
    tags = getattr(opened, "tag_v2", {})
    bits = tags.get(258, (8,))
    rows = tags.get(323) or min(tags.get(278, opened.height), opened.height)  # of a tile, else of a strip
    return float(sum(bits) / 8 * rows / max(1, opened.height) + 0.2)


def share_bytes(room: Room) -> int:
    """What one image may take in one worker beside what that holds anyway: `guard.max_memory_bytes: 0`.

    An equal share of the machine's or container's memory less the JVM's heap, or of what a cluster manager grants to
    Python, less what a worker holds by itself; 512 MiB at least and 4 GiB at most.
    """
    tasks = room.tasks or os.cpu_count() or 1
    left = memory_bytes() - room.heap_bytes
    if room.python_bytes is not None:
        left = min(left, room.python_bytes)
    return max(_LEAST, min(_MOST, left // tasks - _HELD))


def memory_bytes() -> int:
    """Bytes of memory of this machine, or of the container (cgroup, version 1 or 2) that this process is in."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return limits[0]
    for line in groups:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):  # a limit of a parent holds as well
            if root in (folder, *folder.parents):
                limits += _limit(folder / name)
    return min(limits)


def _limit(file: Path) -> list[int]:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() and int(text) > 0 else []
