"""The pairs to look at, with all that a page shows of them: names, sizes, thumbnails, measures, and the alignment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dupelake.config import Config
from dupelake.group.decisions_stage import TWO_KEEPERS
from dupelake.group.verdicts import (
    ALTERNATE,
    DIFFERENT_SCOPES,
    DUPLICATE,
    KEEPER,
    NOT_DUPLICATE,
    UNKNOWN_IMAGE,
    WITHDRAWN,
)
from dupelake.review.order import CONFLICT, Asked
from dupelake.review.words import headline, how_sure
from dupelake.runtime.redaction import redact_uris
from dupelake.runtime.run_report import human_bytes
from dupelake.verify.aligning import PARTS, Laid, PictureCache, laid_on
from dupelake.verify.in_words import evidence_lines
from dupelake.warehouse.reader import Reader, quoted_list
from dupelake.warehouse.rules import LIVE, scope_in_sql

# Names are of the schema, and texts are quoted.
# ruff: noqa: S608

KEEP_LEFT, KEEP_RIGHT = "keep_left", "keep_right"
ACTIONS = (DUPLICATE, NOT_DUPLICATE, ALTERNATE, KEEP_LEFT, KEEP_RIGHT, WITHDRAWN)
"""What a reviewer can say of a pair; `lines` says which verdicts these are."""

Row = dict[str, Any]
Given = tuple[str, str | None, str]
"""A verdict: image_id, other_image_id or None, word."""


@dataclass(frozen=True)
class Shown:
    """One image as the page shows it.

    Attributes:
        image_id: as in `images`.
        uri: as in the manifest, without secrets; text, never a link.
        size: text with pixels, format and bytes, or with what is wrong.
        group: text about its group.
        reason: `groups.reason`; empty without a group.
        content_id: of its thumbnail; None for an image that is not there.
        vertex: its pixels in its scope; None for an image that is not there.
        size_px: width and height of the thumbnail; None without one.
    """

    image_id: str
    uri: str
    size: str
    group: str
    reason: str
    content_id: str | None
    vertex: str | None
    size_px: tuple[int, int] | None

    @property
    def name(self) -> str:
        """The end of its uri, by which people know it."""
        return self.uri.rstrip("/").rpartition("/")[2] or self.image_id

    def as_dict(self) -> Row:
        """Values for JSON."""
        return {**vars(self), "name": self.name}


@dataclass(frozen=True)
class Card:
    """Two images, or one, that a person should judge. The keeper is on the left, else the larger picture.

    Attributes:
        asked: the images, and why.
        left: one image.
        right: the other; None if a verdict names one image only.
        evidence: columns of PAIRS; None if the pair was never measured.
        left_is_src: whether the left image is the source of the evidence.
        headline: what the right picture is relative to the left one, in a few words.
        detail: the same in full; may be empty.
        sure: how sure the program is.
    """

    asked: Asked
    left: Shown
    right: Shown | None
    evidence: Mapping[str, Any] | None
    left_is_src: bool
    headline: str
    detail: str
    sure: str

    @property
    def key(self) -> str:
        """Names the card in requests: a digest of its images, left first, of what they show, and of its conflict."""
        shown = (f"{name}\n{content}" for name, content in self.contents.items())  # a verdict may name a side
        named = "\n".join((*shown, self.asked.conflict or ""))
        return hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:24]

    @property
    def vertices(self) -> tuple[str, ...]:
        """What the verdict is about."""
        return tuple(one.vertex for one in (self.left, self.right) if one is not None and one.vertex is not None)

    @property
    def contents(self) -> dict[str, str | None]:
        """{image_id: content id that is shown, None for an image that is not there}."""
        return {one.image_id: one.content_id for one in (self.left, self.right) if one is not None}

    def vertices_of(self, line: Given) -> tuple[str, ...]:
        """What a verdict on images of this card is about."""
        named = (line[0], line[1])
        both = [one for one in (self.left, self.right) if one is not None and one.image_id in named]
        return tuple(one.vertex for one in both if one.vertex is not None)

    def actions(self) -> tuple[str, ...]:
        """Which of ACTIONS make sense."""
        kind = self.asked.conflict
        if kind in (UNKNOWN_IMAGE, DIFFERENT_SCOPES) or len(self.vertices) < 2:
            return (WITHDRAWN,)
        if kind == TWO_KEEPERS:
            return KEEP_LEFT, KEEP_RIGHT
        if len(set(self.vertices)) == 1:  # equal pixels are copies, whatever people say
            return (KEEP_LEFT, KEEP_RIGHT, WITHDRAWN) if kind else (KEEP_LEFT, KEEP_RIGHT)
        return ACTIONS if self.asked.what == CONFLICT else ACTIONS[:-1]

    def lines(self, action: str) -> list[Given]:
        """The verdicts (image_id, other_image_id, verdict) that an action of `actions` stands for."""
        first, second = self.left.image_id, self.right.image_id if self.right is not None else None
        if action == WITHDRAWN:
            if second is None or self.asked.is_of_pair:
                return [(first, second, WITHDRAWN)]
            return [(first, None, WITHDRAWN), (second, None, WITHDRAWN)]  # each is the keeper of somebody
        if action not in (KEEP_LEFT, KEEP_RIGHT):
            return [(first, second, action)]
        kept, other = (first, second) if action == KEEP_LEFT else (second or first, first)
        keeper: Given = (kept, None, KEEPER)
        if self.asked.conflict == TWO_KEEPERS:
            return [keeper, (other or first, None, WITHDRAWN)]
        if len(set(self.vertices)) == 1 and not self.asked.is_of_pair:
            return [keeper]
        return [(first, second, DUPLICATE), keeper]

    def as_dict(self) -> Row:
        """Values for JSON."""
        return {
            "key": self.key,
            "what": self.asked.what,
            "why": self.asked.why,
            "headline": self.headline,
            "detail": self.detail,
            "sure": self.sure,
            "left": self.left.as_dict(),
            "right": None if self.right is None else self.right.as_dict(),
            "measures": evidence_lines(self.evidence) if self.right is not None else [],
            "lines": {action: self.lines(action) for action in self.actions()},
        }


class CardReader:
    """Reads what cards show.

    Args:
        reader: of the warehouse.
        config: `lsh.scope` and `decide.min_score` of the last run.
    """

    def __init__(self, reader: Reader, config: Config) -> None:
        self._reader, self._config = reader, config

    def cards(self, asked: Sequence[Asked]) -> list[Card]:
        """One card for each, in their order."""
        rows = self._images({name for one in asked for name in one.key})
        keys = {key for one in asked if (key := _key(one, rows)) is not None}
        evidence = self._evidence(keys)
        return [self._card(one, rows, evidence) for one in asked]

    def thumbnails(self, contents: Iterable[str]) -> dict[str, bytes]:
        """{content id: JPEG}."""
        wanted = f"content_id IN {quoted_list(sorted(set(contents)))} AND bytes IS NOT NULL"
        rows = self._reader.table("thumbnails", ("content_id", "bytes"), wanted)
        return {row["content_id"]: row["bytes"] for row in rows.to_pylist()}

    def maps(self, cards: Sequence[Card]) -> dict[str, Row]:
        """{key of a card: `map` of the right picture on the left one, `left_boxes` and `right_boxes`}.

        The map is a list of 9 numbers, a homography row by row in fractions of width and height; None if the two were
        not aligned. The boxes frame what differs: x, y, width, height in fractions of the picture.
        """
        ends = {card.key: _ends(card) for card in cards}
        pictures = PictureCache()
        pictures.received = self._parts({one for pair in ends.values() if pair is not None for one in pair})
        found: dict[str, Row] = {}
        for card in cards:
            pair = ends[card.key]
            laid = None if pair is None else laid_on({"content_id": pair[0], "dst_id": pair[1]}, pictures)
            found[card.key] = _placed(card, laid)
        return found

    def _parts(self, contents: Iterable[str]) -> dict[str, Row]:
        wanted = quoted_list(sorted(contents))
        rows = self._reader.query(
            f"SELECT t.content_id, t.bytes AS thumbnail, t.width_px, f.keypoints, f.descriptors FROM thumbnails t "
            f"LEFT JOIN (SELECT content_id, keypoints, descriptors FROM features WHERE content_id IN {wanted}) f "
            f"ON f.content_id = t.content_id WHERE t.content_id IN {wanted} AND t.bytes IS NOT NULL"
        ).to_pylist()
        return {row["content_id"]: {name: row[name] for name in PARTS if row.get(name) is not None} for row in rows}

    def _images(self, ids: Iterable[str]) -> dict[str, Row]:
        """{image_id: what is known of a live image}."""
        scope = scope_in_sql(self._config.lsh.scope, "i")
        wanted = quoted_list(sorted(ids))
        rows = self._reader.query(f"""
