"""Reading without Spark: what Delta 4.4 writes, deletion vectors and strange folders too; object stores; faults."""

from __future__ import annotations

import shutil

import pytest
from object_store import bucket

from dupelake.errors import EnvironmentFault, NotFoundError, QueryError
from dupelake.warehouse.reader import Reader, quoted, quoted_list
from dupelake.warehouse.rules import TABLES
from dupelake.warehouse.schema import ALL_TABLES, GROUPS
from dupelake.warehouse.tables import Warehouse


def test_the_names_are_those_of_the_schema():
    assert tuple(table.name for table in ALL_TABLES) == TABLES


def test_versions_and_numbers_are_those_that_spark_reads(spark, small_lake):
    warehouse, reader = Warehouse(spark, str(small_lake / "dupes")), Reader(small_lake / "dupes")
    for table in ALL_TABLES:
        assert reader.version(table.name) == warehouse.version(table)
        assert reader.last_sequence(table.name) == warehouse.last_sequence(table)
        assert set(table.columns) == set(reader.table(table.name).column_names)
    old = reader.at({"groups": 0})
    assert old.version("groups") == old.table("groups").num_rows == 0
    assert old.version("images") == reader.version("images")


@pytest.mark.parametrize("compact", [False, True], ids=["vectors", "compacted"])
def test_deletion_vectors_are_obeyed(spark, tmp_path, compact):
    """dupelake's own tables have none; whoever turns them on must still get right rows."""
    path = tmp_path / "wh" / "groups"
    spark.range(1000).selectExpr("CAST(id AS STRING) AS image_id", "id").coalesce(1).write.format("delta").option(
        "delta.enableDeletionVectors", "true"
    ).save(str(path))
    spark.sql(f"DELETE FROM delta.`{path}` WHERE id % 10 = 3")  # noqa: S608
    assert list(path.glob("deletion_vector*.bin")), "the delete made a deletion vector"
    if compact:
        spark.sql(f"OPTIMIZE delta.`{path}`")
    reader = Reader(tmp_path / "wh")
    rows = reader.table("groups", order="id")
    assert rows["id"].to_pylist() == [n for n in range(1000) if n % 10 != 3]
    assert reader.table("groups", where="id IN (3, 4, 13, 14)", order="id")["id"].to_pylist() == [4, 14]
    assert reader.at({"groups": 0}).table("groups").num_rows == 1000
    assert reader.query("SELECT count(*) AS n FROM groups")["n"].to_pylist() == [900]


@pytest.mark.parametrize("name", ["wh #1 [x]?", "100% Ümlaut", "a'b"])
def test_folders_of_any_name(small_lake, tmp_path, name):
    shutil.copytree(small_lake / "dupes", tmp_path / name)
    n = Reader(small_lake / "dupes").table("groups").num_rows
    assert Reader(tmp_path / name).table("groups").num_rows == n > 0
    assert Reader(f"{tmp_path / name}/").version("groups") > 0


def test_a_folder_that_delta_rs_would_misread_is_refused(tmp_path):
    (tmp_path / "x%20y").mkdir()
    with pytest.raises(EnvironmentFault, match="%20 in a path as another letter; make a link"):
        Reader(tmp_path / "x%20y")


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_object_stores_take_their_options_from_the_environment(small_lake, monkeypatch, scheme):
    with bucket(small_lake) as (address, keys):
        options = {"AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "eu-central-1"}
        for name, value in {**options, "AWS_ACCESS_KEY_ID": "KEY1", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
            monkeypatch.setenv(name, value)
        remote, local = Reader(f"{scheme}://lake/dupes/"), Reader(small_lake / "dupes")
        assert remote.table("groups", order="image_id").equals(local.table("groups", order="image_id"))
        assert set(keys) == {"KEY1"}
        Reader(f"{scheme}://lake/dupes", storage_options={"AWS_ACCESS_KEY_ID": "KEY2"}).version("groups")
        assert set(keys) == {"KEY1", "KEY2"}
        with pytest.raises(NotFoundError, match="holds no table images"):
            Reader(f"{scheme}://lake/nothing").table("images")


def test_faults_are_said(small_lake, tmp_path):
    reader = Reader(small_lake / "dupes")
    with pytest.raises(NotFoundError, match="there is no such folder; `dupelake run` makes it"):
        Reader(tmp_path / "none")
    with pytest.raises(NotFoundError, match="holds no table groups"):
        Reader(tmp_path).table("groups")
    with pytest.raises(NotFoundError, match="no table is called group; there are"):
        reader.table("group")
    with pytest.raises(NotFoundError, match="version 99 does not exist or is gone"):
        reader.at({"groups": 99}).table("groups")
    with pytest.raises(NotFoundError, match="held no table groups then"):
        reader.at({"groups": -1}).table("groups")
    with pytest.raises(QueryError, match="No field named nothing"):
        reader.table("groups", ["nothing"])
    for written in (
        "DELETE FROM groups",
        f"COPY groups TO '{tmp_path}/copy.csv'",
        "-- no\nDROP TABLE groups",
        "SELECTED",
    ):
        with pytest.raises(QueryError, match="only SELECT and WITH are allowed"):
            reader.query(written)
    assert reader.query("-- a question\nWITH g AS (SELECT * FROM groups) SELECT count(*) AS n FROM g").num_rows == 1
    shutil.copytree(small_lake / "dupes", tmp_path / "wh")
    gone = Reader(tmp_path / "wh")
    for file in (tmp_path / "wh" / GROUPS.name).glob("*.parquet"):
        file.unlink()
    with pytest.raises(NotFoundError, match="open it again"):
        gone.table("groups")


def test_texts_of_people_stay_texts(small_lake):
    reader = Reader(small_lake / "dupes")
    evil = "x' OR '1' = '1"
    assert reader.table("images", where=f"uri = {quoted(evil)}").num_rows == 0
    assert reader.table("images", where=f"uri IN {quoted_list([evil, 'y'])}").num_rows == 0
    assert reader.table("images", where=f"uri IN {quoted_list([])}").num_rows == 0
    assert reader.query(f"SELECT {quoted(evil)} AS text")["text"].to_pylist() == [evil]
