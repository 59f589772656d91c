"""`dupelake decide` on a local warehouse: by delta-rs, without Spark, in seconds."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake
from made_lake import arrow, make_night
from pictures import SCENES, photograph
from serving import encoded

from dupelake import cli
from dupelake.group import giving
from dupelake.runtime.lock import PEOPLE, lock_of
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import HASHES

URIS = [f"/photos/{name}" for name in SCENES[:3]]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A warehouse; Spark must not start."""

    def no_spark(*_):
        raise AssertionError("Spark was started")

    monkeypatch.setattr("dupelake.runtime.session.build_session", no_spark)
    make_night(tmp_path / "dupes", {uri: encoded(photograph(Path(uri).name)) for uri in URIS})
    return tmp_path / "dupes"


def said(lake: Path) -> list[tuple]:
    rows = Reader(lake).table("decisions").to_pylist()
    uri = {row["image_id"]: row["uri"] for row in Reader(lake).table("images").to_pylist()}
    return sorted((uri[row["image_id"]], row["verdict"], uri.get(row["other_image_id"]), row["note"]) for row in rows)


def decide(lake: Path, *words: str) -> int:
    return cli.main(["decide", "--warehouse", str(lake), "--author", "ann", *words])


def test_by_hand_and_from_a_file_that_is_given_twice(lake, tmp_path, capsys):
    a, b, c = URIS
    assert decide(lake, a, "not_duplicate", "file://" + b, "--note", "look") == 0
    assert "1 verdicts added, 0 already given by ann.\nThe next run" in capsys.readouterr().out
    table = tmp_path / "said.csv"
    table.write_text(f"image_id,other_image_id,verdict,note\n{b},{a},not_duplicate,\n{c},,keeper,\n{a},{b},,\n")
    assert decide(lake, "--csv", str(table)) == 0
    assert capsys.readouterr().out.startswith("1 verdicts added, 1 already given by ann; 1 rows without a verdict")
    assert decide(lake, "--csv", str(table)) == 0
    assert capsys.readouterr().out == "0 verdicts added, 2 already given by ann; 1 rows without a verdict left out.\n"
    assert said(lake) == sorted([(a, "not_duplicate", b, "look"), (c, "keeper", None, None)])
    assert Reader(lake).table("decided").num_rows == 3
    assert decide(lake, c, "keeper", "--again") == 0
    assert len(said(lake)) == 3


def test_a_verdict_on_other_bytes_is_new_and_on_equal_pixels_is_not(lake, capsys):
    a, b, c = Reader(lake).table("images", order="uri").to_pylist()

    def again_after_a_shows(content: str) -> str:
        shown = {"content_id": f"'{content}'"}
        DeltaTable(str(lake / "images")).update(predicate=f"image_id = '{a['image_id']}'", updates=shown)
        capsys.readouterr()
        assert decide(lake, b["uri"], "not_duplicate", a["uri"]) == 0
        return capsys.readouterr().out.partition(".")[0]

    added, known = "1 verdicts added, 0 already given by ann", "0 verdicts added, 1 already given by ann"
    assert decide(lake, a["uri"], "not_duplicate", b["uri"]) == 0
    assert again_after_a_shows(a["content_id"]) == known
    assert again_after_a_shows(c["content_id"]) == added
    pins = Reader(lake).table("decided", where=f"image_id = '{a['image_id']}'").to_pylist()
    assert {row["content_id"] for row in pins} == {a["content_id"], c["content_id"]}
    assert again_after_a_shows(c["content_id"]) == known
    row = Reader(lake).table("hashes", where=f"content_id = '{c['content_id']}'").to_pylist()[0]
    write_deltalake(str(lake / "hashes"), arrow(HASHES, [row | {"content_id": "e" * 32}]), mode="append")
    assert again_after_a_shows("e" * 32) == known, "a tag was edited"
    assert again_after_a_shows("f" * 32) == added, "nobody knows its pixels yet"


def test_who_waits_in_vain_is_told(lake, monkeypatch, capsys):
    monkeypatch.setattr(giving, "WAIT_S", 0.5)
    other = lock_of(None, str(lake), "decide of bob", 0, 900, PEOPLE)
    other.acquire()
    try:
        assert decide(lake, URIS[0], "keeper") == 4
    finally:
        other.release()
    assert "decide of bob (process" in capsys.readouterr().err
    assert said(lake) == []


def test_a_table_of_thousands_of_names_is_looked_up_at_once(lake, tmp_path, capsys):
    """And a fault in one row means that nothing is added."""
    table = tmp_path / "long.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "verdict"])
        writer.writerows([f"/photos/{number}.jpg", "keeper"] for number in range(12_000))
        writer.writerow([URIS[0], "keeper"])
    start = time.monotonic()
    assert decide(lake, "--csv", str(table)) == 2
    assert time.monotonic() - start < 60
    assert len(capsys.readouterr().err.splitlines()) == 12_001
    assert said(lake) == []


def test_all_faults_at_once(tmp_path, capsys):
    none = tmp_path / "none"
    assert cli.main(["decide", "--warehouse", str(none), "--author", "rule:x", "--spark", "no", "a", "same"]) == 2
    told = capsys.readouterr().err
    for words in ("--author: 'rule:x' is the author of a rule", "--spark no", "no such folder", "verdict 'same'"):
        assert words in told
    (tmp_path / "empty").mkdir()
    assert cli.main(["decide", "--warehouse", str(tmp_path / "empty"), "--author", "ann", "a", "keeper"]) == 2
    assert "holds no table images" in capsys.readouterr().err
