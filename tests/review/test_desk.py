"""The desk without HTTP: leases, verdicts that come in meanwhile, undo; and who may ask the server."""

from __future__ import annotations

import datetime as dt
import json
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake
from made_lake import CONFIG, arrow
from review_world import AT, HOSTILE
from reviewing import Serving, verdicts

from dupelake import cli
from dupelake.group.giving import Line, give
from dupelake.review.cards import ACTIONS
from dupelake.review.desk import ADDED, LEASE_S, MEANWHILE, REFUSED, UNDO, Desk, Said
from dupelake.review.ledger import Ledger
from dupelake.serve.book import DeltaBook
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import DECISION_CONFLICTS, IMAGES


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(lake, clock) -> Desk:
    return Desk(lake, CONFIG, 1000, 10.0, clock)


def keys(answer) -> list[str]:
    return [card["key"] for card in answer["cards"]]


def test_a_pair_is_with_one_reviewer_until_her_lease_ends(desk, clock):
    n = desk.hand_out("s0", "x", 0, [], [])["left"]
    first = desk.hand_out("s1", "ann", 10, [], [])
    second = desk.hand_out("s2", "bob", 50, [], [])
    assert len(keys(first)) == 10
    assert len(keys(second)) == n - 10
    assert not {*keys(first)} & {*keys(second)}
    assert second["others"] == {"ann": 10}
    clock.now += LEASE_S - 1
    held = keys(first)
    desk.hand_out("s1", "ann", 0, [held[0]], held[1:])  # renews nine, gives one back
    assert keys(desk.hand_out("s2", "bob", 50, [], keys(second))) == [held[0]]
    clock.now += LEASE_S + 1
    assert {*keys(desk.hand_out("s3", "eve", 50, [], []))} == {*keys(first), *keys(second)}


def test_what_was_judged_or_decided_elsewhere_is_not_handed_out(desk, lake, clock):
    first, second = desk.hand_out("s1", "ann", 2, [], [])["cards"]
    (outcome,) = desk.judge("s1", "ann", [Said(first["key"], "duplicate", 0)])
    assert outcome["status"] == ADDED
    give(DeltaBook(lake, 10), [Line("x", second["left"]["image_id"], "alternate", second["right"]["image_id"])], "eve")
    clock.now += LEASE_S + 1
    left = keys(desk.hand_out("s2", "bob", 50, [], []))
    assert first["key"] not in left
    assert second["key"] not in left
    again = Desk(lake, CONFIG, 1000, 10.0, clock)  # as after a restart
    assert {*keys(again.hand_out("s", "x", 50, [], []))} == {*left}


def test_no_verdict_of_others_is_overwritten_unseen(desk, lake):
    cards = desk.hand_out("s1", "ann", 3, [], [])["cards"]
    ends = [(card["left"]["image_id"], card["right"]["image_id"]) for card in cards]
    give(DeltaBook(lake, 10), [Line("x", ends[1][0], "not_duplicate", ends[1][1])], "eve")
    asked = [Said(card["key"], "duplicate", 0) for card in cards]
    outcomes = desk.judge("s1", "ann", asked)
    assert [one["status"] for one in outcomes] == [ADDED, MEANWHILE, ADDED]
    assert [(one["author"], one["verdict"]) for one in outcomes[1]["said"]] == [("eve", "not_duplicate")]
    assert len(verdicts(lake)) == 3
    (seen,) = desk.judge("s1", "ann", [Said(cards[1]["key"], "duplicate", outcomes[1]["seen"])])
    assert seen["status"] == ADDED
    (undone,) = desk.judge("s1", "ann", [Said(cards[1]["key"], UNDO, seen["seen"])])
    assert [(one["author"], one["verdict"]) for one in undone["said"]] == [
        ("eve", "not_duplicate"),
        ("ann", "duplicate"),
        ("ann", "not_duplicate"),
    ]
    give(DeltaBook(lake, 10), [Line("x", ends[0][0], "alternate", ends[0][1])], "eve")
    (late,) = desk.judge("s1", "ann", [Said(cards[0]["key"], UNDO, outcomes[0]["seen"])])
    assert late["status"] == MEANWHILE  # to take hers back would take eve's back too


