"""Maintenance writes what is small, once: proved by the log of the table, file by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dupelake.pipeline.maintain import told
from dupelake.warehouse import tables
from dupelake.warehouse.schema import CONDITION, HASHES
from dupelake.warehouse.tables import Warehouse


def rows_of(spark, numbers):
    blob = bytearray(range(32))
    unmeasured = [None] * len(CONDITION)
    made = [
        (f"{n * 2654435761 % 2**64:032x}", f"{n:032x}", n, -n, blob, blob, 80, False, 1.0, *unmeasured, "v1")
        for n in numbers
    ]
    return spark.createDataFrame(made, HASHES.schema)


def last_compaction(warehouse):
    """({path: bytes} added, paths removed) by the newest OPTIMIZE of `hashes`, and its version; VACUUM adds no data."""
    for log in sorted(Path(warehouse.path(HASHES), "_delta_log").glob("*.json"), reverse=True):
        actions = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        added = {one["add"]["path"]: one["add"]["size"] for one in actions if "add" in one}
        removed = {one["remove"]["path"] for one in actions if "remove" in one}
        operation = next(one["commitInfo"]["operation"] for one in actions if "commitInfo" in one)
        if operation == "OPTIMIZE":
            return added, removed, int(log.stem)
        assert not removed, operation
    raise AssertionError("never compacted")


@pytest.mark.timeout(240)
@pytest.mark.long
def test_only_small_files_are_written_again(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_SMALL_FILE_BYTES", 16_000)
    warehouse = Warehouse(spark, str(tmp_path / "wh"))
    for part in range(4):
        warehouse.append(HASHES, rows_of(spark, range(part * 500, part * 500 + 500)).coalesce(1))
    n_rows = warehouse.read(HASHES).count()
    first = warehouse.maintain(HASHES, 168.0)
    assert (first.before.files, first.after.files) == (4, 1)
    added, removed, version = last_compaction(warehouse)
    assert (len(added), len(removed)) == (1, 4)
    (large,) = added
    assert added[large] >= 16_000 > added[large] / 4
    assert first.after.live_bytes == added[large]
    assert first.after.disk_bytes > first.before.disk_bytes, "old versions stay a week"

    again = warehouse.maintain(HASHES, 168.0)
    assert last_compaction(warehouse)[2] == version, "nothing new, nothing written"
    assert again.before[:2] == again.after[:2] == first.after[:2]

    for part in range(2):  # a small night
        warehouse.append(HASHES, rows_of(spark, range(2000 + part, 2001 + part)).coalesce(1))
    night = warehouse.maintain(HASHES, 168.0)
    assert (night.before.files, night.after.files) == (3, 2)
    added, removed, _ = last_compaction(warehouse)
    assert len(removed) == 2
    assert large not in removed
    assert warehouse.read(HASHES).count() == n_rows + 2
    words = told("hashes", night)
    assert "2 files, were 3" in words
    assert "live" in words
    assert "on disk" in words
