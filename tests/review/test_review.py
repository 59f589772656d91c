"""`dupelake review` and `dupelake decide` on small tables with real pictures: the page, the CSV, and its import."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import skimage
from evaluation_world import NOON, grouped, image, pair, write_run, write_tables
from PIL import Image

from dupelake import cli
from dupelake.config import Config
from dupelake.errors import ConfigError
from dupelake.group.decisions_stage import conflict_rows, conflicts_of
from dupelake.group.giving import Line
from dupelake.pipeline.decisions import current_verdicts, decide, pin_decisions, read_lines, write_conflicts
from dupelake.review.page import CSV_COLUMNS, review
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import DECIDED, DECISION_CONFLICTS, DECISIONS, IMAGES
from dupelake.warehouse.tables import Warehouse

EVIL = "file:///d/<script>alert(1)</script>&\"'.png"
PICTURES = ("chelsea.png", "coffee.png", "astronaut.png")


def thumbnail(number):
    with Image.open(Path(skimage.__file__).parent / "data" / PICTURES[number % 3]) as picture:
        small = picture.convert("RGB")
    small.thumbnail((320, 320))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=92)
    return dict(bytes=buffer.getvalue(), width_px=small.width, height_px=small.height)


def content(name):
    return name.encode().hex().rjust(32, "0")


@pytest.fixture
def warehouse(spark, tables, tmp_path):
    """A copy of the tables that one test may write."""
    copied = Warehouse(spark, str(shutil.copytree(tables, tmp_path / "wh")))
    copied.ensure(DECIDED, DECISIONS)
    return copied


@pytest.fixture(scope="module")
def tables(spark, tmp_path_factory):
    """Images a to p; other shots op; groups ab, cd, efghi; pairs close to the threshold; a link between two groups."""
    names = "abcdefghijklmnop"
    images = [image(name, f"file:///d/{name}.png", content(name)) | {"byte_size": 1000} for name in names]
    images[1]["uri"] = EVIL
    images.append(image("x, <b>", "file:///d/x.png", content("x")))
    groups = [
        grouped(name, group, "", content(name), name == group[0])
        | dict(group_size=len(group), relation="keeper" if name == group[0] else "copy")
        for group in ("ab", "cd", "efghi")
        for name in group
    ]
    groups[3] |= dict(relation="alternate", kind="edited", reason="edited: a caption")
    groups[8] |= dict(score_to_keeper=0.8)
    box = dict(x=0.25, y=0.5, width=0.5, height=0.75)
    pairs = [
        pair(content("a"), content("b"), 0.52, "edited", difference_box=box, pdq_bits=30, n_inliers=41),
        pair(content("c"), content("d"), 0.9, "edited", difference_box=box),
        pair(content("j"), content("k"), 0.47),
        pair(content("l"), content("x"), 0.45),
        pair(content("m"), content("n"), 0.2),
        pair(content("o"), content("p"), 0.03, "similar"),
        pair(content("b"), content("c"), 0.95, "near"),
        pair(content("e"), content("i"), 0.8, "near"),
    ]
    thumbnails = [dict(content_id=content(n), **thumbnail(i)) for i, n in enumerate(names) if n != "k"]
    digests = {row["content_id"]: row["content_id"] for row in images}
    root = tmp_path_factory.mktemp("review") / "wh"
    made = write_tables(spark, root, images, digests, pairs, groups, thumbnails)
    write_run(made, "within")
    made.ensure()
    return root


def shown(warehouse, out, limit):
    """(kind, images) of the cards, in their order."""
    cards = review(Reader(warehouse.root), out, limit)
    return [(card.asked.what, card.asked.key) for card in cards]


def test_the_page_shows_what_deserves_a_look_and_needs_nothing_else(warehouse, tmp_path):
    assert set(shown(warehouse, tmp_path / "out", 50)) == {
        ("accepted, close", frozenset("ab")),
        ("rejected, close", frozenset("jk")),
        ("rejected, close", frozenset(("l", "x, <b>"))),
        ("another shot", frozenset("op")),
        ("link between groups", frozenset("bc")),
        ("large group", frozenset("ei")),
        ("alternate", frozenset("cd")),
    }
    text = (tmp_path / "out" / "review.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)(?!#)|@import|url\(""", text)
    assert "<script>alert" not in text
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src &#39;none&#39;;")
    assert "unsafe" not in policy
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    values = json.loads(data)
    by_images = {frozenset((c["left"]["image_id"], c["right"]["image_id"])): c for c in values["cards"]}
    assert by_images[frozenset("ab")]["right"]["uri"] == EVIL
    assert by_images[frozenset("jk")]["right"]["size_px"] is None  # k has no thumbnail
    words = " ".join(by_images[frozenset("ab")]["measures"])
    assert "score 0.520, edited, proposed by pdq" in words
    assert "PDQ 30 of 256" in words
    assert "41 keypoints fit" in words
    assert "the only link between them" in by_images[frozenset("bc")]["why"]
    assert by_images[frozenset(("l", "x, <b>"))]["lines"]["not_duplicate"] == [["l", "x, <b>", "not_duplicate"]]
    assert len(values["thumbnails"]) == 10  # of 14 pictures: b and c are shown twice, k and x have none


