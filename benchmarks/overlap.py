"""`dupelake overlap` on drawn sets: seconds, rows shuffled, exact counts against brute force, recall of the proposals.

    .venv/bin/python -m benchmarks.overlap --work /tmp/overlap --sets 2000 --rows 1000000

The rows of `images` and `groups` are drawn, no picture exists. Sizes of sets are log-normal, from 1 up. A part of each
set comes from a stock that all sets use, which few pictures dominate. Pairs of sets are planted that share 10 or 50 %
of the smaller set. A fifth of the pictures are groups: each image of them has a content of its own. Brute force is the
product of the whole matrix of sets and pictures with itself (scipy). The last run changes 20 sets.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from benchmarks.stages import event_log, events_of
from pyspark.sql import functions as F
from scipy import sparse

from dupelake.overlap import stage
from dupelake.overlap.counting import count_shared
from dupelake.overlap.sketches import Sketches, ensemble_pairs, merged, needed_hits, sketch
from dupelake.pipeline import overlap
from dupelake.runtime.session import build_session
from dupelake.warehouse.schema import GROUPS, IMAGES, OVERLAP_SETS, OVERLAPS, RUNS, conform
from dupelake.warehouse.tables import Warehouse

BY, CHANGED = "extra.vendor", 20
SHARES = (0.1, 0.5)


def sizes_of(n_sets: int, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Log-normal sizes that add up to about `n_rows`, the largest a tenth of all."""
    drawn = np.exp(rng.normal(0, 2, n_sets))
    drawn[0] = 0
    rest = np.maximum(1, drawn / drawn.sum() * 0.9 * n_rows).astype(np.int64)
    rest[0] = n_rows // 10
    return rest


