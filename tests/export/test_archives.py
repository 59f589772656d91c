"""Members of archives: they have no path, and no script can move or check them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from exported import export
from grouped_lake import Member, copy, keeper, make_lake, written


@pytest.fixture
def members(tmp_path) -> list[Member]:
    """Loose files and members, as keepers and as copies; a folder whose name ends in `!`, with and without file ids."""
    tar, folder = f"{tmp_path}/x.tar!/", f"{tmp_path}/x!/"
    loose = [
        keeper("k1", f"{tmp_path}/k1.png", b"1", "g1", file_id="inode:1"),
        copy("c1", f"{tmp_path}/c1.png", b"1", "g1", file_id="inode:2"),
        copy("c2", f"{folder}c2.png", b"1", "g1", file_id="inode:3"),
        keeper("k4", f"{folder}k4.png", b"4", "g4", file_id="inode:4"),
        copy("c4", f"{tmp_path}/c4.png", b"4", "g4", file_id="inode:5"),
        copy("c3", f"{tmp_path}/c3.png", b"2", "g2", file_id="inode:6"),
    ]
    inside = [
        copy("m1", f"{tar}m1.png", b"1", "g1", file_id="inode:7!/m1.png"),
        copy("m2", f"{tar}m2.png", b"1", "g1"),  # of an older release, which stored no file_id
        keeper("m3", f"{tar}m3.png", b"2", "g2", file_id="inode:7!/m3.png"),
        Member("m4", f"{tar}m4.png", b"5", file_id="inode:7!/m4.png"),
    ]
    return [*written(loose), *inside]


@pytest.fixture
def lake(tmp_path, members) -> Path:
    return make_lake(tmp_path / "lake", members)


def test_the_quarantine_leaves_them_out_and_says_why(lake, tmp_path, capsys):
    script = export("quarantine", lake, tmp_path / "q.sh").read_text()
    told = capsys.readouterr()
    assert "3 files to move, 3 B in all" in told.out
    assert {Path(line.split("'")[1]).name for line in script.splitlines() if line.startswith("move '")} == {
        *("c1.png", "c2.png", "c4.png")
    }
    assert "2 images that may go are members of archives" in told.err
    assert "the kept image of 1 images that may go is a member of an archive" in told.err
    assert "no local files" not in told.err


def test_a_member_has_no_path(lake, tmp_path, members):
    with export("csv", lake, tmp_path / "x.csv").open(newline="") as file:
        rows = {row["image_id"]: row for row in csv.DictReader(file)}
    uris = {one.image_id: one.uri for one in members}
    for name in ("m1", "m2"):
        assert (rows[name]["uri"], rows[name]["path"], rows[name]["keeper_path"]) == (uris[name], "", uris["k1"])
    assert (rows["c3"]["path"], rows["c3"]["keeper_path"], rows["c3"]["keeper_uri"]) == (uris["c3"], "", uris["m3"])
    assert (rows["c2"]["path"], rows["c4"]["keeper_path"]) == (uris["c2"], uris["k4"])


def test_tools_get_the_uri_of_a_member_and_fiftyone_none(lake, tmp_path, members, capsys):
    uris = {one.image_id: one.uri for one in members}
    inside = {name: uri for name, uri in uris.items() if name.startswith("m")}
    paths = pq.read_table(export("fiftyone", lake, tmp_path / "x.parquet"))["filepath"].to_pylist()
    assert set(paths) == set(uris.values()) - set(inside.values())
    assert "3 images are members of archives, which FiftyOne cannot open; left out" in capsys.readouterr().err
    folder = ("--folder", str(tmp_path))
    rows = pq.read_table(export("datasets", lake, tmp_path / "y.parquet", *folder)).to_pylist()
    names = {str(Path(uri).relative_to(tmp_path)) for name, uri in uris.items() if name not in inside}
    assert {row["file_name"] for row in rows} == names | set(inside.values())
    assert {row["keeper"] for row in rows if row["group_id"] == "g2"} == {inside["m3"]}
    assert "4 images are members of archives; their file_name is their URI" in capsys.readouterr().err
    found = json.loads(export("imagededup", lake, tmp_path / "z.json", *folder).read_text())
    assert set(found) == names | set(inside.values())
    assert found["c3.png"] == [[inside["m3"], 1.0]]
    groups = json.loads(export("dupe-scanner", lake, tmp_path / "d.json").read_text())
    assert [inside["m3"], uris["c3"]] in groups.values()
