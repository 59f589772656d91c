"""Rules on small warehouses without Spark: what they match, what they leave to people, what is written and undone."""

from __future__ import annotations

import itertools
import json
import re
import threading
from pathlib import Path

import pytest
import yaml
from evaluation_world import NOON
from ruled import Lake, Random, content

from dupelake import cli
from dupelake.config import LshConfig, load_config
from dupelake.errors import ConfigError
from dupelake.group.giving import Line, give
from dupelake.group.verdicts import Verdict, current_verdicts
from dupelake.pair_rules import parse_rules
from dupelake.rules import ruling
from dupelake.rules.conditions import pattern_of
from dupelake.rules.in_words import in_words
from dupelake.rules.matching import make_ruled
from dupelake.rules.tables import make_tables as make_rule_tables
from dupelake.serve.book import DeltaBook
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.scratch import scratch_beside

DOCS = Path(__file__).parents[2] / "docs" / "rules.md"


def rules_of(*texts: str) -> list:
    faults: list[str] = []
    rules = parse_rules([yaml.safe_load(text) for text in texts], "rules.list", faults)
    assert faults == []
    return list(rules)


def ruled(root: Path, rules: list) -> list[dict]:
    with scratch_beside(Reader(root)) as scratch:
        make_rule_tables(scratch, LshConfig())
        make_ruled(scratch, rules)
        ids = "SELECT r.*, a.image_id, b.image_id AS other_image_id, a.vertex_name, b.vertex_name AS other_vertex_name"
        names = "(SELECT s.*, v.vertex AS vertex_name FROM shown s JOIN vertices v ON v.lowest = s.vertex)"
        joined = f"ruled r JOIN {names} a ON a.no = r.image JOIN {names} b ON b.no = r.other"
        return scratch.query(f"{ids} FROM {joined}").to_pylist()


def statuses(root: Path, *texts: str) -> dict[tuple[int, frozenset], str]:
    rows = ruled(root, rules_of(*texts))
    return {(row["number"], frozenset((row["image_id"], row["other_image_id"]))): row["status"] for row in rows}


def said(root: Path) -> list[tuple]:
    rows = Reader(root).table("decisions", order="decided_at, image_id").to_pylist()
    return [(row["author"], row["image_id"], row["verdict"], row["other_image_id"]) for row in rows]


def pairs_of(*names: str) -> set[frozenset]:
    return {frozenset(name) for name in names}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """a to f: a-b, b-c, c-d, d-e accepted; e-f rejected."""
    made = Lake(tmp_path / "dupes")
    for name in "abcdef":
        made.image(name)
    for one, other in itertools.pairwise("abcde"):
        made.pair(one, other)
    made.pair("e", "f", 0.2, None)
    made.group("abcde")
    return made


SAYS = {word: f"{{name: {word}, verdict: {word}, pair: {{accepted: true}}}}" for word in ("duplicate", "alternate")}
SAYS["not_duplicate"] = "{name: apart, verdict: not_duplicate, pair: {accepted: true}}"


# --- what a rule matches


def test_each_condition_matches_what_an_enumeration_of_all_images_finds(tmp_path):
    world = Random(tmp_path / "dupes", 5)
    rules = [world.rule() | dict(name=f"r{number}") for number in range(60)]
    rows = ruled(world.lake.root, list(parse_rules(rules, "rules.list", faults := [])))
    assert faults == []
    found: dict[int, set] = {number: set() for number in range(len(rules))}
    for row in rows:
        found[row["number"]].add(tuple(sorted((row["vertex_name"], row["other_vertex_name"]))))
    for number, rule in enumerate(rules):
        assert found[number] == world.expected(rule), rule
    assert sum(map(bool, found.values())) > 20


