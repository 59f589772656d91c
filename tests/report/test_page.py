"""The report as a page: its figures are those of the tables, it loads nothing, and names of files do it no harm."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from html_text import Page
from made_lake import make_tables
from report_lake import write_lake

from dupelake.cli import main
from dupelake.errors import NotFoundError, QueryError
from dupelake.group.totals import may_go_by_group, may_go_by_kind, totals_of, what_may_go
from dupelake.report.page import _percent, group_page, warehouse_page
from dupelake.report.pictures import read_pictures
from dupelake.report.questions import IMAGES_BY_STATE
from dupelake.report.snapshot import open_tables
from dupelake.report.summary import describe
from dupelake.runtime.run_report import human_bytes
from dupelake.warehouse.reader import Reader

# Queries of tests, made of names of the schema.
# ruff: noqa: S608

REPO = Path(__file__).parents[2]
HOSTILE = (
    "</script><script>document.title='owned'</script>.jpg",
    "<img src=x onerror=\"document.title='owned'\">.jpg",
    "\"><svg onload=document.title='owned'>.jpg",
    "{{ 7 * 7 }} {% raw %} ${document.title='owned'} `'.jpg",
    "<!--<script>.jpg",
    "&lt;b&gt; &amp; \u2028 \u2029 \u202egpj.exe",
    "line\nbreak\tand \u0000 nul.jpg",
    "名前 ñ ẞ 😀.jpg",
)


def hostile_name(g: int, m: int) -> str:
    return f"/data/{HOSTILE[g % len(HOSTILE)]}" if m == 0 else f"/data/{g}/{m} {HOSTILE[(g + m) % len(HOSTILE)]}"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    bad = "sticker </script><script>document.title='owned'</script>"
    recall = {"all": {"found": 1, "planted": 2, "share": 0.5, "low": 0.1, "high": 0.9}, "legs": {}, "checked": 0}
    share = {"found": 1, "planted": 2, "share": 0.5, "low": 0.1, "high": 0.9}
    write_lake(
        folder / "lake", 12, hostile_name, lambda g, m: f"Copy: {HOSTILE[m % 8]}", recall | {"by_edit": {bad: share}}
    )
    (folder / "report.html").write_text(warehouse_page(open_tables(str(folder / "lake"))).html, encoding="utf-8")
    return folder


def check_figures(reader: Reader, page: Page, until: str | None = None) -> None:
    """Every figure of the page against a question to the tables."""
    (totals,) = reader.query(totals_of()).to_pylist()
    (may_go,) = reader.query(what_may_go()).to_pylist()
    live = "status = 'ok' AND deleted_at IS NULL"
    n_live = reader.query(f"SELECT count(*) AS n FROM images WHERE {live}")["n"][0].as_py()
    n_named = reader.query("SELECT count(*) AS n FROM images")["n"][0].as_py()
    n_failed = reader.query("SELECT count(*) AS n FROM images WHERE status = 'failed'")["n"][0].as_py()
    assert page.tiles["Images"][0] == f"{n_live:,}"
    assert f"{n_named:,} named, {n_failed:,} failed" in page.tiles["Images"][1]
    assert page.tiles["Groups"][0] == f"{totals['groups']:,}"
    assert f"of {totals['images_grouped']:,} images" in page.tiles["Groups"][1]
    assert page.tiles["Copies"][0] == f"{totals['copies']:,}"
    assert page.tiles["May go now"][0] == human_bytes(may_go["removable_bytes"])
    assert page.tiles["May go now"][1].startswith(f"{totals['removable']:,} image")
    n_pairs, n_accepted = (
        reader.query(f"SELECT count(*) AS n FROM pairs WHERE {where}")["n"][0].as_py()
        for where in ("true", "is_duplicate")
    )
    assert page.tiles["Duplicate pairs"] == [f"{n_accepted:,}", f"of {n_pairs:,} pairs that were measured"]
    tiers = page.tables["Table of tiers"][1:]
    for row, tier in zip(tiers, ("identical", "verified", "copies"), strict=True):
        assert row[0].startswith(tier)
        assert row[1:3] == [f"{may_go[tier]:,}", human_bytes(may_go[f"{tier}_bytes"])]
    by_kind = reader.query(may_go_by_kind()).to_pylist()
    assert sum(row["bytes"] for row in by_kind) == may_go["copies_bytes"]
    assert sum(row["n"] for row in by_kind) == may_go["copies"]
    for tier in ("identical", "verified"):
        assert sum(row["bytes"] for row in by_kind if row["tier"] == tier) <= may_go[f"{tier}_bytes"]
    if by_kind:
        assert page.tables["Freed bytes by kind and tier"][1:] == [
            [row["kind"], row["tier"], f"{row['n']:,}", human_bytes(row["bytes"])] for row in by_kind
        ]
    scores = page.tables["Pairs by score"][1:]
    assert sum(int(row[2].replace(",", "")) for row in scores) == n_pairs
    for low_to_high, verdict, n in scores:
        low, high = map(float, low_to_high.split(" to "))
        inside = f"score >= {low} AND (score < {high} OR {high} = 1.0) AND is_duplicate = {verdict == 'duplicate'}"
        assert reader.query(f"SELECT count(*) AS n FROM pairs WHERE {inside}")["n"][0].as_py() == int(
            n.replace(",", "")
        )
    reasons = reader.query(
        "SELECT reason, count(*) AS n FROM images WHERE status = 'failed' GROUP BY reason ORDER BY n DESC, reason"
    ).to_pylist()
    failures = page.tables.get("Table of failures", [])[1:]
    assert [row[:2] for row in failures] == [[row["reason"], f"{row['n']:,}"] for row in reasons]
    started = "" if until is None else f"WHERE run_id <= '{until}'"
    runs = reader.query(f"SELECT job, status, counts FROM runs {started} ORDER BY started_at DESC").to_pylist()
    assert [row[1:3] for row in page.tables["Table of runs"][1:]] == [[run["job"], run["status"]] for run in runs]
    assert [row[4] for row in page.tables["Table of runs"][1:]] == [f"{dict(r['counts'])['hashed']:,}" for r in runs]


def check_groups(reader: Reader, page: Page) -> None:
    """The listed groups against the tables, and each picture against the stored thumbnail."""
    groups, members = page.data["groups"], page.data["members"]
    rows = reader.query(
        "SELECT g.*, i.uri FROM groups g JOIN images i ON i.image_id = g.image_id "
        "ORDER BY group_size DESC, group_id, is_keeper DESC, score_to_keeper DESC, g.image_id"
    ).to_pylist()
    thumbnails = reader.query("SELECT content_id, bytes FROM thumbnails").to_pylist()
    stored = {row["content_id"]: row["bytes"] for row in thumbnails}
    assert sum(groups["listed"]) == len(rows) == len(members["id"])
    assert groups["id"] == list(dict.fromkeys(row["group_id"] for row in rows))
    for m, row in enumerate(rows):
        word = {name: members[name]["words"][members[name]["codes"][m]] for name in ("relation",)}
        assert (members["id"][m], members["uri"][m], members["reason"][m]) == (
            row["image_id"],
            row["uri"],
            row["reason"],
        )
        assert (word["relation"], members["removable"][m]) == (row["relation"], row["is_removable"])
        line = page.pictures[m]
        line = page.pictures[int(line[1:])] if line.startswith("=") else line
        assert base64.b64decode(line) == stored[row["content_id"]]
    freed = {row["group_id"]: row for row in reader.query(may_go_by_group()).to_pylist()}
    for place, tier in enumerate(("identical", "verified", "copies")):
        told = dict(zip(groups["id"], groups["frees"][place], strict=True))
        assert told == {group: freed[group][f"{tier}_bytes"] if group in freed else 0 for group in told}
    (may_go,) = reader.query(what_may_go()).to_pylist()
    assert sum(groups["frees"][2]) == may_go["copies_bytes"]
    assert sum(groups["goes"]) == may_go["removable_bytes"]


def test_figures_and_groups_are_those_of_the_tables(made_report):
    reader, page = Reader(made_report / "lake"), Page((made_report / "report.html").read_text(encoding="utf-8"))
    check_figures(reader, page)
    check_groups(reader, page)
    assert page.tables["Recall by edit"][1:] == [
        ["sticker over 5% of its area", "14 of 16", "87.5 %", "64.0 % to 96.5 %"],
        ["cropped to 50% of its area", "16 of 16", "100 %", "80.6 % to 100 %"],
    ]
    assert "made 32 edited copies" in page.texts["Recall by planted edit"]
    assert "found 30: 93.8 % (95 % interval 79.8 % to 98.3 %)" in page.texts["Recall by planted edit"]
    assert page.tables["Table of generators"][1] == ["pdq", "51 of 51", "100 %", "93.0 % to 100 %"]


def test_the_summary_counts_images_that_are_gone_on_their_own(tmp_path):
    write_lake(tmp_path, 5)
    assert "images  19, 16 ok, failed: 1 empty, 2 truncated\n" in describe(Reader(tmp_path))
    table = DeltaTable(str(tmp_path / "images"))
    gone = "image_id LIKE 'image-4-%' OR image_id = 'failed-0'"
    table.update(predicate=gone, updates={"deleted_at": "now()", "deleted_reason": "'tombstone'"})
    told = describe(Reader(tmp_path))
    (found,) = Reader(tmp_path).query(IMAGES_BY_STATE).to_pylist()
    assert f"images  19, {found['live']} ok, {found['gone']} gone, failed: 1 empty, 1 truncated" in told
    assert found["named"] == found["live"] + found["gone"] + found["failed"]


def test_figures_of_a_real_warehouse_and_of_its_first_night(small_lake):
    reader = Reader(small_lake / "dupes")
    page = Page(warehouse_page(open_tables(str(small_lake / "dupes"))).html)
    check_figures(reader, page)
    check_groups(reader, page)
    assert "No run measured how many planted copies it finds" in page.texts["Recall by planted edit"]
    first = min(reader.query("SELECT run_id FROM runs")["run_id"].to_pylist())
    past = open_tables(str(small_lake / "dupes"), first)
    then = Page(warehouse_page(past, first).html)
    check_figures(Reader(small_lake / "first"), then)
    check_groups(Reader(small_lake / "first"), then)
    assert then.tiles != page.tiles


def test_changes_of_the_last_night_are_told(made_report):
    page = Page((made_report / "report.html").read_text(encoding="utf-8"))
    changes = DeltaTable(str(made_report / "lake" / "group_changes")).to_pyarrow_table().to_pylist()
    event = page.data["groups"]["event"]
    told = {
        group: event["words"][code]
        for group, code in zip(page.data["groups"]["id"], event["codes"], strict=True)
        if code >= 0
    }
    assert told == {row["group_id"]: row["event"] for row in changes}


def test_the_page_names_no_address_and_allows_no_other_script(made_report, hostile):
    for folder in (made_report, hostile):
        html = (folder / "report.html").read_text(encoding="utf-8")
        page = Page(html)
        assert {value for value in page.addresses if not value.startswith("#")} == set()
        assert not page.tags & {"link", "iframe", "object", "embed", "base", "form", "img", "image", "use"}
        (style,) = page.styles
        assert not re.search(r"url\(|@import|image-set|src:", style)
        (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy.split("script-src")[1]
        runnable = [text for given, text in page.scripts if not given.get("type")]
        assert len(runnable) == 1
        for word in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "eval(", "innerHTML", "document.write"):
            assert word not in runnable[0]


def test_hostile_names_stay_texts(hostile):
    page = Page((hostile / "report.html").read_text(encoding="utf-8"))
    check_groups(Reader(hostile / "lake"), page)
    assert {uri.removeprefix("/data/") for uri in page.data["members"]["uri"]} >= set(HOSTILE)
    assert [given.get("type") for given, _ in page.scripts[:2]] == ["application/json", None]
    assert page.tables["Recall by edit"][1][0] == "sticker </script><script>document.title='owned'</script>"
    assert "svg" in page.tags


def test_secrets_of_uris_are_not_on_the_page(made_report):
    html = (made_report / "report.html").read_text(encoding="utf-8")
    assert "shop.example/0.jpg" in html
    assert "secret" not in html
    assert "abcdefgh" not in html


def test_the_page_keeps_to_its_weight_and_says_what_it_leaves_out(tmp_path):
    reader = open_tables(str(write_lake(tmp_path / "lake", 400, n_photographs=100)))
    page = warehouse_page(reader, max_mb=1)
    shown = Page(page.html)
    assert 900_000 < len(page.html.encode()) <= 1_000_000
    n_images, n_shown = len(shown.data["members"]["id"]), sum(map(bool, shown.pictures))
    assert 0 < n_shown < n_images
    assert f"{n_shown:,} of {n_images:,} images have a picture here" in re.sub(r"\s+", " ", page.html)
    assert "reduced to 160 pixels" in page.html
    few = warehouse_page(reader, n_groups=30)
    assert "The 30 largest of 400 groups are listed" in few.html
    assert Page(few.html).data["groups"]["id"] == shown.data["groups"]["id"][:30]
    assert (few.n_listed, few.n_groups) == (30, 400)


def test_pictures_of_25_000_images_are_read_though_no_query_can_name_them(made_report):
    reader = open_tables(str(made_report / "lake"))
    stored = reader.table("thumbnails", ("content_id",))["content_id"].to_pylist()
    contents = [f"none-{n}" for n in range(25_000)] + stored
    members = pa.table({"group_id": ["g"] * len(contents), "content_id": contents})
    assert read_pictures(reader, members, 128_000_000).n_shown == len(stored)


def test_groups_are_left_out_where_their_texts_are_too_heavy(tmp_path):
    lake = write_lake(tmp_path / "lake", 300, lambda g, m: f"/{g}/{'<' * 400}{m}", n_photographs=4)
    page = warehouse_page(open_tables(str(lake)), max_mb=1)
    assert len(page.html.encode()) <= 1_000_000
    assert 0 < page.n_listed < 300
    assert f"The {page.n_listed} largest of 300 groups are listed" in page.html


def test_a_warehouse_without_rows_has_a_page(tmp_path):
    make_tables(tmp_path / "lake")
    page = Page(warehouse_page(open_tables(str(tmp_path / "lake"))).html)
    assert page.tiles["Images"][0] == page.tiles["Groups"][0] == "0"
    said = " ".join(page.texts.values())
    for part in (
        "No run is recorded.",
        "No copy was found whose file could be freed.",
        "No pair was measured.",
        "No image failed.",
        "No night has succeeded yet.",
        "No run measured how many planted copies it finds",
    ):
        assert part in said


def test_one_group_alone(made_report):
    reader = open_tables(str(made_report / "lake"))
    whole = Page((made_report / "report.html").read_text(encoding="utf-8"))
    group_id, size = whole.data["groups"]["id"][0], whole.data["groups"]["size"][0]
    page = Page(group_page(reader, group_id).html)
    assert page.data["groups"]["id"] == [group_id]
    assert page.data["members"]["id"] == whole.data["members"]["id"][:size]
    assert len(page.pictures) == size
    kinds = page.data["members"]["kind"]
    for m, lines in enumerate(page.data["members"]["measures"]):
        kind = kinds["words"][kinds["codes"][m]] if kinds["codes"][m] >= 0 else "exact"
        score = page.data["members"]["score"][m]
        assert lines == (None if kind == "exact" else [f"score {score:.3f}, {kind}, proposed by words"])
    assert whole.data["members"]["measures"] == []
    assert Page(group_page(reader, group_id[:8]).html).data == page.data
    with pytest.raises(NotFoundError, match="no group has an id that begins so"):
        group_page(reader, "zz")
    with pytest.raises(QueryError, match="several groups"):
        group_page(reader, "0000")


def test_the_command_writes_the_page_or_the_sheet(made_report, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lake = str(made_report / "lake")
    assert main(["report", "--warehouse", lake]) == 0
    said = capsys.readouterr().out
    assert f"Report: {tmp_path / 'report.html'}" in said
    assert "60 of" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]
    assert main(["report", "--warehouse", lake, "--png"]) == 0
    assert "Contact sheet:" in capsys.readouterr().out
    assert main(["report", "--warehouse", lake, "--png", "new/sheet.png", "--out", "new/page.html"]) == 0
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        *("contact-sheet.png", "page.html", "report.html", "sheet.png")
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "sheet.png"], "give --png sheet.png for the contact sheet"),
        (["--png", "page.html"], "give --out page.html for the page"),
        (["--groups", "0"], "--groups 0: allowed is 1 to 100000"),
        (["--max-mb", "1000"], "--max-mb 1000: allowed is 1 to 512"),
        (["--group", "x", "--png"], "leave out --png or --group"),
        (["--out", "."], "--out .: is a folder; give a file"),
        (["--run", "20200101T000000-abcdef"], "no complete night has this id"),
        (["--group", "zz"], "no group has an id that begins so"),
        (["--group", "0000"], "several groups have an id that begins so"),
    ],
)
def test_what_is_refused_and_why(made_report, words, said, capsys):
    assert main(["report", "--warehouse", str(made_report / "lake"), *words]) != 0
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0 %"), (1, "100 %"), (0.9999, "over 99.9 %"), (0.0001, "under 0.1 %"), (0.9957, "99.6 %")],
)
def test_percentages_are_not_rounded_to_all_or_nothing(share, said):
    assert _percent(share) == said.replace(" %", "\N{NO-BREAK SPACE}%")


def test_the_wheel_has_the_templates(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPO, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    templates = REPO / "lib" / "dupelake" / "report" / "templates"
    expected = {f"dupelake/report/templates/{path.relative_to(templates)}" for path in templates.rglob("*.*")}
    assert expected <= set(names)
    assert "dupelake/report/templates/charts/scores.json" in expected
