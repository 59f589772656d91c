"""The worst false and missed pairs of a case, with their evidence; only those rows come to Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dupelake.evaluate.judgement import Case, true_pairs, with_state
from dupelake.evaluate.truth import AMBIGUOUS, DIFFERENT, NO_RELATION
from dupelake.report.pair_state import apart_in_words

# Names are of this room.
# ruff: noqa: S608

Row = dict[str, Any]

_MAX_IMAGES = 50  # images of each vertex that are searched for a false pair


@dataclass(frozen=True)
class Side:
    """One image of a shown pair; `thumbnail` is None if there is none."""

    image_id: str
    uri: str
    width_px: int | None
    height_px: int | None
    thumbnail: bytes | None


@dataclass(frozen=True)
class ShownPair:
    """A wrong or missed pair.

    Attributes:
        a: the image on the source side of the evidence.
        b: the other image.
        truth: text about the pair in the truth.
        state: text about the pair in the tables.
        evidence: columns of PAIRS; None if the pair was never measured.
        groups: found groups of a and b; None if an image is in none.
    """

    a: Side
    b: Side
    truth: str
    state: str
    evidence: dict[str, Any] | None
    groups: tuple[str | None, str | None]


def false_pairs(case: Case, n: int) -> list[ShownPair]:
    """The `n` wrong accepted pairs with the highest score, one for each pair of vertices.

    They are followed by up to `n` wrong pairs that were not accepted but are in one group.
    """
    wrong = f"SELECT a, b FROM ({_false_edges(case, n)}) UNION SELECT a, b FROM ({_FALSE_IN_BLOCKS})"
    if case.is_pairs:
        of = "SELECT a, b FROM listed WHERE verdict ="
        wrong = f"(({wrong}) EXCEPT {of} '{AMBIGUOUS}') UNION {of} '{DIFFERENT}'"
    case.scratch.make("wrong", with_state(f"({wrong})"))
    rows: list[Row] = []
    for condition in ("is_duplicate", "in_one_group AND NOT is_duplicate"):
        value = "CASE WHEN is_equal THEN 1.0 ELSE score END"
        order = f"ORDER BY {value} DESC NULLS LAST, a, b LIMIT {n}"
        rows += case.scratch.query(f"SELECT * FROM wrong WHERE {condition} {order}").to_pylist()
    listed = _listed_among(case, rows)
    return _shown(case, "false", rows, lambda row: _why_false(row, listed, case.is_pairs))


def missed_pairs(case: Case, n: int) -> list[ShownPair]:
    """Up to `n` true pairs that are not in one group: half of them measured (highest score first), half never proposed.

    If one half has fewer pairs, the other half gets the rest. Pairs that were never proposed are a sample that depends
    on the image ids only.
    """
    (n_grouped,) = case.row("SELECT count(*) AS n FROM items WHERE label IS NOT NULL")
    only = "" if n_grouped else "AND NOT is_duplicate"  # there are no groups: only pairs can be missed
    missed = f"SELECT * FROM ({with_state(f'({true_pairs(case)})')}) WHERE NOT in_one_group {only}"
    case.scratch.make("missed", f"SELECT *, score IS NOT NULL OR is_equal AS is_measured FROM ({missed})")
    orders = {"is_measured": "score DESC NULLS FIRST, a, b", "NOT is_measured": "md5(a || ' ' || b), a, b"}
    measured, never = (
        case.scratch.query(f"SELECT * FROM missed WHERE {condition} ORDER BY {order} LIMIT {n}").to_pylist()
        for condition, order in orders.items()
    )
    n_never = max(n // 2, n - len(measured))
    rows = [*measured[: max(n - n // 2, n - len(never))], *never[:n_never]]
    return _shown(case, "missed", rows, _why_missed)


def _false_edges(case: Case, n: int) -> str:
    """SELECT of (a, b): one false pair of images for each of the `n` best accepted edges that contain a false pair."""
    unsure = f"AND NOT EXISTS (SELECT 1 FROM listed l WHERE l.verdict = '{AMBIGUOUS}' AND l.a = f.a AND l.b = f.b)"
    return f"""WITH best AS (
      SELECT va, vb FROM edges WHERE is_duplicate AND n_judged > n_hit ORDER BY score DESC, va, vb LIMIT {n}
    ),
    ends AS (SELECT va AS vertex FROM best UNION SELECT vb FROM best),
    -- images of many truth groups first, so that the limited number of images contains a false pair
    placed AS (
      SELECT i.vertex, i.image_id, i.truth_group,
        row_number() OVER (PARTITION BY i.vertex, i.truth_group ORDER BY i.image_id) AS place
      FROM items i JOIN ends ON ends.vertex = i.vertex
    ),
    few AS (
      SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY vertex ORDER BY place, image_id) AS rank FROM placed)
      WHERE rank <= {_MAX_IMAGES}
    ),
    found AS (
      SELECT e.va, e.vb, least(x.image_id, y.image_id) AS a, greatest(x.image_id, y.image_id) AS b
      FROM best e JOIN few x ON x.vertex = e.va JOIN few y ON y.vertex = e.vb WHERE x.truth_group <> y.truth_group
    )
    SELECT a, b FROM (
      SELECT a, b, row_number() OVER (PARTITION BY va, vb ORDER BY a, b) AS place
      FROM found f WHERE true {unsure if case.is_pairs else ""}
    ) WHERE place = 1"""


# (a, b): false pairs within a found group or a vertex that contains images of several truth groups. The truth group of
# the keeper is paired with each other one. Without a keeper among the items, the largest truth group takes its place.
# Each truth group is represented by the keeper, else by its smallest image id.
_FALSE_IN_BLOCKS = """WITH blocks AS (
  SELECT image_id, truth_group, CASE WHEN is_keeper THEN 1 ELSE 0 END AS is_keeper, 'vertex ' || vertex AS block
  FROM items WHERE vertex IS NOT NULL
  UNION ALL
  SELECT image_id, truth_group, CASE WHEN is_keeper THEN 1 ELSE 0 END, 'group ' || label
  FROM items WHERE label IS NOT NULL
),
cells AS (
  SELECT block, truth_group, count(*) AS n, first_value(image_id ORDER BY is_keeper DESC, image_id) AS image_id,
    max(is_keeper) AS has_keeper
  FROM blocks GROUP BY block, truth_group
),
placed AS (
  SELECT *, first_value(image_id) OVER best AS main_id, row_number() OVER best AS place
  FROM cells WINDOW best AS (PARTITION BY block ORDER BY has_keeper DESC, n DESC, image_id DESC, truth_group DESC)
)
SELECT least(image_id, main_id) AS a, greatest(image_id, main_id) AS b FROM placed WHERE place > 1"""


def _listed_among(case: Case, rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """Relations of the lines of the truth that list the pairs of `rows`."""
    if not case.is_pairs or not rows:
        return {}
    case.scratch.put_texts("asked", a=[row["a"] for row in rows], b=[row["b"] for row in rows])
    found = case.scratch.query("SELECT DISTINCT a, b, relation FROM listed JOIN asked USING (a, b)").to_pylist()
    return {(row["a"], row["b"]): row["relation"] for row in found}


def _why_false(row: Row, listed: dict[tuple[str, str], str], is_pairs: bool) -> tuple[str, str]:
    relation = listed.get((row["a"], row["b"]))
    if row["a_name"] is None or row["b_name"] is None:
        truth = "truth: names not both"
    elif relation is not None:
        truth = "truth: different" if relation == NO_RELATION else f"truth: different ({relation})"
    else:
        truth = "truth: not listed, nor linked" if is_pairs else "truth: two groups"
    if row["is_equal"]:
        return truth, "equal pixels"
    if row["is_duplicate"]:
        return truth, "accepted"
    return truth, "not accepted, yet in one group"


def _why_missed(row: Row) -> tuple[str, str]:
    truth = "truth: duplicate" if row["relation"] == NO_RELATION else f"truth: {row['relation']}"
    apart = apart_in_words(
        (row["a_status"], row["b_status"]),
        (row["a_scope"], row["b_scope"]),
        is_accepted=row["is_duplicate"],
        is_measured=row["score"] is not None,
    )
    return truth, apart


def _shown(case: Case, which: str, rows: Sequence[Row], why: Callable[[Row], tuple[str, str]]) -> list[ShownPair]:
    """`rows` of `with_state` with their evidence and thumbnails; `which` names them apart from others."""
    if not rows:
        return []
    scratch, keys, ids = case.scratch, f"{which}_keys", f"{which}_ids"
    scratch.put_texts(keys, **{name: [row[name] for row in rows] for name in ("src_id", "dst_id")})
    found = scratch.query(
        f"SELECT p.* FROM pairs p JOIN (SELECT DISTINCT src_id, dst_id FROM {keys}) k "
        "ON k.src_id = p.src_id AND k.dst_id = p.dst_id"
    )
    evidence = {(row["src_id"], row["dst_id"]): row for row in found.to_pylist()}
    scratch.put_texts(ids, image_id=sorted({row[side] for row in rows for side in "ab"}))
    columns = "i.image_id, i.uri, i.width_px, i.height_px, t.bytes"
    joined = f"items i JOIN {ids} k ON k.image_id = i.image_id LEFT JOIN thumbnails t ON t.content_id = i.content_id"
    images = scratch.query(f"SELECT {columns} FROM {joined}").to_pylist()
    sides = {row["image_id"]: Side(*row.values()) for row in images}
    out = []
    for row in rows:
        a, b = sides[row["a"]], sides[row["b"]]
        groups = (row["a_label"], row["b_label"])
        measured = evidence.get((row["src_id"], row["dst_id"]))
        if measured is not None and row["b_picture"] == row["src_picture"]:
            a, b, groups = b, a, groups[::-1]
        truth, state = why(row)
        out.append(ShownPair(a, b, truth, state, measured, groups))
    return out
