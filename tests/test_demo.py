"""The demo's sample images: known edits of real photographs, two nights, a truth table that matches the files."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from made_lake import make_night
from PIL import Image

from dupelake.cli import main
from dupelake.demo import MARK, NIGHTS, PHOTOGRAPHS, clear, write_images
from dupelake.errors import ConfigError


def test_sample_images_and_their_truth(tmp_path):
    truth = write_images(tmp_path / "images")
    rows = list(csv.DictReader(truth.open(encoding="utf-8")))
    assert {r["group"] for r in rows} == {p.rsplit(".", 1)[0] for p in PHOTOGRAPHS}
    assert {r["path"].split("/")[0] for r in rows} == {f"date={night}" for night in NIGHTS}
    for row in rows:
        with Image.open(tmp_path / "images" / row["path"]) as image:
            image.load()
    assert len({r["edit"] for r in rows}) >= 8
    odd = {p.name for p in (tmp_path / "images").rglob("*") if p.is_file()} - {r["path"].split("/")[1] for r in rows}
    assert odd == {"truncated.png", "empty.jpg", "not an image.jpg"}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    write_images(out / "images")
    (out / "warehouse" / "groups" / "_delta_log").mkdir(parents=True)
    (out / "contact-sheet.png").write_bytes(b"png")
    return out


def test_an_earlier_demo_is_removed_and_nothing_beside_it(made, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    clear(out)
    assert everything(out) == {"notes.txt": b"mine"}
    clear(out)
    clear(tmp_path / "not there")
    assert not (tmp_path / "not there").exists()


def test_an_index_of_the_warehouse_goes_with_it(made, tmp_path):
    """As of the tutorial, which a person may begin again."""
    out = tmp_path / "out"
    shutil.copytree(made, out)
    (out / "warehouse" / "_dupelake_index").mkdir()
    (out / "warehouse" / "_dupelake_index" / "manifest.json").write_text("{}", encoding="utf-8")
    clear(out)
    assert everything(out) == {}


@pytest.mark.parametrize(
    "mine",
    [
        "images/date=2026-11-01/holiday.jpg",  # added
        "images/date=2026-11-01/astronaut original.png",  # changed
        "truth.csv",
        "warehouse/letters/dear.txt",
        "warehouse/groups.csv",
        "warehouse/_dupelake_index/dear.txt",
    ],
)
def test_a_demo_with_something_of_its_users_is_left_alone(made, tmp_path, mine, capsys):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    (out / mine).parent.mkdir(exist_ok=True)
    (out / mine).write_bytes(b"mine")
    before = everything(out)
    assert main(["demo", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) <= 2
    assert Path(mine).parts[0] in said
    assert everything(out) == before


@pytest.mark.parametrize("name", ["images/holiday.jpg", "warehouse/x", "truth.csv", "report.html", "contact-sheet.png"])
@pytest.mark.parametrize("mark", [None, "{}", "no json", '{"made_by": "me", "files": {}}'])
def test_a_folder_that_no_demo_made_is_left_alone(tmp_path, name, mark):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "truth.csv").write_text("path,group\n", encoding="utf-8")
    if mark is not None:
        (tmp_path / MARK).write_text(mark, encoding="utf-8")
    before = everything(tmp_path)
    with pytest.raises(ConfigError, match="which no demo wrote"):
        clear(tmp_path)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("whose", ["the demo's", "a verdict", "another picture"])
def test_what_people_put_into_the_warehouse_is_left_alone(tmp_path, whose):
    out = tmp_path / "out"
    write_images(out / "images")
    picture = out / "images" / f"date={NIGHTS[0]}" / "moon original.png"
    uri = "/photos/mine.png" if whose == "another picture" else str(picture)
    make_night(out / "warehouse", {uri: picture.read_bytes()})
    if whose == "a verdict":
        words = ["decide", "--warehouse", str(out / "warehouse"), "--author", "ana", uri, "keeper"]
        assert main(words) == 0
    before = everything(out)
    if whose == "the demo's":
        clear(out)
        assert everything(out) == {}
        return
    told = "verdicts in the warehouse" if whose == "a verdict" else "/photos/mine.png in the warehouse"
    with pytest.raises(ConfigError, match=f"{out}: contains {told}, which no demo wrote; give another folder"):
        clear(out)
    assert everything(out) == before


def test_links_are_not_followed(made, tmp_path):
    out, mine = tmp_path / "out", tmp_path / "mine"
    mine.mkdir()
    (mine / "holiday.jpg").write_bytes(b"mine")
    shutil.copytree(made, out)
    clear(out)
    (out / MARK).write_text(json.dumps({"made_by": "dupelake demo", "files": {}}), encoding="utf-8")
    (out / "images").symlink_to(mine)
    with pytest.raises(ConfigError, match="images"):
        clear(out)
    assert everything(mine) == {"holiday.jpg": b"mine"}
