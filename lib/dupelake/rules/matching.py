"""The pairs that each rule matches, and what becomes of each, as temporary tables."""

from __future__ import annotations

from collections.abc import Sequence

from dupelake.group.verdicts import RULE
from dupelake.pair_rules import KEEPER, Rule
from dupelake.rules.conditions import of_contents, of_image, of_two, told_apart
from dupelake.rules.tables import PEOPLE
from dupelake.rules.torn import torn_pairs
from dupelake.warehouse.scratch import Scratch

# Names are of this room and of the schema.
# ruff: noqa: S608

NEW, KNOWN, PEOPLES, BOTH_WAYS, CONFLICT = "new", "known", "people", "both_ways", "conflict"
STATUSES = (NEW, KNOWN, PEOPLES, BOTH_WAYS, CONFLICT)
_COLUMNS = "number, verdict, low, high, image, other, kind, score, grp"


def make_ruled(scratch: Scratch, rules: Sequence[Rule]) -> None:
    """Make the table `ruled`: one row for each rule and pair that it matches, with its status.

    Columns: number (of the rule), verdict, low and high (vertices; of a keeper its own vertex twice), image and other
    (numbers of `shown`; of a keeper the one to keep, and the other), kind, score, grp (of a keeper), is_first (whether
    this row is the one to write, of those that say the same), status:

    - `new`: the rule would decide it;
    - `known`: a rule has said so (of two files of equal pixels one of these rules may have kept the other), or the
      image is the keeper already;
    - `people`: a person has said something about these pictures, or it follows from what people said;
    - `both_ways`: a rule that keeps a image matches with either image as a;
    - `conflict`: another rule, another pair of one group, or what follows from copies says otherwise.

    Args:
        scratch: with the tables of `make_tables`.
        rules: in order; the first one that says something about a pair is its author.
    """
    for number, rule in enumerate(rules):
        scratch.make(f"matched_{number}", _keepers(number, rule) if rule.verdict == KEEPER else _pairs(number, rule))
    every = " UNION ALL ".join(f"SELECT {_COLUMNS}, is_both FROM matched_{number}" for number in range(len(rules)))
    names = [f"'{RULE}{rule.name}'" for rule in rules]
    authors = " ".join(f"WHEN {number} THEN {name}" for number, name in enumerate(names))
    scratch.make("matched_all", f"SELECT *, CASE number {authors} END AS author FROM ({every})")
    scratch.make("agreed", _AGREED)
    scratch.make("judged_pairs", _JUDGED_PAIRS)
    scratch.make("candidates", _CANDIDATES.format(authors=", ".join(names)))
    scratch.make("judged_keepers", _JUDGED_KEEPERS)
    scratch.put("torn", torn_pairs(scratch))
    columns = ", ".join(f"j.{name}" for name in (*_COLUMNS.split(", "), "author", "is_first"))
    status = f"CASE WHEN j.status = '{NEW}' AND t.low IS NOT NULL THEN '{CONFLICT}' ELSE j.status END AS status"
    pairs = "judged_pairs j LEFT JOIN torn t ON t.low = j.low AND t.high = j.high AND t.verdict = j.verdict"
    keepers = f"SELECT {columns}, j.status FROM judged_keepers j"
    scratch.make("ruled", f"SELECT {columns}, {status} FROM {pairs} UNION ALL {keepers}")


def _sides(rule: Rule) -> str:
    """The images that fit each side: of each place the first, and the first for each value that is compared."""
    apart = ", ".join(["place", *told_apart(rule.pair)])
    return ", ".join(
        f"side_{name} AS (SELECT place, min(no) AS no FROM shown WHERE {of_image(side)} GROUP BY {apart})"
        for name, side in (("a", rule.a), ("b", rule.b))
    )


def _found(rule: Rule) -> str:
    """SELECT of the measured pairs that fit, with a and b in each order that fits."""
    orders = "SELECT {}, {}, kind, score FROM edges WHERE " + of_contents(rule.pair)
    both = f"{orders.format('left', 'right')} UNION ALL {orders.format('right AS left', 'left AS right')}"
    return f"""SELECT {_TWO} FROM ({both}) p
      JOIN side_a x ON x.place = p.left JOIN side_b y ON y.place = p.right
      JOIN shown a ON a.no = x.no JOIN shown b ON b.no = y.no WHERE {of_two(rule.pair)}"""


_TWO = "a.vertex AS vertex, b.vertex AS other_vertex, a.no AS image, b.no AS other, a.grp AS grp, p.kind, p.score"


def _pairs(number: int, rule: Rule) -> str:
    """SELECT of one row for each pair of vertices that a rule on pairs matches."""
    place = "row_number() OVER (PARTITION BY low, high ORDER BY score DESC, image, other) AS place"
    return f"""WITH {_sides(rule)},
    found AS ({_found(rule)}),
    ordered AS (SELECT *, least(vertex, other_vertex) AS low, greatest(vertex, other_vertex) AS high FROM found)
    SELECT {number} AS number, '{rule.verdict}' AS verdict, low, high, image, other, kind, score,
      CAST(NULL AS BIGINT) AS grp, false AS is_both
    FROM (SELECT *, {place} FROM ordered) WHERE place = 1"""