@pytest.mark.parametrize(
    ("glob", "uri", "fits"),
    [
        ("*/archive/*", "file:///data/archive/x/a.jpg", True),
        ("*/archive/*", "/data/archives/a.jpg", False),
        ("/data/*.jpg", "/data/x/a.jpg", True),
        ("/data/?.jpg", "/data/ab.jpg", False),
        ("IMG_*.JPG", "s3://b/IMG_1/a.jpg", False),
        ("IMG_*.JPG", "s3://b/x/IMG_1.JPG", True),
        ("IMG_*", "IMG_1", True),
        ("a+b (1).*", "/d/a+b (1).png", True),
        ("a.b", "/d/aXb", False),
        ("*'s.jpg", "/d/ann's.jpg", True),
    ],
)
def test_patterns(glob, uri, fits):
    assert bool(re.search(pattern_of(glob), uri)) is fits


def test_a_tier_is_that_of_a_copy_and_its_keeper(lake):
    lake.groups.clear()
    lake.group("abc", tier="copies")
    lake.group("de", tier="verified")
    root = lake.write()
    found = statuses(root, "{name: t, verdict: alternate, pair: {tier: [copies]}}")
    assert {key for _, key in found} == pairs_of("ab")  # b-c is a pair of two copies
    assert {key for _, key in statuses(root, "{name: t, verdict: alternate, pair: {tier: verified}}")} == pairs_of("de")


# --- people's verdicts win


def person(root: Path, *lines: tuple, author: str = "ann") -> None:
    for one, verdict, *other in lines:
        assert give(DeltaBook(root, 10), [Line("1", one, verdict, *other)], author).added == 1


def test_people_win_directly_over_copies_and_after_they_withdrew(lake):
    for name in ("a2", "c2"):
        lake.image(name, of=name[0])
    root = lake.write()
    person(root, ("a2", "duplicate", "b"), ("c2", "not_duplicate", "d"), ("d", "alternate", "e"))
    person(root, ("d", "withdrawn", "e"), author="bob")
    found = statuses(root, SAYS["not_duplicate"])
    assert found == {(0, pair_): "people" for pair_ in pairs_of("ab", "cd", "de")} | {(0, frozenset("bc")): "new"}
    person(root, ("b", "duplicate", "c"))  # a, b, c are confirmed copies; d is kept apart from all
    lake.pair("a", "c")
    lake.pair("b", "d")
    lake.write()
    found = statuses(root, SAYS["not_duplicate"])
    assert found[0, frozenset("ac")] == found[0, frozenset("bd")] == "people"
    assert set(found.values()) == {"people"}


def test_a_verdict_stays_with_the_bytes_that_a_person_saw(lake):
    root = lake.write()
    person(root, ("a", "duplicate", "b"))
    lake.image("a3", of="a")
    lake.images["a"]["content_id"] = content("other")
    lake.hashes[content("other")] = {}
    lake.write()
    assert statuses(root, SAYS["duplicate"])[0, frozenset(("a3", "b"))] == "people"


def test_a_verdict_on_earlier_bytes_that_a_person_withdrew_joins_nothing(lake):
    root = lake.write()
    person(root, ("a", "duplicate", "b"), ("a", "not_duplicate", "c"))
    lake.image("a3", of="a")
    lake.pair("a", "c")
    lake.images["a"]["content_id"] = content("other")
    lake.hashes[content("other")] = {}
    lake.write()
    assert statuses(root, SAYS["duplicate"])[0, frozenset("bc")] == "people"
    person(root, ("a", "withdrawn", "b"))
    assert statuses(root, SAYS["duplicate"])[0, frozenset("bc")] == "new"


def test_nobody_overrules_the_keeper_of_a_person(lake):
    lake.images["c"]["uri"] = "/archive/c.jpg"
    rule = "{name: k, verdict: keeper, a: {path: '*archive*'}, b: {not_path: '*archive*'}}"
    root = lake.write()
    assert set(statuses(root, rule).values()) == {"new"}
    person(root, ("e", "keeper"))
    assert set(statuses(root, rule).values()) == {"people"}


