"""dupelake.open on a warehouse of two real nights: what it says is what Spark says, and it needs no Spark."""

from __future__ import annotations

import doctest
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

import dupelake
from dupelake.errors import EnvironmentFault, NotFoundError, QueryError
from dupelake.group.totals import totals_of, what_may_go
from dupelake.notebook import opened
from dupelake.report.contact_sheet import sheet_groups
from dupelake.report.questions import largest_groups, members_of
from dupelake.report.summary import describe, load_groups
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import GROUP_CHANGES, GROUPS, IMAGES, PAIRS, RUNS
from dupelake.warehouse.tables import Warehouse

REPO = Path(__file__).parents[2]


@pytest.fixture
def lake(small_lake):
    return dupelake.open(small_lake / "dupes")


@pytest.fixture(scope="module")
def warehouse(spark, small_lake):
    return Warehouse(spark, str(small_lake / "dupes"))


def named(lake, name: str) -> str:
    """The id of the image whose file has this name."""
    (found,) = lake.images(["image_id", "uri"], where=f"uri LIKE '%/{name}'")["image_id"].to_pylist()
    return found


def answer(lake, a: str, b: str) -> str:
    return lake.why(named(lake, a), named(lake, b))["answer"][0].as_py()


@pytest.mark.parametrize("where", ["dupelake", "opened", "docs/python.md", "docs/sql.md"])
def test_examples_run(where, small_lake, monkeypatch):
    monkeypatch.chdir(small_lake)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if where.endswith(".md"):
        done = doctest.testfile(str(REPO / where), module_relative=False, optionflags=flags)
    else:
        module = dupelake if where == "dupelake" else opened
        done = doctest.testmod(module, extraglobs={"lake": dupelake.open("dupes")}, optionflags=flags)
    assert done.attempted >= 3
    assert done.failed == 0


def test_it_needs_neither_spark_nor_java_and_its_import_loads_nothing(small_lake):
    code = """
import sys
import dupelake
assert not {"pyarrow", "numpy", "deltalake", "yaml", "pyspark"} & sys.modules.keys(), sorted(sys.modules)
lake = dupelake.open("dupes")
ids = lake.images(where="status = 'ok'")["image_id"].to_pylist()
group = lake.groups()["group_id"][0].as_py()
for frame in (lake.pairs(), lake.removable(), lake.why(*ids[:2]), lake.history(group), lake.sql("SELECT 1")):
    assert frame.num_rows
lake.show(group)
assert not {"pyspark", "py4j", "torch", "cv2", "polars"} & sys.modules.keys()
"""
    env = {**os.environ, "PATH": "/nowhere", "PYTHONPATH": str(REPO / "lib")}
    env.pop("JAVA_HOME", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=small_lake, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ["images", "pairs", "groups", "removable"])
def test_all_forms_hold_the_same_rows(spark, small_lake, method):
    arrow, pandas, polars, frame = (
        getattr(dupelake.open(small_lake / "dupes", form), method)() for form in ("arrow", "pandas", "polars", "spark")
    )
    assert isinstance(arrow, pa.Table)
    assert list(pandas.columns) == list(polars.columns) == frame.columns == arrow.column_names
    rows = arrow.select(arrow.column_names[:2]).to_pylist()
    assert pandas[arrow.column_names[:2]].to_dict("records") == rows
    assert polars.select(arrow.column_names[:2]).to_dicts() == rows
    assert [row.asDict() for row in frame.select(arrow.column_names[:2]).collect()] == rows
    assert len(rows) > (0 if method == "removable" else 10)


@pytest.mark.parametrize("table", [IMAGES, PAIRS, GROUPS, GROUP_CHANGES], ids=lambda table: table.name)
def test_tables_are_what_spark_reads(lake, warehouse, table):
    mine = [tuple(map(plain, row.values())) for row in lake.table(table.name, table.columns).to_pylist()]
    theirs = [tuple(map(plain, row)) for row in warehouse.read(table).collect()]
    assert sorted(mine, key=repr) == sorted(theirs, key=repr)


def plain(value):
    """A value without what its engine adds: rows and maps as dicts, times without a zone."""
    if hasattr(value, "asDict"):
        value = value.asDict()
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        value = dict(value)
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def test_why_says_what_the_tables_say(lake, warehouse):
    rows = {row["image_id"]: row for row in lake.groups().to_pylist()}
    copy = named(lake, "astronaut half.jpg")
    (keeper,) = (i for i, r in rows.items() if r["is_keeper"] and r["group_id"] == rows[copy]["group_id"])
    row = lake.why(keeper, copy).to_pylist()[0]
    assert row["answer"] == f"in one group: {rows[copy]['reason']}"
    assert row["group_id"] == row["other_group_id"] == rows[copy]["group_id"]
    measured = {(p["src_id"], p["dst_id"]): p for p in warehouse.read(PAIRS).collect()}
    assert row["score"] == measured[row["src_id"], row["dst_id"]]["score"] > 0.9
    assert (row["kind"], row["is_duplicate"]) == ("near", True)
    back = lake.why(copy, keeper).to_pylist()[0]
    assert (back["src_id"], back["dst_id"], back["image_id"]) == (row["src_id"], row["dst_id"], copy)


