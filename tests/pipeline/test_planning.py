"""The plan of a join: written into `runs`, scaled by its outcome, and without a say in what is found."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from pictures import OPTIONS, write_two_nights

from dupelake.pipeline import nightly, planning
from dupelake.pipeline.planning import _worth
from dupelake.propose import words_stage
from dupelake.propose.frequent_words_stage import count_frequent_words
from dupelake.warehouse.schema import PAIRS, RUNS
from dupelake.warehouse.tables import Warehouse


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_two_nights(tmp_path_factory.mktemp("images") / "tree")


def test_seconds_are_scaled_by_the_newest_plan_also_of_an_older_version():
    leg = {"leg": "pdq", "n_stored": 10, "n_probing": 5, "n_meetings": 3, "hottest": 2, "n_bytes": 120}
    older = {"cores": 2, "seconds": 30.0, "legs": [leg | {"core_seconds": 20.0, "worth": 1.0}]}
    newer = older | {
        "seconds": 5.0,
        "legs": [leg | {"core_seconds": 40.0, "worth": 2.0}],
        "words": {"way": "keys", "core_seconds": 8.0, "worth": 0.5, "seconds": 4.0},
    }
    assert _worth([]) == 1.0
    assert _worth([older, newer]) == 3.0
    assert _worth([newer, older]) == 0.5
    assert _worth([older, newer], "keys") == 0.5
    assert _worth([older, newer], "blocks") == 1.0


@pytest.mark.long
def test_a_planned_join_finds_the_same_and_says_what_came_of_the_plan(spark, images, tmp_path, monkeypatch, capsys):
    def run(name):
        warehouse = Warehouse(spark, str(tmp_path / name))
        assert nightly.main([str(images), "--warehouse", warehouse.root, *OPTIONS]) == 0
        pairs = warehouse.read(PAIRS).select("src_id", "dst_id", "found_by", "score").collect()
        return sorted(map(tuple, pairs)), warehouse.read(RUNS).collect()

    plain, (row,) = run("plain")
    assert row["plan"] is None, "small joins skip the forecast"
    monkeypatch.setattr(planning, "PLANNED_UNITS", 1)
    monkeypatch.setattr(planning, "_ONE_BY_ONE_BYTES", 0)
    planned, (row,) = run("planned")
    assert planned == plain
    plan = json.loads(row["plan"])
    assert [leg["leg"] for leg in plan["legs"]] == ["phash", "pdq"]
    near = [found_by.split("+") for _, _, found_by, _ in planned]
    assert [leg["n_proposed"] for leg in plan["legs"]] == [
        sum(leg["leg"] in names for names in near) for leg in plan["legs"]
    ]
    assert plan["seconds"] > 0
    assert all(leg["core_seconds"] > 0 and leg["n_keys"] > 0 and leg["worth"] == 1.0 for leg in plan["legs"])
    words = plan["words"]
    assert words["way"] == "blocks"
    assert all(words[name] > 0 for name in ("n_meetings", "n_bytes", "core_seconds", "other_core_seconds", "seconds"))
    assert words["n_proposed"] == sum("words" in names for names in near)
    told = re.findall(r"\] plan: (\w+)", capsys.readouterr().err)
    assert told == ["phash", "pdq", "words", "forecast"]
    (past,) = planning._past_plans(Warehouse(spark, str(tmp_path / "planned")))
    assert past == plan
    forecast_s = sum(leg["core_seconds"] for leg in plan["legs"])
    assert _worth([past]) == pytest.approx(plan["seconds"] * plan["cores"] / forecast_s)
    assert _worth([past], "blocks") == pytest.approx(words["seconds"] * plan["cores"] / words["core_seconds"])


@pytest.mark.long
def test_words_by_keys_are_forecast_and_a_crowds_words_left_out(spark, images, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "PLANNED_UNITS", 1)

    def run(name, *more):
        warehouse = Warehouse(spark, str(tmp_path / name))
        by_keys = ["--set", "lsh.word_join=keys", *more]
        assert nightly.main([str(images), "--warehouse", warehouse.root, *OPTIONS, *by_keys]) == 0
        (row,) = warehouse.read(RUNS).collect()
        return row["counts"], json.loads(row["plan"])["words"]

    counts, words = run("plain")
    assert words["way"] == "keys"
    assert counts["words_dropped"] == 0
    assert "hot_words" not in counts, "a corpus below the cap is not sampled"
    assert words["n_compared"] == counts["word_pairs_checked"] > 0
    assert words["n_proposed"] > 0
    monkeypatch.setattr(
        words_stage,
        "count_frequent_words",
        lambda sample, cfg: count_frequent_words(sample, replace(cfg, word_key_max_images=2)),
    )
    # No key is over this cap, which has fewer images than the corpus: only frequent words are left out.
    few, told = run("of a crowd of three", "--set", "lsh.word_key_max_images=10")
    assert few["hot_words"] > 0, "a picture and its copies share words, more than two of them"
    assert few["words_dropped"] > 0
    assert few["word_pairs_dropped"] > 0
    assert told["n_compared"] == few["word_pairs_checked"] < words["n_compared"]
    assert told["n_proposed"] < words["n_proposed"]
