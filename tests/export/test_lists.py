"""The removal list in its three forms: the rows of `dupelake.open().removable()`, by tier, in parts."""

from __future__ import annotations

import csv
import json

import duckdb
import polars
import pyarrow.parquet as pq
import pytest
from exported import IDENTICAL, VERIFIED, picture
from grouped_lake import copy, decide, make_lake, write_night

import dupelake
from dupelake.cli import main
from dupelake.csv_cells import unescape
from dupelake.export import questions
from dupelake.export.lists import SCHEMA


def export(lake, out, form: str = "jsonl", *more: str, code: int = 0) -> list[dict]:
    """Rows of the list, as the form is read."""
    assert main(["export", form, "--warehouse", str(lake), "--out", str(out), *more]) == code
    if code:
        return []
    if form == "jsonl":
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    if form == "parquet":
        return pq.read_table(out).to_pylist()
    with out.open(newline="", encoding="utf-8") as file:
        return [{name: unescape(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


def ids(rows: list[dict]) -> set[str]:
    assert len({row["image_id"] for row in rows}) == len(rows)
    return {row["image_id"] for row in rows}


def test_the_list_is_what_open_says_may_go(lake, tmp_path, members):
    rows = export(lake, tmp_path / "x.jsonl")
    expected = dupelake.open(lake).removable().to_pylist()
    assert ids(rows) == VERIFIED == {row["image_id"] for row in expected}
    for row, told in zip(rows, expected, strict=True):
        names = told.keys() - {"partition", "scope"}
        assert {n: told[n] for n in names} == {n: row["score" if n == "score_to_keeper" else n] for n in names}
    by_id = {one.image_id: one for one in members}
    for row in rows:
        one, kept = by_id[row["image_id"]], by_id[row["keeper_id"]]
        assert (row["path"], row["keeper_path"]) == (one.uri, kept.uri)
        assert (row["byte_size"], row["content_id"]) == (len(one.data), one.content()["content_id"])
        assert (row["keeper_byte_size"], row["keeper_content_id"]) == (len(kept.data), kept.content()["content_id"])
    files = {row["uri"].replace("b link.jpg", "b.jpg"): row["byte_size"] for row in rows}  # two names of one file
    assert sum(row["freed_bytes"] for row in rows) == sum(files.values())


def test_all_forms_have_the_same_rows(lake, tmp_path):
    rows = export(lake, tmp_path / "x.jsonl")
    assert export(lake, tmp_path / "x.parquet", "parquet") == rows
    texts = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    assert export(lake, tmp_path / "x.csv", "csv") == texts
    assert polars.read_parquet(tmp_path / "x.parquet").to_dicts() == rows
    assert polars.read_ndjson(tmp_path / "x.jsonl").to_dicts() == rows
    for name in ("x.csv", "x.parquet", "x.jsonl"):
        (found,) = duckdb.sql(f"SELECT count(*), sum(freed_bytes) FROM '{tmp_path / name}'").fetchall()  # noqa: S608
        assert found == (len(rows), sum(row["freed_bytes"] for row in rows))


def test_a_tier_narrows_and_never_widens(lake, tmp_path, capsys):
    assert ids(export(lake, tmp_path / "x.jsonl", "jsonl", "--tier", "identical")) == IDENTICAL
    assert ids(export(lake, tmp_path / "x.jsonl", "jsonl", "--tier", "verified")) == VERIFIED
    export(lake, tmp_path / "y.jsonl", "jsonl", "--tier", "copies", code=2)
    assert "--tier copies: the last complete night ran with cluster.removable: verified" in capsys.readouterr().err
    assert not (tmp_path / "y.jsonl").exists()


def test_nothing_else_than_what_groups_call_removable(tmp_path, members):
    kept = [one for one in members if one.image_id not in VERIFIED]
    lake = make_lake(tmp_path / "lake", kept, "copies")
    for form in ("jsonl", "csv", "parquet"):
        assert export(lake, tmp_path / "x", form) == []
    assert pq.read_schema(tmp_path / "x").equals(SCHEMA)


@pytest.mark.parametrize("rows", [1, 3])
def test_parts_give_the_rows_of_the_whole(lake, tmp_path, monkeypatch, rows):
    whole = export(lake, tmp_path / "x.jsonl")
    monkeypatch.setattr(questions, "PART_ROWS", rows)
    asked = []
    run = questions.removable_of
    monkeypatch.setattr("dupelake.export.night.removable_of", lambda *given: asked.append(given) or run(*given))
    parts = export(lake, tmp_path / "x.jsonl")
    assert len(asked) == -(-12 // rows)
    assert sorted(parts, key=lambda row: row["image_id"]) == sorted(whole, key=lambda row: row["image_id"])


def test_verdicts_and_tables_after_the_night_change_nothing_and_are_told(lake, tmp_path, capsys):
    before = export(lake, tmp_path / "x.jsonl")
    assert "verdicts" not in capsys.readouterr().err
    decide(lake, "c1", "k1", "not_duplicate")
    from deltalake import write_deltalake
    from made_lake import arrow

    from dupelake.warehouse.schema import GROUPS

    later = copy("s1", "/x", picture(6), "g1", "identical")
    write_deltalake(str(lake / "groups"), arrow(GROUPS, [later.as_group(6)]), mode="append")  # a run is at work
    assert export(lake, tmp_path / "x.jsonl") == before
    assert "1 verdicts are newer than the last night; the next run applies them" in capsys.readouterr().err
    assert [row["image_id"] for row in dupelake.open(lake).removable().to_pylist()] == [r["image_id"] for r in before]
    write_night(lake, "verified", "night-2")
    (lake / "runs").rename(lake / "runs of nights")
    make_runs_only(lake)
    assert "s1" in ids(export(lake, tmp_path / "x.jsonl"))
    assert "no night is complete; the newest tables were read" in capsys.readouterr().err


def make_runs_only(lake) -> None:
    """An empty table `runs`: no night is complete."""
    from deltalake import DeltaTable
    from pyspark.sql.pandas.types import to_arrow_schema

    from dupelake.warehouse.schema import RUNS

    DeltaTable.create(str(lake / "runs"), to_arrow_schema(RUNS.schema, timezone="UTC"))


def test_a_file_appears_whole_or_not_at_all(lake, tmp_path, monkeypatch, capsys):
    (tmp_path / "x.jsonl").write_text("of yesterday")
    rows = questions.removable_of

    def fails(*given):
        return rows(*given).replace("ORDER BY group_id, image_id", "ORDER BY nothing")

    monkeypatch.setattr("dupelake.export.night.removable_of", fails)
    export(lake, tmp_path / "x.jsonl", code=2)
    assert (tmp_path / "x.jsonl").read_text() == "of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "pictures", "x.jsonl"]
    capsys.readouterr()
    assert main(["export", "csv", "--warehouse", str(lake), "--out", str(tmp_path)]) == 2
    assert "is a folder; give a file" in capsys.readouterr().err
    assert main(["export", "csv", "--warehouse", str(tmp_path / "none")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_a_name_that_is_not_utf8_has_a_uri_and_no_path(tmp_path):
    members = [copy("c", "file:///a/%FF.jpg", b"1", "g"), copy("k", "/a/k.jpg", b"1", "g", is_removable=False)]
    members[1] = members[1].__class__("k", "/a/k.jpg", b"1", "g")
    lake = make_lake(tmp_path / "lake", members)
    for form in ("jsonl", "parquet"):
        (row,) = export(lake, tmp_path / "x", form)
        assert (row["uri"], row["path"], row["keeper_path"]) == ("file:///a/%FF.jpg", None, "/a/k.jpg")


def test_a_folder_that_cannot_be_written_is_told(lake, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["export", "csv", "--warehouse", str(lake), "--out", str(tmp_path / "file" / "x.csv")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_tables_that_spark_wrote(spark, small_lake, tmp_path):
    """The same of two real nights: the other tests draw their tables with delta-rs."""
    dupes = small_lake / "dupes"
    expected = dupelake.open(dupes).removable()
    for form in ("jsonl", "csv", "parquet"):
        rows = export(dupes, tmp_path / "x", form)
        assert [row["uri"] for row in rows] == expected["uri"].to_pylist()
        assert len(rows) == 2
    assert main(["export", "datasets", "--warehouse", str(dupes), "--out", str(tmp_path / "y")]) == 0
    assert pq.read_metadata(tmp_path / "y").num_rows == dupelake.open(dupes).images(where="status = 'ok'").num_rows
