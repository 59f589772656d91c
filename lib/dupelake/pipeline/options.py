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


@dataclass(frozen=True)
class OverlapOptions:
    """Options of the overlap job.

    Attributes:
        by: what makes the sets: source, partition, scope, or `extra.` with a column of the manifest; None for no sets.
        conflicts: the column, in the same form, of which one picture should have one value; None for none.
        between: two sets whose common pictures are listed; None for none.
        min_share: share of the pictures of one of two sets from which on a pair is kept.
        out: folder of the files, absolute.
    """

    by: str | None
    conflicts: str | None
    between: tuple[str, str] | None
    min_share: float
    out: str


def absolute(path: str) -> str:
    """The path, made absolute if it is local."""
    local = local_path(path)
    return path if local is None else str(Path(local).absolute())
