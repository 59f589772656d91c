"""Between nights: the lock, the last complete night, the plan of the next one, maintenance."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import OPTIONS

from dupelake import cli
from dupelake.group import touched_stage
from dupelake.pipeline import nightly
from dupelake.runtime.lock import NAME, lock_of
from dupelake.verify import decide_stage
from dupelake.warehouse.schema import ALL_TABLES, BESIDE_NIGHTS, GROUPS, IMAGES, JOINED, PAIRS, RUNS
from dupelake.warehouse.tables import Warehouse


@pytest.fixture(scope="module")
def images(small_lake) -> Path:
    return small_lake / "images"


@pytest.fixture(scope="module")
def warehouse(spark, small_lake, tmp_path_factory) -> Warehouse:
    """Of one night."""
    root = shutil.copytree(small_lake / "first", tmp_path_factory.mktemp("between") / "wh")
    return Warehouse(spark, str(root))


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {table.name: warehouse.version(table) for table in ALL_TABLES if table not in BESIDE_NIGHTS}


def last_complete(warehouse: Warehouse) -> dict[str, int]:
    return warehouse.read(RUNS).where("tables IS NOT NULL").orderBy("started_at", ascending=False).first()["tables"]


def plan(warehouse: Warehouse, images: Path, *more: str) -> int:
    return cli.main(["plan", str(images), "--warehouse", warehouse.root, *OPTIONS, *more])


def test_the_run_tells_the_versions_of_the_last_complete_night(spark, warehouse):
    told = last_complete(warehouse)
    assert told == versions(warehouse)
    then = spark.read.format("delta").option("versionAsOf", told["groups"]).load(warehouse.path(GROUPS))
    assert then.count() == warehouse.read(GROUPS).count() > 0


def test_a_second_run_stops_while_another_holds_the_warehouse(warehouse, images, capsys, tmp_path):
    before, held = versions(warehouse), lock_of(None, warehouse.root, "somebody", 0, 900)
    held.acquire()
    try:
        log = ["--set", f"run.event_log={tmp_path / 'events'}"]
        assert nightly.main([str(images), "--warehouse", warehouse.root, *OPTIONS, *log]) == 4
    finally:
        held.release()
    assert "run somebody (process" in capsys.readouterr().err
    (event,) = map(json.loads, (tmp_path / "events").read_text(encoding="utf-8").splitlines())
    assert (event["event"], event["exit_code"]) == ("run_refused", 4)
    assert versions(warehouse) == before
    assert not Path(warehouse.root, NAME).exists()


def test_the_plan_names_what_a_run_would_do_and_writes_nothing(warehouse, images, capsys):
    before = versions(warehouse), warehouse.version(RUNS)
    assert plan(warehouse, images) == 0
    told = capsys.readouterr().out
    n_known = warehouse.read(IMAGES).count()
    n_new = sum(len(files) for _, _, files in os.walk(images)) - n_known
    assert n_new > 0
    assert f"{n_new} to read and hash ({n_new} new)" in told
    assert "nothing stored is of another version" in told
    assert re.search(r"join +pdq: [\d,]+ keys, .* to shuffle; about \d+ s", told)
    n_pairs = n_new * warehouse.read(JOINED).count() + n_new * (n_new - 1) // 2
    assert f"words by blocks: at most {n_pairs:,} pairs of pictures to compare" in told
    assert plan(warehouse, images, "--set", "decide.min_score=0.9", "--partitions", "2026-11-01") == 0
    told = capsys.readouterr().out
    assert "0 to read and hash" in told
    assert f"{warehouse.read(PAIRS).count()} pairs are decided again" in told
    assert plan(warehouse, images, "--set", "hash.thumbnail_quality=80") == 0
    assert "every original must be read again; the run is refused" in capsys.readouterr().out
    assert (versions(warehouse), warehouse.version(RUNS)) == before


@pytest.mark.long
def test_maintenance_changes_no_row_and_keeps_the_night_complete(spark, warehouse):
    columns = [c for c in GROUPS.columns if c != "updated_at"]
    rows = sorted(map(tuple, warehouse.read(GROUPS).select(columns).collect()), key=repr)
    assert cli.main(["maintain", "--warehouse", warehouse.root]) == 0
    assert sorted(map(tuple, warehouse.read(GROUPS).select(columns).collect()), key=repr) == rows
    assert all(len(warehouse.read(table).inputFiles()) <= 1 for table in (GROUPS, PAIRS))
    assert last_complete(warehouse) == versions(warehouse)
    with pytest.raises(SystemExit) as refused:
        cli.main(["maintain", "--warehouse", warehouse.root, "--retain-hours", "1"])
    assert refused.value.code == 2


@pytest.mark.long
def test_a_rerun_of_the_night_changes_no_table(warehouse, images):
    before = versions(warehouse)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[2] / "jobs" / "nightly.py"), str(images), "--warehouse",
         warehouse.root, "--partitions", "2026-11-01", *OPTIONS],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert versions(warehouse) == before


@pytest.mark.long
def test_a_night_without_anything_new_stops_after_the_manifest(warehouse, images, capsys, monkeypatch):
    def night(*more: str) -> tuple[str, dict[str, int]]:
        arguments = [str(images), "--warehouse", warehouse.root, "--partitions", "2026-11-01", *OPTIONS, *more]
        assert nightly.main(arguments) == 0
        newest = warehouse.read(RUNS).orderBy("started_at", ascending=False).first()
        return capsys.readouterr().out, newest["counts"]

    before = versions(warehouse)
    told, counts = night()
    assert "nothing has changed" in told
    assert (versions(warehouse), last_complete(warehouse)) == (before, before)
    assert counts["groups"] == warehouse.read(GROUPS).where("is_keeper").count() > 0
    assert counts["pairs.near"] > 0
    told, _ = night("--set", "decide.min_score=0.9")
    assert "nothing has changed" not in told
    assert versions(warehouse)["pairs"] == before["pairs"] + 1, "other thresholds: pairs are decided again"
    assert "nothing has changed" in night("--set", "decide.min_score=0.9")[0]
    for module, number in ((touched_stage, "CLUSTER_REVISION"), (decide_stage, "DECIDE_REVISION")):
        monkeypatch.setattr(module, number, getattr(module, number) + 1)
        told, _ = night("--set", "decide.min_score=0.9")
        assert "nothing has changed" not in told, f"another release, by its {number}"
