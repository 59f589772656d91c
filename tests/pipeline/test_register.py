"""dupelake register: the questions of the pages have equal answers in all engines; nobody's tables are touched."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars
import pytest
from asked import PAGES, asked_lake, questions, rows_of
from deltalake import DeltaTable

import dupelake
from dupelake.cli import main
from dupelake.errors import ConfigError
from dupelake.warehouse.fence import session_settings
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import TABLES
from dupelake.warehouse.views import VIEWS

REPO = Path(__file__).parents[2]
SCHEMA = "dupes_of_tests"
QUESTIONS = [(page, query) for page in PAGES for query in questions(page)]


@pytest.fixture(scope="module")
def lake(small_lake, tmp_path_factory) -> Path:
    return asked_lake(small_lake / "dupes", tmp_path_factory.mktemp("asked") / "100 % of 'it', #1")


@pytest.fixture(scope="module")
def opened(lake):
    return dupelake.open(lake)


@pytest.fixture(scope="module")
def registered(spark, lake):
    # A few rows each: compiling a query and looking for its best plan takes longer than the query.
    quick = {"codegen.wholeStage": "false", "adaptive.enabled": "false", "shuffle.partitions": "1"}
    with session_settings(spark, {f"spark.sql.{name}": value for name, value in quick.items()}):
        yield dupelake.register(spark, lake, SCHEMA)
        spark.sql(f"DROP SCHEMA {SCHEMA} CASCADE")


@pytest.fixture(scope="module")
def duck(lake) -> duckdb.DuckDBPyConnection:
    """The printed script in DuckDB. Its extension `delta` cannot be fetched everywhere; then delta-rs reads for it."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["register", "--print", "duckdb", "--schema", "my dupes", "--warehouse", str(lake)]) == 0
    script, connection = printed.getvalue(), duckdb.connect()
    try:
        connection.execute("INSTALL delta")
    except duckdb.Error:
        for table in TABLES:
            connection.register(f"stored_{table}", DeltaTable(lake / table).to_pyarrow_dataset())
        scan = "FROM query_table('stored_' || parse_filename(path))"
        connection.execute(f"CREATE MACRO delta_scan(path) AS TABLE {scan}")
        script = script.replace("INSTALL delta;\nLOAD delta;\n", "")
    connection.execute(script)
    connection.execute(script)  # again, as the page says
    return connection


@pytest.fixture(scope="module")
def in_polars(lake) -> polars.SQLContext:
    frames = dupelake.open(lake, "polars")
    asked = " ".join(query for _, query in QUESTIONS)
    names = [name for name in (*VIEWS, *TABLES) if re.search(rf"\b(dupes\.)?{name}\b", asked)]
    return polars.SQLContext({name: frames.table(name) for name in names})


def plain(rows: list[Any]) -> list[str]:
    """Rows as text, in an order of their own: numbers of six digits, times in UTC."""

    def of(value: Any) -> Any:
        if isinstance(value, float | Decimal | int) and not isinstance(value, bool):
            return f"{float(value):.6g}"
        if isinstance(value, dt.datetime):
            return value.astimezone(dt.UTC).isoformat()  # Spark gives local times without a zone
        return value

    return sorted(repr([of(value) for value in row]) for row in rows)


@pytest.mark.parametrize(("page", "query"), QUESTIONS, ids=[f"{p} {q.splitlines()[0][:50]}" for p, q in QUESTIONS])
def test_each_question_has_one_answer_in_all_engines(spark, registered, opened, duck, in_polars, page, query):
    pair = opened.sql("SELECT image_id, other_image_id FROM pairs_explained WHERE outcome = 'grouped' LIMIT 1")
    for name, image in zip("AB", pair.to_pylist()[0].values(), strict=True):
        query = query.replace(f"'{name}'", f"'{image}'")
    bare = query.replace("dupes.", "")
    expected = opened.sql(bare)
    assert expected.num_rows, "the warehouse of this test has something for each question"
    rows = plain([row.values() for row in expected.to_pylist()])
    asked = spark.sql(query.replace("dupes.", f"{SCHEMA}."))
    assert asked.columns == expected.column_names
    assert plain(asked.collect()) == rows
    assert plain(duck.execute(query.replace("dupes.", '"my dupes".')).fetchall()) == rows
    assert plain(in_polars.execute(bare, eager=True).rows()) == rows


def test_the_pages_have_questions():
    assert [len(questions(page)) for page in PAGES] == [6, 10, 1]


@pytest.mark.parametrize("view", VIEWS)
def test_the_views_hold_the_same_rows_in_all_engines(spark, registered, opened, duck, view):
    rows = plain([row.values() for row in opened.table(view).to_pylist()])
    frame = spark.table(f"{SCHEMA}.{view}")
    assert frame.columns == opened.table(view).column_names
    assert plain(frame.collect()) == rows
    assert plain(duck.execute(f'FROM "my dupes".{view}').fetchall()) == rows
    told = {field.name: field.metadata.get("comment") for field in frame.schema}
    assert all(told.values()), told
    found = spark.sql(f"DESCRIBE TABLE EXTENDED {SCHEMA}.{view}").where("col_name = 'Comment'").collect()
    assert [row["data_type"] for row in found] == [VIEWS[view].comment]


