"""A night commits other bytes under one URI after a pair was shown: no verdict is about pictures that nobody saw."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake
from fastapi.testclient import TestClient
from made_lake import CONFIG, arrow
from reviewing import verdicts

from dupelake import cli
from dupelake.config import Config
from dupelake.group.giving import Line, give
from dupelake.review.app import Pages, build_app
from dupelake.review.desk import ADDED, REFUSED, UNDO, Desk, Said
from dupelake.review.ledger import Ledger
from dupelake.serve.book import DeltaBook
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import DECIDED


def change(lake: Path, image_id: str, *but: str) -> str:
    """Let the image show the content of another image, as a night does after its file got other bytes."""
    contents = {row["content_id"] for row in Reader(lake).table("images").to_pylist()}
    other = max(contents - {*but})
    table = DeltaTable(str(lake / "images"))
    table.update(predicate=f"image_id = '{image_id}'", updates={"content_id": f"'{other}'"})
    return other


def pins(lake: Path) -> dict[str, str]:
    return {row["image_id"]: row["content_id"] for row in Reader(lake).table("decided").to_pylist()}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("action", ["duplicate", "keep_left", "keep_right"])
def test_the_desk_refuses_a_verdict_on_a_picture_that_changed(lake, side, action):
    desk = Desk(lake, CONFIG, 1000, 10.0)
    changed, *others = desk.hand_out("s", "ann", 50, [], [])["cards"]
    changing = changed[side]["image_id"]
    sound = next(one for one in others if changing not in (one["left"]["image_id"], one["right"]["image_id"]))
    shown = {changed[end]["image_id"]: changed[end]["content_id"] for end in ("left", "right")}
    now = change(lake, changed[side]["image_id"], *shown.values())
    asked = [Said(changed["key"], action, 0), Said(sound["key"], "alternate", 0)]
    refused, added = desk.judge("s", "ann", asked)
    assert (refused["status"], added["status"]) == (REFUSED, ADDED)
    assert refused["faults"] == ["the picture changed or is gone since it was shown; load the page again"]
    assert [row["verdict"] for row in verdicts(lake)] == ["alternate"]
    assert pins(lake) == {sound[end]["image_id"]: sound[end]["content_id"] for end in ("left", "right")}
    cards = desk.hand_out("t", "ann", 50, [], [])["cards"]  # the page is loaded again
    (late,) = desk.judge("s", "ann", [asked[0]])  # the window that still shows the old picture
    assert (late["status"], len(verdicts(lake))) == (REFUSED, 1)
    again = {card[end]["image_id"]: card[end]["content_id"] for card in cards for end in ("left", "right")}
    assert again.get(changed[side]["image_id"], now) == now


def test_a_server_that_was_started_since_does_not_take_an_old_card_for_its_own(lake):
    (card,) = Desk(lake, CONFIG, 1000, 10.0).hand_out("s", "ann", 1, [], [])["cards"]
    change(lake, card["right"]["image_id"], card["left"]["content_id"], card["right"]["content_id"])
    (late,) = Desk(lake, CONFIG, 1000, 10.0).judge("s", "ann", [Said(card["key"], "duplicate", 0)])
    assert late["faults"] == ["the pair is not in the queue; load the page again"]
    assert verdicts(lake) == []


def forget(lake: Path, image_id: str, content: str) -> None:
    """As `dupelake forget --purge` of an image and of its content leave the tables."""
    gone = {"deleted_at": "now()", "deleted_reason": "'forgotten'"}
    DeltaTable(str(lake / "images")).update(predicate=f"image_id = '{image_id}'", updates=gone)
    for name in ("thumbnails", "hashes", "features"):
        DeltaTable(str(lake / name)).delete(f"content_id = '{content}'")
    DeltaTable(str(lake / "pairs")).delete(f"src_id = '{content}' OR dst_id = '{content}'")
    DeltaTable(str(lake / "groups")).delete(f"image_id = '{image_id}'")


def test_a_running_server_shows_no_forgotten_image_and_takes_no_verdict_on_it(lake):
    desk = Desk(lake, CONFIG, 1000, 10.0)
    client = TestClient(build_app(Pages(desk, desk._reader, Config().serve, None)), base_url="http://127.0.0.1")
    held, free, other = desk.hand_out("s", "ann", 3, [], [])["cards"]
    desk.hand_out("s", "ann", 0, [free["key"]], [held["key"], other["key"]])
    gone = {card[side]["image_id"]: card[side]["content_id"] for card in (held, free) for side in ("left", "right")}
    addresses = [f"/thumbnails/{content}" for content in gone.values()]
    assert [client.get(one).status_code for one in addresses] == [200] * len(gone)
    for image_id, content in gone.items():
        forget(lake, image_id, content)
    (late,) = desk.judge("s", "ann", [Said(held["key"], "duplicate", 0)])  # before any window asks for more
    assert late["status"] == REFUSED
    assert late["faults"] == ["the picture changed or is gone since it was shown; load the page again"]
    assert verdicts(lake) == []
    cards = desk.hand_out("t", "bob", 50, [], [])["cards"]
    assert cards
    assert not gone.keys() & {card[side]["image_id"] for card in cards for side in ("left", "right")}
    (late,) = desk.judge("t", "bob", [Said(free["key"], "duplicate", 0)])
    assert (late["status"], verdicts(lake)) == (REFUSED, [])
    assert [client.get(one).status_code for one in addresses] == [204] * len(gone)
    sound = next(card for card in cards if card["right"])
    assert desk.judge("t", "bob", [Said(sound["key"], "alternate", 0)])[0]["status"] == ADDED


def test_the_author_judges_what_an_image_shows_now_and_undo_leaves_what_was_said_before(lake):
    desk = Desk(lake, CONFIG, 1000, 10.0)
    old, new = (
        {side: card[side] for side in ("left", "right")} for card in desk.hand_out("s", "ann", 2, [], [])["cards"]
    )
    ids = [new[side]["image_id"] for side in ("left", "right")]
    line = [Line("1", ids[0], "not_duplicate", ids[1])]
    at = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
    assert give(DeltaBook(lake, 10), line, "ann", now=at).added == 1
    DeltaTable(str(lake / "decided")).delete()
    before = [
        {"image_id": new[s]["image_id"], "decided_at": at, "content_id": old[s]["content_id"], "scope": ""}
        for s in ("left", "right")
    ]
    write_deltalake(str(lake / "decided"), arrow(DECIDED, before), mode="append")
    desk = Desk(lake, CONFIG, 1000, 10.0)  # after a night in which both images got other bytes
    card = next(
        one for one in desk.hand_out("s", "ann", 50, [], [])["cards"] if [one[s]["image_id"] for s in old] == ids
    )
    (mine,) = desk.judge("s", "ann", [Said(card["key"], "not_duplicate", 0)])
    assert (mine["status"], len(verdicts(lake))) == (ADDED, 2)
    now = {new[side]["image_id"]: new[side]["content_id"] for side in ("left", "right")}
    assert (
        now.items()
        <= {
            row["image_id"]: row["content_id"] for row in Reader(lake).table("decided", order="decided_at").to_pylist()
        }.items()
    )
    (again,) = desk.judge("s", "ann", [Said(card["key"], "not_duplicate", mine["seen"])])
    assert (again["status"], len(verdicts(lake))) == (ADDED, 2)
    assert desk.judge("s", "ann", [Said(card["key"], UNDO, mine["seen"])])[0]["status"] == ADDED
    ledger = Ledger(Reader(lake), CONFIG)
    assert ledger.latest([new[side]["content_id"] + "/" for side in old], of_pair=True) is None
    assert ledger.latest([old[side]["content_id"] + "/" for side in old], of_pair=True).verdict == "not_duplicate"


def test_undo_is_not_written_about_a_picture_that_changed(lake):
    desk = Desk(lake, CONFIG, 1000, 10.0)
    (card,) = desk.hand_out("s", "ann", 1, [], [])["cards"]
    (mine,) = desk.judge("s", "ann", [Said(card["key"], "duplicate", 0)])
    before = pins(lake)
    change(lake, card["right"]["image_id"], card["left"]["content_id"], card["right"]["content_id"])
    (undone,) = desk.judge("s", "ann", [Said(card["key"], UNDO, mine["seen"])])
    assert undone["status"] == REFUSED
    assert (len(verdicts(lake)), pins(lake)) == (1, before)


def test_a_file_made_before_a_night_is_compared_with_what_is_there(lake, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["review", "--warehouse", str(lake), "--out", str(out)]) == 0
    path = out / "review.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [row | {"verdict": "duplicate"} for row in rows[:2]]

    def give(without: tuple[str, ...] = ()) -> int:
        columns = [name for name in rows[0] if name not in without]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return cli.main(["decide", "--warehouse", str(lake), "--author", "ann", "--csv", str(path)])

    ids = rows[1]["image_id"], rows[1]["other_image_id"]
    change(lake, ids[1], rows[1]["content_id"], rows[1]["other_content_id"])
    capsys.readouterr()
    assert give() == 2
    told = capsys.readouterr().err
    assert f"row 3: {ids[1]!r} shows another picture than when the page was made" in told
    assert "row 2" not in told
    assert verdicts(lake) == []
    assert give(("content_id", "other_content_id")) == 0, "files without the columns keep working"
    assert len(verdicts(lake)) == 2
