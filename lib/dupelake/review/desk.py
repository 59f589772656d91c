"""Hands pairs to reviewers and takes their verdicts: leases, what others said meanwhile, undo.

A pair that was handed to one reviewer is leased to her: nobody else gets it until she has judged it or gives no sign of
life for LEASE_S. A verdict says which verdicts its author had seen; if another came in since, it is not stored but
shown. That is judged while the lock for writing verdicts is held, so it also holds for `dupelake decide` and for other
servers of the warehouse. A verdict on an image that is gone, or whose content is not that of the card, is refused.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dupelake.config import Config
from dupelake.errors import ChangedError, ConfigError
from dupelake.group.giving import Line, give
from dupelake.group.verdicts import KEEPER, WITHDRAWN, Verdict
from dupelake.review.cards import Card, CardReader, Given
from dupelake.review.ledger import Ledger
from dupelake.review.order import ordered
from dupelake.serve.book import DeltaBook
from dupelake.warehouse.reader import Reader, micros

LEASE_S = 600.0
UNDO = "undo"
ADDED, MEANWHILE, REFUSED = "added", "meanwhile", "refused"
_CHANGED = "the picture changed or is gone since it was shown; load the page again"
_RELOAD_S = 10.0  # least time between two searches for more pairs

Row = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What a reviewer says of a pair.

    Attributes:
        key: of the card.
        action: one of `Card.actions`, or UNDO.
        seen: the time of the newest verdict on the pair that the reviewer has seen, in microseconds; 0 for none.
    """

    key: str
    action: str
    seen: int


@dataclass(frozen=True)
class _Plan:
    """What a verdict writes."""

    said: Said
    card: Card
    lines: list[Given]


class _Meanwhile(Exception):
    """Others have said something that the reviewer has not seen."""


