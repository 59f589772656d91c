"""Delta tables: comments and constraints, commits only for changes, reading by other engines."""

from __future__ import annotations

import datetime as dt

import pytest

from dupelake.errors import SchemaError
from dupelake.warehouse.schema import ALL_TABLES, FEATURES, GROUPS, HASHES, IMAGES, PAIRS, RUNS, conform
from dupelake.warehouse.staging import Staging
from dupelake.warehouse.tables import Warehouse

NOW = dt.datetime(2026, 11, 1, 2, 0, 0)


@pytest.fixture
def warehouse(spark, tmp_path):
    return Warehouse(spark, str(tmp_path / "ware house #1"))


def hash_row(content_id="a" * 32, version="v1", quality=80):
    values = {"content_id": content_id, "pixel_digest": "d" * 32, "phash": 1, "phash_mirrored": -2}
    values |= {"pdq": bytearray(32), "pdq_mirrored": bytearray(32), "pdq_quality": quality}
    values |= {"is_low_information": False, "detail": 1.0, "hash_version": version}
    return tuple(values.get(name) for name in HASHES.columns)


def pair_row(src, dst, *, kind, score):
    values = {"src_id": src, "dst_id": dst, "phash_bits": 0, "phash_mirrored_bits": 0, "pdq_bits": 0}
    values |= {"pdq_mirrored_bits": 0, "pdq_quality": 90, "is_mirrored": False, "kind": kind, "score": score}
    values |= {"is_duplicate": True, "found_by": "pdq", "hash_version": "v", "join_version": "j", "decide_version": "d"}
    return tuple(values.get(name) for name in PAIRS.columns)


def hashes(spark, *rows):
    return spark.createDataFrame(list(rows), HASHES.schema)


def test_merge_inserts_updates_deletes_and_commits_only_for_changes(spark, warehouse):
    first = warehouse.merge(HASHES, hashes(spark, hash_row(), hash_row("b" * 32)))
    assert (first.inserted, first.updated, first.deleted) == (2, 0, 0)
    version = warehouse.version(HASHES)
    assert not warehouse.merge(HASHES, hashes(spark, hash_row())).changed
    assert not warehouse.merge(HASHES, hashes(spark)).changed
    when = "t.hash_version <> s.hash_version"
    assert not warehouse.merge(HASHES, hashes(spark, hash_row()), update_when=when).changed
    assert warehouse.version(HASHES) == version
    again = warehouse.merge(
        HASHES,
        hashes(spark, hash_row(version="v2")),
        update_when=when,
        delete=hashes(spark, hash_row("b" * 32)).select("content_id"),
    )
    assert (again.inserted, again.updated, again.deleted) == (0, 1, 1)
    assert [r["hash_version"] for r in warehouse.read(HASHES).collect()] == ["v2"]


def test_a_table_that_was_copied_has_its_rows_in_its_first_version(spark, warehouse, tmp_path):
    """A copy of a warehouse by a Delta write or CLONE: version 0 holds all rows, and nothing may take it for new."""
    path = warehouse.path(HASHES)
    hashes(spark, hash_row()).write.format("delta").save(path)
    assert warehouse.version(HASHES) == 0
    assert not warehouse.is_empty(HASHES)
    assert warehouse.read(HASHES).count() == 1
    assert not warehouse.merge(HASHES, hashes(spark, hash_row())).changed, "it is there"
    warehouse.ensure(PAIRS)
    assert warehouse.is_empty(PAIRS)


def test_every_table_has_its_comments_and_stays_readable_by_others(warehouse):
    import deltalake

    warehouse.ensure()
    for table in ALL_TABLES:
        stored = deltalake.DeltaTable(warehouse.path(table))
        assert stored.protocol().min_reader_version == 1
        assert stored.metadata().description == table.comment
        comments = {f.name: f.metadata.get("comment") for f in stored.schema().fields}
        assert comments == {f.name: f.metadata["comment"] for f in table.schema.fields}
        assert warehouse.read(table).isEmpty()


def test_a_constraint_of_an_older_version_that_holds_no_more_is_dropped(spark, warehouse):
    warehouse.ensure(PAIRS)
    path = warehouse.path(PAIRS)
    spark.sql(f"ALTER TABLE delta.`{path}` ADD CONSTRAINT decided CHECK (is_duplicate = (score >= 0.5))")
    warehouse.ensure(PAIRS)
    rows = [pair_row("a" * 32, "b" * 32, kind="near", score=0.3)]
    assert warehouse.merge(PAIRS, spark.createDataFrame(rows, PAIRS.schema)).inserted == 1


