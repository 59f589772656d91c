"""The options of each job that has any, as `command_lines` makes them. Imports neither Spark nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dupelake.ingest.uris import local_path


@dataclass(frozen=True)
class HashOptions:
    """What the hash job reads; a night and its plan have the same options.

    Attributes:
        paths: manifests and directories, as they were given.
        partitions: only these, None for all.
        since: only partitions from this one on, in text order; None for all.
        listing: whether the manifests list all that exists.
        full: whether everything is read, hashed, embedded and joined again.
    """

    paths: tuple[str, ...]
    partitions: list[str] | None = None
    since: str | None = None
    listing: bool = False
    full: bool = False

    @property
    def manifests(self) -> list[str]:
        """`paths`, local ones absolute, so that executors see the same place."""
        return [absolute(path) for path in self.paths]


@dataclass(frozen=True)
class EmbedOptions:
    """`full`: whether all that failed is embedded again."""

    full: bool = False


@dataclass(frozen=True)
class JoinOptions:
    """`full`: whether all contents meet again."""

    full: bool = False


@dataclass(frozen=True)
class ForgetOptions:
    """Which images are forgotten.

    Attributes:
        names: (image_id, None) or (None, uri), each once.
        purge: whether what is stored of their contents is deleted.
        undo: whether they may come back instead.
    """

    names: tuple[tuple[str | None, str | None], ...]
    purge: bool = False
    undo: bool = False


@dataclass(frozen=True)
class MaintainOptions:
    """`retain_hours`: how long the files of old versions are kept."""

    retain_hours: float


def absolute(path: str) -> str:
    """A local path made absolute; others as they are."""
    local = local_path(path)
    return path if local is None else str(Path(local).expanduser().absolute())
