"""The ledger of verdicts: equal to all verdicts resolved at once, however few are read; and many verdicts."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import time
from pathlib import Path

import pytest
from deltalake import write_deltalake
from made_lake import CONFIG, arrow
from review_world import AT

from dupelake.frames.functions import locally
from dupelake.group.decisions_stage import resolve_decisions
from dupelake.group.verdicts import Verdict, combine
from dupelake.lookup.measure import frame_of, rows_of
from dupelake.review.ledger import Ledger, micros
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import DECIDED, DECISIONS, HASHES, IMAGES

AUTHORS = ("ann", "eve", "rule:a", "rule:b")
WORDS = ("duplicate", "duplicate", "not_duplicate", "alternate", "keeper", "withdrawn")


def add(lake: Path, rows: list[dict[str, object]]) -> None:
    write_deltalake(str(lake / DECISIONS.name), arrow(DECISIONS, rows), mode="append")


def verdict(first: str, other: str | None, word: str, author: str, seconds: int) -> dict[str, object]:
    named = {"image_id": first, "other_image_id": None if word == "keeper" else other}
    return {**named, "verdict": word, "author": author, "decided_at": AT + dt.timedelta(seconds=seconds)}


def all_resolved(reader: Reader) -> list[Verdict]:
    """All verdicts, without any of the ledger's short cuts."""
    tables = [(reader.table(table.name).to_pylist(), table.columns) for table in (DECISIONS, DECIDED, IMAGES, HASHES)]
    with locally():
        rows = rows_of(resolve_decisions(*(frame_of(*given) for given in tables), CONFIG))
    ends = ("vertex", "other_vertex", "verdict", "author")
    found = [
        Verdict(
            *(row[name] for name in ends),
            micros(row["decided_at"]),
            *(row[name] for name in ("image_id", "other_image_id", "fault")),
        )
        for row in rows
    ]
    return sorted(found, key=Verdict.order)


def check(ledger: Ledger, reader: Reader, vertices: list[str]) -> None:
    """The ledger says of all pairs what all verdicts say."""
    verdicts = all_resolved(reader)
    by_vertex, conflicts = combine(verdicts)
    rows = {row.vertex: row for row in by_vertex}
    for a, b in itertools.combinations(vertices, 2):
        own, other = rows.get(a), rows.get(b)
        both = own is not None and other is not None
        is_decided = both and other.duplicate_set in (own.duplicate_set, *own.apart, *own.alternates)
        assert ledger.is_undecided({"vertex": a, "other_vertex": b}) is not is_decided
        ends = {a, b}
        assert ledger.history(ends) == [one for one in verdicts if {one.vertex, one.other} - {None} == ends]
        told = [c for c in conflicts if ends in [{one.vertex, one.other} for one in (c.decision, c.against) if one]]
        assert len(ledger.conflicts_with(ends)) == len(told)
    for a in vertices:
        assert ledger.history([a]) == [one for one in verdicts if {one.vertex, one.other} - {None} == {a}]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_read_by_and_by_equals_all_verdicts_at_once(lake, seed):
    rng, reader = random.Random(seed), Reader(lake)  # noqa: S311
    images = reader.table(IMAGES.name).to_pylist()
    ids = [row["image_id"] for row in images]
    vertices = [f"{row['content_id']}/{row['scope']}" for row in images]
    new = [verdict(*rng.sample(ids, 2), rng.choice(WORDS), rng.choice(AUTHORS), n) for n in range(12)]
    add(lake, new)
    ledger = Ledger(reader, CONFIG)
    check(ledger, reader, rng.sample(vertices, 10))
    for n in range(3):
        add(lake, [verdict(*rng.sample(ids, 2), rng.choice(WORDS), rng.choice(AUTHORS), 20 + n)])
        ledger.refresh()
        check(ledger, reader, rng.sample(vertices, 10))
    add(lake, [verdict(*rng.sample(ids, 2), rng.choice(WORDS), "ann", 5)])  # with an earlier time, as SQL can
    ledger.refresh()
    check(ledger, reader, vertices)


def test_a_withdrawal_reaches_the_verdict_on_the_earlier_bytes_of_an_image(lake):
    reader = Reader(lake)
    one, other, third = reader.table(IMAGES.name, order="image_id").to_pylist()[:3]
    add(lake, [verdict(one["image_id"], other["image_id"], "not_duplicate", "ann", 0)])
    old = {"image_id": one["image_id"], "decided_at": AT, "content_id": third["content_id"], "scope": third["scope"]}
    write_deltalake(str(lake / DECIDED.name), arrow(DECIDED, [old]), mode="append")
    asked = [f"{row['content_id']}/{row['scope']}" for row in (third, other)]
    ledger = Ledger(reader, CONFIG)
    assert ledger.latest(asked, of_pair=True).verdict == "not_duplicate"
    add(lake, [verdict(other["image_id"], one["image_id"], "withdrawn", "bob", 1)])
    ledger.refresh()
    for read in (ledger, Ledger(reader, CONFIG)):
        assert read.latest(asked, of_pair=True) is None
        assert read.is_undecided(dict(zip(("vertex", "other_vertex"), asked, strict=True)))


def test_many_verdicts_of_rules_are_read_only_where_they_are_asked_for(lake):
    n = 15_000
    rows = {row["uri"].rpartition("/")[2]: row for row in Reader(lake).table(IMAGES.name).to_pylist()}
    first, second = rows["coffee.png"], rows["rocket.png"]
    made = [first | {"image_id": f"made-{k}", "content_id": f"{k:064x}", "file_id": None} for k in range(2 * n)]
    write_deltalake(str(lake / IMAGES.name), arrow(IMAGES, made), mode="append")
    add(lake, [verdict(f"made-{2 * k}", f"made-{2 * k + 1}", "duplicate", "rule:a", 0) for k in range(n)])
    reader = Reader(lake)
    ledger = Ledger(reader, CONFIG)
    ends = [f"{row['content_id']}/{row['scope']}" for row in (first, second)]
    asked = {"vertex": ends[0], "other_vertex": ends[1]}
    ruled = {"vertex": f"{0:064x}/", "other_vertex": f"{1:064x}/"}
    assert ledger.undecided([asked, ruled]) == [asked]
    add(lake, [verdict(first["image_id"], second["image_id"], "duplicate", "ann", 1)])
    start = time.process_time()
    ledger.refresh()
    assert not ledger.is_undecided(asked)
    assert time.process_time() - start < 3  # all 15,000 take longer than that
