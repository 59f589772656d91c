"""People's verdicts in the index: the contents that they connect, and those about some contents."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from dupelake.lookup.state import State
from dupelake.warehouse.schema import DECIDED, DECISIONS, IMAGES

Row = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """All verdicts of the index; people's verdicts are few.

    Attributes:
        decisions: schema.DECISIONS.
        decided: schema.DECIDED.
        images: the named images, as in schema.IMAGES.
        shown: the contents that each named image shows now, or showed when it was decided on.
        linked: for each content of a named image, all contents that a verdict names together with it.
    """

    decisions: list[Row]
    decided: list[Row]
    images: list[Row]
    shown: dict[str, set[str]]
    linked: dict[str, set[str]]

    @staticmethod
    def of(state: State) -> Said:
        """The verdicts of an index."""
        decisions, decided = state.rows(DECISIONS), state.rows(DECIDED)
        images = state.rows(IMAGES, "image_id", {one for row in decisions for one in _named(row)})
        shown: dict[str, set[str]] = {}
        for row in (*decided, *images):
            if row["content_id"]:
                shown.setdefault(row["image_id"], set()).add(row["content_id"])
        linked: dict[str, set[str]] = {}
        for row in decisions:
            both = {content for one in _named(row) for content in shown.get(one, ())}
            for content in both:
                linked.setdefault(content, set()).update(both)
        return Said(decisions, decided, images, shown, linked)

    def about(self, contents: Collection[str]) -> Said | None:
        """The verdicts about some contents; None if there are none."""
        decisions = [
            row
            for row in self.decisions
            if any(not self.shown.get(one, set()).isdisjoint(contents) for one in _named(row))
        ]
        if not decisions:
            return None
        named = {one for row in decisions for one in _named(row)}
        decided, images = ([row for row in rows if row["image_id"] in named] for rows in (self.decided, self.images))
        return Said(decisions, decided, images, self.shown, self.linked)


def _named(decision: Row) -> tuple[str, ...]:
    return tuple(one for one in (decision["image_id"], decision["other_image_id"]) if one)
