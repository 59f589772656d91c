"""Compare found pairs and groups of a warehouse with a truth, in SQL over temporary tables; only sums come to Python.

Pairs of images are not enumerated, except lines of the truth: pairs within groups, and between all files of two
pictures, are products of counts (`evaluate.scores.Tally`).

Terms as in `group/stage.py`: a *vertex* is all images of one scope with equal pixels; an *edge* is a measured pair of
two vertices. An *item* is an image that the truth names (with `closed`, every live image).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dupelake.config import LshConfig
from dupelake.evaluate.matching import MATCHED
from dupelake.evaluate.scores import BCubed, Scores, Tally
from dupelake.evaluate.truth import AMBIGUOUS, DIFFERENT, DUPLICATE
from dupelake.warehouse.rules import OK, PDQ_MIN_QUALITY, scope_in_sql
from dupelake.warehouse.scratch import Scratch

# Names are of this room and of the schema.
# ruff: noqa: S608

OTHER_RELATION = "(other)"
_MAX_RELATIONS = 200  # relations that are listed, the most common first

# Signals of a pair that a threshold can be applied to: name -> whether a larger value means more alike.
SIGNALS = {
    "score": True,
    "phash_bits": False,
    "pdq_bits": False,
    "cosine": True,
    "n_inliers": True,
    "aligned_ncc": True,
}
_NAMES = ", ".join(SIGNALS)
_LISTED = ("n_listed_true", "n_listed_same", "n_listed_ambiguous")
_LISTED_COUNTS = f"""
count(*) FILTER (WHERE verdict = '{DUPLICATE}') AS n_listed_true,
count(*) FILTER (WHERE verdict IN ('{DUPLICATE}', '{DIFFERENT}') AND a_truth_group = b_truth_group) AS n_listed_same,
count(*) FILTER (WHERE verdict = '{AMBIGUOUS}' AND a_truth_group <> b_truth_group) AS n_listed_ambiguous"""
"""Aggregates over listed pairs with a_truth_group and b_truth_group, named as in `Tally`."""


@dataclass(frozen=True)
class Case:
    """A truth joined with a warehouse, as tables of a scratch.

    `present`: present images: image_id, uri, status, reason, scope, content_id, width_px, height_px, picture, vertex,
    label (found group), is_keeper.

    `items`: those of `present` that the truth judges, with name (null if it does not name them), truth_group,
    is_certain, is_ambiguous, is_original, relation, row.

    `edges`: src_id, dst_id, src_picture, va < vb (vertices), the signals, is_duplicate, n_judged, n_hit, n_unnamed
    (pairs of images with one that is not an item).

    `listed`: a, b (image ids, a < b), verdict, relation; empty for a truth of groups.

    Attributes:
        is_pairs: whether the truth lists pairs, and not groups.
        scratch: has the tables.
    """

    is_pairs: bool
    scratch: Scratch

    def row(self, sql: str) -> tuple[int, ...]:
        """The only row of a SELECT of integers; null is 0."""
        (row,) = self.scratch.query(sql).to_pylist()
        return tuple(int(value or 0) for value in row.values())


@dataclass(frozen=True)
class FoundPairs:
    """Accepted pairs of images, and those that pass each threshold.

    Attributes:
        accepted: scores of all accepted pairs, including equal pixels.
        equal: numbers of judged and true pairs among images of equal pixels.
        n_unnamed: number of accepted pairs with an image that the truth does not name.
        buckets: signal -> number of thresholds passed -> (judged, true), without equal pixels.
    """

    accepted: Scores
    equal: tuple[int, int]
    n_unnamed: int
    buckets: dict[str, dict[int, tuple[int, int]]]


def find_present(scratch: Scratch, lsh: LshConfig) -> None:
    """Make the table `present`: images that are not deleted, failed ones too (their vertex is null)."""
    scope = scope_in_sql(lsh.scope, "i")
    picture = "coalesce(h.pixel_digest, i.content_id)"
    scratch.make(
        "present",
        f"""SELECT i.image_id, i.uri, i.status, i.reason, {scope} AS scope, i.content_id, i.width_px, i.height_px,
          CASE WHEN i.status = '{OK}' THEN {picture} || '/' || {scope} END AS vertex,
          {picture} AS picture, g.group_id AS label, g.is_keeper
        FROM images i LEFT JOIN hashes h ON h.content_id = i.content_id LEFT JOIN groups g ON g.image_id = i.image_id
        WHERE i.deleted_at IS NULL""",
    )


def build_case(scratch: Scratch, *, is_pairs: bool, closed: bool) -> Case:
    """Join a truth with the tables.

    Args:
        scratch: with the tables `present`, `matched` and `listed`.
        is_pairs: whether the truth lists pairs.
        closed: whether images that the truth does not name have no duplicate, instead of being left out.

    Cost: equi-joins of images, hashes, groups and pairs on ids; bytes and vectors are not read.
    """
    also = f"OR p.status = '{OK}'" if closed else ""
    scratch.make(
        "items",
        f"""SELECT p.*, m.name, coalesce(m.truth_group, 'u/' || p.image_id) AS truth_group,
          coalesce(m.is_ambiguous, false) AS is_ambiguous, m.is_original, m.relation, m.row,
          {str(not is_pairs).lower()} AND NOT coalesce(m.is_ambiguous, false) AS is_certain
        FROM present p LEFT JOIN (SELECT * FROM matched WHERE outcome = '{MATCHED}') m ON m.image_id = p.image_id
        WHERE m.name IS NOT NULL {also}""",
    )
    scratch.make("measured", _MEASURED)
    scratch.make("edges", _judged(is_pairs=is_pairs))
    return Case(is_pairs, scratch)


def count_true(case: Case) -> int:
    """Number of pairs of the truth between items, without ambiguous ones."""
    if case.is_pairs:
        return case.row(f"SELECT count(*) AS n FROM listed WHERE verdict = '{DUPLICATE}'")[0]
    groups = "SELECT count(*) FILTER (WHERE is_certain) AS n FROM items GROUP BY truth_group"
    return case.row(f"SELECT sum(n * (n - 1) / 2) AS n FROM ({groups})")[0]


def tally(case: Case, block: str) -> Tally:
    """Counts of pairs of items that are in one `block` (a column of the items: `label` or `vertex`)."""
    counts = case.row(
        f"""WITH cells AS (
          SELECT {block} AS block, count(*) AS n, count(*) FILTER (WHERE is_certain) AS c
          FROM items WHERE {block} IS NOT NULL GROUP BY {block}, truth_group
        ),
        blocks AS (
          SELECT sum(n) AS n, sum(n * (n - 1) / 2) AS same, sum(c * (c - 1) / 2) AS certain FROM cells GROUP BY block
        )
        SELECT sum(n * (n - 1) / 2) AS n, sum(same) AS same, sum(certain) AS certain FROM blocks"""
    )
    if not case.is_pairs:
        return Tally(*counts)
    ends = with_ends("listed", block, "truth_group")
    return Tally(*counts, *case.row(f"SELECT {_LISTED_COUNTS} FROM ({ends}) WHERE a_{block} = b_{block}"))


def b_cubed_of(case: Case) -> BCubed:
    """B-cubed of the found groups over all items that are not ambiguous; an image without a group is its own group."""
    # the formula needs only the sums of the cells of a block, and the sums of their squares
    sums = []
    for block in ("label", "truth_group"):
        (row,) = case.scratch.query(
            f"""WITH cells AS (
              SELECT coalesce('g/' || label, 'alone/' || image_id) AS label, truth_group, count(*) AS n
              FROM items WHERE NOT is_ambiguous AND (name IS NOT NULL OR label IS NOT NULL) GROUP BY 1, 2
            ),
            blocks AS (SELECT CAST(sum(n * n) AS DOUBLE) / sum(n) AS share, sum(n) AS n FROM cells GROUP BY {block})
            SELECT sum(share ORDER BY n, share) AS share, sum(n) AS n FROM blocks"""
        ).to_pylist()
        sums.append(row["share"] / row["n"] if row["n"] else 1.0)
    return BCubed(*sums)


def count_unnamed(case: Case, block: str) -> int:
    """Number of pairs of images in one `block` (`label` or `vertex`) with at least one image that is not an item."""
    return case.row(
        f"""WITH sizes AS (
          SELECT count(*) AS n, count(i.image_id) AS m
          FROM present p LEFT JOIN items i ON i.image_id = p.image_id WHERE p.{block} IS NOT NULL GROUP BY p.{block}
        )
        SELECT sum(n * (n - 1) / 2) - sum(m * (m - 1) / 2) AS n FROM sizes"""
    )[0]


def count_found_pairs(case: Case, n_true: int, thresholds: Mapping[str, Sequence[float]]) -> FoundPairs:
    """Scores of the accepted pairs, and counts from which the scores at other thresholds are computed.

    Args:
        case: result of `build_case`.
        n_true: result of `count_true`.
        thresholds: for each of SIGNALS, from the loosest to the strictest.
    """
    equal = tally(case, "vertex")
    passed = {name: _n_passed(name, thresholds[name], larger) for name, larger in SIGNALS.items()}
    passed["accepted"] = "CASE WHEN is_duplicate THEN 1 ELSE 0 END"
    rows = case.scratch.query(
        " UNION ALL ".join(
            f"SELECT '{name}' AS signal, {place} AS passed, sum(n_judged) AS n_judged, sum(n_hit) AS n_hit, "
            f"sum(n_unnamed) AS n_unnamed FROM edges GROUP BY 2"
            for name, place in passed.items()
        )
    ).to_pylist()  # one row per signal and threshold
    buckets: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in SIGNALS}
    judged, hit, unnamed = equal.n_judged, equal.n_hit, count_unnamed(case, "vertex")
    for row in rows:
        if row["signal"] != "accepted":
            buckets[row["signal"]][row["passed"]] = (row["n_judged"], row["n_hit"])
        elif row["passed"]:
            judged, hit, unnamed = judged + row["n_judged"], hit + row["n_hit"], unnamed + row["n_unnamed"]
    return FoundPairs(Scores(judged, n_true, hit), (equal.n_judged, equal.n_hit), unnamed, buckets)


def true_pairs(case: Case) -> str:
    """SELECT of (a, b, relation): the pairs for recall by relation; their number is linear in the truth.

    For a truth of pairs these are the listed duplicates. For a truth of groups it is each member with the original of
    its group: the first image whose relation says so, else the first in the file.
    """
    if case.is_pairs:
        return f"SELECT a, b, relation FROM listed WHERE verdict = '{DUPLICATE}'"
    first = "first_value(image_id) OVER (PARTITION BY truth_group ORDER BY is_original DESC, row, image_id)"
    members = f"SELECT image_id, relation, {first} AS first FROM items WHERE is_certain AND name IS NOT NULL"
    ends = "least(image_id, first) AS a, greatest(image_id, first) AS b"
    return f"SELECT {ends}, relation FROM ({members}) WHERE image_id <> first"


def with_state(pairs: str) -> str:
    """SELECT that joins pairs (a, b, ...: image ids) with what was found about each.

    Adds for both sides `{side}_label`, `_vertex`, `_status`, `_scope`, `_picture`, `_name`; then in_one_group, is_equal
    (pixels), is_duplicate (accepted, or equal pixels), and src_id, dst_id, src_picture, score of the edge, null if the
    pair was never proposed.

    Args:
        pairs: a table, or a SELECT in brackets.
    """
    ends = with_ends(pairs, "label", "vertex", "status", "scope", "picture", "name")
    return f"""SELECT s.*, e.src_id, e.dst_id, e.src_picture, e.score,
      coalesce(s.a_label = s.b_label, false) AS in_one_group,
      coalesce(s.a_vertex = s.b_vertex, false) AS is_equal,
      coalesce(e.is_duplicate, false) OR coalesce(s.a_vertex = s.b_vertex, false) AS is_duplicate
    FROM ({ends}) s
    LEFT JOIN edges e ON e.va = least(s.a_vertex, s.b_vertex) AND e.vb = greatest(s.a_vertex, s.b_vertex)"""


def count_relations(case: Case) -> list[tuple[str, int, int, int]]:
    """(relation, true pairs, accepted ones, ones in one group), the most common relation first, then `all`."""
    sums = "count(*) AS n, count(*) FILTER (WHERE is_duplicate) AS p, count(*) FILTER (WHERE in_one_group) AS g"
    states = with_state(f"({true_pairs(case)})")
    counted = f"SELECT relation, {sums} FROM ({states}) GROUP BY relation ORDER BY n DESC, relation"
    rows = [tuple(r.values()) for r in case.scratch.query(f"{counted} LIMIT {_MAX_RELATIONS}").to_pylist()]
    total = case.row(f"SELECT {sums} FROM ({states})")
    rest = [whole - sum(row[i + 1] for row in rows) for i, whole in enumerate(total)]
    return [*rows, *([(OTHER_RELATION, *rest)] if rest[0] else []), ("all", *total)]


def with_ends(pairs: str, *columns: str) -> str:
    """SELECT that adds columns of the items at both ends to pairs (a, b: image ids), with prefixes a_ and b_."""
    names = ", ".join(f"{side}.{name} AS {side}_{name}" for side in ("a", "b") for name in columns)
    return f"SELECT t.*, {names} FROM {pairs} t JOIN items a ON a.image_id = t.a JOIN items b ON b.image_id = t.b"


# Accepted pairs of vertices, and measured ones with items at both ends. If several pairs of contents have the same
# pictures, the best one is taken, as in `group/keepers_stage.py`. Of the counts only products are used, so the order of
# the two ends does not matter.
_MEASURED = f"""WITH narrow AS (
  SELECT p.is_duplicate, p.score, p.src_id, p.dst_id, coalesce(s.pixel_digest, p.src_id) AS src_picture,
    coalesce(d.pixel_digest, p.dst_id) AS dst_picture,
    least(p.phash_bits, p.phash_mirrored_bits) AS phash_bits,
    CASE WHEN p.pdq_quality >= {PDQ_MIN_QUALITY} THEN least(p.pdq_bits, p.pdq_mirrored_bits) END AS pdq_bits,
    p.cosine_similarity AS cosine, p.n_inliers, p.aligned_ncc
  FROM pairs p LEFT JOIN hashes s ON s.content_id = p.src_id LEFT JOIN hashes d ON d.content_id = p.dst_id
),
ranked AS (
  SELECT *, least(src_picture, dst_picture) AS pa, greatest(src_picture, dst_picture) AS pb, row_number() OVER (
    PARTITION BY least(src_picture, dst_picture), greatest(src_picture, dst_picture)
    ORDER BY is_duplicate DESC, score DESC, src_id DESC, dst_id DESC
  ) AS place
  FROM narrow WHERE src_picture <> dst_picture
),
counts AS (
  SELECT p.vertex, p.picture, p.scope, count(*) AS n_all, count(i.image_id) AS n
  FROM present p LEFT JOIN items i ON i.image_id = p.image_id WHERE p.vertex IS NOT NULL GROUP BY 1, 2, 3
)
SELECT least(a.vertex, b.vertex) AS va, greatest(a.vertex, b.vertex) AS vb, src_id, dst_id, src_picture, {_NAMES},
  is_duplicate, a.n_all AS all_a, b.n_all AS all_b, a.n AS n_a, b.n AS n_b
