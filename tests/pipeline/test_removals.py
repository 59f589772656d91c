"""Images that go, come back, change or fail for a while: tombstones, listings, `forget`, marks, further attempts."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import deltalake
import pytest
from pictures import FAST, photograph, png
from PIL import Image
from pyspark.sql import SparkSession

from dupelake.fingerprint.fingerprint import content_id
from dupelake.pipeline import cluster, common, forget, hash, lsh_join
from dupelake.warehouse.schema import FEATURES, GROUPS, HASHES, IMAGES, JOINED, PAIRS, RUNS, THUMBNAILS, Table
from dupelake.warehouse.tables import Warehouse


class Lake:
    """A folder of files, a manifest, and a warehouse."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.folder, self.root = folder, str(folder / "wh")
        self.warehouse = Warehouse(spark, self.root)
        self.manifest = folder / "manifest.csv"
        (folder / "files").mkdir()

    def put(self, name: str, data: bytes) -> str:
        path = self.folder / "files" / name
        path.write_bytes(data)
        return str(path)

    def write(self, *rows: dict[str, str]) -> None:
        columns = sorted({name for row in rows for name in row} | {"uri"})
        with self.manifest.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def hash(self, *options: str, path: Path | None = None) -> dict[str, int]:
        assert hash.main([str(path or self.manifest), "--warehouse", self.root, *FAST, *options]) == 0
        return self.counts()

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """Through delta-rs: a tenth of the time that Spark takes for a few rows."""
        found = deltalake.DeltaTable(self.warehouse.path(table)).to_pyarrow_table().to_pylist()
        maps = ("extra", "marks", "counts")
        return [{k: dict(v) if k in maps and v is not None else v for k, v in row.items()} for row in found]

    def last(self) -> dict[str, Any]:
        return max(self.rows(RUNS), key=lambda row: row["started_at"])

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.last()["counts"]
        if "read" in counts:
            assert counts["read"] == counts["hashed"] + counts["skipped"] + counts["failed"]
        return counts

    def version(self, table: Table) -> int:
        return deltalake.DeltaTable(self.warehouse.path(table)).version()

    def images(self) -> dict[str, dict[str, Any]]:
        return {Path(row["uri"]).name: row for row in self.rows(IMAGES)}

    def contents(self, table: Table) -> set[str]:
        return {row["content_id"] for row in self.rows(table)}

    def gone(self) -> dict[str, str]:
        rows = self.images().items()
        assert all((row["deleted_at"] is None) == (row["deleted_reason"] is None) for _, row in rows)
        return {name: row["deleted_reason"] for name, row in rows if row["deleted_at"]}

    def groups(self) -> set[frozenset[str]]:
        names = {row["image_id"]: name for name, row in self.images().items()}
        found: dict[str, set[str]] = {}
        for row in self.rows(GROUPS):
            found.setdefault(row["group_id"], set()).add(names[row["image_id"]])
        return {frozenset(members) for members in found.values()}


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    return Lake(spark, tmp_path)


@pytest.mark.long
def test_tombstones_and_returns(lake: Lake) -> None:
    uris = {name: lake.put(name, png(at)) for at, name in enumerate(("a", "b", "c", "d"))}
    base = [{"image_id": name, "uri": uri, "partition": "1"} for name, uri in uris.items()]
    lake.write(*base)
    assert lake.hash()["hashed"] == 4
    version = lake.version(HASHES)
    stones = [
        {"image_id": "a", "uri": uris["a"], "partition": "2", "deleted": "Yes"},
        {"image_id": "b", "uri": "", "partition": "2", "deleted": "true"},  # by id alone
        {"image_id": "c", "uri": "/elsewhere", "partition": "2", "deleted": "1"},  # about another image
        {"image_id": "d", "uri": uris["d"], "partition": "2", "deleted": "perhaps"},
    ]
    lake.write(*base, *stones)
    counts = lake.hash("--partitions", "2")  # the rows of a and b are of partition 1, their tombstones are not
    assert (counts["read"], counts["skipped"], counts["removed"]) == (8, 8, 2)
    assert lake.gone() == {"a": "tombstone", "b": "tombstone"}
    lake.write(*base, *stones, {"image_id": "a", "uri": uris["a"], "partition": "3", "deleted": "false"})
    counts = lake.hash()
    assert (counts["returned"], counts["hashed"], counts["removed"]) == (1, 1, 0)
    assert lake.gone() == {"b": "tombstone"}
    assert lake.version(HASHES) == version
    lake.write({"image_id": "b", "uri": lake.put("b2", png(9)), "partition": "4"})  # the id is free again
    assert lake.hash()["returned"] == 1
    assert lake.images().keys() == {"a", "b2", "c", "d"}
    assert lake.gone() == {}