def test_a_verdict_after_a_contradicting_one_is_stored_though_its_author_gave_it_before(desk, lake):
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    (first,) = desk.judge("s1", "ann", [Said(card["key"], "duplicate", 0)])
    (same,) = desk.judge("s1", "ann", [Said(card["key"], "duplicate", 0)])  # sent twice
    assert (same["status"], len(verdicts(lake))) == (ADDED, 1)
    give(DeltaBook(lake, 10), [Line("x", card["left"]["image_id"], "alternate", card["right"]["image_id"])], "eve")
    newest = desk.hand_out("s1", "ann", 0, [], [card["key"]])["said"][card["key"]][-1]["at"]
    assert newest > first["seen"]
    desk.judge("s1", "ann", [Said(card["key"], "duplicate", newest)])
    assert [(row["author"], row["verdict"]) for row in verdicts(lake)][-1] == ("ann", "duplicate")


@pytest.mark.parametrize("action", ["keep_left", "keep_right"])
def test_a_keeper_that_somebody_chose_meanwhile_is_not_overwritten_unseen(desk, lake, action):
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    other = card["right" if action == "keep_left" else "left"]
    give(DeltaBook(lake, 10), [Line("x", other["image_id"], "keeper")], "eve")
    (late,) = desk.judge("s1", "ann", [Said(card["key"], action, 0)])
    side = "right" if action == "keep_left" else "left"
    assert late["status"] == MEANWHILE
    assert [(one["author"], one["verdict"], one["side"]) for one in late["said"]] == [("eve", "keeper", side)]
    assert len(verdicts(lake)) == 1
    (plain,) = desk.judge("s1", "ann", [Said(card["key"], "duplicate", 0)])  # says nothing of keepers
    assert plain["status"] == ADDED
    (seen,) = desk.judge("s1", "ann", [Said(card["key"], action, plain["seen"])])
    assert seen["status"] == ADDED


def test_undo_gives_back_what_held_when_the_verdict_was_written(desk, lake):
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    ends = card["left"]["image_id"], card["right"]["image_id"]
    give(DeltaBook(lake, 10), [Line("x", ends[0], "duplicate", ends[1])], "eve")  # equal to what ann says
    (mine,) = desk.judge("s1", "ann", [Said(card["key"], "duplicate", 0)])
    assert mine["status"] == ADDED
    (undone,) = desk.judge("s1", "ann", [Said(card["key"], UNDO, mine["seen"])])
    assert undone["status"] == ADDED
    assert verdicts(lake)[-1]["verdict"] == "duplicate"


def test_undo_after_a_verdict_that_was_sent_twice(desk, lake):
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    for _ in range(2):
        (mine,) = desk.judge("s1", "ann", [Said(card["key"], "keep_left", 0)])
    desk.judge("s1", "ann", [Said(card["key"], UNDO, mine["seen"])])
    assert [row["verdict"] for row in verdicts(lake)][-2:] == ["withdrawn", "withdrawn"]
    assert len(verdicts(lake)) == 4


def test_undo_of_a_verdict_that_the_server_does_not_remember_is_refused(desk, lake, clock):
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    give(DeltaBook(lake, 10), [Line("x", card["left"]["image_id"], "alternate", card["right"]["image_id"])], "eve")
    seen = desk.hand_out("s1", "ann", 0, [], [card["key"]])["said"][card["key"]][-1]["at"]
    desk.judge("s1", "ann", [Said(card["key"], "keep_left", seen)])
    n = len(verdicts(lake))
    withdrawn = [Line("x", card["left"]["image_id"], "withdrawn", card["right"]["image_id"])]
    give(DeltaBook(lake, 10), withdrawn, "ann")  # so that the pair is asked again
    restarted = Desk(lake, CONFIG, 1000, 10.0, clock)
    newest = {
        one["key"]: one["said"][-1]["at"] for one in restarted.hand_out("s", "x", 50, [], [])["cards"] if one["said"]
    }
    (undone,) = restarted.judge("s1", "ann", [Said(card["key"], UNDO, newest[card["key"]])])
    assert undone["status"] == REFUSED
    assert "does not know what held before" in undone["faults"][0]
    assert len(verdicts(lake)) == n + 1