WITH own AS (SELECT * FROM images WHERE image_id IN {wanted} AND {LIVE}),
digests AS (SELECT pixel_digest, min(content_id) AS class_id FROM hashes WHERE pixel_digest IN (
  SELECT h.pixel_digest FROM hashes h JOIN own o ON o.content_id = h.content_id
) GROUP BY pixel_digest)
SELECT i.image_id, i.uri, i.content_id, {scope} AS scope, i.byte_size, i.width_px, i.height_px, i.format,
       coalesce(d.class_id, i.content_id) AS class_id, h.jpeg_quality, h.is_web_lossy,
       t.width_px AS thumbnail_width, t.height_px AS thumbnail_height,
       g.group_id, g.is_keeper, g.relation, g.is_removable, g.reason, g.group_size
FROM own i
LEFT JOIN hashes h ON h.content_id = i.content_id
LEFT JOIN digests d ON d.pixel_digest = h.pixel_digest
LEFT JOIN (SELECT content_id, width_px, height_px FROM thumbnails WHERE bytes IS NOT NULL) t
  ON t.content_id = i.content_id
LEFT JOIN groups g ON g.image_id = i.image_id
""").to_pylist()
        return {row["image_id"]: row for row in rows}

    def _evidence(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        wanted = set(keys)
        if not wanted:
            return {}
        ends = [quoted_list(sorted({key[end] for key in wanted})) for end in (0, 1)]
        rows = self._reader.table("pairs", None, f"src_id IN {ends[0]} AND dst_id IN {ends[1]}").to_pylist()
        return {key: row for row in rows if (key := (row["src_id"], row["dst_id"])) in wanted}

    def _card(self, asked: Asked, rows: Mapping[str, Row], evidence: Mapping[tuple[str, str], Row]) -> Card:
        names = [asked.image_id, *filter(None, (asked.other_image_id,))]
        names.sort(key=lambda name: _rank(name, rows))
        key = _key(asked, rows)
        measured = None if key is None else evidence.get(key)
        left_is_src = key is None or rows[names[0]]["class_id"] == key[0]
        shown = [_shown(name, rows.get(name)) for name in names]
        known = [rows.get(name) for name in names]
        said = "One of the two images is not there" if len(names) > 1 else "The image is not there", ""
        if known[0] is not None and (len(known) == 1 or known[1] is not None):
            said = headline(known[0], known[1] if len(known) > 1 else None, measured, left_is_src=left_is_src)
        sure = how_sure(measured)
        return Card(asked, shown[0], shown[1] if len(shown) > 1 else None, measured, left_is_src, *said, sure)


def _rank(name: str, rows: Mapping[str, Row]) -> tuple[bool, bool, int, str]:
    """Keepers go left, then the larger picture; an image that is not there goes right."""
    row = rows.get(name)
    if row is None:
        return True, True, 0, name
    return False, not row["is_keeper"], -(row["width_px"] or 0) * (row["height_px"] or 0), name


def _key(asked: Asked, rows: Mapping[str, Row]) -> tuple[str, str] | None:
    """The key in PAIRS of two images, if both exist and their pixels differ."""
    ends = {rows[name]["class_id"] for name in asked.key if name in rows}
    return (min(ends), max(ends)) if len(ends) == 2 else None


def _ends(card: Card) -> tuple[str, str] | None:
    """The contents whose alignment was measured: source and destination."""
    if card.evidence is None or card.evidence["aligned_ncc"] is None:
        return None
    return card.evidence["src_id"], card.evidence["dst_id"]


def _placed(card: Card, laid: Laid | None) -> Row:
    """What `maps` gives."""
    if laid is None:
        return {"map": None, "left_boxes": [], "right_boxes": []}
    on_left = np.linalg.inv(laid.on_dst) if card.left_is_src else laid.on_dst
    boxes = (laid.src_boxes, laid.dst_boxes) if card.left_is_src else (laid.dst_boxes, laid.src_boxes)
    values = (on_left / on_left[2, 2]).ravel().tolist()
    return {"map": values if np.isfinite(values).all() else None, "left_boxes": boxes[0], "right_boxes": boxes[1]}


def _shown(image_id: str, row: Row | None) -> Shown:
    if row is None:
        return Shown(image_id, "", "no image of this id is there", "", "", None, None, None)
    size = f"{row['width_px']}x{row['height_px']} {row['format'] or ''}, {human_bytes(row['byte_size'] or 0)}"
    if row["jpeg_quality"]:
        size += f", quality {row['jpeg_quality']:.0f}"
    group = "in no group"
    if row["group_id"] is not None:
        removable = ", removable" if row["is_removable"] else ""
        group = f"{row['relation']}{removable}, in a group of {row['group_size']}"
    thumbnail = None if row["thumbnail_width"] is None else (row["thumbnail_width"], row["thumbnail_height"])
    vertex = f"{row['class_id']}/{row['scope']}"
    uri = redact_uris(row["uri"] or "")
    return Shown(image_id, uri, size, group, row["reason"] or "", row["content_id"], vertex, thumbnail)
