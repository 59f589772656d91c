"""The index of a warehouse that was made anew, or that another night or another name tells of."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_lake import CONFIG, make_night
from pictures import SCENES, photograph
from serving import encoded

import dupelake
from dupelake.errors import VersionMixError
from dupelake.lookup.build import build_index
from dupelake.lookup.checker import index_folder
from dupelake.lookup.manifest import FOLDER
from dupelake.serve.book import DeltaBook

FIRST, SECOND = (encoded(photograph(name, 96)) for name in SCENES[:2])


def stored(data: bytes, root: Path | str, index: Path) -> bool:
    (answer,) = dupelake.check(data, root, index=index)
    return answer.is_stored


@pytest.mark.parametrize("number", [1, 2])
def test_nothing_of_a_warehouse_that_was_made_anew_is_kept(tmp_path, number):
    """Its tables have the same versions, and its night may have the same name."""
    root, index = tmp_path / "lake", tmp_path / "index"
    make_night(root, {"/photos/a.png": FIRST})
    old = build_index(str(root), index)
    shutil.rmtree(root)
    make_night(root, {"/photos/b.png": SECOND}, number)
    assert DeltaBook(root, 5, index).look_up(["/photos/a.png", "/photos/b.png"]).keys() == {"/photos/b.png"}
    new = build_index(str(root), index)
    assert not set(old.segments) & set(new.segments)
    assert (new.run_id, new.n_contents, new.n_images) == (f"night-{number}", 1, 1)
    assert (stored(FIRST, root, index), stored(SECOND, root, index)) == (False, True)


def test_a_night_that_changed_no_table_but_the_options_is_shown(tmp_path):
    root = tmp_path / "lake"
    make_night(root, {"/photos/a.png": FIRST})
    make_night(root, {}, 2)  # whatever a first later night changes in the tables
    old = build_index(str(root), root / FOLDER)
    make_night(root, {}, 3, replace(CONFIG, guard=replace(CONFIG.guard, timeout_s=7)), is_unchanged=True)
    new = build_index(str(root), root / FOLDER)
    assert old.tables == new.tables
    assert (new.run_id, new.options().guard.timeout_s, new.segments) == ("night-3", 7, old.segments)
    assert dupelake.check(FIRST, root)[0].index["run_id"] == "night-3"
    assert build_index(str(root), root / FOLDER) == new


def test_an_index_is_of_the_warehouse_that_a_relative_path_named(tmp_path, monkeypatch):
    one, other, index = tmp_path / "one", tmp_path / "other", tmp_path / "index"
    make_night(one / "dupes", {"/photos/a.png": FIRST})
    make_night(other / "dupes", {"/photos/b.png": SECOND})
    monkeypatch.chdir(one)
    built = build_index("dupes", index)
    assert built.warehouse == str(one / "dupes")
    monkeypatch.chdir(other)
    with pytest.raises(VersionMixError, match=f"is of the warehouse {one / 'dupes'}"):
        index_folder("dupes", index)
    for name in (f"{one}/dupes/", os.path.relpath(one / "dupes"), f"file://{one}/dupes", f"file:{one}/dupes"):
        assert index_folder(name, index) == index
        assert build_index(name, index) == built
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))  # readers without Spark do not ask it
    assert index_folder(os.path.relpath(one / "dupes"), index) == index


@pytest.mark.parametrize("name", ["a#b", "a?b", "100%23", "a%b", "ä b"])
def test_an_index_lies_in_a_folder_of_any_name(tmp_path, name):
    root, index = tmp_path / "lake", tmp_path / name
    make_night(root, {"/photos/a.png": FIRST})
    build_index(str(root), index)
    assert stored(FIRST, root, index)
    assert sorted(os.listdir(tmp_path)) == sorted([name, "lake"])


def test_an_index_lies_in_a_folder_whose_name_is_no_text(tmp_path):
    root, index = tmp_path / "lake", Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    make_night(root, {"/photos/a.png": FIRST})
    build_index(str(root), index, told=lambda _: None)
    assert stored(FIRST, root, index)
