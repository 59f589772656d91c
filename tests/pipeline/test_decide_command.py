"""`dupelake decide` on a local warehouse: by delta-rs, without Spark, in seconds."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from made_lake import make_night
from pictures import SCENES, photograph
from serving import encoded

from dupelake import cli
from dupelake.group import giving
from dupelake.runtime.lock import PEOPLE, lock_of
from dupelake.warehouse.reader import Reader

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
