"""Copies among the images of one check: each image against those before it, by the same generators and decision."""

from __future__ import annotations

from typing import Any

import numpy as np

from dupelake.frames.functions import locally
from dupelake.lookup.index import Index
from dupelake.lookup.measure import Measured, measured_pairs
from dupelake.lookup.night import Given, hash_row, own_parts
from dupelake.propose.mih import Codes, meeting, words_of
from dupelake.propose.word_blocks_stage import proposed
from dupelake.words.votes import LEFT, RIGHT, unpack_block

_NO_WORDS = b"\0" * 4
_WORDS_AT_ONCE = 2048  # earlier images whose words are compared at once


class Beside:
    """The images of a check so far. It grows by some 90 KB an image.

    Args:
        index: its options and versions decide.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._version = str(index.manifest.versions["hash"])
        self._held: list[Given] = []
        self._first: dict[str, int] = {}  # of each content and of each pixel digest
        self._phash, self._pdq = np.empty((0, 2), np.uint64), np.empty((0, 8), np.uint64)

    def copies_of(self, given: Given) -> tuple[dict[str, Any], ...]:
        """The earlier images that are copies of this one, as image, kind and score; then it is kept for later ones."""
        shown = given.shown
        for key, kind in ((shown.content_id, "exact"), (shown.pixel_digest, "pixel")):
            if key in self._first:
                return ({"image": self._held[self._first[key]].name, "kind": kind, "score": 1.0},)
        phash = np.array([shown.phash, shown.phash_mirrored], np.int64).view(np.uint64)
        pdq = words_of(np.frombuffer(shown.pdq + shown.pdq_mirrored, np.uint8)[None])[0]
        copies: tuple[dict[str, Any], ...] = ()
        if not shown.is_low_information:
            copies = self._compared(given, phash, pdq)
        number = len(self._held)
        self._held.append(given)
        self._first |= {shown.content_id: number, shown.pixel_digest: number}
        self._phash, self._pdq = np.vstack([self._phash, phash]), np.vstack([self._pdq, pdq])
        return copies

    def _compared(self, given: Given, phash: Codes, pdq: Codes) -> tuple[dict[str, Any], ...]:
        found: dict[int, set[str]] = {}
        for name, code, codes in (("phash", phash, self._phash), ("pdq", pdq, self._pdq)):
            half, plan = len(code) // 2, self._index.plans[name]
            met = [meeting(code[:half], codes[:, :half], plan)]
            if self._index.config.lsh.mirrored:
                met += [meeting(code[half:], codes[:, :half], plan), meeting(code[:half], codes[:, half:], plan)]
            for number in np.unique(np.concatenate(met)).tolist():
                found.setdefault(number, set()).add(name)
        for number in self._by_words(given):
            found.setdefault(number, set()).add("words")
        others = {n: self._held[n] for n in found if not self._held[n].shown.is_low_information}
        ids = {other.shown.content_id: other for other in others.values()}
        own = given.shown.content_id
        pairs = {
            (min(own, o.shown.content_id), max(own, o.shown.content_id)): "+".join(sorted(found[n]))
            for n, o in others.items()
        }
        contents = {one.shown.content_id: self._measured(one) for one in (given, *others.values())}
        with locally():
            rows = measured_pairs(pairs, contents, self._index.manifest.versions, self._index.config.decide)
        return tuple(
            {"image": ids[row["dst_id"] if row["src_id"] == own else row["src_id"]].name, **_said(row)}
            for row in sorted(rows, key=lambda row: -row["score"])
            if row["is_duplicate"]
        )

    def _by_words(self, given: Given) -> set[int]:
        found: set[int] = set()
        if not self._index.config.lsh.words:
            return found
        for start in range(0, len(self._held), _WORDS_AT_ONCE):
            some = [*self._held[start : start + _WORDS_AT_ONCE], given]
            order = sorted(range(len(some)), key=lambda at: some[at].shown.content_id)
            sides = np.where(np.array(order) == len(some) - 1, LEFT, RIGHT).astype(np.uint8)
            block = unpack_block([some[at].shown.words or _NO_WORDS for at in order])
            for low, high in proposed(block, np.zeros(len(some), np.int64), sides, self._index.config.lsh):
                ends = {order[at] for at in (*low.tolist(), *high.tolist())}
                found |= {start + at for at in ends if at < len(some) - 1}
        return found

    def _measured(self, given: Given) -> Measured:
        return Measured(hash_row(given.shown, self._version), own_parts(given.shown), given.embedding)


def _said(row: dict[str, Any]) -> dict[str, Any]:
    return {"kind": row["kind"], "score": row["score"]}
