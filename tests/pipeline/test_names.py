"""One file under many names, and one file of several tenants: nothing is lost, over nights as in one batch."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path

import pytest
from pictures import OPTIONS, photograph
from pyspark.sql import functions as F

from dupelake.pipeline import nightly
from dupelake.warehouse.schema import GROUPS, IMAGES, PAIRS, RUNS
from dupelake.warehouse.tables import Warehouse

KINDS = ["--set", "cluster.removable=copies"]


def listed(path: Path, *rows: dict[str, str]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("uri", "scope"), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def run(warehouse: Warehouse, manifest: str) -> dict[str, int]:
    assert nightly.main([manifest, "--warehouse", warehouse.root, *OPTIONS, *KINDS]) == 0
    counts = warehouse.read(RUNS).orderBy(F.desc("started_at")).first()["counts"]
    assert counts["read"] == counts["hashed"] + counts["skipped"] + counts["failed"]
    return counts


def found(warehouse: Warehouse) -> list:
    images = warehouse.read(IMAGES).select("image_id", "uri", "byte_size")
    return warehouse.read(GROUPS).join(images, "image_id").collect()


@pytest.mark.long
def test_one_file_under_many_names(spark, tmp_path):
    photos, warehouse = tmp_path / "photos", Warehouse(spark, str(tmp_path / "wh"))
    (photos / "deep").mkdir(parents=True)
    p5, p0 = photos / "p5.png", photos / "p0.png"
    photograph("astronaut.png", 200).save(p5)
    photograph("camera.png", 200).save(p0)
    (photos / "link.png").symlink_to(p5)
    os.link(p5, photos / "hard.png")
    (tmp_path / "album").symlink_to(photos / "deep")
    names = [p5, f"file://{p5}", f"file:{p5}", photos / "../photos/p5.png", f"{photos}//p5.png", f"{photos}/./p5.png"]
    names += [photos / "link.png", photos / "hard.png", tmp_path / "album/../p5.png", p0]
    rows = [{"uri": str(name)} for name in names]
    counts = run(warehouse, listed(tmp_path / "names.csv", *rows))
    assert (counts["read"], counts["failed"], counts["groups"]) == (10, 0, 1)
    assert (counts["removable"], counts["removable_bytes"]) == (0, 0)
    assert all(row["is_keeper"] or "the same file as the keeper" in row["reason"] for row in found(warehouse))
    # A real copy comes: of each file all names go or none, one file stays, and its bytes count once.
    (photos / "copy.png").write_bytes(p5.read_bytes())
    counts = run(warehouse, listed(tmp_path / "names.csv", *rows, {"uri": str(photos / "copy.png")}))
    goes = defaultdict(set)
    for row in found(warehouse):
        goes[os.stat(row["uri"].removeprefix("file://").removeprefix("file:")).st_ino].add(row["is_removable"])
    assert sorted(map(sorted, goes.values())) == [[False], [True]]
    assert counts["removable_bytes"] == p5.stat().st_size


@pytest.mark.long
def test_reported_manifest_is_one_file(spark, shared_data, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("p0.jpg", "p5.jpg"):
        photograph("chelsea.png" if name == "p5.jpg" else "coins.png", 160).save(tmp_path / "photos" / name)
    text = (shared_data / "reports/manifests/one-file-many-names.csv").read_text(encoding="utf-8")
    (tmp_path / "names.csv").write_text(text.replace("/data", str(tmp_path)), encoding="utf-8")
    counts = run(Warehouse(spark, str(tmp_path / "wh")), str(tmp_path / "names.csv"))
    assert (counts["read"], counts["removable"], counts["removable_bytes"]) == (7, 0, 0)


@pytest.fixture
def tenants(tmp_path):
    """Rows of two tenants and a third, of pictures below their manifests; `big` is listed for two of them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    big = photograph("chelsea.png", 300)
    big.save(folder / "big.png")
    big.resize((200, 200 * big.height // big.width)).save(folder / "small.png")
    big.resize((150, 150 * big.height // big.width)).save(folder / "smaller.png")
    photograph("coins.png", 200).save(folder / "other.png")
    listing = ("big", "a"), ("small", "a"), ("smaller", "b"), ("big", "b"), ("small", "c"), ("other", "")
    return [{"uri": str(folder / f"{name}.png"), "scope": scope} for name, scope in listing]


def outcome(warehouse: Warehouse) -> tuple[list, set]:
    """Pairs, and groups as sets of (name, scope, keeper, removable), whatever the ids are."""
    groups = defaultdict(set)
    for row in found(warehouse):
        groups[row["group_id"]].add((Path(row["uri"]).stem, row["scope"], row["is_keeper"], row["is_removable"]))
    return sorted(map(repr, warehouse.read(PAIRS).collect())), set(map(frozenset, groups.values()))


@pytest.mark.long
def test_tenants_over_two_nights_and_in_one(spark, tenants, tmp_path):
    nights, batch = (Warehouse(spark, str(tmp_path / name)) for name in ("nights", "batch"))
    nameless = [{"uri": uri} for uri in sorted({row["uri"] for row in tenants})]
    counts = run(nights, listed(tmp_path / "1.csv", *nameless))
    assert (counts["hashed"], counts["groups"], counts["images_grouped"]) == (4, 1, 3)
    counts = run(nights, listed(tmp_path / "2.csv", *tenants))
    assert (counts["read"], counts["hashed"], counts["skipped"], counts["moved"]) == (6, 2, 4, 3)
    counts = run(batch, listed(tmp_path / "2.csv", *tenants))
    assert (counts["hashed"], counts["moved"]) == (6, 0)
    assert outcome(nights) == outcome(batch)
    assert outcome(batch)[1] == {
        # small is the only picture of tenant c, so it stays for a too
        frozenset({("big", "a", True, False), ("small", "a", False, False)}),
        frozenset({("big", "b", True, False), ("smaller", "b", False, True)}),
    }
