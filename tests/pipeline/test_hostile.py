"""A night with images that kill, hang or starve their worker, beside good ones: what is written, said and measured."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pictures import png
from pyspark.sql import SparkSession

from dupelake.config import FetchConfig
from dupelake.fingerprint.stage import read_local
from dupelake.ingest.access import Access
from dupelake.ingest.trees import list_folder
from dupelake.pipeline import hash
from dupelake.warehouse.schema import HASHES, IMAGES

FAULTS = {"segfault": "crash", "killed": "kill", "endless": "hang", "hungry": "memory"}
REASONS = {"segfault": "crashed", "killed": "crashed", "endless": "timeout", "hungry": "out_of_memory"}
GOOD = ("fine", "good", "quiet")


@pytest.fixture
def faults(spark: SparkSession) -> Iterator[None]:
    """The fault variable in the environment of the Python workers of this session."""
    environment = spark.sparkContext.environment
    environment["DUPELAKE_BAD_IMAGE"] = ";".join(f"{kind}:<{name}>" for name, kind in FAULTS.items())
    yield
    del environment["DUPELAKE_BAD_IMAGE"]


def rows(root: Path, table: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deltalake.DeltaTable(str(root / table.name)).to_pyarrow_table().to_pylist()
    return found


@pytest.mark.long
def test_a_night_with_images_that_kill_their_worker(faults: None, tmp_path: Path, capsys) -> None:
    files, root = tmp_path / "files", tmp_path / "wh"
    files.mkdir()
    lines = ["uri,partition,captured_at"]
    for at, name in enumerate((*GOOD, *FAULTS)):
        (files / name).write_bytes(png(at) + f"<{name}>".encode())
        os.utime(files / name, (2**33, 2**33))  # a clock that is 200 years fast
        lines.append(f"{files / name},{'2026-11-01' if at < 2 else '2999-12-31'},2999-12-31 00:00:00")
    manifest, events, metrics = tmp_path / "m.csv", tmp_path / "events.jsonl", tmp_path / "dupelake.prom"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = {
        "guard.timeout_s": "15",
        "guard.max_memory_bytes": str(1 << 28),
        "run.max_failed_fraction_of_partition": "0.5",
        "run.event_log": str(events),
        "run.metrics_file": str(metrics),
    }
    sets = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    assert hash.main([str(manifest), "--warehouse", str(root), *sets]) == 3

    images = {Path(row["uri"]).name: row for row in rows(root, IMAGES)}
    assert {name: row["reason"] for name, row in images.items()} == REASONS | dict.fromkeys(GOOD)
    assert {row["attempts"] for name, row in images.items() if name in FAULTS} == {1}
    assert "SIGSEGV" in images["segfault"]["error_message"]
    for row in images.values():
        assert len(row["content_id"]) == 32
        assert row["byte_size"] == Path(row["uri"]).stat().st_size
        assert row["captured_at"] == dt.datetime(2999, 12, 31, tzinfo=dt.UTC)
    assert {row["content_id"] for row in rows(root, HASHES)} == {images[name]["content_id"] for name in GOOD}

    told = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    assert (told[0]["event"], told[-1]["event"]) == ("run_started", "run_finished")
    counts = told[-1]["counts"]
    assert (counts["read"], counts["hashed"], counts["failed"], counts["skipped"]) == (7, 3, 4, 0)
    assert told[-1]["exit_code"] == 3
    assert "2999-12-31 (4 of 5)" in told[-1]["error"]
    assert "2026-11-01" not in told[-1]["error"]
    failed = {event["reason"]: event["count"] for event in told if event["event"] == "image_failed"}
    assert failed == {"crashed": 2, "timeout": 1, "out_of_memory": 1}
    steps = [(event["step"], event.get("ok")) for event in told if event["event"].startswith("step")]
    assert steps == [(step, ok) for step in ("tables", "manifest", "hash", "write") for ok in (None, True)]
    text = metrics.read_text(encoding="utf-8")
    assert 'dupelake_run_exit_code{job="hash"} 3' in text
    assert 'dupelake_run_failed_images{job="hash",reason="timeout"} 1' in text

    assert hash.main([str(files / "fine"), "--warehouse", str(root), *sets]) == 2
    last = json.loads(events.read_text(encoding="utf-8").splitlines()[-1])
    assert (last["status"], last["exit_code"]) == ("failed", 2)
    assert 'dupelake_run_exit_code{job="hash"} 2' in metrics.read_text(encoding="utf-8")
    capsys.readouterr()


def test_files_of_impossible_times_are_listed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    os.utime(tmp_path / "f", (-(10**9), 10**10))
    (file,) = list_folder(str(tmp_path), deep=False)
    assert file == (str(tmp_path / "f"), "2286-11-20 17:46:40.000000", 1)
    assert read_local(file.uri, file.uri, 10, Access(FetchConfig(), (str(tmp_path),))) == b"x"
