"""A forgotten image that is checked at its own path: no night takes it in again."""

from __future__ import annotations

import json

import pytest
from deltalake import DeltaTable
from made_lake import make_night
from pictures import SCENES, photograph
from serving import encoded

import dupelake
from dupelake import cli
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER

DATA = encoded(photograph(SCENES[0], 96))
AT = "arrow_cast('2026-11-01T02:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"


@pytest.fixture
def lake(tmp_path):
    """`gone.png` was forgotten, `undone.png` may come back, `live.png` is there; all have the same picture."""
    for name in ("gone", "undone", "live", "other"):
        (tmp_path / f"{name}.png").write_bytes(DATA)
    root = tmp_path / "lake"
    make_night(root, {str(tmp_path / f"{name}.png"): DATA for name in ("gone", "undone")})
    for name, reason in (("gone", "forgotten"), ("undone", "undone")):
        DeltaTable(str(root / "images")).update(
            updates={"deleted_at": AT, "deleted_reason": f"'{reason}'"}, predicate=f"uri LIKE '%/{name}.png'"
        )
    make_night(root, {str(tmp_path / "live.png"): DATA}, 2)
    build_index(str(root), root / FOLDER)
    return root


def test_it_is_new_without_a_group_and_the_answer_says_why(lake, tmp_path):
    for name in (f"{tmp_path}/gone.png", f"file://{tmp_path}/gone.png"):
        (gone,) = dupelake.check(name, lake)
        assert (gone.status, gone.reason, gone.group, gone.pairs, gone.is_copy) == ("new", "forgotten", None, (), False)
        assert gone.describe() == f"{name}: new, forgotten: {gone.message}"
        assert "dupelake forget" in gone.message
    undone, other, data = dupelake.check([tmp_path / "undone.png", tmp_path / "other.png", DATA], lake)
    assert [(one.status, one.reason) for one in (undone, other, data)] == [("copy", None)] * 3


def test_a_forgotten_image_in_another_scope_is_another_image(lake, tmp_path):
    assert dupelake.check(tmp_path / "gone.png", lake, scope="shop")[0].reason == "forgotten", "it had no scope"
    DeltaTable(str(lake / "images")).update(updates={"scope": "'mine'"}, predicate="uri LIKE '%/gone.png'")
    make_night(lake, {}, 3)
    build_index(str(lake), lake / FOLDER)
    said = {scope: dupelake.check(tmp_path / "gone.png", lake, scope=scope)[0].reason for scope in ("", "mine", "shop")}
    assert said == {"": "forgotten", "mine": "forgotten", "shop": None}


def test_what_a_night_leaves_out_has_no_copies_in_a_check(lake, tmp_path, capsys):
    new = encoded(photograph(SCENES[1], 96))
    (tmp_path / "gone.png").write_bytes(new)
    (tmp_path / "other.png").write_bytes(new)
    paths = [str(tmp_path / "gone.png"), str(tmp_path / "other.png")]
    assert cli.main(["check", *paths, "--warehouse", str(lake), "--json", "--processes", "1"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["status"], row["reason"], row["in_folder"]) for row in rows] == [
        ("new", "forgotten", []),
        ("new", None, []),
    ]
