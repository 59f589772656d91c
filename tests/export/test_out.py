"""Where `dupelake export --out` writes: to regular files alone, through links, and never in place of a device."""

from __future__ import annotations

import os
import stat

import pytest

from dupelake.cli import main


@pytest.mark.parametrize("form", ["csv", "parquet", "imagededup", "datasets"])
def test_what_is_no_regular_file_stays(lake, tmp_path, capsys, form):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for out in (pipe, link):
        assert main(["export", form, "--warehouse", str(lake), "--out", str(out)]) == 2
        assert f"--out {out}: is no regular file; give a file" in capsys.readouterr().err
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.readlink(link) == str(pipe)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "link", "pipe"))) == [
        "link",
        "pipe",
    ]


@pytest.mark.parametrize("is_there", [True, False])
def test_the_file_behind_a_link_is_written(lake, tmp_path, is_there):
    link, target = tmp_path / "link.csv", tmp_path / "elsewhere" / "list.csv"
    target.parent.mkdir()
    link.symlink_to("elsewhere/list.csv")
    if is_there:
        target.write_text("old", encoding="utf-8")
    assert main(["export", "csv", "--warehouse", str(lake), "--out", str(link)]) == 0
    assert os.readlink(link) == "elsewhere/list.csv"
    assert target.read_text(encoding="utf-8").startswith("image_id,")
    assert [path.name for path in target.parent.iterdir()] == ["list.csv"]