class Desk:
    """The pairs of a warehouse that are to be judged, and who judges them. Safe for several threads.

    Args:
        folder: of the warehouse.
        config: of the last run.
        limit: pairs in the queue.
        wait_s: for the lock for writing verdicts.
        clock: seconds; for tests.
    """

    def __init__(
        self, folder: Path, config: Config, limit: int, wait_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._config, self._limit, self._wait_s, self._clock = folder, config, limit, wait_s, clock
        self._reader = Reader(folder)
        self._ledger = Ledger(self._reader, config)
        self.pictures = CardReader(self._reader, config)
        self._lock = threading.RLock()  # of what is below, for moments
        self._writing = threading.Lock()  # held while verdicts are written, so that pairs are handed out meanwhile
        self._cards: dict[str, Card] = {}  # in order; those that were judged stay, for undo
        self._judged: dict[str, int] = {}  # key: when, in microseconds
        self._leases: dict[str, tuple[str, str, float]] = {}  # key: session, author, until
        self._loaded_at = -float("inf")
        # By session and card: what takes its verdict back; empty where nothing of it is stored.
        self._restore: dict[tuple[str, str], list[Given]] = {}
        self._images_version = self._ledger.images_version  # for which the cards were made, or looked through
        self._load()

    def _load(self) -> None:
        """Add the pairs that deserve a look now, after those that are known."""
        self._loaded_at = self._clock()
        asked = ordered(self._reader, self._ledger, self._config, self._limit)
        for card in self.pictures.cards(asked):
            known = self._cards.setdefault(card.key, card)
            if known.asked.since < card.asked.since:
                self._cards[card.key] = card
        self._ledger.know(vertex for card in self._cards.values() for vertex in card.vertices)

    def card(self, key: str) -> Card | None:
        """The card of this key, if it was in the queue."""
        return self._cards.get(key)

    def hand_out(self, session: str, author: str, n: int, skipped: Sequence[str], held: Sequence[str]) -> Row:
        """Lease up to `n` more pairs to a session, and renew the leases of those that it holds.

        Args:
            session: one window of a browser.
            author: who sits before it.
            n: 0 only renews.
            skipped: keys that it does not want now; they are free for others.
            held: keys that it has not judged yet.

        Returns:
            cards: new ones, each with `said`; said: by key what others have said of held pairs; counts.
        """
        with self._lock:
            self._refresh()
            now = self._clock()
            for key in skipped:
                if self._holder(key, now) == session:
                    del self._leases[key]
            for key in held:
                if key in self._cards and self._holder(key, now) in (None, session):
                    self._leases[key] = (session, author, now + LEASE_S)
            chosen = self._free(n, {*skipped, *held}, now)
            if len(chosen) < n and now - self._loaded_at >= _RELOAD_S:
                self._load()
                chosen = self._free(n, {*skipped, *held}, now)
            for card in chosen:
                self._leases[card.key] = (session, author, now + LEASE_S)
            return {
                "cards": [card.as_dict() | {"said": self._said(card)} for card in chosen],
                "said": {key: self._said(self._cards[key]) for key in held if key in self._cards},
                **self._counts(session, now),
            }

    def _holder(self, key: str, now: float) -> str | None:
        session, _, until = self._leases.get(key, ("", "", 0.0))
        return session if until > now else None

    def _free(self, n: int, unwanted: set[str], now: float) -> list[Card]:
        found: list[Card] = []
        for key, card in self._cards.items():
            if len(found) >= n:
                break
            if key not in unwanted and self._is_open(card) and self._holder(key, now) is None:
                found.append(card)
        return found

    def _is_open(self, card: Card) -> bool:
        """Whether the card waits for a verdict: no verdict settles the pair; nobody judged the conflict here since."""
        ends = card.vertices
        if card.asked.conflict is not None or len(set(ends)) != 2:
            return card.key not in self._judged or self._judged[card.key] < card.asked.since
        return self._ledger.is_undecided({"vertex": ends[0], "other_vertex": ends[1]})

    def _counts(self, session: str, now: float) -> Row:
        waiting = [card for card in self._cards.values() if self._is_open(card)]
        others: dict[str, int] = {}
        for card in waiting:
            holder, author, until = self._leases.get(card.key, ("", "", 0.0))
            if until > now and holder != session:
                others[author] = others.get(author, 0) + 1
        return {"left": len(waiting), "others": others}

    def _said(self, card: Card) -> list[Row]:
        """The verdicts on a card, by time, for people; side names the image, if a verdict is about one of two."""
        found = [(one, _side(card, ends)) for ends in _all_ends(card) for one in self._on(card, ends)]
        found.sort(key=lambda told: told[0].order())
        return [
            {"author": one.author, "verdict": one.verdict, "at": one.decided_at, "side": side} for one, side in found
        ]

    def _on(self, card: Card, ends: frozenset[str]) -> list[Verdict]:
        """The verdicts on both images of a card, or people's on one of them, by time."""
        history = self._ledger.history(ends)
        return [one for one in history if _side(card, ends) is None or not one.is_rule]

    def judge(self, session: str, author: str, said: Sequence[Said]) -> list[Row]:
        """Store verdicts, in one commit if all can be; one that is refused does not hold up the others.

        Returns:
            for each its key; status (ADDED, MEANWHILE or REFUSED); faults, why it was refused; said, all verdicts on
            the pair and its images; seen, the time of the newest; conflicts, contradictions with others in words.

        Raises:
            BusyError: others held the lock for too long.
        """
        with self._writing:
            plans = [self._plan(session, one) for one in said]
            sound = [plan for plan in plans if isinstance(plan, _Plan)]
            if len(sound) > 1 and len({plan.card.key for plan in sound}) == len(sound):
                try:
                    self._write(session, author, sound)
                except (_Meanwhile, ConfigError):
                    pass  # one by one, so that the others are stored
                else:
                    return [self._stored(session, author, p) if isinstance(p, _Plan) else p for p in plans]
            return [self._judge_one(session, author, one) for one in said]

    def _judge_one(self, session: str, author: str, said: Said) -> Row:
        plan = self._plan(session, said)
        if not isinstance(plan, _Plan):
            return plan
        try:
            self._write(session, author, [plan])
        except _Meanwhile:
            self._restore.setdefault((session, said.key), [])
            return _outcome(said.key, MEANWHILE, [], **self._now(plan.card))
        except ChangedError:
            self._drop_changed()
            return _outcome(said.key, REFUSED, [_CHANGED], **self._now(plan.card))
        except ConfigError as error:
            return _outcome(said.key, REFUSED, error.faults, **self._now(plan.card))
        return self._stored(session, author, plan)

    def _refresh(self) -> None:
        """Read the new verdicts, and drop cards if images changed or are gone."""
        self._ledger.refresh()
        if self._images_version != self._ledger.images_version:
            self._images_version = self._ledger.images_version
            self._drop_changed()

    def _drop_changed(self) -> None:
        """Drop the cards whose pictures are not those that they show, so that a page loaded again shows others."""
        with self._lock:
            now = self.pictures.cards([card.asked for card in self._cards.values()])
            same = {card.key for card in now}
            self._cards = {key: card for key, card in self._cards.items() if key in same}
            self._loaded_at = -float("inf")

    def _plan(self, session: str, said: Said) -> _Plan | Row:
        """What a verdict writes, or its refusal."""
        with self._lock:
            card = self._cards.get(said.key)
            if card is None:
                return _outcome(said.key, REFUSED, ["the pair is not in the queue; load the page again"])
            if said.action == UNDO:
                lines = self._restore.get((session, card.key))
                if not lines:
                    told = "the server was started since, and does not know what held before; judge the pair again"
                    if lines is not None:
                        told = "no verdict of this window is stored on the pair, so there is nothing to take back"
                    return _outcome(said.key, REFUSED, [told], **self._now(card))
            elif said.action in card.actions():
                lines = card.lines(said.action)
            else:
                return _outcome(said.key, REFUSED, [f"{said.action} makes no sense of this pair"])
            return _Plan(said, card, lines)

    def _write(self, session: str, author: str, plans: Sequence[_Plan]) -> None:
        lines = [(plan.card.contents, *line) for plan in plans for line in plan.lines]
        named = [
            Line(f"verdict {n}", a, verdict, b, None, shown.get(a), shown.get(b or ""))
            for n, (shown, a, b, verdict) in enumerate(lines, 1)
        ]
        # A verdict that others have contradicted since is new, though its author gave it before.
        again = not all(self._is_known(plan, author) for plan in plans)
        restore: dict[tuple[str, str], list[Given]] = {}
        judged: dict[str, int] = {}

        def look() -> None:
            """Called with the lock for writing verdicts held, before anything is written."""
            with self._lock:
                self._refresh()
                if any(plan.card.key not in self._cards for plan in plans):
                    raise ChangedError([_CHANGED])
                self._refuse_unseen(author, plans)
                now = micros(dt.datetime.now(dt.UTC))  # with the lock: what others say from now on is later
                for plan in plans:
                    judged[plan.card.key] = now
                    key = session, plan.card.key
                    # After a request that was sent twice, undo gives back what held before the first.
                    if not self._restore.get(key) or not self._is_known(plan, author):
                        restore[key] = [self._holds_now(plan.card, line) for line in plan.lines]

        give(_CarefulBook(self._folder, self._wait_s, look), named, author, again=again)
        with self._lock:
            self._restore |= restore
            self._judged |= judged

    def _stored(self, session: str, author: str, plan: _Plan) -> Row:
        card = plan.card
        with self._lock:
            if plan.said.action == UNDO:
                self._judged.pop(card.key, None)
                self._restore[session, card.key] = []
                self._leases[card.key] = (session, author, self._clock() + LEASE_S)
            else:
                self._leases.pop(card.key, None)
            self._ledger.refresh()
            conflicts = self._ledger.conflicts_with(card.vertices)
            return _outcome(card.key, ADDED, [], **self._now(card), conflicts=conflicts)

    def _holds_now(self, card: Card, line: Given) -> Given:
        """The verdict that would restore what holds now on the images of a line."""
        latest = self._holding(card, line)
        return (line[0], line[1], WITHDRAWN) if latest is None else _given(latest)

    def _holding(self, card: Card, line: Given) -> Verdict | None:
        return self._ledger.latest(card.vertices_of(line), of_pair=line[1] is not None)

    def _is_known(self, plan: _Plan, author: str) -> bool:
        """Whether the author's verdicts hold already, as after a request that was sent twice."""
        now = [self._holding(plan.card, line) for line in plan.lines]
        pairs = zip(now, plan.lines, strict=True)
        return all(one is not None and (one.verdict, one.author) == (line[2], author) for one, line in pairs)

    def _refuse_unseen(self, author: str, plans: Sequence[_Plan]) -> None:
        for plan in plans:
            says = {frozenset(plan.card.vertices_of(line)): line for line in plan.lines}
            keeps = any(verdict == KEEPER for _, _, verdict in plan.lines)
            for ends in _all_ends(plan.card):
                unseen = [one for one in self._on(plan.card, ends) if one.decided_at > plan.said.seen]
                if _side(plan.card, ends) is not None:  # she knows which keepers she chose on other pairs
                    unseen = [one for one in unseen if one.author != author]
                if not unseen:
                    continue
                if ends in says and _meaning(_given(unseen[-1])) != _meaning(says[ends]):
                    raise _Meanwhile
                # The keeper of the other image contradicts this one.
                if ends not in says and (len(ends) > 1 or (keeps and unseen[-1].verdict == KEEPER)):
                    raise _Meanwhile

    def _now(self, card: Card) -> Row:
        with self._lock:
            history = self._said(card)
        return {"said": history, "seen": max((one["at"] for one in history), default=0)}


class _CarefulBook(DeltaBook):
    """A book that looks once more, when it has the lock, whether the verdicts may be written."""

    def __init__(self, folder: Path, wait_s: float, look: Callable[[], None]) -> None:
        super().__init__(folder, wait_s)
        self._look = look

    @contextmanager
    def held(self, who: str) -> Iterator[Callable[[], None]]:
        with super().held(who) as check:
            self._look()
            yield check


def _all_ends(card: Card) -> set[frozenset[str]]:
    """The vertices of a card together, and each alone, about which there may be verdicts."""
    return {frozenset(card.vertices), *(frozenset((one,)) for one in card.vertices)}


def _side(card: Card, ends: frozenset[str]) -> str | None:
    """The image of a card of which alone a verdict on these vertices is; None if it is about all of the card."""
    if ends == frozenset(card.vertices):
        return None
    return "left" if card.left.vertex in ends else "right"


def _given(verdict: Verdict) -> Given:
    return verdict.image_id, verdict.other_image_id, verdict.verdict


def _meaning(given: Given) -> tuple[str, str]:
    """What a verdict says of its vertices: two images of equal pixels can be keepers in turn."""
    return given[2], given[0] if given[2] == KEEPER else ""


def _outcome(key: str, status: str, faults: Sequence[str], **more: Any) -> Row:
    return {"key": key, "status": status, "faults": list(faults), "said": [], "seen": 0, "conflicts": []} | more