def test_why_in_words(lake):
    assert answer(lake, "astronaut.png", "astronaut.png") == "one and the same image"
    assert "same bytes as the keeper" in answer(lake, "astronaut.png", "twin #1.png")
    assert "same pixels" in answer(lake, "astronaut.png", "astronaut resaved.bmp")
    assert answer(lake, "astronaut.png", "coins.png").startswith("never proposed")
    assert answer(lake, "coins.png", "empty.jpg") == "never measured: one image failed in the hash stage"
    assert answer(lake, "text.jpg", "empty.jpg") == "never measured: both images failed in the hash stage"
    assert "mirror image" in answer(lake, "camera.png", "camera mirrored.jpg")
    nothing = lake.why(named(lake, "astronaut.png"), named(lake, "coins.png")).to_pylist()[0]
    assert nothing["score"] is None
    assert nothing["src_id"] is None


def test_images_are_named_by_uri_too(lake, small_lake):
    path = next((small_lake / "images").rglob("astronaut.png"))
    other = next((small_lake / "images").rglob("astronaut half.jpg"))
    row = lake.why(str(path), other.as_uri()).to_pylist()[0]
    assert (row["image_id"], row["other_image_id"]) == (
        named(lake, "astronaut.png"),
        named(lake, "astronaut half.jpg"),
    )
    with pytest.raises(NotFoundError, match="no image has this image_id or uri"):
        lake.why("nothing", str(path))


def test_history_gives_the_groups(lake):
    members: dict[str, set[str]] = {}
    for group in set(lake.table("group_changes")["group_id"].to_pylist()):
        inside: set[str] = set()
        for event in lake.history(group).to_pylist():
            if event["event"] == "entered":
                inside.add(event["image_id"])
            elif event["event"] == "left":
                inside.remove(event["image_id"])
            elif event["group_id"] == group and event["image_id"] is None:
                size = event["n_images"]
        if inside:
            members[group] = inside
            assert size == len(inside)
    now: dict[str, set[str]] = {}
    for row in lake.groups().to_pylist():
        now.setdefault(row["group_id"], set()).add(row["image_id"])
    assert members == now
    assert {"born", "grew"} <= set(lake.table("group_changes")["event"].to_pylist())


def test_events_of_a_night_that_was_killed_before_its_groups_are_left_out(spark, small_lake, tmp_path):
    shutil.copytree(small_lake / "dupes", tmp_path / "wh")
    killed = Warehouse(spark, str(tmp_path / "wh"))
    last = killed.last_sequence(GROUPS)
    group = killed.read(GROUP_CHANGES).first()["group_id"]
    # The group is named here: a DataFrame of the table that is read again after the append may give the new row.
    changes = (
        killed.read(GROUP_CHANGES)
        .where(f"group_id = '{group}'")
        .limit(1)
        .selectExpr(
            "'killed' AS run_id",
            "concat(group_id, 'x') AS group_id",
            "'ended' AS event",
            "other_group_id",
            "0 AS n_images",
            "changed_at",
            f"CAST({last + 1} AS BIGINT) AS sequence",
        )
    )
    killed.append(GROUP_CHANGES, changes, sequence=last + 1)
    newest = dupelake.open(tmp_path / "wh")
    newest._reader = newest._reader.at({})  # as before the first complete night
    assert newest.table("group_changes", where="run_id = 'killed'").num_rows == 1
    assert newest.history(group).num_rows == dupelake.open(small_lake / "dupes").history(group).num_rows
    assert newest.history(group + "x").num_rows == 0
    with pytest.raises(QueryError, match="several groups have an id that begins so"):
        newest.history(group[:10])


def test_a_picture_of_groups(lake):
    sizes = {row["group_id"]: row["group_size"] for row in lake.groups().to_pylist()}
    largest = max(sizes, key=sizes.get)
    one = lake.show(largest[:10])
    assert isinstance(one, Image.Image)
    assert one._repr_png_().startswith(b"\x89PNG")
    assert (34, 139, 34) in {colour for _, colour in one.getcolors(1 << 24)}, "the keeper has a green frame"
    both = lake.show(*sorted(sizes)[:2])
    assert both.height > one.height
    assert lake.show().height > both.height
    with pytest.raises(NotFoundError, match="no group has an id"):
        lake.show("no such group")


