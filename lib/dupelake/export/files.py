"""What an export wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Written:
    """What an export wrote.

    Attributes:
        files: the files, that of --out first.
        told: what is in them, in words.
        notes: what was left out and why, one sentence each.
    """

    files: list[Path]
    told: str
    notes: list[str] = field(default_factory=list)


def beside(path: Path, ending: str) -> Path:
    """A file beside `path`, whose name has `ending` instead of its own: move.sh, -undo.sh -> move-undo.sh."""
    return path.with_name(path.stem + ending)
