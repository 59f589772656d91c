"""What rules would decide, and their verdicts: written, and withdrawn."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dupelake.config import LshConfig
from dupelake.errors import ConfigError
from dupelake.group.giving import WAIT_S
from dupelake.group.verdicts import RULE, WITHDRAWN
from dupelake.pair_rules import KEEPER, Rule
from dupelake.report.last_run import last_options
from dupelake.rules.conditions import TIER
from dupelake.rules.matching import NEW, STATUSES, make_ruled
from dupelake.rules.tables import make_ends, make_tables
from dupelake.serve.book import DeltaBook
from dupelake.warehouse.reader import Reader, micros, quoted, time_literal
from dupelake.warehouse.scratch import Scratch, scratch_beside

# Names are of this room.
# ruff: noqa: S608

_EXAMPLE = ("status", "image_id", "uri", "other_image_id", "other_uri", "kind", "tier", "score")


@dataclass(frozen=True)
class Outcome:
    """What one rule would decide.

    Attributes:
        rule: the rule.
        counts: number of matched pairs by status (`matching.STATUSES`).
        n_verdicts: number of verdicts that it would add; one for each group of a rule that keeps an image.
        examples: matched pairs, those that it would decide first, the least certain before others; as dicts.
    """

    rule: Rule
    counts: dict[str, int]
    n_verdicts: int
    examples: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = {"rule": self.rule.name, "verdict": self.rule.verdict, "enabled": self.rule.enabled}
        return {**told, "matched": sum(self.counts.values()), **self.counts} | {
            "verdicts": self.n_verdicts,
            "examples": self.examples,
        }


def preview(reader: Reader, rules: Sequence[Rule], n_examples: int = 3) -> list[Outcome]:
    """What rules would decide, together, in their order; nothing is written.

    Args:
        reader: of the warehouse.
        rules: at least one.
        n_examples: number of examples of each rule.

    Raises:
        NotFoundError: the warehouse lacks a table.
    """
    with _ruled(reader, rules) as scratch:
        return _outcomes(scratch, rules, n_examples)


def apply(folder: Path, rules: Sequence[Rule], n_examples: int = 3, options: LshConfig | None = None) -> list[Outcome]:
    """Add the verdicts of rules; returns what `preview` returned just before. `options` default to the last run's.

    It reads while it holds the lock for writing verdicts, so that no verdict of a person comes in between.

    Raises:
        NotFoundError: the warehouse lacks a table.
        BusyError: others held the lock for too long; nothing is written.
    """
    reader, book = Reader(folder), DeltaBook(folder, WAIT_S)
    with book.held("dupelake rules") as check, _ruled(reader, rules, options) as scratch:
        outcomes = _outcomes(scratch, rules, n_examples)
        if any(outcome.n_verdicts for outcome in outcomes):
            at = time_literal(dt.datetime.now(dt.UTC))
            pins, verdicts = scratch.query(_PINS.format(at=at)), scratch.query(_VERDICTS.format(at=at))
            check()
            book.pin(pins)
            check()
            book.add(verdicts)  # last, because it makes the decisions
    return outcomes


def undo(folder: Path, name: str) -> int:
    """Withdraw all verdicts of the rule `name`; returns their number.

    Raises:
        ConfigError: no verdict is of this rule.
        BusyError: others held the lock for too long; nothing is written.
    """
    reader, book = Reader(folder), DeltaBook(folder, WAIT_S)
    author = f"{RULE}{name}"
    with book.held("dupelake rules") as check, scratch_beside(reader) as scratch:
        make_ends(scratch, last_options(reader).lsh)
        now = micros(dt.datetime.now(dt.UTC))
        scratch.make("standing", _STANDING.format(author=quoted(author), withdrawn=WITHDRAWN, now=now))
        verdicts = scratch.query(_WITHDRAWALS.format(author=quoted(author), withdrawn=WITHDRAWN))
        if not verdicts.num_rows:
            rows = scratch.query(
                f"SELECT DISTINCT author FROM decisions WHERE starts_with(author, '{RULE}') ORDER BY 1"
            )
            known = ", ".join(one.removeprefix(RULE) for one in rows["author"].to_pylist()) or "none"
            raise ConfigError([f"--undo {name}: no verdict of this rule stands; verdicts were given by: {known}"])
        pins = scratch.query(_OLD_PINS)
        check()
        book.pin(pins)
        check()
        book.add(verdicts)
    return int(verdicts.num_rows)


@contextmanager
def _ruled(reader: Reader, rules: Sequence[Rule], options: LshConfig | None = None) -> Iterator[Scratch]:
    """The table `ruled` of these rules."""
    with scratch_beside(reader) as scratch:
        make_tables(scratch, options or last_options(reader).lsh)
        make_ruled(scratch, rules)
        yield scratch


def _outcomes(scratch: Scratch, rules: Sequence[Rule], n_examples: int) -> list[Outcome]:
    is_new = f"status = '{NEW}'"
    counted = scratch.query(
        f"SELECT number, status, count(*) AS n, count(*) FILTER (WHERE {is_new} AND is_first) AS n_verdicts "
        "FROM ruled GROUP BY number, status"
    ).to_pylist()
    shown = scratch.query(_EXAMPLES.format(is_new=is_new, n=n_examples, tier=TIER)).to_pylist()
    outcomes = []
    for number, rule in enumerate(rules):
        found = {row["status"]: row for row in counted if row["number"] == number}
        counts = {status: found[status]["n"] if status in found else 0 for status in STATUSES}
        examples = [{name: row[name] for name in _EXAMPLE} for row in shown if row["number"] == number]
        outcomes.append(Outcome(rule, counts, found[NEW]["n_verdicts"] if NEW in found else 0, examples))
    return outcomes


_EXAMPLES = """SELECT r.number, r.status, a.image_id, a.uri, b.image_id AS other_image_id, b.uri AS other_uri, r.kind,
  {tier} AS tier, r.score
