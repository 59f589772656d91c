"""Which pairs most deserve a person's look, and in which order. The rule stands here alone; delta-rs reads the tables.

Conflicts between verdicts come first. Then come, in turn, the first of each kind, the second of each kind, and so on.
What was decided, directly or through confirmed copies, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from dupelake.config import Config
from dupelake.review.ledger import Ledger
from dupelake.verify.decide_stage import SIMILAR
from dupelake.warehouse.reader import Reader, micros
from dupelake.warehouse.rules import LIVE, scope_in_sql

# Names are of the schema, and texts are quoted.
# ruff: noqa: S608

CONFLICT = "conflict"
REJECTED, ACCEPTED, SHOT = "rejected, close", "accepted, close", "another shot"
LINK, LARGE, ALTERNATE = "link between groups", "large group", "alternate"
_OF_PAIRS, _OF_GROUPS = (REJECTED, ACCEPTED, SHOT, LINK), (LARGE, ALTERNATE)
_NEAR = 0.25  # largest distance of a close score from the threshold
_LARGE = 4  # smallest number of images of a large group
_DEPTH = 50  # members of a large group that are tried, the weakest first
_GROWTH = 4

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """Two images, or one, that a person should look at.

    Attributes:
        what: CONFLICT, or another of the kinds above.
        why: the reason in words.
        image_id: of one image.
        other_image_id: of the other; None if a verdict names one image only.
        conflict: the kind of the conflict (`decision_conflicts.kind`); None for what is none.
        is_of_pair: whether the verdict in conflict names two images; False, too, for what is no conflict.
        since: when the conflict began, in microseconds; 0 for what is none.
    """

    what: str
    why: str
    image_id: str
    other_image_id: str | None
    conflict: str | None = None
    is_of_pair: bool = False
    since: int = 0

    @property
    def key(self) -> frozenset[str]:
        """Its images."""
        return frozenset(filter(None, (self.image_id, self.other_image_id)))


def ordered(reader: Reader, ledger: Ledger, config: Config, limit: int) -> list[Asked]:
    """At most `limit` pairs, the first to be asked first.

    Args:
        reader: of the warehouse.
        ledger: the verdicts.
        config: `lsh.scope` and `decide.min_score` of the last run.
        limit: 1 or more.
    """
    min_score = config.decide.min_score
    with_classes = _images_sql(config)
    found = {CONFLICT: _conflicts(reader, ledger)}
    found |= _first(
        lambda n: reader.query(_pairs_sql(with_classes, min_score, n)).to_pylist(),
        lambda rows: _said_of_pairs(ledger.undecided(rows), min_score),
        _OF_PAIRS,
        limit,
    )
    found |= _first(
        lambda n: reader.query(_members_sql(with_classes, n)).to_pylist(),
        lambda rows: _said_of_groups(ledger.undecided(rows)),
        _OF_GROUPS,
        limit,
    )
    return _interleaved(found, limit)


def _first(
    read: Callable[[int], list[Row]], said: Callable[[list[Row]], list[Asked]], kinds: Sequence[str], limit: int
) -> dict[str, list[Asked]]:
    """{kind: its first `limit`}. Decided pairs are few, so that few more rows than asked for are read."""
    n = 2 * limit
    while True:
        rows = read(n)
        found: dict[str, list[Asked]] = {kind: [] for kind in kinds}
        for asked in said(rows):
            found[asked.what].append(asked)
        n_read = {kind: sum(row["what"] == kind for row in rows) for kind in kinds}
        if all(len(found[kind]) >= limit or n_read[kind] < n for kind in kinds):
            return {kind: found[kind][:limit] for kind in kinds}
        n *= _GROWTH


def _images_sql(config: Config) -> str:
    """CTE `named`: live images with the class of their content, the scope of comparison, and their group."""
    scope = scope_in_sql(config.lsh.scope, "images")
    return f"""
