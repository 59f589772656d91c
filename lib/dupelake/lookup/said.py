"""People's verdicts in the index: the contents that they connect, and those about some contents."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from dupelake.lookup.state import State
from dupelake.warehouse.schema import DECIDED, DECISIONS, IMAGES

Row = dict[str, Any]


@dataclass(frozen=True)
class About:
    """The verdicts about some contents.

    Attributes:
        decisions: schema.DECISIONS.
        decided: schema.DECIDED, of the named images.
        images: the named images, as in schema.IMAGES.
    """

    decisions: list[Row]
    decided: list[Row]
    images: list[Row]


@dataclass(frozen=True)
class Said:
    """All verdicts of the index, by the images that they name.

    Attributes:
        decisions: schema.DECISIONS.
        naming: {image_id: places in `decisions`}.
        decided: {image_id: its rows of schema.DECIDED}.
        images: {image_id: its row of schema.IMAGES} of the named images.
        shown_by: {content_id: the named images that show it now, or showed it when somebody decided}.
        linked: for each content of a named image, all contents that a verdict names together with it.
    """

    decisions: list[Row]
    naming: dict[str, list[int]]
    decided: dict[str, list[Row]]
    images: dict[str, Row]
    shown_by: dict[str, set[str]]
    linked: dict[str, set[str]]

    @staticmethod
    def of(state: State) -> Said:
        """The verdicts of an index."""
        decisions = state.rows(DECISIONS)
        naming: dict[str, list[int]] = {}
        for place, row in enumerate(decisions):
            for one in _named(row):
                naming.setdefault(one, []).append(place)
        images = {row["image_id"]: row for row in state.rows(IMAGES, "image_id", naming)}
        decided: dict[str, list[Row]] = {}
        shown: dict[str, set[str]] = {}
        for row in state.rows(DECIDED):
            decided.setdefault(row["image_id"], []).append(row)
        for row in (*(row for rows in decided.values() for row in rows), *images.values()):
            if row["content_id"]:
                shown.setdefault(row["image_id"], set()).add(row["content_id"])
        shown_by: dict[str, set[str]] = {}
        for one, contents in shown.items():
            for content in contents:
                shown_by.setdefault(content, set()).add(one)
        linked: dict[str, set[str]] = {}
        for row in decisions:
            both = {content for one in _named(row) for content in shown.get(one, ())}
            for content in both:
                linked.setdefault(content, set()).update(both)
        return Said(decisions, naming, decided, images, shown_by, linked)

    def about(self, contents: Collection[str]) -> About | None:
        """The verdicts about some contents; None if there are none."""
        named = {one for content in contents for one in self.shown_by.get(content, ())}
        numbers = sorted({n for one in named for n in self.naming.get(one, ())})
        if not numbers:
            return None
        decisions = [self.decisions[n] for n in numbers]
        others = {one for row in decisions for one in _named(row)}
        decided = [row for one in sorted(others) for row in self.decided.get(one, ())]
        images = [self.images[one] for one in sorted(others) if one in self.images]
        return About(decisions, decided, images)


def _named(decision: Row) -> tuple[str, ...]:
    return tuple(one for one in (decision["image_id"], decision["other_image_id"]) if one)
