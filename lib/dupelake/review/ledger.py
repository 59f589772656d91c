"""The verdicts that were given so far, as they hold now: read by delta-rs, resolved by the rules of `group`.

Rules may have given a million verdicts, so only those are read that somebody asks about, and those that may change what
they mean.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dupelake.config import Config
from dupelake.frames.functions import locally
from dupelake.group.decisions_stage import MEANING, resolve_decisions
from dupelake.group.verdicts import (
    ALTERNATE,
    DUPLICATE,
    KEEPER,
    WITHDRAWN,
    Conflict,
    Verdict,
    VertexVerdicts,
    combine,
    with_older_contents,
)
from dupelake.lookup.measure import frame_of, rows_of
from dupelake.warehouse.reader import Reader, micros, time_literal
from dupelake.warehouse.schema import DECIDED, DECISIONS, HASHES, IMAGES
from dupelake.warehouse.scratch import scratch_beside

_READ = (DECISIONS, DECIDED, IMAGES, HASHES)
_MANY = 1000  # new verdicts; of more, only those are read that were asked about
_COUNTED = "SELECT count(*) AS n, max(decided_at) AS newest FROM decisions"
# The images that show pixels of a class now, or showed them when somebody decided.
_ALIKE = """SELECT word AS content_id FROM asked UNION SELECT content_id FROM hashes WHERE pixel_digest IN (
  SELECT h.pixel_digest FROM hashes h JOIN asked a ON a.word = h.content_id
)"""
_NAMED = """SELECT i.image_id AS word FROM images i JOIN alike a ON a.content_id = i.content_id
UNION SELECT d.image_id FROM decided d JOIN alike a ON a.content_id = d.content_id"""
_ON_NAMED = """SELECT d.* FROM decisions d JOIN named n ON n.word = d.image_id
UNION SELECT d.* FROM decisions d JOIN named n ON n.word = d.other_image_id"""
_IMAGES = """SELECT i.image_id, i.content_id, i.scope, i.status, i.deleted_at FROM images i
JOIN ids n ON n.word = i.image_id"""
_DECIDED = "SELECT d.* FROM decided d JOIN ids n ON n.word = d.image_id"
_HASHES = """SELECT content_id, pixel_digest FROM hashes WHERE pixel_digest IN (
  SELECT h.pixel_digest FROM hashes h JOIN contents c ON c.word = h.content_id
)"""

Row = dict[str, Any]


@dataclass(frozen=True)
class _Connected:
    """The combined verdicts on all vertices that verdicts connect, directly or over others."""

    vertices: set[str]
    by_vertex: dict[str, VertexVerdicts]
    conflicts: list[Conflict]


class Ledger:
    """The verdicts of a warehouse. `refresh` reads the new ones; `know` those on some vertices.

    Args:
        reader: of the warehouse, at its newest versions.
        config: `lsh.scope` is read.
    """

    def __init__(self, reader: Reader, config: Config) -> None:
        self._reader, self._config = reader, config
        self._now = reader  # at the versions of the last `refresh`
        self._versions: dict[str, int] = {}
        self._count, self._newest = 0, None
        self._known: set[str] = set()  # vertices whose verdicts were read
        self._clear()
        self.refresh()

    def _clear(self) -> None:
        self._by_vertex: dict[str, set[Verdict]] = {}
        self._by_ends: dict[frozenset[str], list[Verdict]] = {}
        self._connected: dict[str, _Connected] = {}

    @property
    def images_version(self) -> int:
        """The version of the table `images` at the last `refresh`."""
        return self._versions[IMAGES.name]

    def refresh(self) -> None:
        """Read the new verdicts, if the table changed."""
        versions = {table.name: self._reader.version(table.name) for table in _READ}
        if versions == self._versions:
            return
        now = self._reader.at(versions)
        counted = now.query(_COUNTED).to_pylist()[0]
        new = self._added(now, counted["n"]) if self._versions else None
        self._now, self._versions, self._count, self._newest = now, versions, counted["n"], counted["newest"]
        if new is None:
            known, self._known = self._known, set()
            self._clear()
            self.know(known)
        elif new:
            verdicts = self._resolved(self._with_withdrawn(new))
            self._add(verdicts)
            self.know(end for verdict in verdicts for end in _ends(verdict))

    def _added(self, now: Reader, count: int) -> list[Row] | None:
        """The verdicts that came since the last `refresh`; None if there are many, or what was read changed."""
        before = self._versions
        if any(now.versions[name] != before[name] for name in (IMAGES.name, HASHES.name)):
            return None
        if count - self._count > _MANY or not now.only_appended(DECISIONS.name, before[DECISIONS.name]):
            return None
        since = "true" if self._newest is None else f"decided_at > {time_literal(self._newest)}"
        rows = now.table(DECISIONS.name, where=since).to_pylist()
        return rows if len(rows) == count - self._count else None  # an earlier time can be given by SQL

    def _with_withdrawn(self, new: list[Row]) -> list[Row]:
        """New verdicts; with the earlier ones on the same images, if one is a withdrawal, which may be about these."""
        if not any(row["verdict"] == WITHDRAWN for row in new):
            return new
        with scratch_beside(self._now) as scratch:
            scratch.put_texts("named", word=sorted({name for row in new for name in _named_by(row)}))
            return scratch.query(_ON_NAMED).to_pylist()

    def know(self, vertices: Iterable[str]) -> None:
        """Read the verdicts on these vertices, and on those that they may make copies or alternates of them."""
        wanted = set(vertices) - self._known
        while wanted:
            with scratch_beside(self._now) as scratch:
                scratch.put_texts("asked", word=sorted({vertex.partition("/")[0] for vertex in wanted}))
                scratch.make("alike", _ALIKE)
                scratch.make("named", _NAMED)
                rows = scratch.query(_ON_NAMED).to_pylist()
            verdicts = self._resolved(rows)
            self._add(verdicts)
            self._known |= wanted
            joining = (verdict for verdict in verdicts if verdict.verdict in (DUPLICATE, ALTERNATE))
            wanted = {end for verdict in joining for end in _ends(verdict)} - self._known

    def _resolved(self, decisions: Sequence[Row]) -> list[Verdict]:
        """Verdicts with the vertices that they are about."""
        if not decisions:
            return []
        with scratch_beside(self._now) as scratch:
            scratch.put_texts("ids", word=sorted({name for row in decisions for name in _named_by(row)}))
            images, decided = scratch.query(_IMAGES).to_pylist(), scratch.query(_DECIDED).to_pylist()
            scratch.put_texts("contents", word=sorted({row["content_id"] for row in (*images, *decided)} - {None}))
            hashes = scratch.query(_HASHES).to_pylist()
        with locally():
            resolved = resolve_decisions(
                frame_of(decisions, DECISIONS.columns),
                frame_of(decided, DECIDED.columns),
                frame_of(images, IMAGES.columns),
                frame_of(hashes, HASHES.columns),
                self._config,
            )
            return with_older_contents(_verdict_of(row) for row in rows_of(resolved))

    def _add(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            ends = _ends(verdict)
            if any(verdict in self._by_vertex.get(end, ()) for end in ends):
                continue
            for end in ends:
                self._by_vertex.setdefault(end, set()).add(verdict)
                found = self._connected.get(end)
                for vertex in () if found is None else found.vertices:
                    del self._connected[vertex]
            history = self._by_ends.setdefault(ends, [])
            history.append(verdict)
            history.sort(key=Verdict.order)

    def _connected_with(self, vertex: str) -> _Connected:
        if vertex not in self._connected:
            verdicts: set[Verdict] = set()
            seen, waiting = {vertex}, [vertex]
            while waiting:
                around = self._by_vertex.get(waiting.pop(), set())
                verdicts |= around
                new = {end for verdict in around for end in _ends(verdict)} - seen
                seen |= new
                waiting += new
            rows, conflicts = combine(verdicts)
            connected = _Connected(seen, {row.vertex: row for row in rows}, conflicts)
            self._connected |= dict.fromkeys(seen, connected)
        return self._connected[vertex]

    def undecided(self, rows: Sequence[Row]) -> list[Row]:
        """The rows for which `is_undecided` holds."""
        self.know(row[name] for row in rows for name in ("vertex", "other_vertex"))
        return list(filter(self.is_undecided, rows))

    def is_undecided(self, row: Mapping[str, Any]) -> bool:
        """Whether no verdict holds between `vertex` and `other_vertex`, directly or through confirmed copies."""
        self.know((row["vertex"], row["other_vertex"]))
        by_vertex = self._connected_with(row["vertex"]).by_vertex
        own, other = (by_vertex.get(row[name]) for name in ("vertex", "other_vertex"))
        if own is None or other is None:
            return True
        return other.duplicate_set not in (own.duplicate_set, *own.apart, *own.alternates)

    def history(self, vertices: Iterable[str]) -> list[Verdict]:
        """All verdicts on exactly these vertices, by time."""
        ends = frozenset(vertices)
        self.know(ends)
        return self._by_ends.get(ends, [])

    def latest(self, vertices: Iterable[str], *, of_pair: bool) -> Verdict | None:
        """The verdict that holds on exactly these vertices; None if there is none, or the last one was withdrawn.

        Args:
            vertices: one or two.
            of_pair: of verdicts that name two images, else of those that name one; two may have equal pixels.
        """
        history = [one for one in self.history(vertices) if (one.other_image_id is not None) == of_pair]
        people = [one for one in history if not one.is_rule]
        last = (people or history)[-1:]
        return last[0] if last and last[0].verdict != WITHDRAWN else None

    def unanswered(self, conflicts: Sequence[tuple[dt.datetime, frozenset[str], bool]]) -> list[bool]:
        """For each conflict, whether no verdict on its images came after it began.

        A verdict on one image alone does not answer a conflict about two: it may be about other pairs of this image.

        Args:
            conflicts: since when, the ids of the images, and whether the verdict in conflict names two images.
        """
        with scratch_beside(self._now) as scratch:
            scratch.put_texts("named", word=sorted({name for _, ids, _ in conflicts for name in ids}))
            rows = scratch.query(_ON_NAMED).to_pylist() if conflicts else []
        on: dict[frozenset[str], list[Row]] = {}
        for row in rows:
            on.setdefault(frozenset(_named_by(row)), []).append(row)

        def answered(since: dt.datetime, ids: frozenset[str], is_of_pair: bool) -> bool:
            alone = [row for one in ids for row in on.get(frozenset((one,)), ()) if not is_of_pair]
            about = [*on.get(ids, ()), *(row for row in alone if row["verdict"] in (KEEPER, WITHDRAWN))]
            return any(micros(row["decided_at"]) > micros(since) for row in about)

        return [not answered(*conflict) for conflict in conflicts]

    def conflicts_with(self, vertices: Iterable[str]) -> list[str]:
        """The contradictions of a verdict on these vertices with others, in words."""
        ends, said = frozenset(vertices), []
        self.know(ends)
        for conflict in self._connected_with(min(ends)).conflicts if ends else ():
            both = [one for one in (conflict.decision, conflict.against) if one is not None]
            if any(_ends(one) == ends for one in both):
                words = ", ".join(f"{one.author} says {one.verdict} ({_named(one)})" for one in both)
                said.append(f"{words}: {MEANING[conflict.kind]}")
        return said


def _named_by(row: Row) -> Iterator[str]:
    return filter(None, (row["image_id"], row["other_image_id"]))


def _ends(verdict: Verdict) -> frozenset[str]:
    return frozenset(filter(None, (verdict.vertex, verdict.other)))


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
