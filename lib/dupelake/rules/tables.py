"""What rules look at, as temporary tables: images with their groups, verdicts that hold, equal files of groups."""

from __future__ import annotations

from dataclasses import dataclass

from dupelake.config import LshConfig
from dupelake.group.verdicts import RULE, WITHDRAWN, Verdict, combine
from dupelake.warehouse.reader import micros
from dupelake.warehouse.rules import LIVE, OK, scope_in_sql
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
SELECT k.image_id, k.decided_at, k.content_id, h.pixel_digest,
  coalesce(h.pixel_digest, k.content_id) || '/' || {scope} AS vertex
FROM known k LEFT JOIN hashes h ON h.content_id = k.content_id WHERE k.image_id IS NOT NULL"""


@dataclass(frozen=True)
class People:
    """The names of the tables of what people said; a rule says nothing there.

    Attributes:
        of_pairs: (low, high): pairs of vertices with a verdict of a person, one that was withdrawn too.
        of_keepers: (vertex): vertices with a person's verdict `keeper`.
        sets: (vertex, duplicate_set): confirmed copies; sets have names.
        between: (low, high): duplicate sets that are kept apart, or are alternates.
    """

    of_pairs: str = "said_of_pairs"
    of_keepers: str = "said_of_keepers"
    sets: str = "confirmed"
    between: str = "kept_apart"


PEOPLE = People()


def make_tables(scratch: Scratch, lsh: LshConfig) -> None:
    """Make the tables `shown`, `edges`, `equals`, `said`, `ruled_before`, and those of PEOPLE.

    Images, places, vertices and groups have numbers (int64), because joins of numbers cost a fraction of joins of
    texts. The number of an image is its rank by id among these; the others are named by their lowest image.

    `shown`: live images whose content is in a pair, a group or a decision (or has the pixels of one that is): no,
    image_id, uri, content_id, own_scope, place (the content in the scope in which it is compared), vertex (all images
    of one scope with equal pixels), partition, captured_at, byte_size, pixels, format, jpeg_quality, has_exif, and of
    its group grp, tier, keeper (its number), keeper_place (all null without one).

    `edges`: measured pairs between two vertices: left, right (places), kind, score, is_duplicate.

    `equals`: the members of groups whose pixels equal those of their keeper: left and right (images), kind, score,
    is_duplicate. Table `pairs` has no row for them.

    `said`: decisions with low and high (names of vertices, high null for a keeper; null where an image is unknown),
    image_id, other_image_id, verdict, author, decided_at, is_rule.

    `ruled_before`: the latest verdict of a rule on each low and high (vertices) that was not withdrawn, and its
    image_id.
    """
    make_ends(scratch, lsh)
    scratch.make("live", _LIVE.format(live=LIVE, scope=scope_in_sql(lsh.scope, "i")))
    for name, keys in (("places", "content_id, scope"), ("vertices", "vertex"), ("grps", "group_id")):
        scratch.make(name, f"SELECT {keys}, min(no) AS lowest FROM live GROUP BY {keys}")
    scratch.make("shown", _SHOWN)
    scratch.make("edges", _EDGES)
    scratch.make(
        "equals",
        "SELECT s.no AS left, s.keeper AS right, g.kind, CAST(1.0 AS DOUBLE) AS score, true AS is_duplicate "
        "FROM groups g JOIN shown s ON s.image_id = g.image_id "
        "WHERE NOT g.is_keeper AND g.kind IN ('exact', 'pixel') AND s.keeper IS NOT NULL",
    )
    scratch.make("said", _SAID)
    scratch.make("ruled_before", _RULED_BEFORE)
    _make_people(scratch)


def make_ends(scratch: Scratch, lsh: LshConfig) -> None:
    """Make the table `ends`: what each image of a decision shows: image_id, decided_at, content_id, vertex (name)."""
    scratch.make("ends", _ENDS.format(ok=OK, scope=scope_in_sql(lsh.scope, "k")))


def _make_people(scratch: Scratch) -> None:
    people = "FROM said s JOIN vertices l ON l.vertex = s.low"
    both = f"{people} JOIN vertices h ON h.vertex = s.high WHERE NOT s.is_rule"
    low, high = "least(l.lowest, h.lowest) AS low", "greatest(l.lowest, h.lowest) AS high"
    scratch.make(PEOPLE.of_pairs, f"SELECT DISTINCT {low}, {high} {both}")
    alone = f"{people} WHERE NOT s.is_rule AND s.high IS NULL"
    scratch.make(PEOPLE.of_keepers, f"SELECT DISTINCT l.lowest AS vertex {alone}")
    # People's verdicts are few.
    columns = "low, high, verdict, author, decided_at, image_id, other_image_id"
    rows = scratch.query(f"SELECT {columns} FROM said WHERE NOT is_rule AND high IS NOT NULL").to_pylist()
    by_vertex, _ = combine(
        Verdict(
            row["low"],
            row["high"],
            row["verdict"],
            row["author"],
            micros(row["decided_at"]),
            row["image_id"],
            row["other_image_id"],
        )
        for row in rows
    )
    sets = [v.duplicate_set for v in by_vertex]
    scratch.put_texts("named_sets", name=[v.vertex for v in by_vertex], duplicate_set=sets)
    named = "named_sets n JOIN vertices v ON v.vertex = n.name"
    scratch.make(PEOPLE.sets, f"SELECT v.lowest AS vertex, n.duplicate_set FROM {named}")
    apart = sorted({(v.duplicate_set, other) for v in by_vertex for other in (*v.apart, *v.alternates)})
    scratch.put_texts(PEOPLE.between, low=[a for a, _ in apart], high=[b for _, b in apart])


_LIVE = """WITH concerned AS (
  SELECT src_id AS content_id FROM pairs UNION SELECT dst_id FROM pairs
  UNION SELECT i.content_id FROM images i JOIN groups g ON g.image_id = i.image_id
  UNION SELECT content_id FROM ends
  UNION SELECT h.content_id FROM hashes h JOIN ends e ON e.pixel_digest = h.pixel_digest
)
SELECT CAST(row_number() OVER (ORDER BY i.image_id) AS BIGINT) AS no, i.image_id, i.uri, i.content_id,
  coalesce(h.pixel_digest, i.content_id) || '/' || {scope} AS vertex, {scope} AS scope, i.scope AS own_scope,
  i.partition, i.captured_at, i.byte_size, CAST(i.width_px AS BIGINT) * i.height_px AS pixels, i.format,
  h.jpeg_quality, h.has_exif, g.group_id, g.is_keeper, g.tier
