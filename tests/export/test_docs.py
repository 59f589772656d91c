"""docs/export.md: its commands run, and so does what reads their files, where the tool is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from exported import VERIFIED, members_in, with_columns
from grouped_lake import make_lake, written

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
SECTIONS = {
    section.partition("\n")[0]: re.findall(r"```(sh|python)\n(.*?)```", section, flags=re.S)
    for section in PAGE.split("\n## ")[1:]
    if "```sh" in section
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with `dupes`, `pictures` and, where webdataset is there, a shard of them; `dupelake` is on the PATH."""
    members = with_columns(written(members_in(tmp_path / "pictures")), "train-000.tar")
    make_lake(tmp_path / "dupes", members, "verified")
    for name in ("broken.png", "deleted.png"):
        (tmp_path / "pictures" / name).unlink(missing_ok=True)
    command = tmp_path / "bin" / "dupelake"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m dupelake.cli "$@"\n')
    command.chmod(0o755)
    for name, value in {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("title", SECTIONS)
def test_the_examples_run(title, place):
    kinds = [kind for kind, _ in SECTIONS[title]]
    assert kinds in (["sh"], ["sh", "python"])
    (_, commands), *reading = SECTIONS[title]
    done = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if not reading:
        assert f"{len(VERIFIED) - 1} put back, 1 in their places" in done.stdout  # two images name one file
        return
    code = reading[0][1]
    for name in set(re.findall(r"^(?:from|import) (imagededup|fiftyone|datasets|webdataset)", code, flags=re.M)):
        pytest.importorskip(name, reason=f"{name} is not installed: its example of docs/export.md is not run")
        if name == "fiftyone" and "FIFTYONE_DATABASE_URI" not in os.environ:
            pytest.skip("FiftyOne needs a MongoDB: set FIFTYONE_DATABASE_URI")
        if name == "webdataset":
            write_shard(place)
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr[-3000:]
    if title == "WebDataset":
        with_tar = subprocess.run(["tar", "tf", "deduplicated-000000.tar"], capture_output=True, text=True, check=True)
        kept = {name.removesuffix(".png") for name in with_tar.stdout.split()}
        assert kept == {one.image_id for one in members_in(place) if one.image_id not in {*VERIFIED, "d1"}}
    else:
        assert read.stdout.strip()


def write_shard(place: Path) -> None:
    """The images as samples of train-000.tar, the broken one too."""
    files = place / "samples"
    files.mkdir()
    for one in members_in(place / "pictures"):
        if not one.is_deleted:
            (files / f"{one.image_id}.png").write_bytes(one.data or b"broken")
    subprocess.run(["tar", "cf", place / "train-000.tar", *sorted(os.listdir(files))], cwd=files, check=True)
    shutil.rmtree(files)


def test_each_format_has_an_example():
    from dupelake.export.command_lines import _OUT

    assert set(re.findall(r"^dupelake export ([\w-]+)", PAGE, flags=re.M)) == set(_OUT)