def test_the_first_of_each_kind_comes_before_the_second_and_the_limit_holds(warehouse, tmp_path):
    found = shown(warehouse, tmp_path / "out", 6)
    assert [what for what, _ in found] == [
        "rejected, close",
        "accepted, close",
        "another shot",
        "link between groups",
        "large group",
        "alternate",
    ]
    assert found[0][1] == frozenset("jk")  # 0.47 before 0.45


def test_an_empty_warehouse_gives_both_files(spark, tmp_path):
    empty = write_tables(spark, tmp_path / "wh", [], {}, [], [])
    empty.ensure()
    assert shown(empty, tmp_path / "out", 5) == []
    assert '"cards": []' in (tmp_path / "out" / "review.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "review.csv").read_text(encoding="utf-8").splitlines() == [",".join(CSV_COLUMNS)]


@pytest.mark.long
def test_the_filled_csv_goes_back_once_and_what_it_decides_is_asked_no_more(warehouse, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["review", "--warehouse", warehouse.root, "--out", str(out)]) == 0
    rows = list(csv.DictReader((out / "review.csv").open(encoding="utf-8", newline="")))
    assert all((row["verdict"], row["note"]) == ("", "") for row in rows)
    answers = {frozenset("ab"): "duplicate", frozenset(("l", "x, <b>")): "not_duplicate", frozenset("cd"): "alternate"}
    for row in rows:
        row["verdict"] = answers.get(frozenset((row["image_id"], row["other_image_id"])), "")
    filled = tmp_path / "filled.csv"
    with filled.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    command = ["decide", "--warehouse", warehouse.root, "--author", "ann", "--csv", str(filled)]
    capsys.readouterr()
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 verdicts added, 0 already given by ann; 4 rows without a verdict left out.\nThe next run")
    versions = warehouse.version(DECISIONS), warehouse.version(DECIDED)
    assert cli.main(command) == 0
    assert capsys.readouterr().out == "0 verdicts added, 3 already given by ann; 4 rows without a verdict left out.\n"
    assert (warehouse.version(DECISIONS), warehouse.version(DECIDED)) == versions
    stored = warehouse.read(DECISIONS).collect()
    assert {(frozenset((r.image_id, r.other_image_id)), r.verdict, r.author) for r in stored} == {
        (key, verdict, "ann") for key, verdict in answers.items()
    }
    assert len({row.decided_at for row in stored}) == 1
    assert {(r.image_id, r.content_id) for r in warehouse.read(DECIDED).collect()} == {
        (name, content(name[0])) for name in ("a", "b", "c", "d", "l", "x, <b>")
    }
    assert {key for _, key in shown(warehouse, out, 50)} == {
        frozenset("jk"),
        frozenset("op"),
        frozenset("bc"),
        frozenset("ei"),
    }


def test_verdicts_are_checked_together_and_added_all_or_none(warehouse, tmp_path, capsys):
    table = tmp_path / "bad.csv"
    table.write_text(
        "image_id,other_image_id,verdict\na,b,same\na,,duplicate\na,a,alternate\n,b,duplicate\na,b,keeper\n",
        encoding="utf-8",
    )
    command = ["decide", "--warehouse", warehouse.root, "--author", " ", "--csv", str(table)]
    assert cli.main(command) == 2
    told = capsys.readouterr().err
    for words in ("--author", "row 2: verdict 'same'", "row 3", "row 4: names", "row 5: no image;", "row 6: keeper"):
        assert words in told
    assert cli.main(["decide", "--warehouse", warehouse.root, "--author", "ann"]) == 2
    assert "give either --csv FILE or IMAGE VERDICT" in capsys.readouterr().err
    twice = warehouse.read(IMAGES).where("image_id = 'p'").collect()[0].asDict() | {"uri": "file:///d/o.png"}
    warehouse.append(IMAGES, warehouse.spark.createDataFrame([twice], IMAGES.schema))
    with pytest.raises(ConfigError) as caught:
        decide(
            warehouse,
            [
                Line("row 2", "a", "duplicate", "ghost"),
                Line("row 3", "file:///d/o.png", "keeper"),
                Line("row 4", EVIL, "alternate", "b"),
                Line("row 5", "c", "duplicate", "d"),
                Line("row 6", "d", "alternate", "c"),
            ],
            "ann",
        )
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "row 2",
        "row 3",
        "row 4",
        "row 5 and row 6 differ on the same images; leave one",
    ]
    assert warehouse.read(DECISIONS).isEmpty()


