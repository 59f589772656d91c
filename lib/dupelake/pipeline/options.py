"""The options of each job that has any, as `command_lines` makes them. Imports neither Spark nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dupelake.ingest.uris import local_path


@dataclass(frozen=True)
class HashOptions:
    """Options of the hash job, the nightly job and the plan.

    Attributes:
        paths: manifests and directories as given.
        partitions: read only these partitions; None for all.
        since: read only partitions from this one on, in text order; None for all.
        listing: whether the manifests list everything that exists.
        full: whether everything is read, hashed, embedded and joined again.
    """

    paths: tuple[str, ...]
    partitions: list[str] | None = None
    since: str | None = None
    listing: bool = False
    full: bool = False

    @property
    def manifests(self) -> list[str]:
        """`paths` with absolute local paths, so that executors use the same files."""
        return [absolute(path) for path in self.paths]


@dataclass(frozen=True)
class FullOption:
    """`full`: whether all failed contents are embedded again, or all contents compared again."""

    full: bool = False


@dataclass(frozen=True)
class ForgetOptions:
    """Options of the forget job.

    Attributes:
        names: (image_id, None) or (None, uri) of the images, each once.
        purge: whether the stored data of their contents is deleted.
        undo: whether the images are allowed again instead.
    """

    names: tuple[tuple[str | None, str | None], ...]
    purge: bool = False
    undo: bool = False


@dataclass(frozen=True)
class MaintainOptions:
    """`retain_hours`: hours for which the files of old table versions are kept."""

    retain_hours: float


def absolute(path: str) -> str:
    """The path, made absolute if it is local."""
    local = local_path(path)
    return path if local is None else str(Path(local).expanduser().absolute())