def test_a_verdict_of_a_rule_never_counts_beside_one_of_a_person():
    at = itertools.count(1)

    def verdict(word: str, author: str) -> Verdict:
        return Verdict("u", "v", word, author, next(at), "a", "b")

    first = [verdict("duplicate", "ann"), verdict("not_duplicate", "rule:x")]
    assert [one.author for one in current_verdicts(first)[0]] == ["ann"]
    denied = [verdict("duplicate", "rule:x"), verdict("withdrawn", "ann"), verdict("duplicate", "rule:x")]
    assert current_verdicts(denied) == ([], [])
    alone = [verdict("duplicate", "rule:x"), verdict("alternate", "rule:y")]
    assert [one.author for one in current_verdicts(alone)[0]] == ["rule:y"]


# --- rules that disagree


def test_rules_that_disagree_write_neither_and_the_first_that_agrees_is_the_author(lake):
    root = lake.write()
    same = "{name: second, verdict: duplicate, pair: {kind: near}}"
    some = "{name: some, verdict: alternate, a: {path: '*/a.jpg'}}"
    outcomes = ruling.apply(root, rules_of(SAYS["duplicate"], same, some))
    assert [one.counts["conflict"] for one in outcomes] == [1, 1, 1]
    assert [one.n_verdicts for one in outcomes] == [3, 0, 0]
    assert {row[0] for row in said(root)} == {"rule:duplicate"}
    found = statuses(root, SAYS["not_duplicate"])  # against what another rule wrote
    assert found[0, frozenset("ab")] == "new"
    assert {found[0, key] for key in pairs_of("bc", "cd", "de")} == {"conflict"}


def test_copies_of_copies_that_a_rule_or_a_person_keeps_apart_are_not_joined(lake):
    lake.pair("a", "c", 0.6, "crop")
    root = lake.write()
    joins = "{name: j, verdict: duplicate, pair: {kind: near}}"
    parts = "{name: p, verdict: not_duplicate, pair: {kind: crop}}"
    assert set(statuses(root, joins, parts).values()) == {"conflict"}  # all five are one set
    assert set(statuses(root, joins).values()) == {"new"}
    assert statuses(root, parts) == {(0, frozenset("ac")): "new"}
    person(root, ("a", "not_duplicate", "e"))
    assert set(statuses(root, joins).values()) == {"conflict"}
    assert set(statuses(root, "{name: j, verdict: duplicate, a: {path: '*/a.jpg'}}").values()) == {"new"}


KEEPS = "{{name: {0}, verdict: keeper, a: {{path: '*/{0}/*'}}, b: {{not_path: '*/{0}/*'}}}}"


def test_one_group_gets_one_keeper_or_none(tmp_path):
    lake = Lake(tmp_path / "dupes")
    for name in ("k", "m", "n", "o", "p"):
        lake.image(name)
    lake.images["m"]["uri"], lake.images["n"]["uri"] = "/first/m.jpg", "/second/n.jpg"
    for name in ("m", "n", "o"):
        lake.pair("k", name)
    lake.pair("m", "n")
    lake.pair("o", "p")  # not in one group
    lake.group(["k", "m", "n", "o"])
    root = lake.write()
    assert set(statuses(root, KEEPS.format("first")).values()) == {"new"}
    assert set(statuses(root, KEEPS.format("first"), KEEPS.format("second")).values()) == {"conflict"}
    outcomes = ruling.apply(root, rules_of(KEEPS.format("first")))
    assert (outcomes[0].counts["new"], outcomes[0].n_verdicts) == (2, 1)
    assert said(root) == [("rule:first", "m", "keeper", None)]
    assert set(statuses(root, KEEPS.format("first")).values()) == {"known"}
    assert set(statuses(root, KEEPS.format("second")).values()) == {"conflict"}
    larger = "{name: l, verdict: keeper, a: {format: JPEG}, pair: {max_pixel_ratio: 2}}"
    ruling.undo(root, "first")
    assert set(statuses(root, larger).values()) == {"both_ways"}


