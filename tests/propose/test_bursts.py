"""Who follows the best of a burst, against plain loops; and that other pictures meet as ever."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from pictures import OPTIONS, photograph
from PIL import Image
from pyspark.sql import functions as F

from dupelake import cli
from dupelake.config import LshConfig
from dupelake.pipeline import nightly
from dupelake.propose.bursts_stage import LEADERS, Bursts, crowded_values, followers, members
from dupelake.warehouse.schema import GROUPS, IMAGES, PAIRS, RUNS
from dupelake.warehouse.tables import Warehouse

CFG = LshConfig(burst_min_images=60, burst_max_bits=8)
N_BURST, N_OTHERS = 200, 300


def flipped(rng, code, n_bits):
    bits = np.unpackbits(code)
    bits[rng.choice(256, n_bits, replace=False)] ^= 1
    return np.packbits(bits)


@pytest.fixture(scope="module")
def corpus():
    """(scope, id, code, area, detail): bursts of 200 in scope a and 40 in scope b of one picture, and strangers."""
    rng = np.random.default_rng(3)
    base = rng.integers(0, 256, 32, np.uint8)
    codes = [("a", flipped(rng, base, int(rng.integers(0, 7)))) for _ in range(N_BURST)]
    codes += [("b", flipped(rng, base, int(rng.integers(0, 7)))) for _ in range(40)]
    codes += [("a", rng.integers(0, 256, 32, np.uint8)) for _ in range(N_OTHERS)]
    return [
        (scope, f"{at * 7919 % 100_003:032x}", code, int(rng.integers(1, 4)) * 100, float(rng.choice([0.5, 1.0])))
        for at, (scope, code) in enumerate(codes)
    ]


@pytest.fixture(scope="module")
def tables(spark, corpus):
    """(images, hashes) of the corpus."""
    _, ids, codes, sides, details = zip(*corpus, strict=True)
    pdq = pa.array([code.tobytes() for code in codes], pa.binary())
    hashes = pa.table({"content_id": [*ids], "pdq": pdq, "detail": [*details]})
    images = pa.table({"content_id": [*ids], "status": ["ok"] * len(ids), "width_px": [*sides], "height_px": [*sides]})
    away = F.lit(None).cast("timestamp")
    return spark.createDataFrame(images).withColumn("deleted_at", away), spark.createDataFrame(hashes)


def units_of(spark, corpus):
    return spark.createDataFrame([unit[:2] for unit in corpus], "scope string, content_id string")


def found_of(spark, units, tables, cfg=CFG):
    images, hashes = tables
    flags = crowded_values(units, hashes, cfg).collect()
    assert len(flags) == 1
    assert (flags[0]["n_crowded"] > 0) == any(flags[0]["flags"])
    held = members(units, hashes, spark.sparkContext.broadcast(bytes(flags[0]["flags"])))
    return followers(held, images, hashes, cfg)


def oracle(corpus, cfg=CFG):
    """{(scope, id): leaders, best first} by plain loops over the slots of every code."""
    holders = {}
    for unit in corpus:
        for slot in range(16):
            holders.setdefault((unit[0], slot, unit[2][2 * slot : 2 * slot + 2].tobytes()), []).append(unit)

    def rank(unit):
        return -float(unit[3] ** 2) * unit[4] ** 2, unit[1]

    led = {}
    for crowd in holders.values():
        if len(crowd) >= cfg.burst_min_images:
            best = min(crowd, key=rank)
            for unit in crowd:
                near = np.unpackbits(unit[2] ^ best[2]).sum() <= cfg.burst_max_bits
                if unit is not best and near:
                    led.setdefault(unit[:2], set()).add(rank(best))
    return {unit: [i for _, i in sorted(leaders)][:LEADERS] for unit, leaders in led.items()}


def test_followers_are_those_of_plain_loops(spark, corpus, tables):
    rows = found_of(spark, units_of(spark, corpus), tables).collect()
    found = {(row["scope"], row["content_id"]): row["leaders"] for row in rows}
    wanted = oracle(corpus)
    assert found == wanted
    assert N_BURST / 2 < len(found) < N_BURST, "of scope a; the 40 of scope b are no crowd"
    firsts = Counter(leaders[0] for leaders in found.values())
    assert len(set(firsts) - {i for _, i in found}) >= 1, "the best of all follows nobody"


def test_pairs_are_those_that_are_not_stored(spark, corpus, tables):
    found = found_of(spark, units_of(spark, corpus), tables)

    def pairs(stored):
        rows = Bursts(found, stored).pairs().collect()
        known = {(bytes(row["low"]).hex(), bytes(row["high"]).hex()) for row in rows}
        assert len(known) == len(rows)
        return known

    wanted = {tuple(sorted((i, one))) for (_, i), leaders in oracle(corpus).items() for one in leaders}
    assert pairs(None) == wanted
    half = sorted(wanted)[::2]
    assert pairs(spark.createDataFrame(half, "src_id string, dst_id string")) == wanted - set(half)


def test_nobody_follows_where_there_is_no_crowd(spark, corpus, tables):
    few = LshConfig(burst_min_images=N_BURST + 1)
    _, hashes = tables
    row = crowded_values(units_of(spark, corpus), hashes, few).collect()[0]
    assert (row["n_crowded"], any(row["flags"])) == (0, False)
    assert found_of(spark, units_of(spark, corpus), tables, few).collect() == []
    nothing = units_of(spark, corpus).where("false")
    assert crowded_values(nothing, hashes, CFG).collect()[0]["n_crowded"] == 0


def frames(folder, n, seed):
    """Frames of a fixed camera: one scene, noise of the sensor."""
    rng = np.random.default_rng(seed)
    scene = np.asarray(photograph("coffee.png")).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(n):
        noisy = scene + rng.normal(0.0, 4.0, scene.shape)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"frame {seed} {at}.jpg", quality=85)


@pytest.fixture(scope="module")
def burst(spark, tmp_path_factory):
    """Two nights of frames of a fixed camera, a crop of their scene, and another picture with a copy."""
    tmp_path = tmp_path_factory.mktemp("burst")
    first, second = tmp_path / "tree" / "date=2026-11-01", tmp_path / "tree" / "date=2026-11-02"
    frames(first, 40, 1)
    frames(second, 8, 2)
    other = photograph("astronaut.png")
    other.save(first / "astronaut.png")
    other.resize((other.width // 2, other.height // 2)).save(second / "astronaut half.png")
    coffee = photograph("coffee.png")
    coffee.crop((20, 10, coffee.width - 10, coffee.height - 20)).save(second / "coffee, cropped.png")
    warehouse = Warehouse(spark, str(tmp_path / "wh"))
    job = [str(tmp_path / "tree"), "--warehouse", warehouse.root, *OPTIONS, "--set", "lsh.burst_min_images=20"]
    nights = []
    for partition in (["--partitions", "2026-11-01"], []):
        assert nightly.main([*job, *partition]) == 0
        followers = warehouse.read(RUNS).orderBy("started_at").collect()[-1]["counts"]["burst_followers"]
        nights.append((followers, warehouse.read(PAIRS).count()))
    return warehouse, job, nights


@pytest.mark.long
def test_frames_of_a_fixed_camera_make_one_group_and_few_pairs(burst):
    warehouse, _, nights = burst
    assert 30 <= nights[0][0] < nights[1][0] < 49
    assert nights[0][1] <= 40 * LEADERS + 40, "and not 780"
    groups: dict[str, set[str]] = {}
    names = warehouse.read(GROUPS).join(warehouse.read(IMAGES).select("image_id", "uri"), "image_id").collect()
    for row in names:
        groups.setdefault(row["group_id"], set()).add(row["uri"].rpartition("/")[2])
    sizes = sorted(map(len, groups.values()))
    assert sizes == [2, 49], "all frames with the crop of their scene, and the other picture with its copy"


@pytest.mark.long
def test_a_burst_outlives_its_best(spark, burst):
    """Its pictures were compared with the best of them alone: when these go, the next best take over."""
    warehouse, job, _ = burst
    gone = 0
    for _ in range(2):
        pairs = warehouse.read(PAIRS).collect()
        degree = Counter(end for row in pairs for end in (row["src_id"], row["dst_id"]))
        leaders = [content for content, n in degree.items() if n > 12]
        assert leaders
        rows = warehouse.read(IMAGES).where(F.col("content_id").isin(leaders)).select("image_id").collect()
        ids = [word for row in rows for word in ("--image", row["image_id"])]
        assert cli.main(["forget", *job[1:], *ids]) == 0
        gone += len(rows)
        assert nightly.main(job) == 0
        assert max(Counter(row["group_id"] for row in warehouse.read(GROUPS).collect()).values()) == 49 - gone
    few = [*job, "--set", "lsh.burst_min_images=1000"]  # no crowd any more: they meet each other as all others do
    assert nightly.main([*few, "--full"]) == 0
    assert warehouse.read(PAIRS).count() > 10 * (48 - gone)


@pytest.mark.long
def test_identical_images_are_one_content(spark, tmp_path):
    """A placeholder that a crawler stored again and again: one content, one group, no pair."""
    folder = tmp_path / "tree"
    frames(folder, 1, 3)
    (source,) = folder.iterdir()
    for at in range(60):
        (folder / f"placeholder {at}.jpg").write_bytes(source.read_bytes())
    warehouse = Warehouse(spark, str(tmp_path / "wh"))
    assert nightly.main([str(folder), "--warehouse", warehouse.root, *OPTIONS]) == 0
    assert warehouse.read(PAIRS).isEmpty()
    members_of = [row["group_id"] for row in warehouse.read(GROUPS).collect()]
    assert (len(members_of), len(set(members_of))) == (61, 1)
