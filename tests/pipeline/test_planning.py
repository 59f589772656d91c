"""The plan of a join: counted by Spark as by the kernel, written into `runs`, and without a say in what is found."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pictures import OPTIONS, write_two_nights

from dupelake.config import LshConfig
from dupelake.pipeline import nightly, planning
from dupelake.propose import words_stage
from dupelake.propose.counts_stage import forecasts
from dupelake.propose.forecast import count_values, forecast
from dupelake.propose.frequent_words_stage import count_frequent_words
from dupelake.propose.generator_stage import Actions, JoinInputs
from dupelake.propose.mih import words_of
from dupelake.propose.pdq_stage import Pdq
from dupelake.propose.phash_stage import PHash
from dupelake.warehouse.schema import PAIRS, RUNS
from dupelake.warehouse.tables import Warehouse

N, N_NEW = 400, 100


@pytest.fixture(scope="module")
def codes():
    """uint8 (n, 8) pHash and (n, 32) PDQ, then the same of the mirrored pictures; a third of them all but equal."""
    rng = np.random.default_rng(5)
    made = [rng.integers(0, 256, (N, width), np.uint8) for width in (8, 32, 8, 32)]
    for one in made:
        one[: N // 3] = one[0]
        one[: N // 3, 0] = rng.integers(0, 4, N // 3)
    return made


def hashes_of(spark, codes):
    phash, pdq, phash_mirrored, pdq_mirrored = codes
    longs = {"phash": phash, "phash_mirrored": phash_mirrored}
    blobs = {"pdq": pdq, "pdq_mirrored": pdq_mirrored}
    columns = {"content_id": [f"{at:032x}" for at in range(N)]}
    columns |= {name: rows.view(">i8").ravel().astype(np.int64) for name, rows in longs.items()}
    columns |= {name: pa.array([row.tobytes() for row in rows], pa.binary()) for name, rows in blobs.items()}
    return spark.createDataFrame(pa.table(columns))


@pytest.mark.parametrize("is_filtered", [False, True])
def test_spark_counts_what_the_kernel_counts(spark, codes, is_filtered):
    cfg = LshConfig()
    units = spark.createDataFrame(
        [("", f"{at:032x}", at < N_NEW) for at in range(N)], "scope string, content_id string, is_new boolean"
    )
    hashes, nothing = hashes_of(spark, codes), spark.createDataFrame([], "content_id string")
    inputs = JoinInputs(units.repartition(5), hashes, nothing, nothing, nothing, None, cfg, N, N_NEW)
    actions = Actions(lambda rows, _: rows, lambda rows: rows.collect(), lambda *_: None)
    generators = [PHash(inputs, actions), Pdq(inputs, actions)]
    rows = forecasts(generators, is_filtered=is_filtered).collect()
    assert [row["leg"] for row in rows] == ["phash", "pdq"]
    scope_key = units.selectExpr("xxhash64('') AS k").first()["k"]
    for row, one, straight, mirrored in zip(rows, generators, codes[:2], codes[2:], strict=True):
        plan = one.plan()
        a, b = words_of(straight), words_of(mirrored)
        sides = np.concatenate([a, b[N_NEW:]]), np.concatenate([a[:N_NEW], b[:N_NEW]])
        counts = [count_values(side, plan, np.full(len(side), scope_key)) for side in sides]
        assert row.asDict() == {"leg": row["leg"]} | vars(forecast(*counts, plan, is_filtered=is_filtered))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_two_nights(tmp_path_factory.mktemp("images") / "tree")


@pytest.mark.long
def test_a_planned_join_finds_the_same_and_says_what_came_of_the_plan(spark, images, tmp_path, monkeypatch):
    def run(name):
        warehouse = Warehouse(spark, str(tmp_path / name))
        assert nightly.main([str(images), "--warehouse", warehouse.root, *OPTIONS]) == 0
        pairs = warehouse.read(PAIRS).select("src_id", "dst_id", "found_by", "score").collect()
        return sorted(map(tuple, pairs)), warehouse.read(RUNS).collect()

    plain, (row,) = run("plain")
    assert row["plan"] is None, "of a small join nothing is forecast"
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
    assert all(leg["core_seconds"] > 0 and leg["n_meetings"] > 0 and leg["worth"] == 1.0 for leg in plan["legs"])
    words = plan["words"]
    assert words["way"] == "blocks"
    assert all(words[name] > 0 for name in ("n_meetings", "n_bytes", "core_seconds", "other_core_seconds", "seconds"))
    assert words["worth"] == 1.0
    assert words["n_proposed"] == sum("words" in names for names in near)
    columns = "leg string, n_stored bigint, n_probing bigint, n_meetings bigint, hottest bigint, n_bytes bigint"
    known = spark.createDataFrame([("phash", 1, 1, 1, 1, 8, 2.0)], f"{columns}, core_seconds double")
    corrected = planning.told(known, Warehouse(spark, str(tmp_path / "planned")))[0]
    forecast_s = sum(leg["core_seconds"] for leg in plan["legs"])
    assert corrected["core_seconds"] == pytest.approx(2.0 * plan["seconds"] * plan["cores"] / forecast_s, rel=1e-3)
    worth = planning._worth(Warehouse(spark, str(tmp_path / "planned")), words="blocks")
    assert worth == pytest.approx(words["seconds"] * plan["cores"] / words["core_seconds"])
    assert planning._worth(Warehouse(spark, str(tmp_path / "planned")), words="keys") == 1.0
    assert planning.lines([corrected], 2)[0].startswith("phash: 2 keys (8 B to shuffle), 1 codes to compare")


@pytest.mark.long
def test_words_by_keys_are_forecast_and_a_crowds_words_left_out(spark, images, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "PLANNED_UNITS", 1)

    def run(name):
        warehouse = Warehouse(spark, str(tmp_path / name))
        by_keys = ["--set", "lsh.word_join=keys"]
        assert nightly.main([str(images), "--warehouse", warehouse.root, *OPTIONS, *by_keys]) == 0
        (row,) = warehouse.read(RUNS).collect()
        assert json.loads(row["plan"])["words"]["way"] == "keys"
        return row["counts"], json.loads(row["plan"])["words"], warehouse

    counts, words, warehouse = run("plain")
    assert counts["hot_words"] == counts["words_dropped"] == 0
    assert words["n_compared"] == counts["word_pairs_checked"] == words["n_meetings"], "all units were the sample"
    assert words["n_proposed"] > 0
    assert planning._worth(warehouse, words="keys") == pytest.approx(
        words["seconds"] * 2 / words["core_seconds"], rel=1
    )
    monkeypatch.setattr(
        words_stage,
        "count_frequent_words",
        lambda sample, cfg: count_frequent_words(sample, replace(cfg, word_key_max_images=2)),
    )
    few, told, _ = run("of a crowd of three")  # no key is over the cap: only frequent words are left out
    assert few["hot_words"] > 0, "a picture and its copies share words, more than two of them"
    assert few["words_dropped"] > 0
    assert few["word_pairs_dropped"] > 0
    assert told["n_compared"] == few["word_pairs_checked"] < words["n_compared"]
    assert told["n_proposed"] < words["n_proposed"]