def test_files_of_equal_bytes_have_a_keeper_too(tmp_path):
    lake = Lake(tmp_path / "dupes")
    for name, folder in (("x1", "web"), ("x2", "archive"), ("x3", "archive"), ("y1", "web"), ("y2", "archive")):
        lake.image(name, f"/{folder}/{name}.jpg", name[0])
    lake.group(["x1", "x2", "x3"], dict.fromkeys(("x2", "x3"), "exact"), "identical")
    lake.group(["y2", "y1"], {"y1": "pixel"}, "identical")
    root = lake.write()
    outcomes = ruling.apply(root, rules_of(KEEPS.format("archive")))
    assert (outcomes[0].counts["new"], outcomes[0].counts["known"], outcomes[0].n_verdicts) == (2, 1, 1)
    assert said(root) == [("rule:archive", "x2", "keeper", None)]


def test_two_rules_that_keep_two_files_of_equal_pixels_write_the_choice_of_the_first(tmp_path):
    lake = Lake(tmp_path / "dupes")
    for name, folder in (("k", "web"), ("x1", "second"), ("x2", "first")):
        lake.image(name, f"/{folder}/{name}.jpg", name[0])
    lake.pair("k", "x1")
    lake.group(["k", "x1", "x2"], {"x2": "near"})
    root, rules = lake.write(), rules_of(KEEPS.format("first"), KEEPS.format("second"))
    outcomes = ruling.apply(root, rules)
    assert [(one.counts["new"], one.n_verdicts) for one in outcomes] == [(1, 1), (1, 0)]
    assert said(root) == [("rule:first", "x2", "keeper", None)]
    assert [one.counts["known"] for one in ruling.apply(root, rules)] == [1, 1]


def test_a_rule_that_would_keep_another_file_of_equal_pixels_than_an_earlier_rule_is_in_conflict(tmp_path):
    lake = Lake(tmp_path / "dupes")
    for name, folder in (("x1", "web"), ("x2", "archive")):
        lake.image(name, f"/{folder}/{name}.jpg", "x")
    lake.group(["x1", "x2"], {"x2": "exact"}, "identical")
    root, web, archive = lake.write(), *(KEEPS.format(name) for name in ("web", "archive"))
    ours, key = frozenset(("x1", "x2")), "{{name: other, verdict: keeper, a: {{path: '*/{0}/*'}}}}"
    assert statuses(root, web) == {(0, ours): "known"}  # it is the keeper
    assert ruling.apply(root, rules_of(archive))[0].n_verdicts == 1
    for keeper, other in (("x1", "x2"), ("x2", "x1")):  # before and after a night obeyed
        lake.groups = []
        lake.group([keeper, other], {other: "exact"}, "identical")
        lake.write()
        assert statuses(root, archive) == {(0, ours): "known"}
        assert statuses(root, key.format("archive")) == {(0, ours): "known"}, "another rule that keeps the same file"
        assert statuses(root, web) == {(0, ours): "conflict"}
        assert statuses(root, archive, web) == {(0, ours): "known", (1, ours): "known"}
    ruling.undo(root, "archive")
    assert statuses(root, web) == {(0, ours): "new"}


def test_a_pair_that_matches_both_ways_hides_none_that_decides(tmp_path):
    lake = Lake(tmp_path / "dupes")
    for name in "abc":
        lake.image(name, has_exif=name != "c")
    lake.pair("a", "b")
    lake.pair("a", "c")
    lake.group("bac")
    root = lake.write()
    rule = "{name: r, verdict: keeper, a: {has_exif: true}, pair: {accepted: true}}"
    assert statuses(root, rule) == {(0, frozenset("ab")): "both_ways", (0, frozenset("ac")): "new"}
    assert ruling.apply(root, rules_of(rule))[0].n_verdicts == 1
    assert said(root) == [("rule:r", "a", "keeper", None)]


# --- written and undone


