"""Files that a command writes for a person: they appear whole or not at all, and a disk that refuses is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dupelake.errors import ConfigError


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


@contextmanager
def refusals_of(option: str, path: str | Path) -> Iterator[None]:
    """Around what writes to the path of an option.

    Raises:
        ConfigError: the disk refuses.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError([f"{option} {path}: cannot be written ({error})"]) from error


def faults_of_file(option: str, path: str | Path) -> list[str]:
    """The fault of a path where a regular file cannot be written."""
    if os.path.isdir(path):
        return [f"{option} {path}: is a folder; give a file"]
    if os.path.exists(path) and not os.path.isfile(path):  # a regular file would replace it, be it a device or a pipe
        return [f"{option} {path}: is no regular file; give a file"]
    return []
