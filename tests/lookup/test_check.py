"""A check says what the next night decides: pairs with their evidence, group, keeper and reason; one warehouse."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pictures import photograph
from PIL import Image, ImageDraw, ImageOps

import dupelake
from dupelake import cli
from dupelake.errors import ConfigError, VersionMixError
from dupelake.group.giving import Line
from dupelake.lookup.answer import Answer
from dupelake.lookup.build import build_index
from dupelake.lookup.checker import Checker, index_folder
from dupelake.lookup.manifest import FOLDER, NAME, read_manifest
from dupelake.pipeline import forget, nightly
from dupelake.pipeline.decisions import decide
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import GROUPS, IMAGES, PAIRS
from dupelake.warehouse.tables import Warehouse

OPTIONS = ["--set", "run.planted_images=0", "--set", "run.checked_images=0"]
SAME = [name for name in GROUPS.columns if name not in ("group_id", "updated_at")]


@dataclass
class World:
    """Images of two nights as (file, scope), the warehouse, and the answers for the second night before it ran."""

    folder: Path
    warehouse: Path
    second: list[tuple[Path, str]]
    answers: dict[Path, Answer]


def first_night(folder: Path) -> list[tuple[Path, str]]:
    scenes = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "ihc.png", "moon.png", "camera.png")
    files = []
    for name in scenes:
        photograph(name).save(folder / f"{Path(name).stem}.png")
        files.append((folder / f"{Path(name).stem}.png", "a"))
    photograph("chelsea.png", 200).save(folder / "chelsea half.jpg", quality=85)
    photograph("coffee.png").save(folder / "coffee q60.jpg", quality=60)
    photograph("coins.png").save(folder / "coins.png")
    (folder / "astronaut of b.png").write_bytes((folder / "astronaut.png").read_bytes())
    files += [(folder / "chelsea half.jpg", "a"), (folder / "coffee q60.jpg", "a")]
    return [*files, (folder / "coins.png", "b"), (folder / "astronaut of b.png", "b")]


def second_night(folder: Path) -> list[tuple[Path, str]]:
    """No two of them are copies of each other, so that each is decided as if it came alone."""

    def save(name: str, picture: Image.Image, **options: object) -> Path:
        picture.save(folder / name, **options)
        return folder / name

    chelsea, coffee = photograph("chelsea.png"), photograph("coffee.png")
    width, height = chelsea.size
    ImageDraw.Draw(coffee).rectangle((0, coffee.height - 50, coffee.width, coffee.height), fill="white")
    (folder / "rocket again.png").write_bytes((folder / "rocket.png").read_bytes())
    (folder / "junk.jpg").write_text("no image", encoding="utf-8")
    return [
        (save("astronaut mirrored.jpg", ImageOps.mirror(photograph("astronaut.png")), quality=90), "a"),
        (save("chelsea crop.jpg", chelsea.crop((width // 6, 0, width, height)), quality=90), "a"),
        (save("coffee captioned.jpg", coffee, quality=90), "a"),
        (folder / "rocket again.png", "a"),
        (save("ihc pixels.bmp", photograph("ihc.png")), "a"),
        (save("moon small.jpg", photograph("moon.png", 256), quality=80), "a"),
        (save("camera jpeg.jpg", photograph("camera.png"), quality=80), "a"),
        (save("coins of a.jpg", photograph("coins.png"), quality=80), "a"),
        (save("astronaut half.jpg", photograph("astronaut.png", 200), quality=85), "b"),
        (save("coins grey.jpg", photograph("coins.png").convert("L"), quality=70), "b"),
        (save("new.png", photograph("retina.jpg")), "a"),
        (save("blank.png", Image.new("RGB", (300, 200), (9, 90, 9))), "a"),
        (folder / "junk.jpg", "a"),
    ]


def manifest(path: Path, files: list[tuple[Path, str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("uri", "scope", "partition"))
        writer.writerows((str(uri), scope, "2026-11-01") for uri, scope in files)
    return str(path)


@pytest.fixture(scope="module")
def world(spark, tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("check")
    images, warehouse = folder / "images", folder / "warehouse"
    images.mkdir()
    first, second = first_night(images), second_night(images)
    common = ["--warehouse", str(warehouse), *OPTIONS]
    assert nightly.main([manifest(folder / "first.csv", first), *common]) == 0
    said = [
        Line("1", str(images / "coffee.png"), "not_duplicate", str(images / "coffee q60.jpg")),
        Line("2", str(images / "chelsea half.jpg"), "keeper"),
    ]
    decide(Warehouse(spark, str(warehouse)), said, "ann")
    named = ["--uri", str(images / "camera.png"), "--set", "check.index=true"]
    assert forget.main([*named, *common]) == 0  # it groups again, too, and updates the index
    answers = {}
    for scope in ("a", "b"):
        with Checker(warehouse / FOLDER, scope) as checker:
            answers |= {path: checker.check(path) for path, of in second if of == scope}
    shutil.copytree(warehouse / FOLDER, folder / "index of the first night")
    assert nightly.main([manifest(folder / "second.csv", second), *common]) == 0
    return World(folder, warehouse, second, answers)


@pytest.fixture(scope="module")
def stored(world) -> dict[str, list[dict]]:
    reader = Reader(world.warehouse)
    columns = [name for name in IMAGES.columns if name not in ("extra", "marks")]
    tables = ((IMAGES, columns), (PAIRS, PAIRS.columns), (GROUPS, GROUPS.columns))
    return {table.name: reader.rows(table.name, names).to_pylist() for table, names in tables}


@pytest.fixture(scope="module")
def current(world) -> Path:
    """The index after the second night, inside the warehouse."""
    build_index(str(world.warehouse), world.warehouse / FOLDER)
    return world.warehouse / FOLDER


def image_of(stored, path: Path) -> dict:
    return next(row for row in stored["images"] if row["uri"] == str(path))


def test_ids_contents_and_failures_are_those_of_the_night(world, stored):
    for path, scope in world.second:
        row, answer = image_of(stored, path), world.answers[path]
        assert (answer.image_id, answer.content_id, answer.scope) == (row["image_id"], row["content_id"], scope)
        assert (answer.status == "failed") == (row["status"] == "failed")
        assert answer.reason == row["reason"]


def test_pairs_and_their_evidence_are_those_of_the_night(world, stored):
    n_near = 0
    for path, _ in world.second:
        content = image_of(stored, path)["content_id"]
        wanted = (
            {}
            if content is None
            else {
                (row["src_id"], row["dst_id"]): row
                for row in stored["pairs"]
                if content in (row["src_id"], row["dst_id"])
            }
        )
        found = {(pair.row["src_id"], pair.row["dst_id"]): pair.row for pair in world.answers[path].pairs}
        if path.name == "rocket again.png":  # its content was compared before
            assert not found
            continue
        assert found == wanted, path.name
        n_near += sum(row["found_by"] != "pixel" for row in found.values())
    assert n_near >= 7


def test_groups_keepers_and_reasons_are_those_of_the_night(world, stored):
    by_image = {row["image_id"]: row for row in stored["groups"]}
    n_grouped = 0
    for path, _ in world.second:
        answer = world.answers[path]
        wanted = by_image.get(answer.image_id)
        assert (answer.group is None) == (wanted is None), path.name
        if wanted is None:
            continue
        n_grouped += 1
        assert answer.group.row == {name: wanted[name] for name in SAME}, path.name
        members = [row for row in by_image.values() if row["group_id"] == wanted["group_id"]]
        assert answer.group.members == tuple(sorted(row["image_id"] for row in members))
        assert answer.group.keeper[0] == next(row["image_id"] for row in members if row["is_keeper"])
        if answer.group.group_id is not None:
            assert answer.group.group_id == wanted["group_id"]
    assert n_grouped == 8


def relation(world, name: str) -> str | None:
    group = next(answer for path, answer in world.answers.items() if path.name == name).group
    return group and group.row["relation"]


def test_what_is_kept_apart_forgotten_or_of_another_scope_is_not_found(world):
    assert relation(world, "camera jpeg.jpg") is None  # forgotten
    assert relation(world, "coins of a.jpg") is None  # its original is of scope b
    assert relation(world, "new.png") is None
    shown = {pair.images for answer in world.answers.values() if answer.scope == "b" for pair in answer.pairs}
    assert all("coins" in uri or "astronaut of b" in uri for images in shown for _, uri in images)
    chosen = next(answer for path, answer in world.answers.items() if path.name == "chelsea crop.jpg")
    assert chosen.group.keeper[1].endswith("chelsea half.jpg")  # a person chose it


def test_an_index_is_updated_or_left_alone(world, capsys):
    folder = world.folder / "index of the first night"
    before = read_manifest(folder)
    after = build_index(str(world.warehouse), folder)
    assert after.n_images == before.n_images + 12
    assert after.segments[: len(before.segments)] == before.segments  # the contents of the second night were added
    assert build_index(str(world.warehouse), folder) == after
    assert cli.main(["index", "--warehouse", str(world.warehouse), "--index", str(folder), "--full"]) == 0
    assert len(read_manifest(folder).segments) == 1
    capsys.readouterr()


def test_arrays_bytes_and_pictures_are_checked(world, current):
    picture = photograph("rocket.jpg", 300)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG")
    given = [buffer.getvalue(), picture, np.asarray(picture), world.folder / "images" / "new.png"]
    answers = dupelake.check(given, world.warehouse, scope="a")
    assert [answer.status for answer in answers] == [
        "copy",
        "copy",
        "copy",
        "new",
    ]  # the last is stored, and has no copy
    assert answers[3].is_stored
    assert answers[0].index["run_id"]
    with pytest.raises(TypeError, match="image 1 is a int"):
        dupelake.check([3], world.warehouse)


def test_the_command_gives_json_and_exit_codes(world, current, capsys, tmp_path):
    photograph("rocket.jpg", 300).save(tmp_path / "one.jpg")
    photograph("rocket.jpg", 250).save(tmp_path / "two.jpg")
    photograph("page.png").save(tmp_path / "three.png")
    command = ["check", str(tmp_path), "--warehouse", str(world.warehouse), "--scope", "a", "--processes", "1"]
    assert cli.main([*command, "--json", "--on-duplicate", "reject"]) == 10
    rows = {Path(row["image"]).name: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {name: row["action"] for name, row in rows.items()} == {
        "one.jpg": "reject",
        "two.jpg": "reject",
        "three.png": "accept",
    }
    assert rows["two.jpg"]["in_folder"][0]["image"].endswith("one.jpg")
    command[-1] = "2"
    assert cli.main([*command, "--csv", "--on-duplicate", "link"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["action"] for row in lines} == {"link", "accept"}
    assert next(row for row in lines if row["action"] == "link")["link_to_uri"].endswith(".png")
    assert (
        cli.main(
            ["check", str(tmp_path / "three.png"), "--warehouse", str(world.warehouse), "--on-duplicate", "reject"]
        )
        == 0
    )


def test_an_index_of_other_versions_is_refused_with_the_command_that_mends_it(world, tmp_path):
    build_index(str(world.warehouse), tmp_path)
    manifest_file = tmp_path / NAME
    values = json.loads(manifest_file.read_text(encoding="utf-8"))
    values["versions"]["decide"] = "another"
    manifest_file.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(VersionMixError, match=r"dupelake index --warehouse .* --full"):
        Checker(tmp_path)
    with pytest.raises(VersionMixError, match="is of the warehouse"):
        index_folder(str(tmp_path / "other"), tmp_path)
    with pytest.raises(VersionMixError, match="there is no index"):
        Checker(tmp_path / "none")


def test_a_check_by_the_profile_fast_compares_by_bytes_pixels_and_hashes_alone(world, current):
    images = world.folder / "images"
    with Checker(current, "a", profile="fast") as fast, Checker(current, "a") as whole:
        small = photograph("moon.png", 300)
        crop = photograph("ihc.png").crop((0, 0, 300, 300))
        assert (fast.check(small).status, whole.check(small).status) == ("copy", "copy")
        assert (fast.check(crop).status, whole.check(crop).status) == ("new", "copy")
        answer = fast.check(small)
        assert answer.index["profile"] == "fast"
        assert whole.check(small).index["profile"] is None
        assert {pair.row["n_inliers"] for pair in answer.pairs} == {0}
        assert answer.index["versions"]["feature"] != whole.index.manifest.versions["feature"]
        assert answer.index["versions"]["hash"] == whole.index.manifest.versions["hash"]
        assert fast.check(images / "rocket.png").is_stored


def test_a_profile_that_the_nights_did_not_have_is_refused(current):
    with Checker(current, "a", profile="balanced") as checker:
        assert checker.index.config == checker.index.manifest.options()
    with pytest.raises(ConfigError, match=r"--profile thorough: it sets features.max_words=250, .* used 150"):
        Checker(current, "a", profile="thorough")
    with pytest.raises(ConfigError, match="--profile quick: allowed is one of"):
        Checker(current, "a", profile="quick")


def test_a_build_that_is_cut_short_leaves_the_old_index(world, tmp_path, monkeypatch):
    from dupelake.lookup import build

    build_index(str(world.warehouse), tmp_path)
    before = read_manifest(tmp_path)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "write_manifest", fail)
    with pytest.raises(KeyboardInterrupt):
        build_index(str(world.warehouse), tmp_path, full=True)
    monkeypatch.undo()
    assert read_manifest(tmp_path) == before
    with Checker(tmp_path, "a") as checker:
        assert checker.check(world.folder / "images" / "new.png").is_stored
    build_index(str(world.warehouse), tmp_path, full=True)
    folders = {entry.name for entry in tmp_path.iterdir() if entry.is_dir()}
    assert len(folders) == 2  # one segment and the rows: what was cut short is removed
