"""The verdicts that were given so far, as they hold now: read by delta-rs, resolved by the rules of `group`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dupelake.config import Config
from dupelake.frames.functions import locally
from dupelake.group.decisions_stage import MEANING, resolve_decisions
from dupelake.group.verdicts import KEEPER, WITHDRAWN, Conflict, Verdict, VertexVerdicts, combine
from dupelake.lookup.measure import frame_of, rows_of
from dupelake.warehouse.reader import Reader, quoted_list
from dupelake.warehouse.schema import DECIDED, DECISIONS, HASHES, IMAGES

# Names are of the schema, and texts are quoted.
# ruff: noqa: S608

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_IMAGE = ("image_id", "content_id", "scope", "status", "deleted_at")
_HASH = ("content_id", "pixel_digest")

Row = dict[str, Any]


class Ledger:
    """The verdicts of a warehouse. `refresh` reads them again if there are new ones.

    Args:
        reader: of the warehouse, at its newest versions.
        config: `lsh.scope` is read.
    """

    def __init__(self, reader: Reader, config: Config) -> None:
        self._reader, self._config = reader, config
        self._version = -1
        self._verdicts: list[Verdict] = []
        self._by_vertex: dict[str, VertexVerdicts] = {}
        self._by_ends: dict[frozenset[str], list[Verdict]] = {}
        self.conflicts: list[Conflict] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the verdicts again, if the table changed."""
        version = self._reader.version(DECISIONS.name)
        if version == self._version:
            return
        self._verdicts = self._resolved()
        by_vertex, self.conflicts = combine(self._verdicts)
        self._by_vertex = {row.vertex: row for row in by_vertex}
        self._by_ends = {}
        for verdict in self._verdicts:
            ends = frozenset(filter(None, (verdict.vertex, verdict.other)))
            self._by_ends.setdefault(ends, []).append(verdict)
        self._version = version

    def _resolved(self) -> list[Verdict]:
        """All verdicts, by time, with the vertices that they are about."""
        decisions = self._reader.table(DECISIONS.name).to_pylist()
        if not decisions:
            return []
        ids = {row[name] for row in decisions for name in ("image_id", "other_image_id")} - {None}
        images = self._reader.table(IMAGES.name, _IMAGE, f"image_id IN {quoted_list(sorted(ids))}").to_pylist()
        decided = self._reader.table(DECIDED.name).to_pylist()
        contents = {row["content_id"] for row in (*images, *decided)} - {None}
        pixels = f"SELECT pixel_digest FROM hashes WHERE content_id IN {quoted_list(sorted(contents))}"
        hashes = self._reader.query(
            f"SELECT {', '.join(_HASH)} FROM hashes WHERE pixel_digest IN ({pixels})"
        ).to_pylist()
        with locally():
            resolved = resolve_decisions(
                frame_of(decisions, DECISIONS.columns),
                frame_of(decided, DECIDED.columns),
                frame_of(images, IMAGES.columns),
                frame_of(hashes, HASHES.columns),
                self._config,
            )
            rows = rows_of(resolved)
        return sorted((_verdict_of(row) for row in rows), key=Verdict.order)

    def is_undecided(self, row: Mapping[str, Any]) -> bool:
        """Whether no verdict holds between `vertex` and `other_vertex`, directly or through confirmed copies."""
        own, other = (self._by_vertex.get(row[name]) for name in ("vertex", "other_vertex"))
        if own is None or other is None:
            return True
        return other.duplicate_set not in (own.duplicate_set, *own.apart, *own.alternates)

    def history(self, vertices: Iterable[str]) -> list[Verdict]:
        """All verdicts on exactly these vertices, by time."""
        return self._by_ends.get(frozenset(vertices), [])

    def latest(self, vertices: Iterable[str]) -> Verdict | None:
        """The verdict that holds on exactly these vertices; None if there is none, or the last one was withdrawn."""
        history = self.history(vertices)
        return history[-1] if history and history[-1].verdict != WITHDRAWN else None

    def said_after(self, time: dt.datetime, images: Sequence[str | None]) -> bool:
        """Whether a verdict on these images, by their ids, came after a time."""
        ids, since = frozenset(filter(None, images)), micros(time)
        singles = [frozenset((one,)) for one in ids]
        return any(
            verdict.decided_at > since
            and (named := frozenset(filter(None, (verdict.image_id, verdict.other_image_id)))) in (ids, *singles)
            and (named == ids or verdict.verdict in (KEEPER, WITHDRAWN))
            for verdict in self._verdicts
        )

    def conflicts_with(self, vertices: Iterable[str]) -> list[str]:
        """The contradictions of a verdict on these vertices with others, in words."""
        ends, said = frozenset(vertices), []
        for conflict in self.conflicts:
            both = [one for one in (conflict.decision, conflict.against) if one is not None]
            if any(frozenset(filter(None, (one.vertex, one.other))) == ends for one in both):
                words = ", ".join(f"{one.author} says {one.verdict} ({_named(one)})" for one in both)
                said.append(f"{words}: {MEANING[conflict.kind]}")
        return said


def micros(time: dt.datetime) -> int:
    """Microseconds since 1970; a time without a zone is UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1)


def _verdict_of(row: Row) -> Verdict:
    return Verdict(
        row["vertex"],
        row["other_vertex"],
        row["verdict"],
        row["author"],
        micros(row["decided_at"]),
        row["image_id"],
        row["other_image_id"],
        row["fault"],
    )


def _named(verdict: Verdict) -> str:
    return verdict.image_id if verdict.other_image_id is None else f"{verdict.image_id} and {verdict.other_image_id}"