WITH live AS (SELECT image_id, content_id, byte_size, {scope} AS scope FROM images WHERE {LIVE}),
classes AS (SELECT content_id, min(content_id) OVER (PARTITION BY pixel_digest) AS class_id FROM hashes),
named AS (
  SELECT l.image_id, l.byte_size, l.scope, coalesce(c.class_id, l.content_id) AS class_id,
         coalesce(c.class_id, l.content_id) || '/' || l.scope AS vertex,
         g.group_id, g.group_size, g.is_keeper, g.relation, g.score_to_keeper, g.reason
  FROM live l
  LEFT JOIN classes c ON c.content_id = l.content_id
  LEFT JOIN groups g ON g.image_id = l.image_id
)"""


def _pairs_sql(with_classes: str, min_score: float, n: int) -> str:
    """The first `n` of each kind of _OF_PAIRS; of each vertex one image, preferably one in a group.

    Links are accepted pairs that are not in one group: cut bridges, and pairs that the choice of keepers separated.
    Pairs that are the only link between two groups come first, those of larger groups before others.
    """
    return f"""{with_classes},
ends AS (
  SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY vertex ORDER BY group_id IS NULL, image_id) AS place FROM named
  ) WHERE place = 1
),
near AS (
  SELECT p.score, p.is_duplicate, p.kind, a.image_id, b.image_id AS other_image_id, a.vertex, b.vertex AS other_vertex,
         coalesce(a.group_id, 'alone/' || a.image_id) AS group_id,
         coalesce(b.group_id, 'alone/' || b.image_id) AS other_group_id,
         coalesce(a.group_size, 1) AS group_size, coalesce(b.group_size, 1) AS other_group_size
  FROM pairs p
  JOIN ends a ON a.class_id = p.src_id
  JOIN ends b ON b.class_id = p.dst_id AND b.scope = a.scope
  WHERE p.kind = '{SIMILAR}' OR (p.score >= {min_score - _NEAR} AND (p.kind IS NULL OR p.score < 1))
),
between AS (SELECT *, is_duplicate AND group_id <> other_group_id AS is_link,
  least(group_id, other_group_id) AS low, greatest(group_id, other_group_id) AS high FROM near),
counted AS (SELECT *, sum(CASE WHEN is_link THEN 1 ELSE 0 END) OVER (PARTITION BY low, high) AS n_links FROM between),
ranked AS (
  SELECT c.*, k.what, CASE k.what
    WHEN '{SHOT}' THEN -c.score
    WHEN '{LINK}' THEN c.n_links * 1000.0 - least(c.group_size, c.other_group_size)
    ELSE abs(c.score - {min_score}) END AS rank
  FROM counted c CROSS JOIN (VALUES {", ".join(f"('{kind}')" for kind in _OF_PAIRS)}) AS k(what)
  WHERE CASE k.what
    WHEN '{REJECTED}' THEN NOT c.is_duplicate AND abs(c.score - {min_score}) <= {_NEAR}
    WHEN '{ACCEPTED}' THEN c.is_duplicate AND abs(c.score - {min_score}) <= {_NEAR}
    WHEN '{SHOT}' THEN c.kind = '{SIMILAR}' AND c.score < {min_score - _NEAR}
    ELSE c.is_link END
)
{_first_of_each("image_id, other_image_id, vertex, other_vertex, score, group_size, other_group_size, n_links", n)}"""


def _members_sql(with_classes: str, n: int) -> str:
    """The first `n` of each kind of _OF_GROUPS: members with their keeper, but for members that have its pixels.

    Of large groups the members that agree least with their keeper, at most _DEPTH of a group; alternates by their size
    in bytes.
    """
    return f"""{with_classes},
