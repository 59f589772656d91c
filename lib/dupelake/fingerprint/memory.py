"""Estimates the memory for decoding and hashing a picture from its header, and computes the memory limit of a worker.

The constants are measured: tests/fingerprint/test_memory.py decodes one picture of each kind and compares the peak.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dupelake.fingerprint import jpegs

MIB = 1 << 20
# Bytes a pixel in Pillow, by mode; 4 for all other modes.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_RGB = 3.7  # bytes a pixel: the picture that is hashed, and the bands in memory
_HASHING = 6.3  # bytes a pixel: that picture, its grey, and the copy of the grey for pHash
# Total bytes a pixel, by format, of decoders that hold several copies of the picture.
_HUNGRY = {"WEBP": 16.5, "AVIF": 16.0, "HEIF": 19.0, "JPEG2000": 25.0}
_IN_FULL = 4  # bytes a pixel: RGB, and the grey that is kept while the reduced picture is hashed
_COEFFICIENTS = 6.2  # bytes a full-size pixel of a progressive JPEG, at any scale; a third more with four components
_BASE = 32 * MIB  # for any picture
_WORKER = 384 * MIB  # of a Python worker without pictures: its libraries, and memory that it keeps
_MIN_LIMIT, _MAX_LIMIT = 512 * MIB, 4096 * MIB  # of a limit computed from the memory of the machine


@dataclass(frozen=True)
class Room:
    """The memory that the Python workers of one executor share.

    Attributes:
        tasks: number of concurrent tasks; 0 for one on each core of the machine.
        heap_bytes: heap of the executor's JVM.
        python_bytes: that the cluster manager grants to Python; None if the machine or its container is the limit.
    """

    tasks: int = 0
    heap_bytes: int = 0
    python_bytes: int | None = None


def needed_bytes(opened: Image.Image, data: bytes, scale: int, *, in_full: bool = False) -> int:
    """The estimated peak memory for decoding and hashing an opened picture, in bytes, including its file.

    Args:
        opened: not yet loaded; its size is the full size divided by `scale`.
        data: of its file.
        scale: factor by which the sides of a JPEG are reduced.
        in_full: it is decoded in full before it is reduced.
    """
    name, mode = opened.format or "", opened.mode
    stored = _STORED.get(mode, 4)
    shown = opened.width * opened.height
    whole = shown * scale * scale
    each = max(_HUNGRY.get(name, stored + _RGB), _HASHING)
    needed = shown * each
    if in_full:
        needed = max(whole * _IN_FULL + shown * 3, whole + needed)
    if name in ("JPEG", "MPO") and jpegs.is_progressive(data):
        needed += whole * _COEFFICIENTS * (4 / 3 if mode == "CMYK" else 1)
    elif name == "TIFF":
        needed = max(needed, shown * (stored + _strip_share(opened)))
    return int(needed) + 2 * len(data) + _BASE


def _strip_share(opened: Image.Image) -> float:
    """Bytes a pixel that libtiff decompresses at a time: a strip or tile, at most the whole picture."""
    tags = getattr(opened, "tag_v2", {})
    bits = tags.get(258, (8,))
    rows = tags.get(323) or min(tags.get(278, opened.height), opened.height)  # of a tile, else of a strip
    return float(sum(bits) / 8 * rows / max(1, opened.height) + 0.2)


def share_bytes(room: Room) -> int:
    """The memory limit of one image in one worker, in bytes, for `guard.max_memory_bytes: 0`.

    An equal share of the memory of the machine or container without the JVM's heap, or of the memory that a cluster
    manager grants to Python, minus that of a worker without pictures; at least 512 MiB and at most 4 GiB.
    """
    tasks = room.tasks or os.cpu_count() or 1
    left = memory_bytes() - room.heap_bytes
    if room.python_bytes is not None:
        left = min(left, room.python_bytes)
    return max(_MIN_LIMIT, min(_MAX_LIMIT, left // tasks - _WORKER))


def memory_bytes() -> int:
    """Bytes of memory of this machine, or of the container (cgroup version 1 or 2) of this process."""
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
        for folder in (group, *group.parents):  # the limits of parent groups hold as well
            if root in (folder, *folder.parents):
                limits += _limit(folder / name)
    return min(limits)


def _limit(file: Path) -> list[int]:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() and int(text) > 0 else []