@pytest.mark.long
def test_a_night_that_reads_an_image_does_not_remove_it(lake: Lake) -> None:
    names = ("moves", "old", "new")
    moves, old, new = (lake.put(name, png(at)) for at, name in enumerate(names))
    lake.write({"uri": moves, "etag": "1"}, {"image_id": "i", "uri": old, "etag": "1"})
    assert lake.hash()["hashed"] == 2
    lake.put("moves", png(7))
    changed = {"uri": moves, "etag": "2", "scope": "b"}
    gone = {"uri": moves, "scope": "a", "deleted": "yes"}
    lake.write(changed, gone, {"image_id": "i", "uri": old, "etag": "1"})
    counts = lake.hash()
    assert (counts["changed"], counts["moved"], counts["hashed"], counts["removed"]) == (1, 1, 1, 0)
    assert lake.images()["moves"]["scope"] == "b"
    given = {"image_id": "i", "uri": old, "deleted": "yes"}, {"image_id": "i", "uri": new}
    lake.write(changed, gone, *given)
    counts = lake.hash("--full")
    assert (counts["hashed"], counts["removed"]) == (2, 0)
    assert lake.images().keys() == {"moves", "new"}
    assert lake.gone() == {}


@pytest.mark.long
def test_a_listing_removes_what_it_covers_and_lacks(lake: Lake) -> None:
    uris = {name: lake.put(name, png(1)) for name in ("a", "b", "c", "mine", "other")}
    rows = {name: {"image_id": name, "uri": uri, "scope": "s"} for name, uri in uris.items()}
    rows["mine"]["scope"] = "t"
    other = lake.folder / "other.csv"
    other.write_text(f"image_id,uri,scope\nother,{uris['other']},s\n", encoding="utf-8")
    lake.hash(path=other)
    lake.write(*(rows[name] for name in ("a", "b", "c", "mine")))
    lake.hash()
    lake.write(rows["a"], rows["b"])
    assert lake.hash("--listing")["removed"] == 1
    assert lake.gone() == {"c": "not_listed"}, "neither another scope nor another source"
    lake.write(rows["c"], rows["a"], rows["b"])
    assert lake.hash("--listing")["returned"] == 1
    assert lake.gone() == {}


@pytest.mark.long
def test_doubtful_listings_remove_nothing(lake: Lake) -> None:
    def write(*rows: tuple[str, str, str]) -> None:
        lake.write(*({"image_id": name, "uri": uri, "deleted": deleted} for name, uri, deleted in rows))

    uris = {name: lake.put(f"{name}.png", png(at)) for at, name in enumerate("abcd")}
    write(*((name, uri, "") for name, uri in uris.items()))
    lake.hash()
    a = ("a", uris["a"], "")
    for rows, why in (([], "lists nothing"), ([a, ("", "", "")], "no uri"), ([a], "3 of the 4")):
        write(*rows)
        assert hash.main([str(lake.manifest), "--warehouse", lake.root, *FAST, "--listing"]) == 2
        assert why in lake.last()["error_message"]
        assert lake.gone() == {}
    write(a, *((name, uris[name], "true") for name in "bcd"))
    assert lake.hash("--listing")["removed"] == 3, "tombstones need no share"