def _keepers(number: int, rule: Rule) -> str:
    """SELECT of one row for each pair of images of one group that a rule which keeps an image matches."""
    equals = "SELECT {}, {}, kind, score FROM equals WHERE " + of_contents(rule.pair)
    both = f"{equals.format('left', 'right')} UNION ALL {equals.format('right AS left', 'left AS right')}"
    # Images of equal pixels are told apart by their numbers, others by their pictures.
    of, opposite = (
        f"CASE WHEN vertex = other_vertex THEN {image} ELSE {vertex} END"
        for image, vertex in (("image", "vertex"), ("other", "other_vertex"))
    )
    place = "row_number() OVER (PARTITION BY one, two ORDER BY score DESC, image, other) AS place"
    # Another vertex (or, of equal pixels, another image) as a in another row of the two: it fits both ways.
    is_both = "min(this) OVER (PARTITION BY one, two) <> max(this) OVER (PARTITION BY one, two) AS is_both"
    return f"""WITH {_sides(rule)},
    found AS (
      {_found(rule)} AND a.grp = b.grp
      UNION ALL
      SELECT {_TWO} FROM ({both}) p JOIN shown a ON a.no = p.left JOIN shown b ON b.no = p.right
      WHERE a.grp = b.grp AND {of_image(rule.a, "a.")} AND {of_image(rule.b, "b.")} AND {of_two(rule.pair)}
    ),
    ordered AS (SELECT *, least({of}, {opposite}) AS one, greatest({of}, {opposite}) AS two, {of} AS this FROM found)
    SELECT {number} AS number, '{rule.verdict}' AS verdict, vertex AS low, vertex AS high, image, other, kind, score,
      grp, is_both
    FROM (SELECT *, {place}, {is_both} FROM ordered) WHERE place = 1"""


_OF_PAIRS = f"SELECT * FROM matched_all WHERE verdict <> '{KEEPER}'"
_OF_KEEPERS = f"SELECT * FROM matched_all WHERE verdict = '{KEEPER}'"

_AGREED = f"""SELECT low, high, min(number) AS first, min(verdict) <> max(verdict) AS differs
FROM ({_OF_PAIRS}) GROUP BY low, high"""
"""Of each pair of vertices that rules match: the first rule, and whether their verdicts differ."""

_JUDGED_PAIRS = f"""SELECT m.*, m.number = d.first AS is_first, CASE
  WHEN p.low IS NOT NULL OR s.duplicate_set = t.duplicate_set OR k.low IS NOT NULL THEN '{PEOPLES}'
  WHEN d.differs OR (r.verdict <> m.verdict AND r.author <> m.author) THEN '{CONFLICT}'
  WHEN r.verdict = m.verdict THEN '{KNOWN}' ELSE '{NEW}' END AS status
FROM ({_OF_PAIRS}) m JOIN agreed d ON d.low = m.low AND d.high = m.high
LEFT JOIN {PEOPLE.of_pairs} p ON p.low = m.low AND p.high = m.high
LEFT JOIN {PEOPLE.sets} s ON s.vertex = m.low LEFT JOIN {PEOPLE.sets} t ON t.vertex = m.high
LEFT JOIN {PEOPLE.between} k ON k.low = s.duplicate_set AND k.high = t.duplicate_set
LEFT JOIN (SELECT * FROM ruled_before WHERE high IS NOT NULL) r ON r.low = m.low AND r.high = m.high"""
"""The matched pairs with their status, but what follows from copies of copies."""

_CANDIDATES = f"""WITH stated AS (
  SELECT s.grp, min(s.keeper) AS keeper, min(r.low) AS before_low, max(r.low) AS before_high,
    min(s.no) FILTER (WHERE s.image_id = r.image_id) AS before_image,
    bool_or(r.author NOT IN ({{authors}})) AS is_others, count(p.vertex) > 0 AS is_peoples
  FROM shown s LEFT JOIN {PEOPLE.of_keepers} p ON p.vertex = s.vertex
  LEFT JOIN (SELECT * FROM ruled_before WHERE high IS NULL) r ON r.low = s.vertex
  WHERE s.grp IS NOT NULL GROUP BY s.grp
)
SELECT m.grp, min(m.low) FILTER (WHERE NOT m.is_both) AS lowest, max(m.low) FILTER (WHERE NOT m.is_both) AS highest,
  min(m.first) AS first,
  min(CASE WHEN m.image = s.keeper THEN 0 ELSE m.image END)
    FILTER (WHERE NOT m.is_both AND m.number = m.first) AS image,
  min(s.before_low) AS before_low, max(s.before_high) AS before_high, bool_or(s.is_peoples) AS is_peoples,
  min(s.keeper) AS keeper, min(s.before_image) AS before_image, bool_or(s.is_others) AS is_others
FROM (
  SELECT *, min(CASE WHEN NOT is_both THEN number END) OVER (PARTITION BY grp) AS first FROM ({_OF_KEEPERS})
) m JOIN stated s ON s.grp = m.grp GROUP BY m.grp"""
"""Of each group: the vertices that rules would keep, the first rule that keeps one, the image that this rule would keep
(0: the keeper as it is), and what was said before."""

_JUDGED_KEEPERS = f"""SELECT m.*, m.image = c.image AND m.number = c.first
    AND row_number() OVER (PARTITION BY m.grp, m.image, m.number, m.is_both ORDER BY m.other) = 1 AS is_first, CASE
  WHEN c.is_peoples THEN '{PEOPLES}' WHEN m.is_both THEN '{BOTH_WAYS}'
  WHEN c.lowest <> c.highest OR c.before_low <> m.low OR c.before_high <> m.low THEN '{CONFLICT}'
  WHEN c.is_others AND c.before_image IS DISTINCT FROM coalesce(nullif(c.image, 0), c.keeper) THEN '{CONFLICT}'
  WHEN c.image = 0 OR c.before_low IS NOT NULL THEN '{KNOWN}' ELSE '{NEW}' END AS status
FROM ({_OF_KEEPERS}) m JOIN candidates c ON c.grp = m.grp"""
