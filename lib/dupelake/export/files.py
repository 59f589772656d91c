"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives the path of a file to write, which replaces `path` at the end, unless there was an error.

    A link stays: the file that it leads to is replaced.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def beside(path: Path, ending: str) -> Path:
    """A file beside `path`, whose name has `ending` instead of its own: move.sh, -undo.sh -> move-undo.sh."""
    return path.with_name(path.stem + ending)