def test_removable_is_what_the_groups_say(opened, lake):
    images = {row["image_id"]: row for row in rows_of(lake, "images")}
    groups = rows_of(lake, "groups")
    keepers = {row["group_id"]: row["image_id"] for row in groups if row["is_keeper"]}
    found = {row["image_id"]: row for row in opened.removable().to_pylist()}
    assert found.keys() == {row["image_id"] for row in groups if row["is_removable"]}
    for row in found.values():
        kept = images[keepers[row["group_id"]]]
        assert (row["keeper_id"], row["keeper_uri"]) == (kept["image_id"], kept["uri"])
        assert row["byte_size"] == images[row["image_id"]]["byte_size"]
    files = {images[name]["file_id"]: images[name]["byte_size"] for name in found}
    assert len(files) == len(found) - 1, "two names of one file"
    assert sum(row["freed_bytes"] for row in found.values()) == sum(files.values())


def test_freed_bytes_are_those_that_the_run_counted(small_lake):
    found = dupelake.open(small_lake / "dupes")
    nights = found.sql(
        "SELECT removable, removable_bytes, is_complete FROM nightly ORDER BY started_at DESC"
    ).to_pylist()
    freed = found.removable()["freed_bytes"].to_pylist()
    assert nights[0] == {"removable": len(freed), "removable_bytes": sum(freed), "is_complete": True}
    assert len(nights) == 2


def test_what_a_night_at_work_has_changed_is_not_removable(small_lake, tmp_path):
    root = asked_lake(small_lake / "dupes", tmp_path / "wh")
    before = dupelake.open(root).removable().to_pylist()
    images = DeltaTable(root / "images")

    def now() -> list[dict[str, Any]]:
        return Reader(root).table("removable").to_pylist()

    changed, kept = before[0]["image_id"], before[0]["keeper_id"]
    images.update(predicate=f"image_id = '{changed}'", updates={"content_id": "'of other bytes'"})
    left = [row for row in before if row["image_id"] != changed]
    assert {row["image_id"] for row in now()} == {row["image_id"] for row in left} != set()
    images.update(predicate=f"image_id = '{kept}'", updates={"deleted_at": "ingested_at"})
    assert {row["image_id"] for row in now()} == {row["image_id"] for row in left if row["keeper_id"] != kept}
    assert dupelake.open(root).removable().to_pylist() == before, "of the last complete night"


def test_outcomes_of_pairs(opened, lake):
    of_group: dict[str, set[str]] = {}
    for row in rows_of(lake, "groups"):
        of_group.setdefault(row["content_id"], set()).add(row["group_id"])
    stored = {(row["src_id"], row["dst_id"]): row for row in rows_of(lake, "pairs")}
    found = opened.table("pairs_explained").to_pylist()
    assert len(found) == len(stored)
    seen = set()
    for row in found:
        src, dst = row["src_id"], row["dst_id"]
        both = of_group.get(src, set()) & of_group.get(dst, set())
        rejected = "similar" if row["kind"] == "similar" else "rejected"
        expected = "grouped" if both else "apart" if stored[src, dst]["is_duplicate"] else rejected
        assert (row["outcome"], row["group_id"]) == (expected, min(both, default=None))
        assert row["uri"]
        assert row["other_uri"]
        if row["reason"]:
            assert row["reason"] in set(opened.groups()["reason"].to_pylist())
        seen.add(expected)
    assert seen == {"grouped", "apart", "similar", "rejected"}
    assert any(row["reason"] for row in found)


def test_failures_leave_out_what_is_gone(opened):
    failed = opened.table("failures")
    assert failed.num_rows == opened.images(where="status = 'failed' AND deleted_at IS NULL").num_rows == 4
    assert "gone" not in failed["image_id"].to_pylist()


def test_a_second_time_nothing_is_made(spark, registered, lake):
    assert sorted(registered.made) == sorted([*TABLES, *VIEWS])
    versions = {table: DeltaTable(lake / table).version() for table in TABLES}
    spark.sql(f"ALTER VIEW {SCHEMA}.nightly SET TBLPROPERTIES ('mine' = 'kept')")
    again = dupelake.register(spark, str(lake) + "/", SCHEMA)
    assert (again.made, again.changed, again.missing) == ([], [], [])
    assert sorted(again.kept) == sorted(registered.made)
    assert {table: DeltaTable(lake / table).version() for table in TABLES} == versions, "nothing is written"
    assert spark.sql(f"SHOW TBLPROPERTIES {SCHEMA}.nightly ('mine')").first()["value"] == "kept"


def test_an_older_view_of_ours_is_brought_up_to_date(spark, registered, lake, monkeypatch):
    from dataclasses import replace

    older = replace(VIEWS["failures"], comment="Another comment.", text="SELECT image_id FROM {images}")
    with monkeypatch.context() as patch:
        patch.setitem(VIEWS, "failures", older)
        assert dupelake.register(spark, lake, SCHEMA).changed == ["failures"]
        assert spark.table(f"{SCHEMA}.failures").columns == ["image_id"]
    assert dupelake.register(spark, lake, SCHEMA).changed == ["failures"]
    assert "reason" in spark.table(f"{SCHEMA}.failures").columns