def test_verdicts_are_rows_of_decisions_once_and_undo_withdraws_them(lake):
    root = lake.write()
    rules = rules_of(SAYS["duplicate"])
    before = Reader(root).version("decisions"), Reader(root).version("decided")
    assert ruling.preview(Reader(root), rules)[0].n_verdicts == 4
    assert (Reader(root).version("decisions"), Reader(root).version("decided")) == before
    assert ruling.apply(root, rules)[0].n_verdicts == 4
    pins = Reader(root).table("decided").to_pylist()
    assert {(row["image_id"], row["content_id"]) for row in pins} == {(name, content(name)) for name in "abcde"}
    assert ruling.apply(root, rules)[0].counts == dict(new=0, known=4, people=0, both_ways=0, conflict=0)
    person(root, ("b", "withdrawn", "a"))
    assert ruling.undo(root, "duplicate") == 4
    with pytest.raises(ConfigError, match="no verdict of this rule stands; verdicts were given by: duplicate"):
        ruling.undo(root, "duplicate")
    found = statuses(root, SAYS["duplicate"])
    assert found == {(0, key): "new" for key in pairs_of("bc", "cd", "de")} | {(0, frozenset("ab")): "people"}
    assert [row[2] for row in said(root)] == ["duplicate"] * 4 + ["withdrawn"] * 5


def test_undo_withdraws_what_was_decided_though_a_file_has_other_bytes_now(lake):
    root = lake.write()
    rules = rules_of("{name: one, verdict: duplicate, a: {path: '*/a.jpg'}}")
    assert ruling.apply(root, rules)[0].n_verdicts == 1
    lake.image("a3", of="a")
    lake.images["a"]["content_id"] = content("other")
    lake.hashes[content("other")] = {}
    lake.write()
    assert set(statuses(root, "{name: two, verdict: alternate, a: {path: '*/a3.jpg'}}").values()) == {"conflict"}
    ruling.undo(root, "one")
    assert set(statuses(root, "{name: two, verdict: alternate, a: {path: '*/a3.jpg'}}").values()) == {"new"}


def test_undo_withdraws_each_verdict_on_the_same_images_pinned_to_its_own_bytes(lake):
    for name in ("a2", "a3"):
        lake.image(name, of="a")  # other files of the first bytes of a
    lake.group(["a2", "a3"], {"a3": "exact"}, "identical")
    root = lake.write()
    ab = "{name: one, verdict: not_duplicate, a: {path: '*/a.jpg'}, b: {path: '*/b.jpg'}}"
    assert ruling.apply(root, rules_of(ab))[0].n_verdicts == 1
    lake.images["a"]["content_id"] = content("other")
    lake.hashes[content("other")] = {}
    for name in "bc":
        lake.pair("a", name)
    lake.write()
    more = "{name: one, verdict: not_duplicate, a: {path: '*/a.jpg'}}"
    assert ruling.apply(root, rules_of(more))[0].n_verdicts == 2  # a-b again, and a-c
    others = ["{name: two, verdict: alternate, a: {path: '*/a*.jpg'}}", SAYS["duplicate"]]
    for other in others:
        found = statuses(root, other)
        assert {found[0, key] for key in (frozenset(("a2", "b")), *pairs_of("ab", "ac"))} == {"conflict"}
    assert ruling.undo(root, "one") == 3
    for other in others:
        found = statuses(root, other)
        assert {found[0, key] for key in (frozenset(("a2", "b")), *pairs_of("ab", "ac"))} == {"new"}
    with pytest.raises(ConfigError, match="no verdict of this rule stands"):
        ruling.undo(root, "one")
    pins = {
        (row["image_id"], row["decided_at"]): row["content_id"] for row in Reader(root).table("decided").to_pylist()
    }
    rows = Reader(root).table("decisions", order="decided_at, other_image_id").to_pylist()
    told = [(pins[row["image_id"], row["decided_at"]], row["other_image_id"]) for row in rows]
    first, *later = [(content("a"), "b"), (content("other"), "b"), (content("other"), "c")]
    assert told == [first, *later] * 2, "each withdrawal is about the contents of its verdict"


def test_a_verdict_on_an_image_that_was_deleted_says_nothing_of_its_former_partner(lake):
    root = lake.write()
    ruling.apply(root, rules_of("{name: one, verdict: not_duplicate, a: {path: '*/b.jpg'}, b: {path: '*/c.jpg'}}"))
    lake.images["c"]["deleted_at"] = NOON
    lake.write()
    found = statuses(root, "{name: two, verdict: duplicate, a: {path: '*/a.jpg'}}")
    assert found == {(0, frozenset("ab")): "new"}


