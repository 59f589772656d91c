"""The views on tables that delta-rs wrote; tests/pipeline/test_register.py asks them in all engines."""

from __future__ import annotations

from deltalake import write_deltalake
from grouped_lake import Member, copy, keeper, make_lake
from made_lake import arrow

from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import PAIRS


def test_a_pair_whose_images_are_gone_is_not_kept_apart(tmp_path):
    members = {
        name: Member(name, f"/{name}", name.encode(), is_deleted=name.startswith("gone"))
        for name in ("a", "b", "gone1", "gone2")
    }
    members |= {"k": keeper("k", "/k", b"k", "g"), "c": copy("c", "/c", b"c", "g")}
    lake = make_lake(tmp_path / "lake", members.values())
    expected = {}
    for one, other, told, outcome in [
        ("k", "c", {"is_duplicate": True}, "grouped"),
        ("a", "b", {"is_duplicate": True}, "apart"),
        ("a", "gone1", {"is_duplicate": True}, "gone"),
        ("gone1", "gone2", {"is_duplicate": True}, "gone"),
        ("gone2", "b", {"is_duplicate": False, "kind": "similar"}, "similar"),
        ("gone2", "c", {"is_duplicate": False}, "rejected"),
    ]:
        src, dst = sorted(members[name].content()["content_id"] for name in (one, other))
        versions = {name: "1" for name in PAIRS.columns if name.endswith("_version")}
        row = {"src_id": src, "dst_id": dst, "found_by": "words", "score": 0.5, "is_mirrored": False} | versions | told
        write_deltalake(str(lake / "pairs"), arrow(PAIRS, [row]), mode="append")
        expected[src, dst] = outcome
    rows = Reader(lake).table("pairs_explained").to_pylist()
    assert {(row["src_id"], row["dst_id"]): row["outcome"] for row in rows} == expected