def test_a_table_of_an_older_version_is_given_the_columns_it_lacks(spark, warehouse):
    warehouse.ensure(RUNS)
    lacking = [f for f in RUNS.schema.fields if f.name not in ("tables", "recall")]
    assert len(lacking) == len(RUNS.columns) - 2
    rows = spark.createDataFrame([], RUNS.schema).select([f.name for f in lacking])
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(warehouse.path(RUNS))
    with pytest.raises(SchemaError, match=r"tables.*the next run adds"):
        warehouse.read(RUNS)
    warehouse.ensure()
    stored = {f.name: f for f in spark.read.format("delta").load(warehouse.path(RUNS)).schema.fields}
    for field in RUNS.schema.fields:
        assert stored[field.name].dataType.simpleString() == field.dataType.simpleString()
        assert stored[field.name].metadata.get("comment") == field.metadata["comment"]
    version = warehouse.version(RUNS)
    warehouse.ensure()
    assert warehouse.version(RUNS) == version


@pytest.mark.parametrize(
    ("table", "row", "constraint"),
    [
        (HASHES, hash_row(quality=101), "quality_range"),
        (
            IMAGES,
            ("i", "u", "p", "", None, 1, 1, 1, "PNG", None, None, "ok", None, None, NOW, *[None] * 6),
            "ok_has_content",
        ),
        (PAIRS, pair_row("b", "a", kind="near", score=1.0), "ordered"),
        (PAIRS, pair_row("a", "b", kind=None, score=1.4), "score_range"),
        (FEATURES, ("a", 450, bytearray(3600), bytearray(57600), bytearray(4337), None, "v"), "size"),
        (GROUPS, ("i", "g", "", "c", True, "keeper", True, None, None, 1.0, None, "r", 2, NOW), "keeper_stays"),
        (GROUPS, ("i", "g", "", "c", False, "copy", True, None, None, 1.4, "near", "r", 2, NOW), "score_range"),
    ],
    ids=lambda v: v if isinstance(v, str) else getattr(v, "name", ""),
)
def test_constraints_refuse_bad_rows(spark, warehouse, table, row, constraint):
    with pytest.raises(Exception, match=constraint):
        warehouse.append(table, spark.createDataFrame([row], table.schema))


def test_polars_and_duckdb_read_what_spark_wrote(spark, warehouse):
    import deltalake
    import duckdb
    import polars as pl

    rows = [
        (
            "img-1",
            "/x/ü #.png",
            "2026-11-01",
            "",
            "a" * 32,
            10,
            4,
            3,
            "PNG",
            NOW,
            {"camera": "X"},
            "ok",
            None,
            None,
            NOW,
            *[None] * 6,
        ),
        (
            "img-2",
            None,
            "2026-11-01",
            "",
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            "failed",
            "no_uri",
            "no uri",
            NOW,
            *[None] * 6,
        ),
    ]
    warehouse.append(IMAGES, spark.createDataFrame(rows, IMAGES.schema))
    table = deltalake.DeltaTable(warehouse.path(IMAGES))
    frame = pl.from_arrow(table.to_pyarrow_table())
    assert dict(frame.sort("image_id").select("image_id", "status").iter_rows()) == {"img-1": "ok", "img-2": "failed"}
    arrow = table.to_pyarrow_table()  # noqa: F841 - DuckDB finds it by its name
    got = duckdb.sql("select uri, extra['camera'] as camera from arrow where status = 'ok'").fetchall()
    assert got[0][0] == "/x/ü #.png"
    assert "X" in str(got[0][1])


def test_conform_names_what_is_missing(spark):
    with pytest.raises(SchemaError, match="content_id"):
        conform(spark.range(1), HASHES.schema)


def test_staging_materialises_once_and_is_removed(spark, warehouse, tmp_path):
    staging = Staging(warehouse, "run-1")
    saved = staging.save(spark.range(5))
    assert saved.count() == 5
    folder = tmp_path / "ware house #1" / "_staging" / "run-1"
    assert folder.is_dir()
    staging.remove()
    assert not folder.exists()