def test_images_without_a_group_a_pair_or_a_decision_are_not_looked_at(lake):
    for name in ("g", "h", "i", "i2", "z"):
        lake.image(name, of=name[0])
    root = lake.write()
    person(root, ("g", "alternate", "h"), ("f", "duplicate", "i"))
    with scratch_beside(Reader(root)) as scratch:
        make_rule_tables(scratch, LshConfig())
        shown = scratch.query("SELECT image_id FROM shown ORDER BY no")["image_id"].to_pylist()
    assert shown == ["a", "b", "c", "d", "e", "f", "g", "h", "i", "i2"]


def test_no_person_decides_between_reading_and_writing(lake, monkeypatch):
    root = lake.write()
    look, done = ruling._outcomes, []
    other = threading.Thread(target=lambda: (person(root, ("a", "not_duplicate", "b")), done.append(True)))

    def slowly(*given):
        other.start()
        other.join(2)
        assert not done, "it did not wait"
        return look(*given)

    monkeypatch.setattr(ruling, "_outcomes", slowly)
    ruling.apply(root, rules_of(SAYS["duplicate"]))
    other.join()
    assert [row[0] for row in said(root)] == ["rule:duplicate"] * 4 + ["ann"]


# --- the command


def run(root: Path, tmp_path: Path, text: str, *words: str) -> int:
    file = tmp_path / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    return cli.main(["rules", "--warehouse", str(root), "--config", str(file), *words])


def test_the_command_shows_applies_and_undoes(lake, tmp_path, capsys):
    root, text = lake.write(), f"rules:\n  list:\n  - {SAYS['duplicate']}\n  - {SAYS['alternate']}\n"
    assert run(root, tmp_path, text, "--rule", "duplicate") == 0
    told = capsys.readouterr().out
    assert told.startswith(
        "duplicate (duplicate, off at night): 4 pairs match; 4 verdicts would be added\n  near 0.900"
    )
    assert "/data/a.jpg and /data/b.jpg" in told
    assert told.endswith("Nothing was written; --apply adds the verdicts.\n")
    assert run(root, tmp_path, text) == 0
    assert "0 verdicts would be added; 4 in conflict, so nothing is written" in capsys.readouterr().out
    assert run(root, tmp_path, text, "--json", "--apply", "--rule", "alternate") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["applied"], told["rules"][0]["verdicts"], len(told["rules"][0]["examples"])) == (True, 4, 3)
    assert len(said(root)) == 4
    on = text.replace("alternate, verdict", "alternate, enabled: true, verdict")
    assert run(root, tmp_path, on, "--undo", "alternate") == 0
    assert "4 verdicts of the rule alternate are withdrawn" in (told := capsys.readouterr().out)
    assert "set it to false" in told


def test_the_terminal_shows_no_secret_of_a_uri(lake):
    lake.images["a"]["uri"] = "https://ann:secret@host/a.jpg?X-Amz-Signature=abcdef"
    outcomes = ruling.preview(Reader(lake.write()), rules_of(SAYS["duplicate"]))
    told = in_words(outcomes, is_applied=False)
    assert "host/a.jpg" in told
    assert "secret" not in told
    assert "abcdef" not in told


