"""What the lines of `dupelake check` say of the action."""

from __future__ import annotations

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
