"""Images whose file names are no UTF-8, as a night takes them: under a percent-encoded URI."""

from __future__ import annotations

import json
import os
from pathlib import Path

from made_lake import make_night
from pictures import SCENES, photograph
from serving import encoded

import dupelake
from dupelake import cli
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER
from dupelake.lookup.reading import image_id_of, item_of
from dupelake.warehouse.reader import Reader

KNOWN, NEW = (encoded(photograph(name, 96)) for name in SCENES[:2])


def made(folder: Path) -> tuple[str, Path, Path]:
    """A file whose name is no text, its folder, and a warehouse that has it."""
    given, root = folder / "given", folder / "lake"
    given.mkdir()
    path = os.fsdecode(os.fsencode(given) + b"/a\xff.png")
    Path(path).write_bytes(KNOWN)
    make_night(root, {Path(path).as_uri(): KNOWN, "/photos/b.png": NEW})
    build_index(str(root), root / FOLDER)
    return path, given, root


def test_a_folder_with_such_a_name_is_checked(tmp_path, capsys):
    path, given, root = made(tmp_path)
    (given / "b.png").write_bytes(NEW)
    uri = Path(path).as_uri()
    for form in ("--json", "--csv", None):
        command = ["check", str(given), "--warehouse", str(root), "--processes", "1", *([form] if form else [])]
        assert cli.main(command) == 0
        out = capsys.readouterr().out
        assert uri in out
        assert str(given / "b.png") in out
        if form == "--json":
            answers = {row["image"]: row for row in map(json.loads, out.splitlines())}
            assert answers[uri]["image_id"] == image_id_of(uri, "", "")
            assert (answers[uri]["status"], answers[uri]["is_stored"]) == ("new", True), "it is the stored image itself"


def test_such_a_name_is_one_image_in_all_spellings(tmp_path):
    path, _, root = made(tmp_path)
    uri = Path(path).as_uri()
    items = [item_of(name, 1) for name in (path, Path(path), uri)]
    assert {(item.name, item.uri) for item in items} == {(uri, uri)}
    assert dupelake.check(path, root)[0].image_id == image_id_of(uri, "", "")


def test_images_are_named_so_in_a_notebook_and_in_verdicts(tmp_path):
    path, _, root = made(tmp_path)
    lake = dupelake.open(root)
    assert lake.why(path, "/photos/b.png").to_pylist() == lake.why(Path(path).as_uri(), "/photos/b.png").to_pylist()
    command = ["decide", path, "not_duplicate", "/photos/b.png", "--warehouse", str(root), "--author", "ann"]
    assert cli.main(command) == 0
    (said,) = Reader(root).table("decisions").to_pylist()
    assert image_id_of(Path(path).as_uri(), "", "") in (said["image_id"], said["other_image_id"])


def test_a_message_about_such_a_file_is_text(tmp_path):
    path, given, root = made(tmp_path)
    Path(path).unlink()
    Path(path).symlink_to(given / "gone")
    (answer,) = dupelake.check(path, root)
    assert answer.status == "failed"
    assert answer.describe().encode()