FROM (
  SELECT *, row_number() OVER (PARTITION BY number ORDER BY {is_new} DESC, score, image, other) AS place FROM ruled
) r JOIN shown a ON a.no = r.image JOIN shown b ON b.no = r.other WHERE r.place <= {n} ORDER BY r.number, r.place"""

_WRITTEN = f"SELECT * FROM ruled WHERE status = '{NEW}' AND is_first"

_VERDICTS = f"""SELECT a.image_id, CASE WHEN r.verdict <> '{KEEPER}' THEN b.image_id END AS other_image_id, r.verdict,
  r.author, {{at}} AS decided_at, CAST(NULL AS VARCHAR) AS note
FROM ({_WRITTEN}) r JOIN shown a ON a.no = r.image JOIN shown b ON b.no = r.other"""

_PINS = f"""WITH written AS ({_WRITTEN}),
named AS (SELECT image AS no FROM written UNION SELECT other FROM written WHERE verdict <> '{KEEPER}')
SELECT s.image_id, {{at}} AS decided_at, s.content_id, s.own_scope AS scope
FROM shown s JOIN named n ON n.no = s.no"""

# One verdict for each two vertices: the same images may have been decided again after a file got other bytes. An image
# has one content at each time, so the verdicts of each time are withdrawn at a time of their own, `at`.
_STANDING = """WITH said AS (
  SELECT d.*, coalesce(a.vertex, d.image_id) AS one, coalesce(b.vertex, d.other_image_id) AS two
  FROM decisions d LEFT JOIN ends a ON a.image_id = d.image_id AND a.decided_at = d.decided_at
  LEFT JOIN ends b ON b.image_id = d.other_image_id AND b.decided_at = d.decided_at
  WHERE d.author = {author}
)
SELECT image_id, other_image_id, decided_at, arrow_cast(
  {now} + CAST(dense_rank() OVER (ORDER BY decided_at) AS BIGINT) - 1, 'Timestamp(Microsecond, Some("UTC"))'
) AS at FROM (
  SELECT *, row_number() OVER (
    PARTITION BY least(one, two), greatest(one, two), two IS NULL ORDER BY decided_at DESC  -- least('x', NULL) is 'x'
  ) AS place FROM said
) WHERE place = 1 AND verdict <> '{withdrawn}'"""

_WITHDRAWALS = """SELECT image_id, other_image_id, '{withdrawn}' AS verdict, {author} AS author, at AS decided_at,
  CAST(NULL AS VARCHAR) AS note FROM standing"""

# A withdrawal is about what the images showed when the rule decided.
_OLD_PINS = """WITH named AS (
  SELECT DISTINCT unnest(make_array(image_id, other_image_id)) AS image_id, decided_at, at FROM standing
)
SELECT d.image_id, n.at AS decided_at, d.content_id, d.scope
FROM decided d JOIN named n ON n.image_id = d.image_id AND n.decided_at = d.decided_at"""
