"""Times that Python passes to Spark are stored exactly, in any time zone of the driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import deltalake
import pytest

from dupelake.config import Config
from dupelake.ingest.removals_stage import marked
from dupelake.ingest.trees import list_folder
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import IMAGES, RUNS
from dupelake.warehouse.tables import Warehouse


@pytest.fixture(params=["America/New_York", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        assert time.timezone != 0, "the system does not know the zone"
        yield request.param
    time.tzset()


def test_a_row_of_runs_and_a_literal(spark, zone, tmp_path: Path) -> None:
    warehouse, before = Warehouse(spark, str(tmp_path / "wh")), time.time()
    run = Run("nightly", Config(), warehouse)
    run.finish()
    row = deltalake.DeltaTable(warehouse.path(RUNS)).to_pyarrow_table().to_pylist()[0]
    for name in ("started_at", "finished_at"):  # by createDataFrame
        assert before - 1 <= row[name].timestamp() <= time.time() + 1, (zone, name)
    assert row["run_id"].startswith(time.strftime("%Y%m%dT%H", time.gmtime(before)))
    images = spark.createDataFrame([("a", None)], "image_id string, deleted_at timestamp")
    images = images.selectExpr(*(f"NULL AS {n}" if n not in images.columns else n for n in IMAGES.columns))
    gone = spark.createDataFrame([("a", "tombstone")], "image_id string, deleted_reason string")
    # by F.lit; read back as a number, for Spark's Python gives times back in the zone of the driver
    at = marked(images, gone, run.started_at).selectExpr("unix_micros(deleted_at) AS at").first()["at"]
    assert abs(at / 1e6 - run.started_at.timestamp()) < 1e-5, zone


def test_times_of_files_are_utc(zone, tmp_path: Path) -> None:
    import os

    (tmp_path / "f").write_bytes(b"x")
    os.utime(tmp_path / "f", (1_800_000_000, 1_800_000_000))
    (file,) = list_folder(str(tmp_path), deep=False)
    assert file.last_modified == "2027-01-15 08:00:00.000000", zone
