"""Files of several images, and images of one asset: none goes while one of its names stays."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from exported import export
from grouped_lake import Member, copy, keeper, make_lake

from dupelake.group.totals import may_go_by_group, may_go_by_kind, what_may_go
from dupelake.notebook.questions import removable_of
from dupelake.warehouse.reader import Reader


def removed_by_imagededup(pairs: dict[str, list[list]]) -> set[str]:
    """What `get_files_to_remove` of imagededup 0.3 returns: the order of the keys decides."""
    found: set[str] = set()
    for name, others in pairs.items():
        if name not in found:
            found.update(other for other, _ in others)
    return found


F, G, H = "/f.png", "/g.png", "/h.png"


@pytest.mark.parametrize(
    "of_other_scope",
    [
        pytest.param([Member("f-b", F, b"1", scope="b")], id="single"),
        pytest.param([keeper("f-b", F, b"1", "gb", scope="b"), copy("h-b", H, b"1", "gb", scope="b")], id="keeper"),
        pytest.param(
            [keeper("h-b", H, b"1", "gb", scope="b"), Member("f-b", F, b"1", "gb", "alternate", scope="b")],
            id="alternate",
        ),
        pytest.param(
            [keeper("h-b", H, b"old", "gb", scope="b"), copy("f-b", F, b"old", "gb", scope="b")], id="read earlier"
        ),
    ],
)
@pytest.mark.parametrize("more", [(), ("--members", "all")], ids=["removable", "all"])
def test_imagededup_keeps_the_keeper_that_is_several_images(tmp_path, of_other_scope, more):
    members = [keeper("f-a", F, b"1", "ga", scope="a"), copy("g-a", G, b"1", "ga", scope="a"), *of_other_scope]
    found = json.loads(export("imagededup", make_lake(tmp_path / "lake", members), tmp_path / "x", *more).read_text())
    assert set(found) == {one.uri for one in members}
    assert {(a, b) for a in found for b, _ in found[a]} == {(b, a) for a in found for b, _ in found[a]}
    assert [G, 1.0] in found[F]
    if not more:
        gone = {one.uri for one in members if one.is_removable}
        assert removed_by_imagededup(found) == gone - {F}


def check_totals(reader: Reader) -> None:
    """The bytes of the page and of `runs` are those of the view; of tiers, only of files of which all names may go."""
    freed = sum(row["freed_bytes"] for row in reader.query("SELECT freed_bytes FROM removable").to_pylist())
    (may_go,) = reader.query(what_may_go()).to_pylist()
    assert may_go["removable_bytes"] == freed >= may_go["copies_bytes"]
    assert sum(row["removable_bytes"] for row in reader.query(may_go_by_group()).to_pylist()) == freed
    assert sum(row["bytes"] for row in reader.query(may_go_by_kind()).to_pylist()) == may_go["copies_bytes"]


@pytest.mark.parametrize("group", ["ga", "gz"])
def test_nothing_goes_on_the_word_of_a_reading_that_is_out_of_date(tmp_path, group):
    """Scope b read F before it was overwritten, and says that F is a copy of H. Scope a keeps F."""
    members = [
        keeper("f-a", F, b"1", group, scope="a"),
        copy("g-a", G, b"1", group, scope="a"),
        keeper("h-b", H, b"old", "gb", scope="b"),
        replace(copy("f-b", F, b"old", "gb", scope="b"), nights_ago=1),
    ]
    lake = make_lake(tmp_path / "lake", members)
    listed = export("csv", lake, tmp_path / "x.csv").read_text()
    assert [line.split(",")[0].strip('"') for line in listed.splitlines()[1:]] == ["g-a"]
    assert list(json.loads(export("dupe-scanner", lake, tmp_path / "x.json").read_text()).values()) == [[F, G]]
    reader = Reader(lake)
    assert reader.query("SELECT image_id FROM removable").to_pylist() == [{"image_id": "g-a"}]
    rows = pq.read_table(export("datasets", lake, tmp_path / "x.parquet")).to_pylist()
    assert {row["file_name"] for row in rows if row["is_removable"]} == {G}
    check_totals(reader)


def test_copies_of_a_keeper_that_was_overwritten_stay(tmp_path):
    members = [
        replace(keeper("f-b", F, b"old", "gb", scope="b"), nights_ago=1),
        copy("g-b", G, b"old", "gb", scope="b"),
        Member("f-a", F, b"1", scope="a"),
    ]
    lake = make_lake(tmp_path / "lake", members)
    assert Reader(lake).query(removable_of()).num_rows == Reader(lake).query("SELECT * FROM removable").num_rows == 0
    check_totals(Reader(lake))


def test_a_file_that_is_two_images_of_a_group_is_named_once(tmp_path):
    again = Member("f-2", F, b"1", "g", "copy", tier="identical", is_removable=False)
    lake = make_lake(tmp_path / "lake", [keeper("f-1", F, b"1", "g"), again, copy("g-1", G, b"1", "g")])
    found = json.loads(export("imagededup", lake, tmp_path / "x.json", "--members", "all").read_text())
    assert found == {F: [[G, 1.0]], G: [[F, 1.0]]}
    found = json.loads(export("dupe-scanner", lake, tmp_path / "y.json", "--members", "all").read_text())
    assert list(found.values()) == [[F, G]]


def test_imagededup_finds_a_copy_of_several_scopes(tmp_path):
    members = [
        one
        for scope in "ab"
        for one in (
            keeper(f"k-{scope}", f"/{scope}.png", b"1", scope, scope=scope),
            copy(f"f-{scope}", F, b"1", scope, scope=scope),
        )
    ]
    found = json.loads(export("imagededup", make_lake(tmp_path / "lake", members), tmp_path / "x").read_text())
    assert found == {"/a.png": [[F, 1.0]], "/b.png": [[F, 1.0]], F: [["/a.png", 1.0], ["/b.png", 1.0]]}


def asset(number: int) -> str:
    return str(uuid.UUID(int=number))


def test_immich_keeps_an_asset_of_which_one_file_stays(tmp_path):
    """1: original and preview. 2: preview in another group. 3: original in no group. 4: it was not read. 5: all go."""

    def of(number: int, image: Member) -> Member:
        return replace(image, extra={"asset": asset(number)})

    members = [
        of(1, keeper("k1", "/k1", b"1", "g1")),
        of(1, copy("c1", "/c1", b"1", "g1")),
        of(2, copy("c2", "/c2", b"1", "g1")),
        of(5, copy("c5", "/c5", b"1", "g1")),
        of(5, copy("d5", "/d5", b"1", "g1")),
        of(2, keeper("k2", "/k2", b"2", "g2")),
        of(3, copy("c3", "/c3", b"2", "g2")),
        of(4, copy("c4", "/c4", b"2", "g2")),
        replace(Member("s3", "/s3", b"3"), extra={"asset": asset(3).upper()}),
        of(4, Member("f4", "/f4", None)),
        of(5, Member("d", "/d", b"5", is_deleted=True)),
        of(6, keeper("k6", "/k6", b"6", "g6")),
        of(6, copy("c6", "/c6", b"6", "g6")),
    ]
    out = export("immich", make_lake(tmp_path / "lake", members), tmp_path / "x.jsonl", "--id-column", "asset")
    bodies = [json.loads(line)["ids"] for line in out.read_text().splitlines()]
    assert bodies == [[asset(n) for n in (1, 2, 5)], [asset(n) for n in (2, 3, 4)]], "each asset once; none alone"
    ends = [json.loads(line)["groups"][0] for line in (tmp_path / "x-resolve.jsonl").read_text().splitlines()]
    assert [(end["keepAssetIds"], end["trashAssetIds"]) for end in ends] == [([asset(1), asset(2)], [asset(5)])]


def lake_of_several_scopes(tmp_path: Path) -> Path:
    """Files of several names, in two scopes, of all tiers; each keeper has an image of its own."""
    both = {"file_id": "inode:1"}
    members = [
        keeper("k1", "/k1", b"1", "g1", scope="a"),
        copy("a1", "/f", b"1", "g1", scope="a", **both),
        copy("a2", "/link", b"1", "g1", "verified", scope="a", **both),
        copy("a3", "/alone", b"1", "g1", "copies", scope="a"),
        Member("a4", "/changed", b"4", "g1", "alternate", scope="a"),
        keeper("k2", "/k2", b"1", "g2", scope="b"),
        copy("b1", "/f", b"1", "g2", scope="b", **both),
        keeper("k3", "/k3", b"3", "g3", scope="b"),
        copy("b2", "/f3", b"3", "g3", scope="b"),
        copy("b3", "/f3", b"3", "g3", scope="b"),
    ]
    return make_lake(tmp_path / "lake", members, "copies")


CHANGES = {
    "nothing": ("", {}),
    "a copy was deleted": ("image_id = 'a1'", {"deleted_at": "ingested_at"}),
    "a copy has other bytes": ("image_id = 'a1'", {"content_id": "'of other bytes'"}),
    "a copy cannot be read": ("image_id = 'b2'", {"status": "'failed'"}),
    "a keeper was deleted": ("image_id = 'k1'", {"deleted_at": "ingested_at"}),
    "a keeper has other bytes": ("image_id = 'k2'", {"content_id": "'of other bytes'"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_exports_and_the_view_say_the_same(tmp_path, change):
    lake = lake_of_several_scopes(tmp_path)
    where, values = CHANGES[change]
    if where:
        DeltaTable(str(lake / "images")).update(predicate=where, updates=values)
    reader = Reader(lake)
    names = ["image_id", "uri", "group_id", "keeper_id", "keeper_uri", "tier", "kind", "score_to_keeper", "reason"]
    names += ["byte_size", "freed_bytes"]
    expected = reader.table("removable", names, order="group_id, image_id").to_pylist()
    assert expected
    assert reader.query(removable_of()).select(names).to_pylist() == expected
    parts = [row for n in "123" for row in reader.query(removable_of(f"group_id = 'g{n}'")).select(names).to_pylist()]
    assert parts == expected
    check_totals(reader)