def test_the_report_draws_the_same_groups(lake, small_lake):
    largest = lake.sql(largest_groups(10))["group_id"].to_pylist()
    assert len(largest) == 7
    drawn = load_groups(Reader(small_lake / "dupes"), 10)
    assert drawn == sheet_groups(lake.sql(members_of(largest, 7)).to_pylist())
    (one,) = sheet_groups(lake.sql(members_of(largest[:1], 2)).to_pylist())
    assert (one.size, len(one.members), one.members[0].relation) == (5, 2, "keeper")


def test_the_report_counts_what_the_run_counted(spark, warehouse, small_lake):
    reader = Reader(small_lake / "dupes")
    views = {"groups": warehouse.read(GROUPS), "images": warehouse.read(IMAGES)}
    (totals,) = reader.query(totals_of()).to_pylist()
    (may_go,) = reader.query(what_may_go()).to_pylist()
    assert spark.sql(totals_of("{groups}"), groups=views["groups"]).first().asDict() == totals
    assert spark.sql(what_may_go("{groups}", "{images}"), **views).first().asDict() == may_go
    (run,) = reader.query("SELECT counts FROM runs ORDER BY started_at DESC LIMIT 1").to_pylist()
    counts = dict(run["counts"])
    assert {name: counts[name] for name in totals} == totals
    assert counts["removable_bytes"] == may_go["removable_bytes"] > 0
    text = describe(reader)
    assert f"{totals['groups']} of {totals['images_grouped']} images, {totals['copies']} copies" in text
    assert "failed: 1 empty" in text


def test_a_past_night_and_a_night_at_work(spark, small_lake, tmp_path):
    shutil.copytree(small_lake / "dupes", tmp_path / "wh")
    lake = dupelake.open(tmp_path / "wh")
    runs = sorted(lake.table("runs", ["run_id"])["run_id"].to_pylist())
    assert lake.run == runs[-1]
    before = dupelake.open(tmp_path / "wh", run=runs[0])
    assert before.run == runs[0]
    assert 0 < before.groups().num_rows < lake.groups().num_rows
    n = lake.groups().num_rows
    Warehouse(spark, str(tmp_path / "wh")).delete(GROUPS, "true")  # what a night does halfway
    assert dupelake.open(tmp_path / "wh").groups().num_rows == n
    with pytest.raises(NotFoundError, match="no complete night has this id"):
        dupelake.open(tmp_path / "wh", run="20200101T000000-abcdef")
    Warehouse(spark, str(tmp_path / "wh")).delete(RUNS, "true")
    newest = dupelake.open(tmp_path / "wh")
    assert newest.run is None
    assert "no night is complete yet" in repr(newest)
    assert newest.groups().num_rows == 0


def test_what_is_wrong_is_said(lake, small_lake, tmp_path, monkeypatch):
    with pytest.raises(NotFoundError, match="there is no such folder"):
        dupelake.open(tmp_path / "none")
    with pytest.raises(NotFoundError, match="holds no table runs"):
        dupelake.open(tmp_path)
    with pytest.raises(QueryError, match="arrow, pandas, polars, spark"):
        dupelake.open(small_lake / "dupes", "parquet")
    with pytest.raises(NotFoundError, match="no table is called hash; there are images, hashes"):
        lake.table("hash")
    with pytest.raises(QueryError, match="No field named size"):
        lake.images(["size"])
    with pytest.raises(QueryError, match="FROM images WHERE"):
        lake.images(where="uri LIKE")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'dupelake\[polars\]'"):
        dupelake.open(small_lake / "dupes", "polars").groups()


def test_options_of_the_run_decide_whether_scopes_are_compared(spark, small_lake, tmp_path):
    shutil.copytree(small_lake / "dupes", tmp_path / "wh")
    warehouse = Warehouse(spark, str(tmp_path / "wh"))
    lake = dupelake.open(tmp_path / "wh")
    coins = named(lake, "coins.png")
    warehouse.spark.sql(f"UPDATE delta.`{warehouse.path(IMAGES)}` SET scope = 'other' WHERE image_id = '{coins}'")  # noqa: S608
    moved = dupelake.open(tmp_path / "wh")
    moved._reader = moved._reader.at({})
    assert answer(moved, "astronaut.png", "coins.png") == "never proposed: scopes '' and 'other' differ"
    across = json.dumps({"lsh": {"scope": "across"}})
    warehouse.spark.sql(f"UPDATE delta.`{warehouse.path(RUNS)}` SET config = '{across}'")  # noqa: S608
    assert answer(moved, "astronaut.png", "coins.png") == "never proposed"
