"""Verdicts of rules beside those of people: what people said holds, and what follows from it, without Spark."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from group_corpus import Corpus
from test_decisions import Said
from test_verdicts import history, says

from dupelake.config import Config
from dupelake.frames.frame import Frame
from dupelake.frames.functions import locally
from dupelake.group.decisions_stage import keeper_conflicts, resolve_decisions
from dupelake.group.stage import member_rows
from dupelake.group.verdicts import combine
from dupelake.warehouse.schema import DECIDED

RULE = "rule:x"


def sets_of(verdicts):
    """{vertex: (duplicate set, linked set, apart, alternates)} and the kinds of the conflicts."""
    by_vertex, conflicts = combine(verdicts)
    rows = {row.vertex: (row.duplicate_set, row.linked_set, row.apart, row.alternates) for row in by_vertex}
    assert bool(conflicts) == any(row.is_disputed for row in by_vertex)
    return rows, [c.kind for c in conflicts]


@pytest.mark.parametrize("word", ["not_duplicate", "alternate"])
def test_a_rule_does_not_part_what_people_confirm_over_copies(word):
    said = [says("a", "c", word, 1, RULE), says("a", "b", "duplicate", 2), says("b", "c", "duplicate", 3)]
    rows, conflicts = sets_of(said)
    assert conflicts == []
    assert rows == {name: ("a", "a", [], []) for name in "abc"}


def test_a_rule_does_not_join_what_a_person_keeps_apart():
    said = [
        says("a", "b", "duplicate", 1, RULE),
        says("b", "c", "duplicate", 2, RULE),
        says("a", "c", "not_duplicate", 3),
    ]
    rows, conflicts = sets_of(said)
    assert conflicts == []
    assert rows["a"] == ("a", "a", ["c"], [])
    assert rows["c"] == ("c", "c", ["a"], [])
    assert sets_of(said[:2])[0] == {name: ("a", "a", [], []) for name in "abc"}


def test_a_rule_does_not_part_a_chain_of_alternates_of_people_nor_pulls_into_it_what_they_keep_apart():
    chain = [says("a", "b", "alternate", 1), says("b", "c", "alternate", 2)]
    people = sets_of(chain)
    assert sets_of([*chain, says("a", "c", "not_duplicate", 3, RULE)]) == people
    apart = [says("a", "b", "alternate", 1), says("a", "c", "not_duplicate", 2)]
    assert sets_of([*apart, says("b", "c", "duplicate", 3, RULE)]) == sets_of(apart)
    rows, conflicts = sets_of([*apart, says("b", "c", "alternate", 3, RULE)])
    assert conflicts == []
    assert rows == {"a": ("a", "a", ["c"], ["b"]), "b": ("b", "a", [], ["a", "c"]), "c": ("c", "c", ["a"], ["b"])}


def test_rules_that_contradict_each_other_over_copies_of_a_person_do_not_part_these():
    said = [says("a", "b", "duplicate", 1, RULE), says("a", "c", "not_duplicate", 2, "rule:y")]
    rows, conflicts = sets_of([*said, says("b", "c", "duplicate", 3)])
    assert conflicts == []
    assert rows == {"a": ("a", "a", ["b"], []), "b": ("b", "b", ["a"], []), "c": ("b", "b", ["a"], [])}


def test_two_rules_of_one_time_are_no_conflict_where_people_decided():
    tied = [says("a", "c", "duplicate", 1, RULE), says("a", "c", "alternate", 1, "rule:y")]
    assert sets_of(tied)[1] == ["same_time"]
    assert sets_of([*tied, says("a", "b", "duplicate", 2), says("b", "c", "duplicate", 3)])[1] == []


@pytest.mark.parametrize("block", range(4))
def test_what_follows_from_people_holds_in_random_histories(block):
    for seed in range(100 * block, 100 * block + 100):
        check_history(seed)


def check_history(seed):
    rng = random.Random(seed)  # noqa: S311
    _, verdicts = history(rng, rng.randrange(2, 9))
    verdicts = [replace(v, decided_at=at) for at, v in enumerate(verdicts)]
    mixed = [replace(v, author=RULE) if rng.random() < 0.6 else v for v in verdicts]
    people = {row.vertex: row for row in combine(v for v in mixed if v.author != RULE)[0]}
    by_vertex, conflicts = combine(mixed)
    both = {row.vertex: row for row in by_vertex}
    assert people.keys() <= both.keys()
    for a, mine in people.items():
        for b, theirs in people.items():
            for name in ("duplicate_set", "linked_set"):
                is_one = getattr(mine, name) == getattr(theirs, name)
                assert not is_one or getattr(both[a], name) == getattr(both[b], name), (seed, a, b, name)
            for name in ("apart", "alternates"):
                held = theirs.duplicate_set in getattr(mine, name)
                assert not held or both[b].duplicate_set in getattr(both[a], name), (seed, a, b, name)
    by_people = {row.vertex for row in combine(v for v in mixed if v.author != RULE and v.other)[0]}
    for conflict in conflicts:
        named = [v for v in (conflict.decision, conflict.against) if v is not None]
        ends = {end for v in named for end in (v.vertex, v.other)}
        assert not ends & by_people or all(v.author != RULE for v in named), (seed, conflict)
    alone = [[replace(v, author=author) for v in verdicts] for author in ("rule:x", "ann")]
    of_rule, of_person = ([facts(row) for row in combine(said)[0]] for said in alone)
    assert of_rule == of_person


def facts(row):
    return row.duplicate_set, row.linked_set, row.is_disputed, row.apart, row.alternates, row.chosen_image


class Local:
    """Makes local tables where a corpus asks Spark for a DataFrame."""

    def createDataFrame(self, rows, schema):
        names = schema.fieldNames()
        return Frame.of_rows([dict(zip(names, row, strict=True)) for row in rows], names)


def grouped(corpus, said):
    """{keeper: its other members}, the reasons, and the conflicts between chosen keepers."""
    with locally():
        images, hashes, pairs = corpus.frames(Local())
        decisions = said.frame(Local())
        verdicts = resolve_decisions(decisions, Frame.of_rows([], DECIDED.columns), images, hashes, Config())
        made = member_rows(images, hashes, pairs, Config(), lambda rows: rows, verdicts)
        rows = made.rows.collect()
        found = {}
        for row in rows:
            found.setdefault(row["star"], []).append(row)
        groups = {
            next(r["image_id"] for r in star if r["is_keeper"]): {r["image_id"] for r in star if not r["is_keeper"]}
            for star in found.values()
        }
        return groups, {r["image_id"]: r["reason"] for r in rows}, keeper_conflicts(made.competing).collect()


@pytest.mark.parametrize("links", [["ab", "bc", "ac"], ["ab", "ac"]])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_keeper_of_a_person_goes_before_that_of_a_rule(links, order):
    corpus, said = Corpus(), Said()
    corpus.ladder("s", "a", "b", "c")
    for one, other in links:
        corpus.pair(one, other, score=0.99)
    chosen = [("b", RULE), ("c", "ann")]
    said(*("b", "keeper"), author=RULE)
    assert grouped(corpus, said)[0].keys() == {"b"}
    for place in order:
        image, author = chosen[place]
        said(image, "keeper", author=author)
    groups, reasons, conflicts = grouped(corpus, said)
    assert conflicts == []
    assert groups.keys() == {"c"}
    assert "a" in groups["c"]
    assert "chosen by ann" in reasons["c"]
    assert not any("rule:x" in reason for reason in reasons.values())


def test_the_keeper_of_a_rule_splits_no_copies_that_a_person_confirmed():
    corpus, said = Corpus(), Said()
    corpus.ladder("s", "a", "b")
    corpus.ladder("other", "o", "p")
    corpus.pair("o", "p")
    said("a", "keeper", author=RULE)
    said("p", "keeper", author=RULE)
    said("b", "keeper")
    said("a", "duplicate", "b")
    groups, _, conflicts = grouped(corpus, said)
    assert (groups, conflicts) == ({"b": {"a"}, "p": {"o"}}, [])
