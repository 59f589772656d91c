"""Copies among the images of one check: each image against those before it, by the same generators and decision."""

from __future__ import annotations

import pickle
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from dupelake.frames.functions import locally
from dupelake.lookup.candidates import codes_near, found_by, passing_by_words, ways
from dupelake.lookup.index import Index
from dupelake.lookup.measure import Measured, measured_pairs
from dupelake.lookup.night import Given, codes_of, hash_row, own_parts
from dupelake.propose.mih import Codes
from dupelake.words.vocabulary import NO_WORD
from dupelake.words.votes import unpack_block

_CODES = ("phash", "pdq")


@dataclass(frozen=True)
class _Earlier:
    """An earlier image: what is compared with each later one, and where the rest lies in the file."""

    name: str
    content_id: str
    words: bytes
    at: int


class Beside:
    """The images of a check so far; some 5 KB of memory and 70 KB of a temporary file for each.

    Args:
        index: its options and versions decide.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._version = str(index.versions["hash"])
        self._held: list[_Earlier] = []
        self._first: dict[str, str] = {}  # name of the first image of each content and of each pixel digest
        self._codes = {"phash": np.empty((64, 2), np.uint64), "pdq": np.empty((64, 8), np.uint64)}
        self._having: tuple[dict[int, list[int]], ...] = (defaultdict(list), defaultdict(list))
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the object

    def copies_of(self, given: Given) -> tuple[dict[str, Any], ...]:
        """The earlier images that are copies of this one, as image, kind and score; then it is kept for later ones."""
        shown = given.shown
        for key, kind in ((shown.content_id, "exact"), (shown.pixel_digest, "pixel")):
            if key in self._first:
                return ({"image": self._first[key], "kind": kind, "score": 1.0},)
        self._first |= {shown.content_id: given.name, shown.pixel_digest: given.name}
        if shown.is_low_information:
            return ()
        codes = dict(zip(_CODES, codes_of(shown), strict=True))
        own = Measured(hash_row(shown, self._version), own_parts(shown), given.embedding)
        copies = self._compared(given, codes, own)
        self._keep(given, codes, own)
        return copies

    def _keep(self, given: Given, codes: dict[str, Codes], own: Measured) -> None:
        number = len(self._held)
        for name in _CODES:
            if number == len(self._codes[name]):
                self._codes[name] = np.concatenate([self._codes[name], np.empty_like(self._codes[name])])
            self._codes[name][number] = codes[name]
        self._held.append(_Earlier(given.name, given.shown.content_id, given.shown.words, self._file.seek(0, 2)))
        pickle.dump(own, self._file)
        block = unpack_block([given.shown.words])
        for having, cells in zip(self._having, (block.stored, block.second), strict=True):
            for cell in cells[cells != NO_WORD].tolist():
                having[cell].append(number)

    def _compared(self, given: Given, codes: dict[str, Codes], own: Measured) -> tuple[dict[str, Any], ...]:
        found: dict[int, set[str]] = {}
        is_mirrored = self._index.config.lsh.mirrored
        for name in _CODES:
            held = self._codes[name][: len(self._held)]
            for number in codes_near(codes[name], held, self._index.plans[name], mirrored=is_mirrored).tolist():
                found.setdefault(number, set()).add(name)
        for number in self._by_words(given):
            found.setdefault(number, set()).add("words")
        if not found:
            return ()
        mine = given.shown.content_id
        contents, pairs, names = {mine: own}, {}, {}
        for number, by in found.items():
            other = self._held[number]
            self._file.seek(other.at)
            contents[other.content_id] = pickle.load(self._file)  # noqa: S301 - this process wrote it
            names[other.content_id] = other.name
            key = min(mine, other.content_id), max(mine, other.content_id)
            pairs[key] = found_by(by)
        with locally():
            rows = measured_pairs(pairs, contents, self._index.versions, self._index.config.decide)
        return tuple(
            {
                "image": names[row["dst_id"] if row["src_id"] == mine else row["src_id"]],
                "kind": row["kind"],
                "score": row["score"],
            }
            for row in sorted(rows, key=lambda row: (-row["score"], row["src_id"], row["dst_id"]))
            if row["is_duplicate"]
        )

    def _by_words(self, given: Given) -> set[int]:
        lsh = self._index.config.lsh
        own = unpack_block([given.shown.words])
        if not lsh.words or not len(own.stored):
            return set()
        enough: set[int] = set()
        for way in ways(own, mirrored=lsh.mirrored):
            met = [
                number
                for having, cells in zip(self._having, way, strict=True)
                for cell in np.concatenate(cells).tolist()
                for number in having.get(cell, ())
            ]
            numbers, votes = np.unique(np.array(met, np.int64), return_counts=True)
            enough |= set(numbers[votes >= lsh.word_min_votes].tolist())
        held = {self._held[number].content_id: number for number in enough}
        others = {one: self._held[number].words for one, number in held.items()}
        nothing = np.empty(0, np.uint32)
        return {held[one] for one in passing_by_words(given.shown.content_id, given.shown.words, others, nothing, lsh)}