@pytest.mark.long
def test_a_tree_covers_what_lies_below_it_and_notices_changes(lake: Lake) -> None:
    files = lake.folder / "files"
    (files / "sub").mkdir()
    for at, name in enumerate(("one.png", "two.png", "three.png", "sub/four.png")):
        lake.put(name, png(at))
    lake.put("note.txt", b"text")
    lake.hash(path=files)
    before, was = lake.version(IMAGES), lake.images()["one.png"]
    assert lake.hash("--listing", path=files)["removed"] == 0
    assert lake.version(IMAGES) == before
    for name in ("two.png", "note.txt", "sub/four.png"):
        (files / name).unlink()
    lake.put("sub/five.png", png(5))
    lake.put("one.png", png(6, side=128))
    ending = ("--set", "manifest.extensions=[png]", "--set", "manifest.max_removed_fraction=1")
    assert lake.hash("--listing", *ending, path=files / "sub")["removed"] == 1
    assert lake.gone() == {"four.png": "not_listed"}
    counts = lake.hash("--listing", *ending, path=files)
    assert (counts["removed"], counts["changed"], counts["skipped"]) == (1, 1, 2)
    assert lake.gone() == {"four.png": "not_listed", "two.png": "not_listed"}, "not the endings that were not asked for"
    now = lake.images()["one.png"]
    assert now["content_id"] != was["content_id"]
    assert int(now["marks"]["byte_size"]) == now["byte_size"] == len(png(6, side=128))


@pytest.mark.long
def test_bytes_that_changed(lake: Lake) -> None:
    old, new = png(1), png(2)
    uris = {name: lake.put(name, old) for name in ("a", "b", "c")}

    def night(mark: str, *options: str, column: str = "etag") -> dict[str, int]:
        lake.write(*({"uri": uri, column: mark if name == "a" else "x"} for name, uri in uris.items()))
        return lake.hash(*options)

    lake.write(*({"uri": uri} for uri in uris.values()))
    lake.hash()
    was = lake.images()["a"]["content_id"]
    counts = night("1")
    assert (counts["hashed"], counts["changed"]) == (0, 0), "the first marks are taken down, nothing is read"
    assert lake.images()["a"]["marks"] == {"etag": "1"}
    lake.put("a", new)
    counts = night("2")
    assert (counts["changed"], counts["hashed"], counts["contents_new"]) == (1, 1, 1)
    rows = lake.images()
    assert rows["a"]["content_id"] != was == rows["b"]["content_id"]
    assert rows["a"]["marks"] == {"etag": "2"}
    assert len(lake.rows(HASHES)) == 2
    assert night("7", column="byte_size")["changed"] == 0, "another kind of mark tells nothing"
    assert lake.images()["a"]["marks"] == {"etag": "2", "byte_size": "7"}


@pytest.mark.long
def test_the_scale_of_a_pair_whose_first_bytes_no_image_has(lake: Lake) -> None:
    picture, files = photograph("rocket.jpg", 640), []
    for text in (b"", b"another"):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=90, comment=text)
        files.append(file.getvalue())
    first, second = sorted(files, key=content_id)  # the first stands for both, also when no image has it
    half = io.BytesIO()
    picture.resize((320, 213)).save(half, "PNG")
    row = {"image_id": "whole", "uri": lake.put("whole", first), "etag": "1"}
    lake.write(row)
    lake.hash()
    lake.put("whole", second)
    lake.write(row | {"etag": "2"}, {"image_id": "half", "uri": lake.put("half", half.getvalue())})
    assert lake.hash()["changed"] == 1
    assert lsh_join.main(["--warehouse", lake.root, *FAST]) == 0
    (pair,) = (row for row in lake.rows(PAIRS) if row["found_by"] != "pixel")
    assert {pair["src_id"], pair["dst_id"]} == {content_id(first), content_id(half.getvalue())}
    factor = 2 if pair["dst_id"] == content_id(first) else 0.5
    assert pair["scale"] == pytest.approx(factor, rel=0.03)