def test_undo_of_a_verdict_that_was_not_stored_or_is_taken_back_says_so(desk, lake):
    told = ["no verdict of this window is stored on the pair, so there is nothing to take back"]
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    give(DeltaBook(lake, 10), [Line("x", card["left"]["image_id"], "alternate", card["right"]["image_id"])], "eve")
    (late,) = desk.judge("s1", "ann", [Said(card["key"], "duplicate", 0)])
    (undone,) = desk.judge("s1", "ann", [Said(card["key"], UNDO, late["seen"])])
    assert (late["status"], undone["status"], undone["faults"]) == (MEANWHILE, REFUSED, told)
    (mine,) = desk.judge("s1", "ann", [Said(card["key"], "duplicate", late["seen"])])
    (undone,) = desk.judge("s1", "ann", [Said(card["key"], UNDO, mine["seen"])])
    assert [verdicts(lake)[-1][name] for name in ("author", "verdict")] == ["ann", "alternate"]
    (again,) = desk.judge("s1", "ann", [Said(card["key"], UNDO, undone["seen"])])
    assert (undone["status"], again["faults"], len(verdicts(lake))) == (ADDED, told, 3)


def test_a_window_whose_sides_are_swapped_now_holds_another_card(desk):
    (card,) = desk.hand_out("one", "ann", 1, [], [])["cards"]
    known = desk.card(card["key"])
    swapped = replace(known, left=known.right, right=known.left)
    assert swapped.key != known.key
    (outcome,) = desk.judge("one", "ann", [Said(swapped.key, "keep_left", 0)])
    assert outcome["status"] == REFUSED
    assert outcome["faults"] == ["the pair is not in the queue; load the page again"]


def test_what_makes_no_sense_is_refused_with_the_reason(desk):
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    withdrawn, unknown, nobody = (
        desk.judge("s1", author, [Said(key, action, 0)])[0]
        for author, key, action in (
            ("ann", card["key"], "withdrawn"),
            ("ann", "x", "duplicate"),
            (" ", card["key"], "duplicate"),
        )
    )
    assert [one["status"] for one in (withdrawn, unknown, nobody)] == [REFUSED] * 3
    assert "is empty; give a name" in nobody["faults"][0]


CONFLICTS = {
    "two_keepers": ("keep_left", "keep_right"),
    "not_duplicate_of_duplicate": ACTIONS,
    "unknown_image": ("withdrawn",),
}


def _add_conflict(lake: Path, kind: str, at: dt.datetime = AT) -> str:
    """Adds a conflict that a night found; returns the word that both people said."""
    uris = {row["uri"].rpartition("/")[2]: row["image_id"] for row in _images(lake)}
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
    image = next(row for row in _images(lake) if row["uri"].endswith("coffee.png"))
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
    assert card["key"] not in _all_keys(desk)
    give(DeltaBook(lake, 10), [Line("x", card["left"]["image_id"], "not_duplicate", card["right"]["image_id"])], "eve")
    DeltaTable(str(lake / DECISION_CONFLICTS.name)).delete()
    _add_conflict(lake, "not_duplicate_of_duplicate", verdicts(lake)[-1]["decided_at"])  # as a night does
    clock.now += LEASE_S
    found = desk.hand_out("s2", "bob", 50, [], [])["cards"][0]
    assert (found["key"], found["what"]) == (card["key"], "conflict")
    (again,) = desk.judge("s2", "bob", [Said(card["key"], "duplicate", found["said"][-1]["at"])])
    assert (again["status"], verdicts(lake)[-1]["author"]) == (ADDED, "bob")
    assert card["key"] not in _all_keys(desk)


def test_a_pair_whose_verdict_somebody_withdrew_is_asked_again(desk, lake, clock):
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    desk.judge("s1", "ann", [Said(card["key"], "keep_left", 0)])
    clock.now += LEASE_S
    assert card["key"] not in _all_keys(desk)
    give(DeltaBook(lake, 10), [Line("x", card["left"]["image_id"], "withdrawn", card["right"]["image_id"])], "eve")
    assert card["key"] in _all_keys(desk)


