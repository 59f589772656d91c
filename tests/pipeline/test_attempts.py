"""Attempts of runs that were stopped: a run that is started again makes the same attempt."""

from __future__ import annotations

import datetime as dt
import os
import signal
from pathlib import Path

import deltalake
from pictures import FASTEST, png
from pyspark.sql import SparkSession

from dupelake.config import Config, load_config
from dupelake.pipeline import common, embed, hash
from dupelake.pipeline.options import HashOptions
from dupelake.pipeline.plan import describe_plan
from dupelake.runtime.run_record import Run
from dupelake.warehouse.rules import OTHERS_WRITTEN
from dupelake.warehouse.schema import EMBEDDINGS, IMAGES, RUNS
from dupelake.warehouse.tables import Warehouse

NOON = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)


def hour(n: int) -> dt.datetime:
    return NOON + dt.timedelta(hours=n)


def of(warehouse: Warehouse, job: str, n: int) -> Run:
    return Run(job, Config(), warehouse, started_at=hour(n))


def micros(time: dt.datetime) -> int:
    return int(time.timestamp()) * 1_000_000


def test_which_runs_did_all_their_work(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = Warehouse(spark, str(tmp_path / "wh"))
    asked = of(warehouse, "nightly", 9)
    assert asked.last_done_at("hash", "nightly") == 0
    warehouse.ensure(RUNS)
    of(warehouse, "hash", 0).finish("stopped by SIGTERM")
    of(warehouse, "maintain", 1).finish()
    of(warehouse, "embed", 2).finish()
    assert asked.last_done_at("hash", "nightly") == 0
    assert asked.last_done_at("embed", "nightly") == micros(hour(2))
    of(warehouse, "hash", 3).finish(f"3 of 3 images failed; {OTHERS_WRITTEN}")
    of(warehouse, "nightly", 4).finish("stopped by SIGTERM")
    assert asked.last_done_at("hash", "nightly") == micros(hour(3)), "a passed limit stops nothing"
    of(warehouse, "nightly", 5).finish()
    assert asked.last_done_at("hash", "nightly") == asked.last_done_at("embed", "nightly") == micros(hour(5))


def test_a_failed_embedding_of_a_stopped_run(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = Warehouse(spark, str(tmp_path / "wh"))
    warehouse.ensure(RUNS, EMBEDDINGS)
    of(warehouse, "nightly", 1).finish()
    for n in (2, 3):
        of(warehouse, "nightly", n).finish("stopped by SIGTERM")
    of(warehouse, "maintain", 4).finish()
    rows = [
        {"content_id": name, "model_id": "m", "preprocess_id": "p", "error_message": "no memory"}
        | {"attempts": 2, "tried_at": hour(n)}
        for name, n in (("completed", 1), ("stopped", 2))
    ]
    warehouse.append(EMBEDDINGS, spark.createDataFrame(rows, EMBEDDINGS.schema))
    for full, what in ((False, "later"), (True, "failed")):
        pending = embed._pending(of(warehouse, "nightly", 5), "m", full).collect()
        assert {tuple(row) for row in pending} == {("completed", "failed", 2), ("stopped", what, 1)}


def test_stopped_runs_use_up_no_attempt(spark: SparkSession, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "good.png").write_bytes(png(1))
    manifest, root = tmp_path / "manifest.csv", str(tmp_path / "wh")
    manifest.write_text(f"uri\n{tmp_path}/good.png\n{tmp_path}/missing.png\n", encoding="utf-8")
    limit = ["--set", "run.max_failed_fraction_of_partition=0.6", "--set", "run.max_failed_fraction=1"]

    def run(*options: str) -> int:
        return hash.main([str(manifest), "--warehouse", root, *FASTEST, *limit, *options])

    def stopped(*options: str) -> int:
        def at(point: str) -> None:
            if point == "after:images":
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(common, "reached", at)
            return run(*options)

    def attempts() -> int:
        rows = deltalake.DeltaTable(f"{root}/{IMAGES.name}").to_pyarrow_table().to_pylist()
        (row,) = (row for row in rows if row["status"] == "failed")
        return int(row["attempts"])

    def planned() -> str:
        return describe_plan(Warehouse(spark, root), load_config(None, FASTEST[1::2]), HashOptions((str(manifest),)))

    assert (stopped(), attempts()) == (143, 1)
    assert "0 to read and hash" in planned()
    assert (run(), attempts()) == (0, 1), "the run that completes the stopped one does not try again"
    assert "1 to read and hash (1 retried)" in planned()
    assert (run(), attempts()) == (0, 2), "1 of 1 of the partition: known, so it passes no limit"
    assert (stopped("--full"), attempts()) == (143, 3)
    assert (run("--full"), attempts()) == (0, 3)
    assert (run("--full"), attempts()) == (0, 4)
    capsys.readouterr()
