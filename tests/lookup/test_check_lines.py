"""What the lines of `dupelake check` say of the action."""

from __future__ import annotations

import csv
import io

import pytest
from made_lake import make_night
from pictures import SCENES, photograph
from serving import encoded

from dupelake import cli
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER


def test_a_line_says_that_a_new_keeper_is_rejected_too(tmp_path, capsys):
    root, known, new = tmp_path / "lake", tmp_path / "known.png", tmp_path / "new.png"
    make_night(root, {"/photos/small.png": encoded(photograph(SCENES[0], 200))})
    build_index(str(root), root / FOLDER)
    photograph(SCENES[0], 400).save(known)
    photograph(SCENES[1], 200).save(new)
    command = ["check", str(known), str(new), "--warehouse", str(root), "--processes", "1"]
    assert cli.main([*command, "--on-duplicate", "reject"]) == 10
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{known}: would be the keeper of a new group of 2 images; ")
    assert first.endswith("; reject")
    assert second == f"{new}: new"
    assert cli.main([*command, "--on-duplicate", "link"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("; link to /photos/small.png")
    assert cli.main(command) == 0
    assert capsys.readouterr().out.splitlines()[0] == first.removesuffix("; reject")


ODD = ("line\nend.png", "\x1b[31mred\x1b[0m.png", "\x9b2J\u2028.png", "=1+1;2,3.png", "plain.png")


def checked(tmp_path, capsys, *options: str) -> str:
    root, folder = tmp_path / "lake", tmp_path / "given"
    folder.mkdir()
    data = encoded(photograph(SCENES[0], 96))
    for name in ODD:
        (folder / name).write_bytes(data)
    (folder / "broken\n.png").write_bytes(b"no image")
    make_night(root, {"/photos/\x1b]0;x\x07\n.png": data})
    build_index(str(root), root / FOLDER)
    command = ["check", *sorted(map(str, folder.iterdir())), "--warehouse", str(root), "--processes", "1", *options]
    assert cli.main(command) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("options", [(), ("--on-duplicate", "link")], ids=str)
def test_names_change_no_line_and_send_nothing_to_a_terminal(tmp_path, capsys, options):
    lines = checked(tmp_path, capsys, *options).removesuffix("\n").split("\n")
    assert len(lines) == len(ODD) + 1
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith(f"{tmp_path}/given/line?end.png: ") for line in lines)
    assert any(line.startswith(f"{tmp_path}/given/?[31mred?[0m.png: ") for line in lines)
    assert any("/photos/?]0;x??.png" in line for line in lines)


def test_csv_is_written_as_all_csv_of_the_project(tmp_path, capsys):
    out = checked(tmp_path, capsys, "--csv")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert {row["image"] for row in rows} == {f"{tmp_path}/given/{name}" for name in (*ODD, "broken\n.png")}
    assert all(row["status"] in ("copy", "failed") for row in rows)
    header, first = out.split("\r\n")[:2]
    assert header.startswith("image,status,action,")
    assert first.startswith('"'), "each text is quoted, so that no spreadsheet splits it at semicolons"
    plain = next(line for line in out.split("\r\n") if "plain.png" in line)
    assert '"copy","accept",' in plain