@pytest.mark.long
def test_failed_images_are_tried_again_up_to_a_limit(lake: Lake) -> None:
    good = lake.put("good", png(1))
    text = lake.put("text", b"no image")
    cut = lake.put("cut", png(2)[:500])
    late, never = str(lake.folder / "files" / "late"), str(lake.folder / "files" / "never")
    lake.write(*({"uri": uri} for uri in (good, text, cut, late, never)))
    limit = ("--set", "run.max_attempts=3", "--set", "run.max_failed_fraction=1")
    assert lake.hash(*limit)["failed"] == 4
    assert {name: row["attempts"] for name, row in lake.images().items()} == {
        "good": 0, "text": 1, "cut": 1, "late": 1, "never": 1}  # fmt: skip
    counts = lake.hash(*limit)
    assert (counts["retried"], counts["failed"], counts["skipped"]) == (3, 3, 2), "undecodable bytes stay so"
    lake.put("late", png(3))
    counts = lake.hash(*limit)
    assert (counts["retried"], counts["hashed"], counts["failed"]) == (3, 1, 2)
    rows = lake.images()
    assert (rows["late"]["status"], rows["late"]["attempts"], rows["never"]["attempts"]) == ("ok", 0, 3)
    before = lake.version(IMAGES)
    assert lake.hash(*limit)["retried"] == 0
    assert lake.version(IMAGES) == before


@pytest.mark.long
def test_forget_purge_and_undo_through_pairs_and_groups(lake: Lake, capsys) -> None:
    first, twin, resaved = png(1, 200), png(1, 200), io.BytesIO()
    Image.open(io.BytesIO(first)).save(resaved, "BMP")
    names = {"keeper.png": first, "twin.png": twin, "pixels.bmp": resaved.getvalue(), "small.png": png(1, 150)}
    uris = {name: lake.put(name, data) for name, data in names.items()}
    lone = lake.put("lone.png", png(5))
    lake.write(*({"image_id": Path(uri).stem, "uri": uri} for uri in (*uris.values(), lone)))
    lake.hash()
    for job in (lsh_join, cluster):
        assert job.main(["--warehouse", lake.root, *FAST]) == 0
    assert lake.groups() == {frozenset(names)}
    group = lake.rows(GROUPS)[0]["group_id"]
    contents = {name: row["content_id"] for name, row in lake.images().items()}
    capsys.readouterr()

    call = ["--warehouse", lake.root, *FAST]
    before = [lake.version(table) for table in (IMAGES, PAIRS, GROUPS, JOINED)]
    for option, told in (("decide.min_score=0.9", "is 0.9, was 0.5"), ("cluster.removable=copies", "is 'copies', was")):
        assert forget.main([*call, "--image", "pixels", "--set", option]) == 2, "it would decide and group all anew"
        assert f"{option.partition('=')[0]} {told}" in lake.last()["error_message"]
        assert [lake.version(table) for table in (IMAGES, PAIRS, GROUPS, JOINED)] == before

    listed = lake.folder / "takedown.csv"
    listed.write_text("image_id\nlone\nnobody\n", encoding="utf-8")
    named = ["--image", "pixels", "--uri", uris["keeper.png"], "--csv", str(listed)]
    assert forget.main([*call, *named, "--purge"]) == 3
    said = capsys.readouterr().out
    assert "VACUUM delta.`" in said
    assert "4 given, 1 unknown; images forgotten: 3" in said
    last = lake.last()
    told = "1 of the 4 names given are of no image in the warehouse, such as nobody; the other 3 are done"
    assert told in last["error_message"]
    assert last["counts"]["purged.hashes"] == 2
    assert lake.gone() == dict.fromkeys(("keeper.png", "pixels.bmp", "lone.png"), "forgotten")
    left = {contents["twin.png"], contents["small.png"]}
    assert contents["keeper.png"] in left, "its twin still holds these bytes"
    for table in (HASHES, THUMBNAILS, FEATURES):
        assert lake.contents(table) == left, table.name
    assert lake.contents(JOINED) == left
    pairs = lake.rows(PAIRS)
    assert {row[side] for row in pairs for side in ("src_id", "dst_id")} == left, "no measure of a purged picture stays"
    assert lake.groups() == {frozenset({"twin.png", "small.png"})}
    assert [Path(row["uri"]).name for row in lake.rows(IMAGES) if row["image_id"] in keepers(lake)] == ["twin.png"]
    assert lake.rows(GROUPS)[0]["group_id"] == group
    assert all(Path(uri).exists() for uri in (*uris.values(), lone)), "files are nobody's to touch"

    assert lake.hash("--full")["returned"] == 0
    assert len(lake.gone()) == 3, "a manifest that still lists it does not undo it"
    assert forget.main([*call, "--image", "pixels", "--undo"]) == 0
    assert lake.gone()["pixels.bmp"] == "undone"
    assert lake.hash()["returned"] == 1
    assert lake.gone().keys() == {"keeper.png", "lone.png"}
    assert contents["pixels.bmp"] in lake.contents(HASHES), "what was purged is there again"