def draw(n_sets: int, n_rows: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The pictures of each set, as numbers."""
    sizes = sizes_of(n_sets, n_rows, rng)
    stock = 20_000
    sets, used = [], stock
    for size in sizes:
        n_stock = min(int(size * rng.uniform(0, 0.2)), 2_000)
        common = np.unique((stock * rng.random(n_stock) ** 3).astype(np.int64))
        own = np.arange(used, used + size - len(common))
        used += len(own)
        sets.append(np.concatenate([common, own]))
    for number in range(2 * min(n_sets, 1000)):
        a, b = rng.choice(n_sets, 2, replace=False)
        small, large = (a, b) if len(sets[a]) <= len(sets[b]) else (b, a)
        n = int(np.ceil(SHARES[number % 2] * len(sets[small])))
        kept = rng.permutation(sets[small])[: len(sets[small]) - n]
        fresh = np.setdiff1d(sets[large], kept, assume_unique=True)
        sets[small] = np.concatenate([kept, rng.choice(fresh, min(n, len(fresh)), replace=False)])
    return [np.unique(one) for one in sets]


def write(warehouse: Warehouse, sets: list[np.ndarray]) -> None:
    """The rows of `images` and `groups`."""
    spark = warehouse.spark
    table = pa.table(
        {
            "vendor": pa.array(np.repeat(np.arange(len(sets), dtype=np.int32), [len(one) for one in sets])),
            "number": pa.array(np.concatenate(sets)),
        }
    )
    rows = spark.createDataFrame(table)
    is_group = F.col("number") % 5 == 0
    image_id = F.md5(F.concat_ws("/", "vendor", "number"))
    own = F.when(is_group, F.col("vendor")).otherwise(F.lit(-1))  # other pictures are one content wherever they are
    images = rows.select(
        image_id.alias("image_id"),
        F.concat(F.lit("/x/"), image_id).alias("uri"),
        F.lit("2026-11-01").alias("partition"),
        F.lit("").alias("scope"),
        F.md5(F.concat_ws("-", "number", own)).alias("content_id"),
        F.create_map(F.lit("vendor"), F.format_string("v%05d", F.col("vendor"))).alias("extra"),
        F.lit("ok").alias("status"),
        F.lit(1).alias("width_px"),
        F.lit(1).alias("height_px"),
        F.current_timestamp().alias("ingested_at"),
        F.when(is_group, F.md5(F.concat(F.lit("g"), "number"))).alias("group_id"),
    )
    missing = {name: F.lit(None) for name in IMAGES.columns if name not in images.columns}
    warehouse.ensure()
    warehouse.overwrite(IMAGES, conform(images.withColumns(missing), IMAGES.schema))
    fixed = {"is_keeper": False, "relation": "copy", "is_removable": False, "score_to_keeper": 1.0, "reason": ""}
    fixed |= {"group_size": 2, "tier": None, "compared_with": None, "kind": None}
    grouped = images.where("group_id IS NOT NULL").withColumns({name: F.lit(v) for name, v in fixed.items()})
    warehouse.overwrite(GROUPS, conform(grouped.withColumn("updated_at", F.current_timestamp()), GROUPS.schema))


def brute_force(sets: list[np.ndarray], min_share: float) -> dict[tuple[int, int], tuple[int, float]]:
    """{(a, b): (shared pictures, share of the smaller set)} of all pairs with at least `min_share`."""
    sizes = np.array([len(one) for one in sets])
    indptr = np.concatenate(([0], np.cumsum(sizes)))
    flat = np.concatenate(sets)
    matrix = sparse.csr_matrix((np.ones(len(flat), np.int32), flat, indptr))
    shared = sparse.triu(matrix @ matrix.T, k=1).tocoo()
    share = shared.data / np.minimum(sizes[shared.row], sizes[shared.col])
    kept = share >= min_share
    columns = (one[kept].tolist() for one in (shared.row, shared.col, shared.data, share))
    return {(a, b): (n, s) for a, b, n, s in zip(*columns, strict=True)}


def run(warehouse: Warehouse, work: Path, name: str, settings: list[str]) -> None:
    """One run, and what it cost."""
    start = time.monotonic()
    code = overlap.main(["--by", "vendor", "--out", str(work / "out"), "--warehouse", warehouse.root, *settings])
    assert code == 0
    row = warehouse.read(RUNS).orderBy(F.desc("started_at")).first()
    assert row is not None
    took = time.monotonic() - start
    steps = ", ".join(f"{step} {s:.1f}" for step, s in row["seconds"].items() if s >= 0.5 and step != "start")
    counts = row["counts"]
    print(
        f"| {name} | {counts['overlap_sets_changed']:,} | {took:.1f} | {counts['overlap_proposed']:,} | "
        f"{counts['overlaps']:,} | {counts.get('overlap_frequent', 0):,} | {steps} |",
        flush=True,
    )


def spent(folder: Path, since: int = 0) -> tuple[str, int]:
    """(rows and bytes shuffled and task seconds in words, tasks seen) of an event log, but for the first tasks."""
    rows = size = seen = 0
    task_s = jvm_s = 0.0
    for _, event in events_of(folder, "SparkListenerTaskEnd"):
        seen += 1
        if seen > since:
            metrics = event.get("Task Metrics") or {}
            written = metrics.get("Shuffle Write Metrics", {})
            task_s += metrics.get("Executor Run Time", 0) / 1e3
            jvm_s += metrics.get("Executor CPU Time", 0) / 1e9
            rows += written.get("Shuffle Records Written", 0)
            size += written.get("Shuffle Bytes Written", 0)
    told = (
        f"{rows:,} rows shuffled, {size / 1e6:.1f} MB; {task_s:.0f} task seconds, {jvm_s:.0f} of them on a core in Java"
    )
    return told, seen


def recall(
    by_ensemble: np.ndarray, by_sample: np.ndarray, sizes: np.ndarray, truth: dict[tuple[int, int], tuple[int, float]]
) -> None:
    """Print the recall of each way to propose, by share and by the ratio of sizes."""
    ways = {name: {tuple(pair) for pair in pairs.tolist()} for name, pairs in (("e", by_ensemble), ("s", by_sample))}
    print("\n| share of the smaller set | larger / smaller | pairs | LSH Ensemble | samples | both |")
    print(f"|{6 * '---|'}")
    for low, high in ((0.1, 0.15), (0.15, 0.5), (0.5, 1.01)):
        for least, most in ((1, 4), (4, 32), (32, np.inf)):
            pairs = {
                (a, b)
                for (a, b), (_, share) in truth.items()
                if low <= share < high and least <= max(sizes[a], sizes[b]) / min(sizes[a], sizes[b]) < most
            }
            if pairs:
                found = (*ways.values(), ways["e"] | ways["s"])
                told = " | ".join(f"{len(pairs & one) / len(pairs):.4f}" for one in found)
                print(f"| {low} to {min(high, 1)} | {least} to {most} | {len(pairs):,} | {told} |", flush=True)


def recall_of_run(warehouse: Warehouse, truth: dict[tuple[int, int], tuple[int, float]], min_share: float) -> None:
    """The recall of the proposals, from the sketches that the run stored."""
    rows = warehouse.read(OVERLAP_SETS).orderBy("set_id").collect()
    sizes = np.array([row["n_pictures"] for row in rows])
    given = Sketches.of(sizes, [bytes(row["sketch"]) for row in rows])
    every = np.ones(len(rows), bool)
    spark = warehouse.spark
    sets = spark.createDataFrame([(row["set_id"], i) for i, row in enumerate(rows)], "set_id string, number int")
    pictures = warehouse.read(GROUPS).select("content_id", F.col("group_id").alias("picture"))
    held = stage.numbered(stage.members_of(stage.valued(warehouse.read(IMAGES), pictures, stage.value_of(BY))), sets)
    samples, _ = stage.sample_table(given, every, min_share)
    found = stage.sample_pairs(held, spark.createDataFrame(samples), sets.select("number")).toPandas()
    recall(ensemble_pairs(given, every, min_share), merged([found.to_numpy(np.int64)], min_share), sizes, truth)


def kernels(sets: list[np.ndarray], min_share: float) -> None:
    """The functions that know no Spark, on one core: seconds, recall of the proposals, counts against brute force."""
    sizes, every = np.array([len(one) for one in sets]), np.ones(len(sets), bool)
    hashes = np.random.default_rng(5).integers(0, 2**64, max(one.max() for one in sets) + 1, dtype=np.uint64)
    clock = [time.monotonic()]
    given = Sketches.of(sizes, [sketch(hashes[one]) for one in sets])
    clock.append(time.monotonic())
    by_ensemble = ensemble_pairs(given, every, min_share)
    clock.append(time.monotonic())
    flat, owner = np.concatenate(sets), np.repeat(np.arange(len(sets)), sizes)
    asking, sampled, n_frequent = given.rare_samples()
    met = pd.DataFrame({"hash": hashes[flat], "number": owner}).merge(
        pd.DataFrame({"hash": sampled, "owner": asking}), on="hash"
    )
    hits = met[met["number"] != met["owner"]].groupby(["owner", "number"]).size()
    needed = needed_hits(asking, len(sets), min_share)[hits.index.get_level_values(0)]
    by_sample = merged([np.array(hits[hits >= needed].index.to_list(), np.int64).reshape(-1, 2)], min_share)
    pairs = merged([by_ensemble, by_sample], min_share)
    clock.append(time.monotonic())
    counts, _, _ = count_shared(owner, flat, pairs)
    clock.append(time.monotonic())
    sketched, asked, _, counted = np.diff(clock)
    print(f"sketches {sketched:.1f} s; LSH Ensemble {asked:.1f} s, {len(by_ensemble):,} pairs; ", end="")
    print(f"samples {len(by_sample):,} pairs, {n_frequent} frequent pictures; {len(pairs):,} counted {counted:.1f} s")
    truth = brute_force(sets, min_share)
    of_pair = dict(zip(map(tuple, pairs.tolist()), counts.tolist(), strict=True))
    wrong = sum(of_pair.get(pair, n) != n for pair, (n, _) in truth.items())
    print(f"{len(truth):,} true pairs, {len(truth.keys() - of_pair.keys())} not proposed, {wrong} counted otherwise")
    recall(by_ensemble, by_sample, sizes, truth)


def check(warehouse: Warehouse, sets: list[np.ndarray], min_share: float) -> dict[tuple[int, int], tuple[int, float]]:
    """Compare the table with brute force; returns what that finds."""
    start = time.monotonic()
    truth = brute_force(sets, min_share)
    took = time.monotonic() - start
    rows = warehouse.read(OVERLAPS).select("set_a", "set_b", "n_shared").toPandas()
    found = {(int(a[1:]), int(b[1:])): n for a, b, n in rows.itertuples(index=False)}
    wrong = sum(truth.get(pair, (0, 0.0))[0] != n for pair, n in found.items())
    missed = len(truth.keys() - found.keys())
    print(
        f"\n{len(found):,} pairs in the table, {wrong} of them with another count than brute force ({took:.1f} s), "
        f"{missed} of its {len(truth):,} missed.",
        flush=True,
    )
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kernels", action="store_true", help="only the functions that know no Spark")
    parser.add_argument("--sets", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--min-share", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0, help="of the drawn sets; the limits were chosen on 0")
    args = parser.parse_args()
    shutil.rmtree(args.work / "wh", ignore_errors=True)
    rng = np.random.default_rng(args.seed)
    sets = draw(args.sets, args.rows, rng)
    sizes = np.array([len(one) for one in sets])
    print(f"{len(sets):,} sets of {sizes.min()} to {sizes.max():,} pictures, median {np.median(sizes):.0f}; ", end="")
    print(f"{sizes.sum():,} rows, {len(np.unique(np.concatenate(sets))):,} pictures\n")
    if args.kernels:
        kernels(sets, args.min_share)
        return
    settings = ["--spark", "spark.master=local[2]", *event_log(args.work / "events")]
    pairs = [word.split("=", 1) for word in settings[1::2]]
    warehouse = Warehouse(build_session("overlap-bench", dict(pairs)), str(args.work / "wh"))
    write(warehouse, sets)
    print(f"| run | sets compared | seconds | counted | overlaps | frequent pictures | steps |\n|{7 * '---|'}")
    options = ["--min-share", str(args.min_share), *settings]
    costs = []
    seen = spent(args.work / "events")[1]
    for name in ("first", "nothing changed", f"{CHANGED} sets changed"):
        if name.startswith(str(CHANGED)):
            for number in range(1, 1 + CHANGED):
                sets[number] = np.unique(np.concatenate([sets[number][1:], sets[number + CHANGED]]))
            write(warehouse, sets)
            seen = spent(args.work / "events")[1]
        run(warehouse, args.work, name, options)
        told, seen = spent(args.work / "events", seen)
        costs.append(f"- {name}: {told}")
    print("\n" + "\n".join(costs))
    recall_of_run(warehouse, check(warehouse, sets, args.min_share), args.min_share)


if __name__ == "__main__":
    sys.exit(main())