def _all_keys(desk: Desk) -> list[str]:
    """The keys of all cards that wait for a verdict and that nobody has; they are free again afterwards."""
    found: list[str] = []
    while new := keys(desk.hand_out("all", "all", 50, [], found)):
        found += new
    desk.hand_out("all", "all", 0, found, [])
    return found


@pytest.fixture(scope="module")
def served(made, tmp_path_factory):
    import shutil

    with Serving(Path(shutil.copytree(made, tmp_path_factory.mktemp("http") / "lake"))) as running:
        yield running


def ask(served, path, body=None, **headers):
    """(status, headers, body) of a request."""
    data = None if body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{served.url}{path}", data, given)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


LEASE = {"session": "s", "author": "ann", "n": 1, "held": [], "skipped": []}


def test_pages_of_other_sites_are_refused_and_nothing_but_own_files_is_loaded(served):
    assert ask(served, "lease", LEASE, Host="evil.example")[0] == 421
    assert ask(served, "lease", LEASE, Origin="https://evil.example")[0] == 403
    assert ask(served, "lease", LEASE, Content_Type="text/plain")[0] == 415
    assert (
        ask(served, "decisions", {"session": "s", "author": "a", "verdicts": []}, Content_Type="text/plain")[0] == 415
    )
    status, headers, page = ask(served, "")
    assert status == 200
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert b"http" not in page.replace(b"http-equiv", b"").replace(b"https-", b"")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("lease", LEASE | {"n": 10**9}, 422),
        ("lease", LEASE | {"author": "\ud800"}, 422),
        ("lease", LEASE | {"more": 1}, 422),
        ("decisions", {"session": "s", "author": "a", "verdicts": [{"key": "k", "action": "drop", "seen": 0}]}, 422),
        ("static/..%2Fapp.py", None, 404),
        ("static/app.py", None, 404),
        ("maps/none", None, 404),
        ("pictures/..%2F..%2Fetc%2Fpasswd", None, 204),
        ("thumbnails/'%20OR%201=1", None, 204),
        ("docs", None, 404),
    ],
)
def test_hostile_requests(served, path, body, status):
    assert ask(served, path, body)[0] == status


def test_only_the_bytes_that_were_compared_are_shown(served, made):
    path = made.parent / "images" / HOSTILE
    image = next(row for row in _images(made) if row["uri"] == str(path))
    status, headers, data = ask(served, f"pictures/{image['image_id']}")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert data == path.read_bytes()
    assert headers["Cache-Control"] == "no-store"
    of_content = f"pictures/{image['image_id']}?content="
    status, headers, data = ask(served, of_content + image["content_id"])
    assert (status, headers["Cache-Control"], data) == (200, "private, max-age=3600", path.read_bytes())
    for other in ("0" * 32, ""):
        status, headers, data = ask(served, of_content + other)
        assert (status, headers["Cache-Control"], data) == (204, "no-store", b"")
    try:
        path.write_bytes(bytes(len(data)))  # other bytes of the same size
        assert ask(served, f"pictures/{image['image_id']}")[0] == 204
    finally:
        path.write_bytes(data)


def _images(lake: Path) -> list[dict[str, object]]:
    return Reader(lake).table("images").to_pylist()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--serve", "--host", "0.0.0.0"], "requests must carry a token"),
        (["--serve", "--port", "70000"], "--port 70000: allowed is 0 to 65535"),
        (["--serve", "--limit", "0"], "--limit 0: allowed is 1 to 1000"),
        (["--serve", "--set", "decide.min_score=0.4"], "only those of serve can be set here"),
        (["--out", "x.html", "--port", "1"], "--port: is an option of --serve"),
    ],
)
def test_bad_options_are_refused_with_the_fix(lake, capsys, arguments, told):
    assert cli.main(["review", "--warehouse", str(lake), *arguments]) == 2
    assert told in capsys.readouterr().err
