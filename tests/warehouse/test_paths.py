"""All parts use one path of the warehouse, for any name and any default file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_tables import hash_row, hashes

from dupelake.errors import ConfigError
from dupelake.runtime.lock import NAME, lock_of
from dupelake.warehouse.paths import known_local, local_folder, qualified
from dupelake.warehouse.schema import HASHES, RUNS
from dupelake.warehouse.staging import Staging
from dupelake.warehouse.tables import Warehouse

ODD = "a [x] #1 %41 Zürich {1,2} *? 'q'"
TABLES = (HASHES, RUNS)


@pytest.fixture
def cluster(spark, tmp_path):
    """A session whose default file system is a mount table: /lake is a folder of this machine."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    settings = {"fs.defaultFS": "viewfs://nn/", "fs.viewfs.mounttable.nn.link./lake": f"file:{mounted}"}
    for name, value in settings.items():
        spark.conf.set(name, value)
    yield mounted
    for name in settings:
        spark.conf.unset(name)


def work(warehouse: Warehouse, spark) -> None:
    """Everything that a run does with the folder: lock, staging, all kinds of commits, maintenance."""
    lock = lock_of(spark, warehouse.root, "run", 0, 900)
    lock.acquire()
    staging = Staging(warehouse, "run")
    staging.begin()
    warehouse.ensure(*TABLES)
    rows = staging.save(hashes(spark, hash_row("a" * 32), hash_row("b" * 32)))
    assert rows.count() == 2
    warehouse.append(HASHES, rows)
    warehouse.merge(HASHES, hashes(spark, hash_row("c" * 32)))
    warehouse.delete(HASHES, f"content_id = '{'a' * 32}'")
    lacking = [f.name for f in RUNS.schema.fields if f.name != "recall"]
    empty = spark.createDataFrame([], RUNS.schema).select(lacking)
    empty.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(warehouse.path(RUNS))
    Warehouse(spark, warehouse.root).ensure(RUNS)  # ALTER TABLE
    warehouse.maintain(HASHES, 168)
    assert warehouse.read(HASHES).count() == 2
    assert "recall" in spark.read.format("delta").load(warehouse.path(RUNS)).columns
    lock.check()


def is_whole(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir() if not path.name.startswith((".", f"{NAME}."))}  # .beat
    return names == {table.name for table in TABLES} | {NAME, "_staging"}


def test_every_character_of_a_name_stands_for_itself(spark, tmp_path):
    folder = tmp_path / ODD / "wh"
    warehouse = Warehouse(spark, f"{folder}/")
    assert warehouse.root == str(folder)
    work(warehouse, spark)
    assert is_whole(folder)
    assert [path.name for path in tmp_path.iterdir()] == [ODD]


def test_without_a_scheme_a_path_is_of_the_default_file_system_for_the_lock_too(spark, cluster):
    warehouse = Warehouse(spark, f"/lake/{ODD}")
    assert warehouse.root == f"viewfs://nn/lake/{ODD}"
    work(warehouse, spark)
    assert is_whole(cluster / ODD)
    assert not Path("/lake").exists()


def test_with_a_scheme_a_path_is_of_that_one(spark, cluster, tmp_path):
    folder = tmp_path / ODD
    for given in (f"file:{folder}", f"file://{folder}", f"file://localhost{folder}/", f"FILE:{folder}"):
        assert Warehouse(spark, given).root == f"file:{folder}"
    assert Warehouse(spark, "viewfs:/lake/x").root == "viewfs://nn/lake/x"
    work(Warehouse(spark, f"file:{folder}"), spark)
    assert is_whole(folder)


def test_paths_of_this_machine_are_given_back_as_they_came(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert qualified(spark, "wh") == f"{tmp_path}/wh"
    assert qualified(spark, "./a/../wh/") == f"{tmp_path}/wh"
    assert qualified(spark, "a:b") == f"{tmp_path}/a:b"
    assert qualified(spark, f"/{tmp_path}/wh") == f"{tmp_path}/wh"
    assert qualified(spark, f"file:{tmp_path}/wh") == f"{tmp_path}/wh"
    assert qualified(spark, f"file://{tmp_path}/100%41") == f"{tmp_path}/100%41"
    assert qualified(spark, "~/wh") == os.path.expanduser("~/wh")


def test_a_path_that_no_file_system_takes_is_refused_with_the_fix(spark):
    with pytest.raises(ConfigError, match=r"--warehouse gs://b/wh: .*spark\.jars\.packages"):
        Warehouse(spark, "gs://b/wh")
    with pytest.raises(ConfigError, match=r"names the host data; write file:///data/dupes"):
        Warehouse(spark, "file://data/dupes")
    with pytest.raises(ConfigError, match=r"backtick; rename the folder"):
        Warehouse(spark, "/data/it`s")


def test_what_is_local_is_known_before_spark_runs_only_where_it_is_sure(monkeypatch, tmp_path):
    for name in ("PYSPARK_GATEWAY_PORT", "HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert known_local("wh") == tmp_path / "wh"
    assert known_local("file:/x/y") == known_local("file:///x/y") == known_local("/x/y") == Path("/x/y")
    assert known_local("hdfs:/x") is None
    assert known_local("s3a://b/x") is None
    assert known_local("/x", {"spark.hadoop.fs.defaultFS": "hdfs://nn"}) is None
    assert known_local("file:/x", {"spark.hadoop.fs.defaultFS": "hdfs://nn"}) == Path("/x")
    monkeypatch.setenv("HADOOP_CONF_DIR", "/etc/hadoop")
    assert known_local("/x") is None
    assert local_folder("/x y") == local_folder("file:/x y") == Path("/x y")
    assert local_folder("viewfs://nn/x") is None
