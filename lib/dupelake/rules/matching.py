"""The pairs that each rule matches, and what becomes of each, as temporary tables."""

from __future__ import annotations

from collections.abc import Sequence

from dupelake.group.verdicts import RULE
from dupelake.pair_rules import KEEPER, Rule
from dupelake.rules.conditions import TIER, of_contents, of_image, of_two, told_apart
from dupelake.rules.tables import PEOPLE
from dupelake.rules.torn import torn_pairs
from dupelake.warehouse.scratch import Scratch

# Names are of this room and of the schema.
# ruff: noqa: S608

NEW, KNOWN, PEOPLES, BOTH_WAYS, CONFLICT = "new", "known", "people", "both_ways", "conflict"
STATUSES = (NEW, KNOWN, PEOPLES, BOTH_WAYS, CONFLICT)
_COLUMNS = "number, author, verdict, low, high, image_id, uri, other_image_id, other_uri, kind, score, group_id, tier"


def make_ruled(scratch: Scratch, rules: Sequence[Rule]) -> None:
    """Make the table `ruled`: one row for each rule and pair that it matches, with its status.

    Columns: number (of the rule), author, verdict, low and high (vertices; of a keeper its own vertex twice),
    image_id and other_image_id (of a keeper the one to keep, and the other), their uris, kind, score, tier, group_id,
    status:

    - `new`: the rule would decide it;
    - `known`: a rule has said so, or the image is the keeper already;
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
    scratch.make("matched_all", every)
    scratch.make("judged", f"{_judged_pairs()} UNION ALL {_judged_keepers()}")
    scratch.put("torn", torn_pairs(scratch))
    status = f"CASE WHEN j.status = '{NEW}' AND t.low IS NOT NULL THEN '{CONFLICT}' ELSE j.status END"
    on = "t.low = j.low AND t.high = j.high AND t.verdict = j.verdict"
    columns = ", ".join(f"j.{name.strip()}" for name in _COLUMNS.split(","))
    scratch.make("ruled", f"SELECT {columns}, j.is_first, {status} AS status FROM judged j LEFT JOIN torn t ON {on}")


def _sides(rule: Rule) -> str:
    """The images that fit each side: of each content and scope one, and one for each value that is compared."""
    apart = ", ".join(["content_id", "scope", *told_apart(rule.pair)])
    place = f"row_number() OVER (PARTITION BY {apart} ORDER BY image_id) AS place"
    return ", ".join(
        f"side_{name} AS (SELECT * FROM (SELECT *, {place} FROM shown WHERE {of_image(side)}) WHERE place = 1)"
        for name, side in (("a", rule.a), ("b", rule.b))
    )


def _found(rule: Rule) -> str:
    """SELECT of the measured pairs that fit, with a and b in each order that fits."""
    orders = "SELECT {} AS left, {} AS right, kind, score, is_duplicate FROM pairs WHERE " + of_contents(rule.pair)
    both = f"{orders.format('src_id', 'dst_id')} UNION ALL {orders.format('dst_id', 'src_id')}"
    return f"""SELECT {_TWO} FROM ({both}) p
      JOIN side_a a ON a.content_id = p.left JOIN side_b b ON b.content_id = p.right AND b.scope = a.scope
      WHERE a.vertex <> b.vertex AND {of_two(rule.pair)}"""


_TWO = f"""a.vertex AS vertex, b.vertex AS other_vertex, a.image_id, a.uri, a.group_id, b.image_id AS other_image_id,
b.uri AS other_uri, b.group_id AS other_group_id, a.is_keeper, p.kind, p.score, {TIER} AS tier"""


def _named(number: int, rule: Rule) -> str:
    return f"{number} AS number, '{RULE}{rule.name}' AS author, '{rule.verdict}' AS verdict"


def _pairs(number: int, rule: Rule) -> str:
    """SELECT of one row for each pair of vertices that a rule on pairs matches."""
    place = "row_number() OVER (PARTITION BY low, high ORDER BY score DESC, image_id, other_image_id) AS place"
    return f"""WITH {_sides(rule)},
    found AS ({_found(rule)}),
    ordered AS (SELECT *, least(vertex, other_vertex) AS low, greatest(vertex, other_vertex) AS high FROM found)
    SELECT {_named(number, rule)}, low, high, image_id, uri, other_image_id, other_uri, kind, score,
      CASE WHEN group_id = other_group_id THEN group_id END AS group_id, tier, false AS is_both
    FROM (SELECT *, {place} FROM ordered) WHERE place = 1"""


def _keepers(number: int, rule: Rule) -> str:
    """SELECT of one row for each pair of images of one group that a rule which keeps an image matches."""
    equals = "SELECT {}, kind, score, is_duplicate FROM equals WHERE " + of_contents(rule.pair)
    both = f"{equals.format('left, right')} UNION ALL {equals.format('right AS left, left AS right')}"
    key = "least(vertex, other_vertex), greatest(vertex, other_vertex)"
    # Images of equal pixels are told apart by their ids, others by their pictures.
    key += ", CASE WHEN vertex = other_vertex THEN least(image_id, other_image_id) END"
    key += ", CASE WHEN vertex = other_vertex THEN greatest(image_id, other_image_id) END"
    place = f"row_number() OVER (PARTITION BY {key} ORDER BY score DESC, image_id, other_image_id) AS place"
    # Another vertex (or, of equal pixels, another image) as a in another row of the key: it fits both ways.
    of = "CASE WHEN vertex = other_vertex THEN image_id ELSE vertex END"
    is_both = f"min({of}) OVER (PARTITION BY {key}) <> max({of}) OVER (PARTITION BY {key}) AS is_both"
    return f"""WITH {_sides(rule)},
    found AS (
      {_found(rule)} AND a.group_id = b.group_id
      UNION ALL
      SELECT {_TWO} FROM ({both}) p JOIN shown a ON a.image_id = p.left JOIN shown b ON b.image_id = p.right
      WHERE a.group_id = b.group_id AND {of_image(rule.a, "a.")} AND {of_image(rule.b, "b.")} AND {of_two(rule.pair)}
    )
    SELECT {_named(number, rule)}, vertex AS low, vertex AS high, image_id, uri, other_image_id, other_uri, kind, score,
      group_id, tier, is_both
    FROM (SELECT *, {place}, {is_both} FROM found) WHERE place = 1"""


def _judged_pairs() -> str:
    """SELECT of the matched pairs with their status, but what follows from copies; the first rule of each is marked."""
    return f"""SELECT {_COLUMNS}, row_number() OVER (PARTITION BY low, high ORDER BY number) = 1 AS is_first, CASE
      WHEN is_peoples THEN '{PEOPLES}'
      WHEN differs OR (before IS NOT NULL AND before <> verdict AND before_author <> author) THEN '{CONFLICT}'
      WHEN before = verdict THEN '{KNOWN}' ELSE '{NEW}' END AS status
    FROM (
      SELECT m.*, r.verdict AS before, r.author AS before_author,
        p.low IS NOT NULL OR coalesce(s.duplicate_set = t.duplicate_set, false) OR k.low IS NOT NULL AS is_peoples,
        min(m.verdict) OVER (PARTITION BY m.low, m.high) <> max(m.verdict) OVER (PARTITION BY m.low, m.high)
          AS differs
      FROM (SELECT * FROM matched_all WHERE verdict <> '{KEEPER}') m
      LEFT JOIN {PEOPLE.of_pairs} p ON p.low = m.low AND p.high = m.high
      LEFT JOIN {PEOPLE.sets} s ON s.vertex = m.low LEFT JOIN {PEOPLE.sets} t ON t.vertex = m.high
      LEFT JOIN {PEOPLE.between} k ON k.low = coalesce(s.duplicate_set, m.low)
        AND k.high = coalesce(t.duplicate_set, m.high)
      LEFT JOIN (SELECT * FROM ruled_before WHERE high IS NOT NULL) r ON r.low = m.low AND r.high = m.high
    )"""


def _judged_keepers() -> str:
    """SELECT of the matched keepers with their status. One row for each group is marked, of its only candidate."""
    return f"""SELECT {_COLUMNS},
      row_number() OVER (PARTITION BY group_id, is_both ORDER BY number, is_kept DESC, image_id, other_image_id) = 1
        AS is_first,
      CASE WHEN is_peoples THEN '{PEOPLES}' WHEN is_both THEN '{BOTH_WAYS}'
        WHEN lowest <> highest OR before_low <> low OR before_high <> low THEN '{CONFLICT}'
        WHEN is_kept_any OR before_low IS NOT NULL THEN '{KNOWN}' ELSE '{NEW}' END AS status
    FROM (
      SELECT m.*, g.before_low, g.before_high, coalesce(g.is_peoples, false) AS is_peoples,
        coalesce(m.image_id = g.keeper_image, false) AS is_kept,
        max(CASE WHEN NOT m.is_both AND m.image_id = g.keeper_image THEN 1 ELSE 0 END)
          OVER (PARTITION BY m.group_id) = 1 AS is_kept_any,
        min(CASE WHEN NOT m.is_both THEN m.low END) OVER (PARTITION BY m.group_id) AS lowest,
        max(CASE WHEN NOT m.is_both THEN m.low END) OVER (PARTITION BY m.group_id) AS highest
      FROM (SELECT * FROM matched_all WHERE verdict = '{KEEPER}') m LEFT JOIN (
        SELECT s.group_id, min(s.keeper_image) AS keeper_image, min(r.low) AS before_low, max(r.low) AS before_high,
          count(p.vertex) > 0 AS is_peoples
        FROM shown s LEFT JOIN {PEOPLE.of_keepers} p ON p.vertex = s.vertex
        LEFT JOIN (SELECT * FROM ruled_before WHERE high IS NULL) r ON r.low = s.vertex
        WHERE s.group_id IS NOT NULL GROUP BY s.group_id
      ) g ON g.group_id = m.group_id
    )"""
