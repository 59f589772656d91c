"""The index, opened for reading: the contents by place and by id, the rows by key, the units of each scope."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dupelake.config import Config
from dupelake.errors import VersionMixError
from dupelake.lookup.by_profile import options_by
from dupelake.lookup.manifest import manifest_of, stamp_of
from dupelake.lookup.said import Said
from dupelake.lookup.segments import Segment
from dupelake.lookup.state import State
from dupelake.lookup.versions import versions_of
from dupelake.propose.mih import SlotPlan, plan_exact
from dupelake.propose.srp import PLANNING_ITEMS, embedding_plan

Flags = npt.NDArray[np.bool_]
_OF_KEYPOINTS = ("words", "keypoints", "descriptors")
Opened = TypeVar("Opened")
_TRIES = 5


def opened(folder: Path, read: Callable[[Path], Opened]) -> Opened:
    """What `read` makes of an index that may be replaced meanwhile: a build removes the files of the index before it.

    Args:
        folder: of the index.
        read: reads the manifest, then the files that it names.
    """
    for _ in range(_TRIES):
        before = stamp_of(folder)
        try:
            return read(folder)
        except (FileNotFoundError, sqlite3.OperationalError):
            if stamp_of(folder) == before:
                raise
    return read(folder)


class Index:
    """An index of a warehouse.

    Args:
        folder: where `build_index` wrote it.
        profile: of the questions; None for the options of the nights.

    Attributes:
        manifest: what it holds.
        profile: as given.
        config: the options of its nights, or of the profile.
        versions: of everything by these options.
        centre: float32 (dim,) of the model, or None.
        segments: the contents.
        state: the rows.

    Raises:
        VersionMixError: there is no index, or it is of other versions than this library; the message gives the command
            that makes it.
        ConfigError: as `by_profile.options_by`.
    """

    def __init__(self, folder: Path, profile: str | None = None) -> None:
        manifest = manifest_of(folder)
        self.folder, self.manifest = folder, manifest
        self.config: Config = manifest.options()
        self._refuse_other_versions()
        self.profile, self.versions = profile, manifest.versions
        held = self.config
        if profile is not None:
            self.config = options_by(held, profile)
        if self.config != held:  # by `fast`, which leaves embeddings out
            self.versions = {**manifest.versions, **versions_of(self.config, None, None)}
        has_model = manifest.centre and self.config.embed.model != "none"
        self.centre = np.frombuffer(bytes.fromhex(manifest.centre), "<f4") if has_model else None
        self.segments = [Segment(folder / name) for name in manifest.segments]
        for segment in self.segments:
            segment.map_all()
        self._first = np.cumsum([0, *map(len, self.segments)])
        self.state = State(manifest.rows(folder))
        self._units = np.load(folder / manifest.state / "units.npy", mmap_mode="r")
        self._scopes = json.loads((folder / manifest.state / "scopes.json").read_text(encoding="utf-8"))
        self.are_units = lru_cache(maxsize=16)(self._are_units)
        lsh = self.config.lsh
        self.plans: dict[str, SlotPlan] = {
            "phash": plan_exact(64, lsh.phash_max_bits, PLANNING_ITEMS),
            "pdq": plan_exact(256, lsh.pdq_max_bits, PLANNING_ITEMS),
        }
        if self.centre is not None:
            self.plans["embedding"] = embedding_plan(self.centre, lsh)

    def _refuse_other_versions(self) -> None:
        held = self.manifest.versions
        mine = versions_of(self.config, held["model"], held["preprocess"])
        for name, version in mine.items():
            if held.get(name) != version:
                raise VersionMixError(
                    f"the index {self.folder} has {name} version {held.get(name)}, and this library "
                    f"makes {version}; make it again: dupelake index --warehouse {self.manifest.warehouse} --full"
                )

    def close(self) -> None:
        """Close the rows; the arrays go with the object, at once because nothing refers to it in a circle any more."""
        self.state.close()
        del self.are_units

    @cached_property
    def said(self) -> Said:
        """People's verdicts."""
        return Said.of(self.state)

    def parts(self) -> list[tuple[int, Segment]]:
        """Each segment with the number of its first content."""
        return list(zip(self._first.tolist(), self.segments, strict=False))

    def number(self, content_id: str) -> int | None:
        """The number of a content over all segments; None if it is not in the index."""
        for first, segment in self.parts():
            place = segment.place(content_id)
            if place is not None:
                return int(first + place)
        return None

    def content_id(self, number: int) -> str:
        """The id of a content."""
        segment, place = self._locate(number)
        return segment.content_id(place)

    def blob(self, kind: str, number: int) -> bytes | None:
        """The bytes of a kind of `segments.BLOBS`; None if there are none, or if the options leave them out."""
        if kind in _OF_KEYPOINTS and not self.config.features.max_words:
            return None
        segment, place = self._locate(number)
        return segment.blob(kind, place)

    def thumbnail_width(self, number: int) -> int:
        """Pixels."""
        segment, place = self._locate(number)
        return int(segment.widths[place])

    def codes(self, number: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """PHash (2,) and PDQ (8,) of a content, straight and mirrored."""
        segment, place = self._locate(number)
        return segment.phash[place], segment.pdq[place]

    def _locate(self, number: int) -> tuple[Segment, int]:
        at = int(np.searchsorted(self._first, number, "right")) - 1
        return self.segments[at], int(number - self._first[at])

    def __len__(self) -> int:
        return int(self._first[-1])

    def n_units(self, scope: str) -> int:
        """The number of joined contents of a scope."""
        start, end = self._scopes.get(scope, (0, 0))
        return int(end - start)

    def _are_units(self, scope: str) -> Flags:
        """Bool (n,): whether each content is joined in a scope; cached as `are_units`."""
        start, end = self._scopes.get(scope, (0, 0))
        wanted = self._units[start:end]
        return np.concatenate(
            [np.zeros(0, bool), *(np.isin(segment.ids, wanted, assume_unique=True) for segment in self.segments)]
        )
