"""The warehouse's disk fills up during a run: one line, tables as they were, and the next run goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import SCENES, photograph

from dupelake.pipeline import hash
from dupelake.warehouse.schema import ALL_TABLES, HASHES, IMAGES, RUNS
from dupelake.warehouse.tables import Warehouse


def mount(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *options], capture_output=True, text=True, check=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.5 MB: enough for empty tables, not for what eight photographs become."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = mount("-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder))
    if done.returncode:
        pytest.skip(f"no file system may be mounted here, so none can be filled: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.long
def test_a_disk_that_fills_up(spark, small_disk: Path, tmp_path: Path, capsys) -> None:
    images, root = tmp_path / "images", small_disk / "wh"
    images.mkdir()
    for name in SCENES:
        photograph(name, 800).save(images / f"{Path(name).stem}.png")
    call = [str(images), "--warehouse", str(root), "--set", "run.planted_images=0"]
    assert hash.main(call) == 1
    said = capsys.readouterr().err
    told = [line for line in said.splitlines() if "a disk is full" in line]
    assert told
    assert "Traceback" not in said
    assert "run the same command again" in told[0]
    assert not (root / "_lock.json").exists()
    warehouse = Warehouse(spark, str(root))
    held = {table.name: warehouse.read(table).count() for table in ALL_TABLES if warehouse.exists(table)}
    assert held[IMAGES.name] in (0, len(SCENES)), "a commit is all or nothing"
    assert held.get(RUNS.name, 0) <= 1

    assert mount("-o", "remount,size=100m", str(small_disk)).returncode == 0
    assert hash.main(call) == 0
    assert warehouse.read(IMAGES).where("status = 'ok'").count() == len(SCENES)
    assert warehouse.read(HASHES).count() == len(SCENES)
    assert not list((root / "_staging").glob("*"))