FROM (
  SELECT * FROM images WHERE {live} AND content_id IN (SELECT content_id FROM concerned)
) i LEFT JOIN hashes h ON h.content_id = i.content_id
LEFT JOIN groups g ON g.image_id = i.image_id"""

_SHOWN = """WITH keepers AS (
  SELECT l.group_id, l.no, p.lowest AS place
  FROM live l JOIN places p ON p.content_id = l.content_id AND p.scope = l.scope WHERE l.is_keeper
)
SELECT i.no, i.image_id, i.uri, i.content_id, i.own_scope, p.lowest AS place, v.lowest AS vertex, i.partition,
  i.captured_at, i.byte_size, i.pixels, i.format, i.jpeg_quality, i.has_exif, g.lowest AS grp, i.tier,
  k.no AS keeper, k.place AS keeper_place
FROM live i JOIN places p ON p.content_id = i.content_id AND p.scope = i.scope
JOIN vertices v ON v.vertex = i.vertex LEFT JOIN grps g ON g.group_id = i.group_id
LEFT JOIN keepers k ON k.group_id = i.group_id"""

_EDGES = """WITH known AS (
  SELECT p.content_id, p.scope, p.lowest, s.vertex FROM places p JOIN shown s ON s.no = p.lowest
)
SELECT a.lowest AS left, b.lowest AS right, p.kind, p.score, p.is_duplicate
FROM pairs p JOIN known a ON a.content_id = p.src_id JOIN known b ON b.content_id = p.dst_id AND b.scope = a.scope
WHERE a.vertex <> b.vertex"""

_SAID = f"""SELECT
  CASE WHEN d.other_image_id IS NULL THEN a.vertex
    WHEN a.vertex IS NOT NULL AND b.vertex IS NOT NULL THEN least(a.vertex, b.vertex) END AS low,
  CASE WHEN a.vertex IS NOT NULL AND b.vertex IS NOT NULL THEN greatest(a.vertex, b.vertex) END AS high,
  d.image_id, d.other_image_id, d.verdict, d.author, d.decided_at, starts_with(d.author, '{RULE}') AS is_rule
FROM decisions d LEFT JOIN ends a ON a.image_id = d.image_id AND a.decided_at = d.decided_at
LEFT JOIN ends b ON b.image_id = d.other_image_id AND b.decided_at = d.decided_at"""

_RULED_BEFORE = f"""WITH numbered AS (
  SELECT least(l.lowest, coalesce(h.lowest, l.lowest)) AS low, greatest(l.lowest, h.lowest) AS high, s.high AS name,
    s.verdict, s.author, s.image_id, s.decided_at
  FROM said s JOIN vertices l ON l.vertex = s.low LEFT JOIN vertices h ON h.vertex = s.high
  WHERE s.is_rule AND (s.high IS NULL OR h.lowest IS NOT NULL)  -- greatest(1, NULL) is 1
)
SELECT low, CASE WHEN name IS NOT NULL THEN high END AS high, verdict, author, image_id FROM (
  SELECT *, row_number() OVER (PARTITION BY low, high, name IS NULL ORDER BY decided_at DESC, verdict, author) AS place
  FROM numbered
) WHERE place = 1 AND verdict <> '{WITHDRAWN}'"""
