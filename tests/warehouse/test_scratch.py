"""Temporary tables: where they cannot be, a line names TMPDIR."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_lake import write_lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scratch")
    write_lake(folder / "lake", 20, n_photographs=10)
    (folder / "truth.csv").write_text("path,group\n/data/photos/00/IMG_00000 0.jpg,a\n", encoding="utf-8")
    return folder / "lake"


@pytest.fixture
def full_disk(tmp_path) -> Iterator[Path]:
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path / "disk")]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("mount is not allowed here: run as root to test it")
    (tmp_path / "disk" / "filled").write_bytes(bytes(4096))
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


def evaluated(lake: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    words = ["evaluate", "--warehouse", str(lake), "--truth", str(lake.parent / "truth.csv"), "--out", "e"]
    return subprocess.run(
        [sys.executable, "-m", "dupelake.cli", *words],
        cwd=lake.parent, capture_output=True, text=True, check=False, env=os.environ | {"TMPDIR": str(folder)},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["a[b]", "a^b", "a|b", "a%20b", "a\\b", "a\tb"])
def test_a_name_that_delta_rs_cannot_write_below(lake, tmp_path, name):
    (tmp_path / name).mkdir()
    done = evaluated(lake, tmp_path / name)
    assert done.returncode == 2, done.stderr
    assert "TMPDIR" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert list((tmp_path / name).iterdir()) == []


@pytest.mark.parametrize("name", ["é", "a b", "100%", "a%zzb", "{a}", "#?*"])
def test_other_names_do(lake, tmp_path, name):
    (tmp_path / name).mkdir()
    done = evaluated(lake, tmp_path / name)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / name).iterdir()) == []


def test_a_full_disk(lake, full_disk):
    done = evaluated(lake, full_disk)
    assert done.returncode == 2, done.stderr
    assert f"TMPDIR {full_disk}: the disk is full" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
