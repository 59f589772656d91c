"""What a night would do with one more image: its pairs, its group, its keeper.

The image is added to what the index shows, and the same programs run as in a night, on the rows that it concerns: the
contents of equal pixels, the candidates of its content, and the component of accepted pairs around it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dupelake.fingerprint.fingerprint import Fingerprint
from dupelake.frames.functions import locally
from dupelake.group.decisions_stage import resolve_decisions
from dupelake.group.ids_stage import inherited_ids
from dupelake.group.stage import member_rows
from dupelake.ingest.new_images_stage import FORGOTTEN
from dupelake.ingest.uris import plain_uri
from dupelake.lookup.answer import COPY, NEW, Answer, Group, Pair
from dupelake.lookup.by_profile import FAST
from dupelake.lookup.candidates import Probe, candidates
from dupelake.lookup.index import Index
from dupelake.lookup.measure import Measured, frame_of, measured_pairs, pairs_of_equal_pixels, rows_of
from dupelake.lookup.state import columns_of
from dupelake.propose.mih import Codes, words_of
from dupelake.propose.srp import srp_codes
from dupelake.verify.in_words import evidence_lines
from dupelake.warehouse.schema import (
    DECIDED,
    DECISIONS,
    GROUP_CHANGES,
    GROUPS,
    HASHES,
    IMAGES,
    JOINED,
    OK,
    PAIRS,
)

log = logging.getLogger(__name__)
_OF_FAST = frozenset(("pixel", "phash", "pdq"))  # of `pairs.found_by`
_FORGOTTEN = "`dupelake forget` took this image out, and no night takes it in again; undo it with --undo"
Row = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class Given:
    """An image that was read.

    Attributes:
        name: as it was given.
        image_id: the id that a night would give it.
        uri: that a manifest would give it, or None.
        scope: as a manifest would give it.
        file_id: of the file, or None.
        shown: its fingerprint.
        embedding: little-endian float16, or None.
    """

    name: str
    image_id: str
    uri: str | None
    scope: str
    file_id: str | None
    shown: Fingerprint
    embedding: bytes | None


class Night:
    """The state of the warehouse after a night that takes in one more image, as far as the image concerns it."""

    def __init__(self, index: Index, given: Given) -> None:
        self.index, self.given = index, given
        self._state, self._config = index.state, index.config
        self._hash_row = hash_row(given.shown, str(index.versions["hash"]))
        self.is_known = bool(self._state.rows(HASHES, "content_id", [given.shown.content_id]))
        stored = self._state.rows(HASHES, "pixel_digest", [given.shown.pixel_digest])
        self._class = {row["content_id"]: row for row in stored} | {given.shown.content_id: self._hash_row}
        self._representative = min(self._class)
        before = [one for one in self._class if one != given.shown.content_id or self.is_known]
        self._was = min(before, default=None)  # the representative in the stored night
        own = {"content_id": given.shown.content_id, "scope": given.scope, "file_id": given.file_id}
        read = {name: getattr(given.shown, name) for name in ("byte_size", "width_px", "height_px", "format")}
        names = {"image_id": given.image_id, "uri": given.uri, "status": OK, "deleted_at": None, "captured_at": None}
        self._image: Row = {**dict.fromkeys(columns_of(IMAGES)), **own, **read, **names}

    def answer(self) -> Answer:
        """The answer."""
        with locally():
            if self._is_forgotten():
                return replace(self._answer(NEW), reason=FORGOTTEN, message=_FORGOTTEN)
            new_pairs = self._pairs()
            return self._grouped(new_pairs)

    def _is_forgotten(self) -> bool:
        """Whether the image at this URI was forgotten, so that no night takes it in (`new_images_stage`)."""
        stored = self._state.images_at([plain_uri(self.given.uri or "")])
        stored = [row for row in stored if "" in (row["scope"], self.given.scope) or row["scope"] == self.given.scope]
        own = [row for row in stored if row["image_id"] == self.given.image_id] or stored
        return bool(own) and all(row["deleted_at"] is not None and row["deleted_reason"] == FORGOTTEN for row in own)

    def _answer(self, status: str) -> Answer:
        """An answer without a group."""
        own = self.given.shown.content_id
        return Answer(
            image=self.given.name,
            status=status,
            image_id=self.given.image_id,
            scope=self.given.scope,
            content_id=own,
            is_stored=any(
                row["deleted_at"] is None and self._compared_in(row["scope"]) == self._compared_in(self.given.scope)
                for row in self._state.rows(IMAGES, "content_id", [own])
            ),
        )

    def _compared_in(self, scope: str) -> str:
        return "" if self._config.lsh.scope == "across" else scope

    def _images_of(self, contents: Iterable[str]) -> list[Row]:
        """All images of contents, deleted ones too; the new image in place of what is stored under its id."""
        wanted = set(contents)
        rows = self._state.rows(IMAGES, "content_id", wanted)
        rows = [row for row in rows if row["image_id"] != self.given.image_id]
        return [*rows, self._image] if self.given.shown.content_id in wanted else rows

    def _pairs(self) -> dict[Key, Row]:
        """The pairs that the night would measure, by their ends, and those of equal pixels."""
        pixel = pairs_of_equal_pixels(list(self._class.values()), self._config.decide)
        found = self._measured() if not self.given.shown.is_low_information else []
        return {(row["src_id"], row["dst_id"]): row for row in (*found, *pixel)}

    def _measured(self) -> list[Row]:
        images = self._state.rows(IMAGES, "content_id", self._class)
        live = {self._compared_in(row["scope"]) for row in images if row["deleted_at"] is None}
        joined = {row["scope"] for row in self._state.rows(JOINED, "content_id", [self._representative])}
        now = live | {self._compared_in(self.given.scope)}
        # A unit that is live and not joined follows the leaders of its burst.
        scopes = now - joined - (live if self._was == self._representative else set())
        if not scopes:
            return []
        number = self.index.number(self._representative)
        found = candidates(self.index, self._probe(number), sorted(scopes))
        ids = {other: self.index.content_id(other) for other in found}
        out = {*self._class, *self._left_out(scopes)}
        pairs = {_key(self._representative, ids[n]): by for n, by in found.items() if ids[n] not in out}
        contents = {self._representative: self._own(number)} | self._others([ids[n] for n in found], list(found))
        return measured_pairs(pairs, contents, self.index.versions, self._config.decide)

    def _left_out(self, scopes: set[str]) -> set[str]:
        """The content that the image shows so far, if no other image holds its pixels in the scopes."""
        before = [
            row for row in self._state.rows(IMAGES, "image_id", [self.given.image_id]) if row["deleted_at"] is None
        ]
        digests = {
            row["pixel_digest"] for row in self._state.rows(HASHES, "content_id", [r["content_id"] for r in before])
        }
        equal = {row["content_id"] for row in self._state.rows(HASHES, "pixel_digest", digests)}
        held = {self._compared_in(row["scope"]) for row in self._images_of(equal) if row["deleted_at"] is None}
        return set() if held & scopes else equal

    def _probe(self, number: int | None) -> Probe:
        if number is None or self._representative == self.given.shown.content_id:
            shown = self.given.shown
            phash, pdq = codes_of(shown)
            words, vector = shown.words, self.given.embedding
        else:
            phash, pdq = self.index.codes(number)
            words, vector = self.index.blob("words", number) or b"", self.index.blob("embedding", number)
        code = None
        if vector and self.index.centre is not None:
            dense = np.frombuffer(vector, "<f2").astype(np.float32)[None]
            code = srp_codes(dense, self.index.centre, self.index.plans["embedding"].n_bits)[0]
        return Probe(self._representative, phash, pdq, code, words if len(words) > 4 else None)

    def _own(self, number: int | None) -> Measured:
        if number is not None and self._representative != self.given.shown.content_id:
            return self._others([self._representative], [number])[self._representative]
        return Measured(self._hash_row, own_parts(self.given.shown), self.given.embedding)

    def _others(self, ids: list[str], numbers: list[int]) -> dict[str, Measured]:
        """Stored contents, as the join job reads them."""
        hashes = {row["content_id"]: row for row in self._state.rows(HASHES, "content_id", ids)}
        widths = self._full_widths({row["pixel_digest"] for row in hashes.values()})
        out = {}
        for one, number in zip(ids, numbers, strict=True):
            blobs = {kind: self.index.blob(kind, number) for kind in ("thumbnail", "keypoints", "descriptors")}
            parts: Row = {kind: data for kind, data in blobs.items() if data is not None}
            if "thumbnail" in parts:
                parts["width_px"] = self.index.thumbnail_width(number)
            digest = hashes[one]["pixel_digest"]
            if digest in widths:
                parts["full_width_px"] = widths[digest]
            out[one] = Measured(hashes[one], parts, self.index.blob("embedding", number))
        return out

    def _full_widths(self, digests: set[str]) -> dict[str, int]:
        """The widths of images by pixel digest, as `pipeline.contents.Contents.full_widths`."""
        of = {row["content_id"]: row["pixel_digest"] for row in self._state.rows(HASHES, "pixel_digest", digests)}
        if self.given.shown.pixel_digest in digests:
            of[self.given.shown.content_id] = self.given.shown.pixel_digest
        widths: dict[str, int] = {}
        for row in self._images_of(of):
            digest = of[row["content_id"]]
            widths[digest] = min(row["width_px"], widths.get(digest, row["width_px"]))
        return widths

    def _grouped(self, new: dict[Key, Row]) -> Answer:
        accepted = {key: row for key, row in new.items() if row["is_duplicate"]}
        hashes, pairs = self._component(accepted)
        images = self._images_of(hashes)
        verdicts = self._verdicts(set(hashes))
        rows: list[Row] = []
        if len(images) > 1:
            members = member_rows(
                frame_of(images, columns_of(IMAGES)),
                frame_of(list(hashes.values()), HASHES.columns),
                frame_of(list(pairs.values()), PAIRS.columns),
                self._config,
                lambda frame: frame,
                verdicts,
            )
            rows = rows_of(members.rows)
        mine = next((row for row in rows if row["image_id"] == self.given.image_id), None)
        group = None if mine is None else self._group(mine, rows, images)
        return replace(self._answer(NEW if mine is None else COPY), group=group, pairs=self._told(new))

    def _component(self, accepted: dict[Key, Row]) -> tuple[dict[str, Row], dict[Key, Row]]:
        """HASHES of the contents that pairs, equal pixels or verdicts connect with the image, and their pairs."""
        hashes: dict[str, Row] = {}
        pairs = dict(accepted)
        waiting = set(self._class)
        linked = self.index.said.linked
        no_unit = (
            self._was if self._was != self._representative else None
        )  # its pairs go: another content stands for the class
        while waiting:
            rows = self._state.rows(HASHES, "content_id", waiting)
            rows += [self._hash_row] if self.given.shown.content_id in waiting else []
            hashes |= {row["content_id"]: row for row in rows}
            near = {
                row["content_id"] for row in self._state.rows(HASHES, "pixel_digest", [r["pixel_digest"] for r in rows])
            }
            for row in (*self._state.rows(PAIRS, "src_id", waiting), *self._state.rows(PAIRS, "dst_id", waiting)):
                key = row["src_id"], row["dst_id"]
                is_of_class = key[0] in self._class and key[1] in self._class
                if not is_of_class and no_unit not in key and self._is_proposed(row):
                    pairs.setdefault(key, row)
            near |= {end for key in pairs if waiting & set(key) for end in key}
            near |= {end for one in waiting for end in linked.get(one, ())}
            waiting = near - hashes.keys()
            unknown = waiting - {row["content_id"] for row in self._state.rows(HASHES, "content_id", waiting)}
            waiting -= unknown - {self.given.shown.content_id}
        return hashes, {key: row for key, row in pairs.items() if hashes.keys() >= set(key)}

    def _is_proposed(self, pair: Row) -> bool:
        """Whether a night with the profile would have measured a stored pair."""
        return self.index.profile != FAST or not _OF_FAST.isdisjoint(pair["found_by"].split("+"))

    def _verdicts(self, contents: set[str]) -> Any:
        """VERDICTS that concern these contents; None if there are none."""
        if not contents & self.index.said.linked.keys():
            return None
        said = self.index.said.about(contents)
        if said is None:
            return None
        images = [self._image if row["image_id"] == self.given.image_id else row for row in said.images]
        shown = {row["content_id"] for row in (*said.decided, *images)}
        digests = {row["pixel_digest"] for row in self._state.rows(HASHES, "content_id", shown)}
        hashes = self._state.rows(HASHES, "pixel_digest", digests | {self.given.shown.pixel_digest})
        if not self.is_known:
            hashes.append(self._hash_row)
        return resolve_decisions(
            frame_of(said.decisions, DECISIONS.columns),
            frame_of(said.decided, DECIDED.columns),
            frame_of(images, columns_of(IMAGES)),
            frame_of(hashes, HASHES.columns),
            self._config,
        )

    def _group(self, mine: Row, rows: list[Row], images: list[Row]) -> Group:
        members = [row for row in rows if row["star"] == mine["star"]]
        stored = self._state.rows(GROUPS, "image_id", [row["image_id"] for row in rows])
        previous = self._state.rows(GROUPS, "group_id", {row["group_id"] for row in stored})
        births = self._state.rows(GROUP_CHANGES, "group_id", {row["group_id"] for row in stored})
        named, _ = inherited_ids(
            frame_of(rows, list(rows[0])),
            frame_of(previous, GROUPS.columns),
            frame_of(births, columns_of(GROUP_CHANGES)),
            lambda frame: frame,
        )
        group_id = next(row["inherited"] for row in rows_of(named) if row["star"] == mine["star"])
        keeper = next(row["image_id"] for row in members if row["is_keeper"])
        others = sorted(row["image_id"] for row in members if row["image_id"] != self.given.image_id)
        kept = {row["image_id"] for row in stored if row["is_keeper"]}
        link_to = next(
            (one for one in (keeper, *others) if one in others and (one == keeper or one in kept)), others[0]
        )
        uris = {row["image_id"]: row["uri"] for row in images}
        return Group(
            group_id,
            {name: value for name, value in mine.items() if name != "star"},
            (keeper, uris[keeper]),
            tuple(row["image_id"] for row in sorted(members, key=lambda row: row["image_id"])),
            (link_to, uris[link_to]),
        )

    def _told(self, new: dict[Key, Row]) -> tuple[Pair, ...]:
        """The pairs of the image's content, or of the content that stands for it, in the scope of the image."""
        mine = {self.given.shown.content_id, self._representative}
        rows = [row for key, row in new.items() if mine & set(key)]
        if not rows:
            return ()
        ends = [
            [end for end in (row["src_id"], row["dst_id"]) if end not in mine] or [self._representative] for row in rows
        ]
        scope = self._compared_in(self.given.scope)
        shown: dict[str, list[tuple[str, str | None]]] = {}
        for image in self._images_of({end[0] for end in ends}):
            if image["deleted_at"] is None and self._compared_in(image["scope"]) == scope:
                shown.setdefault(image["content_id"], []).append((image["image_id"], image["uri"]))
        told = [
            Pair(end[0], tuple(sorted(shown.get(end[0], ()), key=str)), row, "; ".join(evidence_lines(row)))
            for end, row in zip(ends, rows, strict=True)
        ]
        return tuple(sorted(told, key=lambda pair: (-pair.row["score"], pair.other)))


def _key(a: str, b: str) -> Key:
    return min(a, b), max(a, b)


def hash_row(shown: Fingerprint, version: str) -> Row:
    """The row of schema.HASHES of a fingerprint."""
    held = vars(shown) | {"hash_version": version}
    return {name: held[name] for name in HASHES.columns}


def codes_of(shown: Fingerprint) -> tuple[Codes, Codes]:
    """PHash, uint64 (2,), and PDQ, uint64 (8,), straight and mirrored."""
    phash = np.array([shown.phash, shown.phash_mirrored], np.int64).view(np.uint64)
    return phash, words_of(np.frombuffer(shown.pdq + shown.pdq_mirrored, np.uint8)[None])[0]


def own_parts(shown: Fingerprint) -> Row:
    """`verify.aligning.PARTS` of a fingerprint."""
    return {
        "thumbnail": shown.thumbnail_bytes,
        "width_px": shown.thumbnail_width_px,
        "full_width_px": shown.width_px,
        "keypoints": shown.keypoints,
        "descriptors": shown.descriptors,
    }
