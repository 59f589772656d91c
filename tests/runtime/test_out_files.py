"""What a command writes for a person: whole or not at all, on a disk that is full too, and where `~` leads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from report_lake import write_lake

from dupelake.cli import main


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out_files") / "lake"
    write_lake(folder, 20, n_photographs=10)
    return folder


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A folder on a disk of 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("mount is not allowed here: run as root to test it")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def commands(lake: Path, out: Path) -> dict[str, list[str]]:
    truth = lake.parent / "truth.csv"
    truth.write_text("path,group\n/data/photos/00/IMG_00000 0.jpg,a\n", encoding="utf-8")
    return {
        "report": ["report", "--out", str(out / "r.html")],
        "sheet": ["report", "--png", str(out / "s.png")],
        "evaluate": ["evaluate", "--truth", str(truth), "--out", str(out / "e")],
        "review": ["review", "--out", str(out / "v.html")],
        "export": ["export", "imagededup", "--out", str(out / "x.json")],
    }


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["report", "sheet", "evaluate", "review"])
def test_a_full_disk_keeps_the_files_that_were_there(lake, small_disk, capsys, name):
    for path in ("r.html", "s.png", "v.html", "e/evaluation.json"):
        (small_disk / path).parent.mkdir(exist_ok=True)
        (small_disk / path).write_text("of last night", encoding="utf-8")
    with (small_disk / "filled").open("wb") as file:
        file.write(bytes(40_000))
    before = files(small_disk)
    assert main([*commands(lake, small_disk)[name], "--warehouse", str(lake)]) == 2
    said = capsys.readouterr().err
    assert "cannot be written ([Errno 28] No space left on device" in said
    assert len(said.splitlines()) == 1, said
    assert files(small_disk) == before


@pytest.mark.parametrize("name", ["report", "sheet", "evaluate", "review", "export"])
def test_a_folder_that_cannot_be_made(lake, capsys, name):
    assert main([*commands(lake, Path("/proc/none"))[name], "--warehouse", str(lake)]) == 2
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert "/proc/none" in said
    assert len(said.splitlines()) == 1, said


def test_a_folder_of_jars_that_cannot_be_made(capsys):
    assert main(["jars", "--to", "/proc/none"]) == 2
    assert "--to /proc/none: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["same", "x.jpg", "x.tif"])
def test_a_sheet_is_a_png_whatever_its_name(lake, tmp_path, name):
    assert main(["report", "--warehouse", str(lake), "--png", str(tmp_path / name)]) == 0
    with Image.open(tmp_path / name) as sheet:
        assert sheet.format == "PNG"


@pytest.mark.parametrize("option", ["--out", "--png"])
def test_a_report_takes_no_place_of_a_pipe(lake, tmp_path, capsys, option):
    os.mkfifo(tmp_path / "pipe")
    assert main(["report", "--warehouse", str(lake), option, str(tmp_path / "pipe")]) == 2
    assert "is no regular file; give a file" in capsys.readouterr().err


def test_the_home_folder_is_meant_everywhere(lake, tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    for words in commands(lake, Path("~/out")).values():
        assert main([*words, "--warehouse", str(lake)]) == 0
    assert {path.name for path in (home / "out").iterdir()} == {"r.html", "s.png", "e", "v.html", "x.json"}
    assert list(here.iterdir()) == []


def test_the_home_folder_of_what_is_read(tmp_path):
    """A person who quotes the path."""
    (tmp_path / "pictures").mkdir()
    words = ["run", "~/pictures", "~/none", "--warehouse", str(tmp_path / "lake"), "--config", "~/none.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "dupelake.cli", *words],
        capture_output=True, text=True, check=False, env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert f"PATH {tmp_path}/none: there is nothing" in done.stderr
    assert "pictures: " not in done.stderr
    assert f"{tmp_path}/none.yaml" in done.stderr
