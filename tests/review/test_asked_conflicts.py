"""Conflicts between verdicts in the queue of the review: their order, their answers, and what asks them again."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake
from made_lake import CONFIG, arrow
from review_world import AT
from reviewing import all_keys, images_of, verdicts

from dupelake.group.giving import Line, give
from dupelake.review.cards import ACTIONS
from dupelake.review.desk import ADDED, LEASE_S, MEANWHILE, UNDO, Desk, Said
from dupelake.review.ledger import Ledger
from dupelake.serve.book import DeltaBook
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import DECISION_CONFLICTS, IMAGES

CONFLICTS = {
    "two_keepers": ("keep_left", "keep_right"),
    "not_duplicate_of_duplicate": ACTIONS,
    "unknown_image": ("withdrawn",),
}


def _add_conflict(lake: Path, kind: str, at: dt.datetime = AT) -> str:
    """Adds a conflict that a night found; returns the word that both people said."""
    uris = {row["uri"].rpartition("/")[2]: row["image_id"] for row in images_of(lake)}
    first, second = uris["coffee.png"], "ghost" if kind == "unknown_image" else uris["rocket.png"]
    word = "keeper" if kind == "two_keepers" else "duplicate"
    ends = {"image_id": first, "other_image_id": None if word == "keeper" else second}
    against = {"against_image_id": second, "against_verdict": word, "against_author": "bob"}
    row = {"conflict_id": "c", "kind": kind, **ends, **against, "verdict": word, "author": "eve", "message": "told"}
    row |= {"decided_at": at, "against_decided_at": AT, "since": at}
    table = DECISION_CONFLICTS.name
    write_deltalake(str(lake / table), arrow(DECISION_CONFLICTS, [row]), mode="append")
    return word


def test_the_keeper_of_another_is_not_withdrawn_unseen(lake, clock):
    _add_conflict(lake, "two_keepers")
    desk = Desk(lake, CONFIG, 1000, 10.0, clock)
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    give(DeltaBook(lake, 10), [Line("x", card["right"]["image_id"], "keeper")], "eve")
    (late,) = desk.judge("s1", "ann", [Said(card["key"], "keep_left", 0)])
    assert late["status"] == MEANWHILE
    assert len(verdicts(lake)) == 1
    (seen,) = desk.judge("s1", "ann", [Said(card["key"], "keep_left", late["seen"])])
    (undone,) = desk.judge("s1", "ann", [Said(card["key"], UNDO, seen["seen"])])
    assert undone["status"] == ADDED
    assert {(row["image_id"], row["verdict"]) for row in verdicts(lake)[-2:]} == {
        (card["left"]["image_id"], "withdrawn"),
        (card["right"]["image_id"], "keeper"),
    }


@pytest.mark.parametrize("kind", CONFLICTS)
def test_conflicts_come_first_and_end_with_a_verdict_on_them(lake, clock, kind):
    word = _add_conflict(lake, kind)
    desk = Desk(lake, CONFIG, 1000, 10.0, clock)
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    assert card["what"] == "conflict"
    assert card["why"] == f"eve says {word}, bob says {word}: told"
    assert tuple(card["lines"]) == CONFLICTS[kind]
    action = "withdrawn" if kind == "unknown_image" else "keep_left"
    (outcome,) = desk.judge("s1", "ann", [Said(card["key"], action, 0)])
    assert outcome["status"] == ADDED, outcome
    given = {(row["image_id"], row["other_image_id"], row["verdict"]) for row in verdicts(lake)}
    assert given == {tuple(line) for line in card["lines"][action]}
    if kind == "two_keepers":  # the other keeper is withdrawn, or both would still contradict each other
        assert {verdict for _, _, verdict in given} == {"keeper", "withdrawn"}
    again = Desk(lake, CONFIG, 1000, 10.0, clock)
    assert again.hand_out("s1", "ann", 1, [], [])["cards"][0]["what"] != "conflict"


def _twin(lake: Path) -> tuple[dict[str, object], str]:
    """An image, and the id of another one of equal pixels that is added to the warehouse."""
    image = next(row for row in images_of(lake) if row["uri"].endswith("coffee.png"))
    twin = image | {"image_id": "twin", "uri": "/x/twin.png", "file_id": None}
    write_deltalake(str(lake / IMAGES.name), arrow(IMAGES, [twin]), mode="append")
    return image, "twin"


def test_withdrawing_from_two_keepers_of_equal_pixels_withdraws_both(lake, clock):
    image, twin = _twin(lake)
    one = image["image_id"]
    give(DeltaBook(lake, 10), [Line("1", one, "keeper"), Line("2", twin, "keeper")], "ann", now=AT)
    row = {"conflict_id": "c", "kind": "same_time", "image_id": one, "other_image_id": None, "against_image_id": twin}
    said = {"verdict": "keeper", "author": "ann", "decided_at": AT}
    row |= said | {f"against_{name}": value for name, value in said.items()} | {"message": "told", "since": AT}
    write_deltalake(str(lake / DECISION_CONFLICTS.name), arrow(DECISION_CONFLICTS, [row]), mode="append")
    vertices = [f"{image['content_id']}/{image['scope']}"]
    assert Ledger(Reader(lake), CONFIG).conflicts_with(vertices)
    desk = Desk(lake, CONFIG, 1000, 10.0, clock)
    (card,) = desk.hand_out("s1", "bob", 1, [], [])["cards"]
    assert {name for name, _, _ in card["lines"]["withdrawn"]} == {one, twin}
    seen = max(told["at"] for told in card["said"])
    (outcome,) = desk.judge("s1", "bob", [Said(card["key"], "withdrawn", seen)])
    assert (outcome["status"], outcome["conflicts"]) == (ADDED, [])
    assert Ledger(Reader(lake), CONFIG).latest(vertices, of_pair=False) is None
    (undone,) = desk.judge("s1", "bob", [Said(card["key"], UNDO, outcome["seen"])])
    assert undone["status"] == ADDED
    assert Ledger(Reader(lake), CONFIG).latest(vertices, of_pair=False).verdict == "keeper"


@pytest.mark.parametrize("action", ["keep_left", "withdrawn"])
def test_a_verdict_that_parts_equal_pixels_ends_with_the_answer_and_comes_back_with_undo(lake, clock, action):
    image, twin = _twin(lake)
    one = image["image_id"]
    give(DeltaBook(lake, 10), [Line("1", one, "not_duplicate", twin)], "ann", now=AT)
    row = {"conflict_id": "c", "kind": "not_duplicate_of_duplicate", "image_id": one, "other_image_id": twin}
    row |= {"verdict": "not_duplicate", "author": "ann", "decided_at": AT, "message": "told", "since": AT}
    write_deltalake(str(lake / DECISION_CONFLICTS.name), arrow(DECISION_CONFLICTS, [row]), mode="append")
    desk = Desk(lake, CONFIG, 1000, 10.0, clock)
    (card,) = desk.hand_out("s1", "bob", 1, [], [])["cards"]
    assert (card["what"], *card["lines"]) == ("conflict", "keep_left", "keep_right", "withdrawn")
    seen = max(told["at"] for told in card["said"])
    (outcome,) = desk.judge("s1", "bob", [Said(card["key"], action, seen)])
    assert (outcome["status"], outcome["conflicts"]) == (ADDED, [])
    restarted = Desk(lake, CONFIG, 1000, 10.0, clock)
    assert restarted.hand_out("s2", "eve", 1, [], [])["cards"][0]["what"] != "conflict"
    (undone,) = desk.judge("s1", "bob", [Said(card["key"], UNDO, outcome["seen"])])
    assert undone["status"] == ADDED
    ledger, vertices = Ledger(Reader(lake), CONFIG), [f"{image['content_id']}/{image['scope']}"]
    assert ledger.latest(vertices, of_pair=True).verdict == "not_duplicate"
    assert ledger.latest(vertices, of_pair=False) is None


@pytest.mark.parametrize("word", ["keeper", "withdrawn"])
def test_a_verdict_on_one_image_does_not_answer_a_conflict_about_two(lake, clock, word):
    _add_conflict(lake, "not_duplicate_of_duplicate")
    (card,) = Desk(lake, CONFIG, 1000, 10.0, clock).hand_out("s1", "ann", 1, [], [])["cards"]
    for side in ("left", "right"):
        give(DeltaBook(lake, 10), [Line("x", card[side]["image_id"], word)], "eve")
    (still,) = Desk(lake, CONFIG, 1000, 10.0, clock).hand_out("s1", "ann", 1, [], [])["cards"]
    assert still["key"] == card["key"]


def test_a_conflict_that_somebody_makes_again_is_asked_again(lake, clock):
    _add_conflict(lake, "not_duplicate_of_duplicate")
    desk = Desk(lake, CONFIG, 1000, 10.0, clock)
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    desk.judge("s1", "ann", [Said(card["key"], "duplicate", 0)])
    clock.now += LEASE_S
    assert card["key"] not in all_keys(desk)
    give(DeltaBook(lake, 10), [Line("x", card["left"]["image_id"], "not_duplicate", card["right"]["image_id"])], "eve")
    DeltaTable(str(lake / DECISION_CONFLICTS.name)).delete()
    _add_conflict(lake, "not_duplicate_of_duplicate", verdicts(lake)[-1]["decided_at"])  # as a night does
    clock.now += LEASE_S
    found = desk.hand_out("s2", "bob", 50, [], [])["cards"][0]
    assert (found["key"], found["what"]) == (card["key"], "conflict")
    (again,) = desk.judge("s2", "bob", [Said(card["key"], "duplicate", found["said"][-1]["at"])])
    assert (again["status"], verdicts(lake)[-1]["author"]) == (ADDED, "bob")
    assert card["key"] not in all_keys(desk)
