"""What rules look at, as temporary tables: images with their groups, verdicts that hold, equal files of groups."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from dupelake.config import LshConfig
from dupelake.group.verdicts import RULE, WITHDRAWN, Verdict, combine
from dupelake.warehouse.rules import LIVE, OK
from dupelake.warehouse.scratch import Scratch

# Names are of this room and of the schema.
# ruff: noqa: S608

# One row for each image of a decision: what it showed when the decision was first seen, else what it shows now.
_ENDS = """WITH named AS (
  SELECT DISTINCT unnest(make_array(image_id, other_image_id)) AS image_id, decided_at FROM decisions
),
known AS (
  SELECT n.image_id, n.decided_at, coalesce(d.content_id, i.content_id) AS content_id,
    coalesce(i.scope, d.scope) AS scope
  FROM named n LEFT JOIN decided d ON d.image_id = n.image_id AND d.decided_at = n.decided_at
  LEFT JOIN (SELECT * FROM images WHERE status = '{ok}' AND content_id IS NOT NULL) i ON i.image_id = n.image_id
)
SELECT k.image_id, k.decided_at, coalesce(h.pixel_digest, k.content_id) || '/' || {scope} AS vertex
FROM known k LEFT JOIN hashes h ON h.content_id = k.content_id WHERE k.image_id IS NOT NULL"""


@dataclass(frozen=True)
class People:
    """The names of the tables of what people said; a rule says nothing there.

    Attributes:
        of_pairs: (low, high): pairs of vertices with a verdict of a person, one that was withdrawn too.
        of_keepers: (vertex): vertices with a person's verdict `keeper`.
        sets: (vertex, duplicate_set): confirmed copies.
        between: (low, high): duplicate sets that are kept apart, or are alternates.
    """

    of_pairs: str = "said_of_pairs"
    of_keepers: str = "said_of_keepers"
    sets: str = "confirmed"
    between: str = "kept_apart"


PEOPLE = People()


def make_tables(scratch: Scratch, lsh: LshConfig) -> None:
    """Make the tables `shown`, `equals`, `said`, `ruled_before`, and those of PEOPLE.

    `shown`: live images: image_id, uri, content_id, vertex (all images of one scope with equal pixels), scope (in which
    it is compared), own_scope, partition, captured_at, byte_size, pixels, format, jpeg_quality, has_exif, and of its
    group group_id, is_keeper, tier, keeper_content, keeper_image (all null without one).

    `equals`: the members of groups whose pixels equal those of their keeper: left and right (image ids), kind, score,
    is_duplicate. Table `pairs` has no row for them.

    `said`: decisions with low and high (vertices, high null for a keeper; null where an image is unknown), image_id,
    verdict, author, decided_at, is_rule.

    `ruled_before`: the latest verdict of a rule on each low and high that was not withdrawn.
    """
    scope = "''" if lsh.scope == "across" else "{}scope"
    scratch.make("shown", _SHOWN.format(live=LIVE, scope=scope.format("i.")))
    scratch.make(
        "equals",
        "SELECT m.image_id AS left, k.image_id AS right, m.kind, CAST(1.0 AS DOUBLE) AS score, true AS is_duplicate "
        "FROM groups m JOIN groups k ON k.group_id = m.group_id AND k.is_keeper "
        "WHERE NOT m.is_keeper AND m.kind IN ('exact', 'pixel')",
    )
    scratch.make("ends", _ENDS.format(ok=OK, scope=scope.format("k.")))
    scratch.make("said", _SAID)
    scratch.make("ruled_before", _RULED_BEFORE)
    _make_people(scratch)


def _make_people(scratch: Scratch) -> None:
    people = "FROM said WHERE NOT is_rule AND low IS NOT NULL AND"
    scratch.make(PEOPLE.of_pairs, f"SELECT DISTINCT low, high {people} high IS NOT NULL")
    scratch.make(PEOPLE.of_keepers, f"SELECT DISTINCT low AS vertex {people} high IS NULL")
    # People's verdicts are few.
    rows = scratch.query(
        f"SELECT low, high, verdict, author, decided_at, image_id {people} high IS NOT NULL"
    ).to_pylist()
    by_vertex, _ = combine(
        Verdict(row["low"], row["high"], row["verdict"], row["author"], _micros(row), row["image_id"], row["high"])
        for row in rows
    )
    sets = {"vertex": [v.vertex for v in by_vertex], "duplicate_set": [v.duplicate_set for v in by_vertex]}
    scratch.put(PEOPLE.sets, _texts(sets))
    apart = sorted({(v.duplicate_set, other) for v in by_vertex for other in (*v.apart, *v.alternates)})
    scratch.put(PEOPLE.between, _texts({"low": [a for a, _ in apart], "high": [b for _, b in apart]}))


def _micros(row: dict[str, object]) -> int:
    at = row["decided_at"]
    return int(pa.scalar(at, pa.timestamp("us", tz="UTC")).value)


def _texts(columns: dict[str, list[str]]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


_SHOWN = """WITH keepers AS (SELECT group_id, content_id, image_id FROM groups WHERE is_keeper)
SELECT i.image_id, i.uri, i.content_id, coalesce(h.pixel_digest, i.content_id) || '/' || {scope} AS vertex,
  {scope} AS scope, i.scope AS own_scope, i.partition, i.captured_at, i.byte_size,
  CAST(i.width_px AS BIGINT) * i.height_px AS pixels, i.format, h.jpeg_quality, h.has_exif,
  g.group_id, g.is_keeper, g.tier, k.content_id AS keeper_content, k.image_id AS keeper_image
FROM (SELECT * FROM images WHERE {live}) i LEFT JOIN hashes h ON h.content_id = i.content_id
LEFT JOIN groups g ON g.image_id = i.image_id LEFT JOIN keepers k ON k.group_id = g.group_id"""

_SAID = f"""SELECT
  CASE WHEN d.other_image_id IS NULL THEN a.vertex
    WHEN a.vertex IS NOT NULL AND b.vertex IS NOT NULL THEN least(a.vertex, b.vertex) END AS low,
  CASE WHEN a.vertex IS NOT NULL AND b.vertex IS NOT NULL THEN greatest(a.vertex, b.vertex) END AS high,
  d.image_id, d.other_image_id, d.verdict, d.author, d.decided_at, starts_with(d.author, '{RULE}') AS is_rule
FROM decisions d LEFT JOIN ends a ON a.image_id = d.image_id AND a.decided_at = d.decided_at
LEFT JOIN ends b ON b.image_id = d.other_image_id AND b.decided_at = d.decided_at"""

_RULED_BEFORE = f"""SELECT low, high, verdict, author FROM (
  SELECT *, row_number() OVER (PARTITION BY low, high ORDER BY decided_at DESC, verdict, author) AS place
  FROM said WHERE is_rule AND low IS NOT NULL
) WHERE place = 1 AND verdict <> '{WITHDRAWN}'"""