FROM ranked JOIN counts a ON a.picture = pa JOIN counts b ON b.picture = pb AND b.scope = a.scope
WHERE place = 1 AND (is_duplicate OR a.n * b.n > 0)"""


def _judged(*, is_pairs: bool) -> str:
    """`measured` with the counts of judged pairs of items of each: the table `edges`."""
    listed, joined = ", ".join(f"0 AS {name}" for name in _LISTED), ""
    if is_pairs:
        listed = ", ".join(f"coalesce(l.{name}, 0) AS {name}" for name in _LISTED)
        joined = f"""LEFT JOIN (
          SELECT least(a_vertex, b_vertex) AS va, greatest(a_vertex, b_vertex) AS vb, {_LISTED_COUNTS}
          FROM ({with_ends("listed", "vertex", "truth_group")}) WHERE a_vertex <> b_vertex GROUP BY 1, 2
        ) l ON l.va = m.va AND l.vb = m.vb"""
    return f"""WITH cells AS (
      SELECT vertex, truth_group, count(*) AS n, count(*) FILTER (WHERE is_certain) AS c
      FROM items WHERE vertex IS NOT NULL GROUP BY vertex, truth_group
    ),
    shared AS (
      SELECT m.va, m.vb, sum(a.n * b.n) AS n_same, sum(a.c * b.c) AS n_certain
      FROM measured m JOIN cells a ON a.vertex = m.va
      JOIN cells b ON b.vertex = m.vb AND b.truth_group = a.truth_group GROUP BY m.va, m.vb
    ),
    counted AS (
      SELECT m.*, coalesce(s.n_same, 0) AS n_same, coalesce(s.n_certain, 0) AS n_certain, {listed}
      FROM measured m LEFT JOIN shared s ON s.va = m.va AND s.vb = m.vb {joined}
    )
    SELECT va, vb, src_id, dst_id, src_picture, {_NAMES}, is_duplicate,
      n_a * n_b - n_same + n_certain + n_listed_same - n_listed_ambiguous AS n_judged,
      n_certain + n_listed_true AS n_hit, all_a * all_b - n_a * n_b AS n_unnamed
    FROM counted"""


def _n_passed(name: str, thresholds: Sequence[float], larger: bool) -> str:
    """Number of thresholds (loosest first) that a value passes; 0 for null."""
    passes = ">=" if larger else "<="
    return " + ".join(f"CASE WHEN {name} {passes} {float(at)!r} THEN 1 ELSE 0 END" for at in thresholds)
