"""What a night takes of its manifests: partitions that are asked for, those that are not there, and odd ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import deltalake
import pytest
from pictures import FAST, png
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dupelake.config import Config, ManifestConfig
from dupelake.errors import ManifestError
from dupelake.ingest.manifest_cells_stage import partition_name
from dupelake.ingest.new_images_stage import normalise
from dupelake.pipeline import hash
from dupelake.pipeline.options import HashOptions
from dupelake.pipeline.selecting import staged, warn_of_many_partitions
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import IMAGES
from dupelake.warehouse.staging import Staging
from dupelake.warehouse.tables import Warehouse

LONG = "a: free text/" + "ü" * 300


def short(partition: str) -> str:
    start = partition[:40].translate({code: "_" for code in [*range(32), 127]})
    return f"{start}~{hashlib.sha256(partition.encode()).hexdigest()[:16]}"


@pytest.mark.long
def test_nights_of_some_partitions(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, root = tmp_path / "m.jsonl", str(tmp_path / "wh")
    partitions = ["2026-11-01", "2026-11-02", LONG]
    for at in range(len(partitions)):
        (tmp_path / f"{at}.png").write_bytes(png(at))
    rows = [{"uri": f"{at}.png", "partition": partition} for at, partition in enumerate(partitions)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def night(*options: str) -> int:
        return hash.main([str(manifest), "--warehouse", root, *FAST, *options])

    assert night("--partitions", "2026-11-2") == 2
    said = capsys.readouterr().err
    assert "--partitions 2026-11-2: no row of the manifest is of that; it has 3 partitions" in said
    assert "2026-11-02" in said
    assert night("--since", "b") == 2
    assert f"--since b: no row of the manifest is of that; it has 3 partitions, from 2026-11-01 to {LONG[:9]}" in (
        capsys.readouterr().err
    )
    assert night("--partitions", f"2026-11-01,{LONG},2026-11-03") == 0
    both = capsys.readouterr()
    assert "no row of the manifest is of partition 2026-11-03" in both.err
    assert "1 rows are of partitions that no folder can be called" in both.err
    assert "3 read = 2 hashed + 1 skipped + 0 failed" in both.out
    assert night() == 0
    assert "3 read = 1 hashed + 2 skipped + 0 failed" in capsys.readouterr().out
    images = deltalake.DeltaTable(f"{root}/{IMAGES.name}").to_pyarrow_table().to_pylist()
    assert {row["uri"]: row["partition"] for row in images} == {
        str(tmp_path / f"{at}.png"): short(partition) if partition == LONG else partition
        for at, partition in enumerate(partitions)
    }


def test_only_what_was_asked_for_is_staged(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = spark.range(4000).select(
        F.concat(F.lit("/"), F.col("id") % 3000).alias("uri"),  # a thousand of them twice
        F.concat(F.lit("p"), F.col("id") % 2000).alias("partition"),
    )
    rows = normalise(raw, ManifestConfig())
    run = Run("hash", Config(), Warehouse(spark, str(tmp_path)))
    some, n_all, _ = staged(run, rows, HashOptions((), ["p7", "p1999"]), {})
    assert n_all == 4000
    expected = rows.where("partition in ('p7', 'p1999') or last_partition in ('p7', 'p1999')")
    assert sorted(some.collect()) == sorted(expected.collect())
    assert some.count() == 4
    every, n_all, _ = staged(run, rows, HashOptions((), ["p7"], listing=True), {})
    assert (every.count(), n_all) == (3000, None)
    with pytest.raises(ManifestError, match="2000 partitions, from p0 to p999, such as p7"):
        staged(run, rows, HashOptions((), ["p77777"]), {})
    caplog.set_level("WARNING", "dupelake")
    warn_of_many_partitions(every.withColumn("why", F.lit("new")), 3000)
    assert "3000 rows of this night are of 2000 partitions" in caplog.text


@pytest.mark.parametrize(
    "given", ["2026-11-01", "x" * 200, "x" * 201, "/" * 70, "a\0b", "__HIVE_DEFAULT_PARTITION__", "é" * 101]
)
def test_partitions_are_names_that_folders_can_have(spark: SparkSession, given: str) -> None:
    row = spark.range(1).select(partition_name(F.lit(given)).alias("name")).first()
    assert row is not None
    is_kept = given in ("2026-11-01", "x" * 200)
    assert row["name"] == (given if is_kept else short(given))


def test_staging_on_a_store_that_does_not_rename_is_delta(spark: SparkSession, tmp_path: Path) -> None:
    name = f"dupelakestaging{tmp_path.name.replace('_', '')}"
    spark.sparkContext._jsc.hadoopConfiguration().set(f"fs.viewfs.mounttable.{name}.link./p", tmp_path.as_uri())
    rows = spark.sql("select 1 as id, map('a', 'b') as m, array(named_struct('x', cast(null as binary))) as s")
    for root, has_log in ((f"viewfs://{name}/p/wh", True), (str(tmp_path / "other"), False)):
        staging = Staging(Warehouse(spark, root), "run")
        kept = staging.save(rows)
        assert kept.collect() == rows.collect()
        run = tmp_path / Path(root).name / "_staging" / "run"
        [folder] = (path for path in run.iterdir() if path.is_dir())
        assert (folder / "_delta_log").is_dir() == has_log