def test_all_faults_are_named_at_once_with_the_fix(tmp_path, capsys):
    text = """
rules:
  list:
    - {name: a b, verdict: keep, when: {}}
    - name: one
      verdict: duplicate
      pair: {kind: [nearly], min_score: 2, same_formt: true}
      a: {path: [], has_exif: 1}
    - {name: two, verdict: alternate, enabled: maybe}
    - {name: three, verdict: alternate}
    - {name: four, verdict: keeper, pair: {accepted: true}}
    - {name: five, verdict: alternate, pair: {min_score: 0.9, max_score: 0.5}}
    - {name: six, verdict: alternate, pair: {accepted: true}}
    - {name: six, verdict: alternate, pair: {accepted: true}}
    - seven
"""
    assert run(tmp_path / "none", tmp_path, text, "--apply", "--examples", "-1") == 2
    told = capsys.readouterr().err
    for words in (
        "rules.list[0].name: is 'a b'; give letters",
        "rules.list[0].verdict: is 'keep'; allowed is one of duplicate",
        "rules.list[0].when: no such field; there are name",
        "rules.list[1].pair.kind: nearly is not known; allowed is each of exact",
        "rules.list[1].pair.min_score: is 2; allowed is a number from 0 to 1",
        "rules.list[1].pair.same_formt: no such condition; did you mean same_format?",
        "rules.list[1].a.path: must be a text or a list of texts",
        "rules.list[1].a.has_exif: must be true or false, not 1",
        "rules.list[2].enabled: must be true or false, not 'maybe'",
        "rules.list[3]: has no condition",
        "rules.list[4]: keeps the image that fits a, but a and b are the same",
        "rules.list[5].pair.min_score: is 0.9, above max_score of 0.5",
        "rules.list[7].name: 'six' is the name of rules.list[6]",
        "rules.list[8]: must be a rule",
        "--examples -1",
        "there is no such folder",
    ):
        assert words in told, words
    assert len(told.splitlines()) == 17
    assert run("s3://bucket/dupes", tmp_path, "", "--apply") == 2
    assert "rules write to local warehouses only" in (told := capsys.readouterr().err)
    assert "rules.list has no rule" in told


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            "{name: 007, verdict: alternate, a: {path: x}}",
            "r[0].name: must be text, but YAML reads 7; put it in quotes",
        ),
        (
            "{name: x, verdict: alternate, a: {partition: ['007', 12:30]}}",
            "r[0].a.partition: must be text, but YAML reads 750; put it in quotes",
        ),
        (
            "{name: x, verdict: alternate, a: {partition: 2026-11-01}}",
            "r[0].a.partition: must be text, but YAML reads datetime.date(2026, 11, 1); put it in quotes",
        ),
        (
            "{name: x, verdict: alternate, b: {format: [jpeg, jpg]}}",
            "r[0].b.format: 'jpg' is no format of images; did you mean JPEG?",
        ),
    ],
)
def test_a_condition_that_would_fit_other_images_than_it_says_is_refused(rule, told):
    assert parse_rules([yaml.safe_load(rule)], "r", faults := []) == ()
    assert faults == [told]


# --- the examples of docs/rules.md


def examples() -> dict[str, str]:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return {yaml.safe_load(block)["rules"]["list"][0]["name"]: block for block in blocks}


def test_the_examples_of_the_docs_do_what_the_docs_say(tmp_path):
    lake = Lake(tmp_path / "dupes")
    lake.image("resaved", "/phone/a.jpg", has_exif=False, width_px=900)
    lake.image("camera", "/phone/IMG_1.JPG", has_exif=True)
    lake.image("png", "/phone/a.png", has_exif=False, format="PNG")
    lake.image("web", "/web/b.jpg", "twin", has_exif=False)
    lake.image("archived", "/data/archive/b.jpg", "twin", has_exif=False)
    for one, other in itertools.combinations(("resaved", "camera", "png"), 2):
        lake.pair(one, other)
    lake.group(["resaved", "camera", "png"])
    lake.group(["web", "archived"], {"archived": "exact"}, "identical")
    root = lake.write()
    wanted = {
        "camera-original": {("camera", None, "keeper")},
        "archive-first": {("archived", None, "keeper")},
        "never-across-formats": {("camera", "png", "not_duplicate"), ("png", "resaved", "not_duplicate")},
    }
    assert examples().keys() == wanted.keys()
    for name, text in examples().items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(text, encoding="utf-8")
        ruling.apply(root, load_config(file).rules.list)
        rows = {row[1:] for row in said(root) if row[0] == f"rule:{name}"}
        assert {(*sorted((a, b)), word) if b else (a, None, word) for a, word, b in rows} == wanted[name]
        ruling.undo(root, name)