members AS (
  SELECT k.image_id, m.image_id AS other_image_id, k.vertex, m.vertex AS other_vertex, m.group_id, m.group_size,
         m.relation, m.score_to_keeper AS score, m.reason, coalesce(m.byte_size, 0) AS byte_size,
         row_number() OVER (PARTITION BY m.group_id ORDER BY m.score_to_keeper, m.image_id) AS place
  FROM named m JOIN named k ON k.group_id = m.group_id AND k.is_keeper
  WHERE NOT m.is_keeper AND m.vertex <> k.vertex
),
ranked AS (
  SELECT '{LARGE}' AS what, *, CAST(-group_size AS DOUBLE) AS rank
  FROM members WHERE group_size >= {_LARGE} AND place <= {_DEPTH}
  UNION ALL
  SELECT '{ALTERNATE}' AS what, *, CAST(-byte_size AS DOUBLE) AS rank FROM members WHERE relation = 'alternate'
)
{_first_of_each("image_id, other_image_id, vertex, other_vertex, score, group_id, group_size, reason, place", n)}"""


def _first_of_each(columns: str, n: int) -> str:
    order = "rank, image_id, other_image_id"
    return f"""
SELECT what, {columns} FROM (
  SELECT *, row_number() OVER (PARTITION BY what ORDER BY {order}) AS turn FROM ranked
) WHERE turn <= {n} ORDER BY what, turn"""


def _said_of_pairs(rows: Iterable[Row], min_score: float) -> list[Asked]:
    def why(row: Row) -> str:
        if row["what"] == SHOT:
            return f"another shot or version of one thing, no copy: score {row['score']:.3f}"
        if row["what"] == LINK:
            links = "the only link" if row["n_links"] == 1 else f"one of {row['n_links']} links"
            sizes = f"groups of {row['group_size']} and {row['other_group_size']}"
            return f"accepted, but not in one group ({sizes}); {links} between them"
        side = "accepted" if row["what"] == ACCEPTED else "rejected"
        return f"{side} at score {row['score']:.3f}; decide.min_score is {min_score:g}"

    return [Asked(row["what"], why(row), row["image_id"], row["other_image_id"]) for row in rows]


def _said_of_groups(rows: Iterable[Row]) -> list[Asked]:
    weakest: dict[str, Row] = {}
    others = []
    for row in rows:
        if row["what"] == LARGE:
            first = weakest.setdefault(row["group_id"], row)
            if row["place"] < first["place"]:
                weakest[row["group_id"]] = row
        else:
            others.append(Asked(ALTERNATE, row["reason"], row["image_id"], row["other_image_id"]))
    form = "group of {group_size} images: its keeper, and the member that agrees least (score {score:.3f})"
    large = [Asked(LARGE, form.format(**row), row["image_id"], row["other_image_id"]) for row in weakest.values()]
    return [*large, *others]


def _conflicts(reader: Reader, ledger: Ledger) -> list[Asked]:
    """Conflicts between verdicts that the last night found and no later verdict was about, the newest first."""
    rows = reader.table("decision_conflicts", order="since DESC, image_id, other_image_id").to_pylist()
    others = [row["other_image_id"] or row["against_image_id"] for row in rows]
    both = list(zip(rows, others, strict=True))
    is_open = ledger.unanswered(
        [
            (row["since"], frozenset(filter(None, (row["image_id"], other))), row["other_image_id"] is not None)
            for row, other in both
        ]
    )
    found = []
    for row, other in compress(both, is_open):
        why = f"{row['author']} says {row['verdict']}"
        if row["against_verdict"] is not None:
            why += f", {row['against_author']} says {row['against_verdict']}"
        other_id = None if other == row["image_id"] else other
        why, is_of_pair = f"{why}: {row['message']}", row["other_image_id"] is not None
        found.append(Asked(CONFLICT, why, row["image_id"], other_id, row["kind"], is_of_pair, micros(row["since"])))
    return found


def _interleaved(found: Mapping[str, Sequence[Asked]], limit: int) -> list[Asked]:
    """Conflicts, then the first of each kind, the second of each kind, and so on; each pair once, at most `limit`."""
    queues = dict(found)
    order = list(queues.pop(CONFLICT, []))
    for turn in range(max((len(asked) for asked in queues.values()), default=0)):
        order += [asked[turn] for asked in queues.values() if turn < len(asked)]
    seen: set[frozenset[str]] = set()
    chosen = []
    for asked in order:
        if asked.what == CONFLICT or asked.key not in seen:
            chosen.append(asked)
        seen.add(asked.key)
    return chosen[:limit]
