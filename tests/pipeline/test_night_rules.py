"""A night applies enabled rules after it has grouped; the next run obeys them, and undo takes them back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pictures import OPTIONS

from dupelake import cli
from dupelake.pipeline import nightly
from dupelake.warehouse.reader import Reader

RULES = """
rules:
  list:
    - {name: apart, enabled: true, verdict: not_duplicate, pair: {accepted: true, kind: [near, crop, mirrored, edited]}}
    - {name: unused, verdict: alternate, pair: {accepted: true}}
"""


@pytest.mark.long
def test_the_next_night_obeys_what_a_night_ruled(spark, small_lake: Path, tmp_path, capsys):
    root, file = tmp_path / "dupes", tmp_path / "rules.yaml"
    shutil.copytree(small_lake / "dupes", root)
    file.write_text(RULES, encoding="utf-8")

    def night(*words: str) -> dict[str, str]:
        asked = [str(small_lake / "images"), "--warehouse", str(root), "--partitions", "2026-11-02", *OPTIONS, *words]
        assert nightly.main(asked) == 0
        rows = Reader(root).table("groups", ["image_id", "group_id", "kind"]).to_pylist()
        return {row["image_id"]: row["group_id"] for row in rows}

    def said() -> list[dict]:
        return Reader(root).query("SELECT author, verdict, count(*) AS n FROM decisions GROUP BY 1, 2").to_pylist()

    before = night()
    ruled = night("--config", str(file))
    assert "rules gave" in capsys.readouterr().out
    (row,) = said()
    assert (row["author"], row["verdict"], ruled) == ("rule:apart", "not_duplicate", before)
    obeyed = night("--config", str(file))
    apart = Reader(root).query("SELECT image_id, other_image_id FROM decisions").to_pylist()
    assert len(apart) == row["n"] > 0
    for pair in apart:
        groups = [obeyed.get(pair[end]) for end in ("image_id", "other_image_id")]
        assert None in groups or groups[0] != groups[1], pair
    reasons = Reader(root).query("SELECT count(*) AS n FROM decision_conflicts").to_pylist()
    assert reasons == [{"n": 0}]
    assert cli.main(["rules", "--warehouse", str(root), "--undo", "apart"]) == 0
    assert night() == before
    assert {one["verdict"] for one in said()} == {"not_duplicate", "withdrawn"}


def test_nights_apply_rules_to_local_warehouses_only(spark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dupelake.pipeline.ruling.local_folder", lambda root: None)  # no object store is here
    file = tmp_path / "rules.yaml"
    file.write_text(RULES, encoding="utf-8")
    (tmp_path / "images").mkdir()
    asked = [str(tmp_path / "images"), "--warehouse", str(tmp_path / "dupes"), "--config", str(file), *OPTIONS]
    assert nightly.main(asked) == 2
    assert "rules.list: apart: nights apply rules to local warehouses only" in capsys.readouterr().err