def stop_at(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    def reached(now: str) -> None:
        if now == point:
            raise RuntimeError(now)

    monkeypatch.setattr(common, "reached", reached)


@pytest.mark.long
def test_a_content_with_hashes_has_its_thumbnail_and_features_after_a_kill(lake: Lake, monkeypatch) -> None:
    uri = lake.put("a", png(1, 400))
    lake.write({"image_id": "a", "uri": uri})
    of_contents, call = (HASHES, FEATURES, THUMBNAILS), ["--warehouse", lake.root, *FAST]
    for point, n_left in (("after:features", [0, 1, 0]), ("after:thumbnails", [0, 1, 1])):
        stop_at(monkeypatch, point)
        assert hash.main([str(lake.manifest), *call]) == 1
        assert [len(lake.rows(table)) for table in of_contents] == n_left
    monkeypatch.undo()
    (drawn,) = lake.rows(THUMBNAILS)
    other = ("--set", "hash.thumbnail_quality=50")
    assert lake.hash(*other)["contents_new"] == 1
    assert [len(lake.rows(table)) for table in of_contents] == [1, 1, 1]
    assert len(lake.rows(THUMBNAILS)[0]["bytes"]) < len(drawn["bytes"]), "the thumbnail is of the options of the hashes"
    purge = [*call, *other, "--image", "a", "--purge"]
    stop_at(monkeypatch, "after:hashes")
    assert forget.main(purge) == 1
    assert [len(lake.rows(table)) for table in of_contents] == [0, 1, 1]
    monkeypatch.undo()
    assert forget.main(purge) == 0
    assert [len(lake.rows(table)) for table in of_contents] == [0, 0, 0]


def keepers(lake: Lake) -> set[str]:
    return {row["image_id"] for row in lake.rows(GROUPS) if row["is_keeper"]}


def test_forget_refuses_before_spark(tmp_path: Path, capsys) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("name\nx\n", encoding="utf-8")
    where = ["--warehouse", str(tmp_path / "none"), "--set", "run.nothing=1"]
    assert forget.main([*where, "--csv", str(bad), "--csv", str(tmp_path / "no.csv"), "--purge", "--undo"]) == 2
    said = capsys.readouterr().err
    for part in ("neither a column image_id nor uri", "no.csv", "--undo", "holds no table images", "run.nothing"):
        assert part in said
    assert forget.main(["--warehouse", str(tmp_path)]) == 2
    assert "none is given" in capsys.readouterr().err
