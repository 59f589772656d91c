"""The desk without HTTP: leases, verdicts that come in meanwhile, undo; and who may ask the server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from made_lake import CONFIG
from review_world import HOSTILE
from reviewing import Serving, all_keys, images_of, keys, verdicts

from dupelake import cli
from dupelake.group.giving import Line, give
from dupelake.review.desk import ADDED, LEASE_S, MEANWHILE, REFUSED, UNDO, Desk, Said
from dupelake.serve.book import DeltaBook


@pytest.fixture
def desk(lake, clock) -> Desk:
    return Desk(lake, CONFIG, 1000, 10.0, clock)


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


def test_a_pair_whose_verdict_somebody_withdrew_is_asked_again(desk, lake, clock):
    (card,) = desk.hand_out("s1", "ann", 1, [], [])["cards"]
    desk.judge("s1", "ann", [Said(card["key"], "keep_left", 0)])
    clock.now += LEASE_S
    assert card["key"] not in all_keys(desk)
    give(DeltaBook(lake, 10), [Line("x", card["left"]["image_id"], "withdrawn", card["right"]["image_id"])], "eve")
    assert card["key"] in all_keys(desk)


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
    image = next(row for row in images_of(made) if row["uri"] == str(path))
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