def test_what_is_not_ours_is_refused_all_at_once_and_nothing_is_made(spark, lake, small_lake):
    other, held = "others", {"runs", "removable", "nightly", "groups", "failures"}
    spark.sql(f"CREATE SCHEMA {other}")
    try:
        elsewhere = small_lake / "dupes" / "pairs"
        spark.sql(f"CREATE TABLE {other}.runs USING delta LOCATION '{elsewhere}'")
        spark.sql(f"CREATE VIEW {other}.removable AS SELECT 1 AS mine")
        spark.sql(f"CREATE TABLE {other}.nightly (mine INT) USING parquet")
        spark.sql(f"CREATE VIEW {other}.groups AS SELECT 3 AS mine")
        spark.sql(f"CREATE VIEW {other}.failures TBLPROPERTIES ('dupelake.query' = 'of another text') AS SELECT 2 AS a")
        with pytest.raises(ConfigError) as refused:
            dupelake.register(spark, lake, other)
        told = "\n".join(refused.value.faults)
        assert len(refused.value.faults) == len(held)
        assert f"`runs`: is a table of delta at {elsewhere}, not of delta at {lake}/runs" in told
        assert "`removable`: is a view that dupelake did not make" in told
        assert "`nightly`: is a table; the view needs this name" in told
        assert "`groups`: is a view; the table needs this name" in told
        assert "`failures`: somebody changed the query of this view" in told
        assert {
            row["tableName"] for row in spark.sql(f"SHOW TABLES IN {other}").where("NOT isTemporary").collect()
        } == held
        assert spark.table(f"{other}.removable").columns == ["mine"]
    finally:
        spark.sql(f"DROP SCHEMA {other} CASCADE")
    assert DeltaTable(elsewhere).to_pyarrow_table().num_rows, "the files of external tables stay"


def test_what_is_wrong_is_said(spark, tmp_path, lake, capsys):
    with pytest.raises(ConfigError, match="holds no table groups, images, pairs, runs; run `dupelake run` first"):
        dupelake.register(spark, tmp_path, "nothing")
    with pytest.raises(ConfigError, match=r"--catalog none: .*must be set as spark\.sql\.catalog\.none"):
        dupelake.register(spark, lake, "dupes", "none")
    with pytest.raises(ConfigError, match=r"--schema my dupes: .* is not a valid name"):
        dupelake.register(spark, lake, "my dupes")
    with pytest.raises(ConfigError, match=r"s3a://\*+\(redacted\)@bucket/wh: holds a secret"):
        dupelake.register(spark, "s3a://key:secret@bucket/wh", "dupes")
    assert main(["register", "--warehouse", str(tmp_path / "none"), "--schema", "", "--spark", "x"]) == 2
    told = capsys.readouterr().err
    for fault in ("--spark x: must be", "--schema: is empty", "holds no table images", "ends with this command"):
        assert fault in told


HIVE = """
import json, sys
from dupelake.cli import main
from pyspark.sql import SparkSession
argv = ["register", *sys.argv[1:]]
codes = [main(argv), main(argv)]
spark = SparkSession.getActiveSession()
found = spark.sql("SELECT image_id, keeper_uri, tier, freed_bytes FROM dupes.removable").collect()
rows = [tuple(row) for row in found]
comments = {f.name: f.metadata.get("comment") for f in spark.table("dupes.pairs_explained").schema}
spark.sql("DROP VIEW dupes.failures")
spark.sql("CREATE VIEW dupes.failures AS SELECT 1 AS mine")
codes.append(main(argv))
kept = spark.table("dupes.failures").columns
implementation = spark.conf.get("spark.sql.catalogImplementation")
print("FOUND" + json.dumps([codes, rows, comments, kept, implementation]))
"""


def test_a_hive_metastore(spark, lake, opened, tmp_path):
    settings = {
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={tmp_path}/metastore;create=true",
        "spark.master": "local[2]",
        "spark.driver.memory": "1g",
    }
    given = [word for key, value in settings.items() for word in ("--spark", f"{key}={value}")]
    command = [sys.executable, "-c", HIVE, "--warehouse", str(lake), "--schema", "dupes", *given]
    env = {**os.environ, "PYTHONPATH": str(REPO / "lib")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    codes, rows, comments, kept, implementation = json.loads(done.stdout.split("FOUND")[1])
    assert (codes, kept, implementation) == ([0, 0, 2], ["mine"], "hive")
    assert (
        f"{len(TABLES) + len(VIEWS)} tables and views made, 0 views brought up to date, 0 there already" in done.stdout
    )
    assert (
        f"0 tables and views made, 0 views brought up to date, {len(TABLES) + len(VIEWS)} there already" in done.stdout
    )
    assert "`failures`: is a view that dupelake did not make" in done.stderr
    columns = ["image_id", "keeper_uri", "tier", "freed_bytes"]
    assert plain(rows) == plain([row.values() for row in opened.removable().select(columns).to_pylist()])
    assert all(comments.values())