@pytest.mark.long
def test_a_verdict_is_added_again_only_when_its_author_changed_his_mind_or_says_so(warehouse):
    times = (datetime(2026, 11, 2, hour) for hour in range(20))

    def say(verdict, author, **more):
        return decide(warehouse, [Line("arguments", "a", verdict, "b")], author, now=next(times), **more).added

    assert (say("duplicate", "ann"), say("not_duplicate", "bob")) == (1, 1)
    assert say("duplicate", "ann") == 0  # an old file must not outvote bob
    assert say("duplicate", "ann", again=True) == 1
    assert (say("alternate", "bob"), say("alternate", "bob"), say("withdrawn", "bob")) == (1, 0, 1)
    backwards = decide(warehouse, [Line("arguments", "b", "withdrawn", "a")], "bob", now=next(times))
    assert (backwards.added, backwards.known) == (0, 1)


@pytest.mark.long
def test_rows_that_sql_inserts_are_pinned_once_and_conflicts_come_and_go(warehouse, tmp_path):
    spark, number = warehouse.spark, iter(range(99))

    def checkpoint(df):
        path = str(tmp_path / f"step{next(number)}")
        df.write.parquet(path)
        return spark.read.schema(df.schema).parquet(path)

    def conflicts():
        verdicts = current_verdicts(warehouse, config, checkpoint)
        return write_conflicts(warehouse, conflict_rows(conflicts_of(verdicts)), checkpoint).count()

    config = Config()
    assert pin_decisions(warehouse, checkpoint) == 0
    assert current_verdicts(warehouse, config, checkpoint) is None
    warehouse.ensure(DECISIONS)
    columns = "image_id, other_image_id, verdict, author, decided_at"
    insert = f"INSERT INTO delta.`{warehouse.path(DECISIONS)}` ({columns}) VALUES "  # noqa: S608
    spark.sql(insert + "('a', 'b', 'duplicate', 'ann', TIMESTAMP '2026-11-02 10:00:00')")
    spark.sql(insert + "('b', 'ghost', 'duplicate', 'ann', TIMESTAMP '2026-11-02 11:00:00')")
    assert pin_decisions(warehouse, checkpoint) == 3
    version = warehouse.version(DECIDED)
    assert (pin_decisions(warehouse, checkpoint), warehouse.version(DECIDED)) == (0, version)
    assert conflicts() == 1
    version = warehouse.version(DECISION_CONFLICTS)
    assert (conflicts(), warehouse.version(DECISION_CONFLICTS)) == (1, version)
    assert shown(warehouse, tmp_path / "out", 3)[0] == ("conflict", frozenset(("b", "ghost")))
    line = Line("arguments", "b", "withdrawn", "ghost")
    assert decide(warehouse, [line], "bob", now=NOON + timedelta(days=9)).added == 1
    assert conflicts() == 0
    assert warehouse.read(DECISION_CONFLICTS).isEmpty()
    for bad in ("('a', NULL, 'duplicate'", "('a', 'a', 'duplicate'", "('a', 'b', 'keeper'", "('a', 'b', 'same'"):
        with pytest.raises(Exception, match="CHECK constraint"):
            spark.sql(f"{insert} {bad}, 'ann', current_timestamp())")


def test_read_lines_takes_what_spreadsheets_write(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffverdict,image_id,other_image_id\r\nduplicate , a ,b\r\n,c,d\r\n".encode())
    assert read_lines(path) == ([Line("row 2", "a", "duplicate", "b")], 1)
    path.write_text("image_id,verdict,other_image_id,note\na,keeper\n", encoding="utf-8")
    assert read_lines(path) == ([Line("row 2", "a", "keeper")], 0), "empty cells at the end may be missing"
    path.write_text("image,verdict\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no column image_id"):
        read_lines(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image_id,verdict,note\n/x/a, b.jpg,keeper,\n", "line 2 has 4 cells where the header has 3"),
        ("image_id,image_id,verdict\na,b,keeper\n", "names image_id more than once"),
    ],
)
def test_read_lines_refuses_rows_that_do_not_fit_the_header(tmp_path, text, told):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        read_lines(path)
