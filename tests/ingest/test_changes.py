"""The change feed of a Delta table as a manifest: net changes, tombstones, versions, nights."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pictures import FASTEST as FAST
from PIL import Image
from pyspark.sql import SparkSession

from dupelake.config import ManifestConfig
from dupelake.errors import ManifestError
from dupelake.ingest.manifest_changes import Versions
from dupelake.ingest.manifests import read_manifests
from dupelake.ingest.new_images_stage import normalise
from dupelake.pipeline import hash as job
from dupelake.warehouse.schema import IMAGES, RUNS
from dupelake.warehouse.tables import Warehouse

CFG = ManifestConfig(format="delta_changes")


class Table:
    """A Delta table with a change feed."""

    def __init__(self, spark: SparkSession, path: Path, columns: str, *, feed: bool = True) -> None:
        self.spark, self.path = spark, path
        properties = "TBLPROPERTIES (delta.enableChangeDataFeed = true)" if feed else ""
        spark.sql(f"CREATE TABLE delta.`{path}` ({columns}) USING delta {properties}")

    def do(self, statement: str) -> None:
        self.spark.sql(statement.replace("TABLE", f"delta.`{self.path}`"))

    def since(self, before: int | None, now: int) -> set[tuple[str, str | None]]:
        raw = read_manifests(self.spark, [str(self.path)], CFG, versions={str(self.path): Versions(before, now)})
        return {(row["uri"], row["deleted"] if "deleted" in raw.columns else None) for row in raw.collect()}


def test_net_changes(spark: SparkSession, tmp_path: Path) -> None:
    table = Table(spark, tmp_path / "t", "url string, deleted string, n int")
    table.do("INSERT INTO TABLE VALUES ('/a', null, 1), ('/b', null, 1), ('/c', null, 1), ('/d', null, 1)")  # version 1
    table.do("UPDATE TABLE SET n = 2 WHERE url = '/a'")
    table.do("UPDATE TABLE SET url = '/b2' WHERE url = '/b'")
    table.do("DELETE FROM TABLE WHERE url IN ('/c', '/d')")
    table.do("INSERT INTO TABLE VALUES ('/d', null, 3), ('/e', 'yes', 3)")  # version 5
    assert table.since(None, 1) == {(uri, None) for uri in ("/a", "/b", "/c", "/d")}
    changes = {("/a", None), ("/b", "true"), ("/b2", None), ("/c", "true"), ("/d", None), ("/e", "yes")}
    assert table.since(1, 5) == changes
    assert table.since(0, 5) == changes, "a version that is read again changes nothing"
    assert table.since(3, 4) == {("/c", "true"), ("/d", "true")}
    assert table.since(5, 5) == set()
    with pytest.raises(ManifestError, match="made anew"):
        table.since(6, 5)
    for ids, is_refused in (((None, "b"), False), (("b", "b"), False), (("a", "b"), True)):
        versions = {str(table.path): Versions(4, 5, *ids)}
        with pytest.raises(ManifestError, match="made anew") if is_refused else nullcontext():
            read_manifests(spark, [str(table.path)], CFG, versions=versions)


def test_a_row_that_gains_or_loses_its_scope_or_is_respelled_stays(spark: SparkSession, tmp_path: Path) -> None:
    table = Table(spark, tmp_path / "t", "uri string, scope string")
    table.do(
        "INSERT INTO TABLE VALUES ('/given', null), ('/spelled', null), ('/both', ' '), ('/taken', 's'), "
        "('/other', 's'), ('/gone', null)"
    )
    table.do("UPDATE TABLE SET scope = 's' WHERE uri = '/given'")
    table.do("UPDATE TABLE SET uri = 'file:///spelled' WHERE uri = '/spelled'")
    table.do("UPDATE TABLE SET uri = '/./both', scope = 's' WHERE uri = '/both'")
    table.do("UPDATE TABLE SET scope = null WHERE uri = '/taken'")
    table.do("UPDATE TABLE SET scope = 't' WHERE uri = '/other'")
    table.do("DELETE FROM TABLE WHERE uri = '/gone'")

    def rows(cfg: ManifestConfig) -> set[tuple[str, str, bool]]:
        raw = read_manifests(spark, [str(table.path)], cfg, versions={str(table.path): Versions(1, 7)})
        return {(row["uri"], row["scope"], row["is_deleted"]) for row in normalise(raw, cfg).collect()}

    moved = {("/given", "s", False), ("file:///spelled", "", False), ("/./both", "s", False), ("/taken", "", False)}
    assert rows(CFG) == moved | {("/other", "s", True), ("/other", "t", False), ("/gone", "", True)}
    assert ("/given", "s", False) in rows(replace(CFG, default_scope="s")), "the scope that it had before"


def test_without_a_feed(spark: SparkSession, tmp_path: Path) -> None:
    table = Table(spark, tmp_path / "t", "uri string", feed=False)
    table.do("INSERT INTO TABLE VALUES ('/a')")
    with pytest.raises(ManifestError, match=r"delta\.enableChangeDataFeed"):
        table.since(0, 1)


def test_nights(spark: SparkSession, tmp_path: Path) -> None:
    table, root = Table(spark, tmp_path / "t", "image_id string, path string"), str(tmp_path / "wh")
    files = tmp_path / "files"
    files.mkdir()
    for name in "abc":
        Image.new("RGB", (40 + ord(name), 40), (9, ord(name), 200)).save(files / name, "PNG")

    def night(*options: str, code: int = 0, path: str = "") -> dict[str, Any]:
        setting = ("--set", "manifest.format=delta_changes", "--set", f"fetch.allowed_roots=[{files}]")
        assert job.main([path or str(table.path), "--warehouse", root, *FAST, *setting, *options]) == code
        rows = deltalake.DeltaTable(Warehouse(spark, root).path(RUNS)).to_pyarrow_table().to_pylist()
        row: dict[str, Any] = max(rows, key=lambda one: one["started_at"])
        return dict(row["counts"] or ()) | {"inputs": row["inputs"] and dict(row["inputs"])}

    def gone() -> dict[str, str | None]:
        rows = deltalake.DeltaTable(Warehouse(spark, root).path(IMAGES)).to_pyarrow_table().to_pylist()
        return {row["image_id"]: row["deleted_reason"] for row in rows}

    table.do(f"INSERT INTO TABLE VALUES ('a', '{files}/a'), ('b', '{files}/b')")  # noqa: S608 - paths of this test
    counts = night()
    assert (counts["read"], counts["inputs"]) == (2, {str(table.path): 1})
    table.do("DELETE FROM TABLE WHERE image_id = 'a'")
    table.do(f"INSERT INTO TABLE VALUES ('c', '{files}/c')")  # noqa: S608 - paths of this test
    night("--partitions", "all", code=2)
    assert gone() == {"a": None, "b": None}
    counts = night()
    assert (counts["read"], counts["removed"], counts["hashed"]) == (2, 1, 1), "b was not read again"
    assert counts["inputs"] == {str(table.path): 3}
    assert gone() == {"a": "tombstone", "b": None, "c": None}
    assert night()["read"] == 0

    table.do("DELETE FROM TABLE WHERE image_id = 'b'")  # version 4
    for whole in (("--set", "manifest.format=delta"), ("--full",)):
        assert night(*whole)["inputs"] == {str(table.path): 3}, "it cannot tell what is gone"
    assert night(path=f"file://{table.path.parent}//{table.path.name}/")["inputs"] == {str(table.path): 4}
    assert gone() == {"a": "tombstone", "b": "tombstone", "c": None}
    table.do("DELETE FROM TABLE WHERE image_id = 'c'")
    table.do(f"INSERT INTO TABLE VALUES ('a', '{files}/a')")  # noqa: S608 - paths of this test
    listing = ("--listing", "--set", "manifest.max_removed_fraction=1", "--set", "manifest.format=delta")
    assert night(*listing)["inputs"] == {str(table.path): 6}
    assert gone() == {"a": None, "b": "tombstone", "c": "not_listed"}

    shutil.rmtree(table.path)  # made anew, with more versions than were read
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    table = Table(spark, table.path, "image_id string, path string")
    for image_id in "defg":
        table.do(f"INSERT INTO TABLE VALUES ('{image_id}', '{files}/b')")  # noqa: S608 - paths of this test
    night(code=2)
    night("--set", "manifest.format=delta")
    assert night()["read"] == 0
