"""Cost of skewed corpora compared with an even one: join and cluster jobs over drawn contents.

    .venv/bin/python -m benchmarks.skew --data ../shared/data --work DIR [--contents 100000] [--kinds even,burst]

`even`: contents as benchmarks.nights.synthetic draws them. `burst`: half of them are copies of one picture, like the
frames of a fixed camera. `marked`: half of them share twenty words, like pictures with one watermark. `blank`: a tenth
is blank and has equal pixels. `identical`: the number of images is doubled by images of one content. The slowest task
is given as the largest ratio of the longest task to the median task, over all stages of a second or more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks.nights.cost import Cost, measured
from benchmarks.nights.run import JOBS, drawing, steps
from benchmarks.nights.synthetic import Skew, contents, write, write_images
from benchmarks.stages import event_log, events_of
from pyspark.sql import functions as F

from dupelake.warehouse.schema import PAIRS
from dupelake.warehouse.tables import Warehouse

KINDS = ("even", "burst", "marked", "blank", "identical")
_LONG_MS = 1_000


def draw(args: argparse.Namespace, kind: str) -> Warehouse:
    spark, pool, warehouse = drawing(args, f"skew-{kind}")
    n = args.contents
    skew = Skew(burst=n // 2 if kind == "burst" else 0, marked=0.5 if kind == "marked" else 0.0)
    drawn = contents(spark, pool, 0, n, args.tasks, skew).cache()
    low = (F.col("id") % 10 == 0) & F.lit(kind == "blank")
    drawn = drawn.withColumn("pixel_digest", F.when(low, F.lit("0" * 32)).otherwise(F.col("pixel_digest")))
    write(warehouse, drawn, pool.versions, is_low_information=low)
    if kind == "identical":
        one = drawn.where("id = 0").first()
        assert one is not None
        copies = spark.range(n, 2 * n, 1, 8).selectExpr("id", f"'{one['content_id']}' AS content_id")
        write_images(warehouse, copies)
    spark.catalog.clearCache()
    return warehouse


def hottest(folder: Path) -> str:
    """The largest ratio of the longest task of a stage to its median task."""
    tasks: dict[tuple[str, int], list[int]] = defaultdict(list)
    for name, event in events_of(folder, "SparkListenerTaskEnd"):
        info = event["Task Info"]
        tasks[name, event["Stage ID"]].append(info["Finish Time"] - info["Launch Time"])
    long = {key: times for key, times in tasks.items() if len(times) > 2 and max(times) >= _LONG_MS}
    if not long:
        return "no stage of a second"
    times = max(long.values(), key=lambda times: max(times) / max(1.0, statistics.median(times)))
    median = statistics.median(times)
    return f"{max(times) / 1e3:.1f} s, {max(times) / max(1.0, median):.1f} times the median of {len(times)} tasks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--contents", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--word-join", choices=("blocks", "keys"), default="keys")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    print("| kind | join, core s (s) | cluster, core s (s) | pairs | hottest task |\n|---|---|---|---|---|", flush=True)
    for kind in args.kinds.split(","):
        warehouse = draw(args, kind)
        events = args.work / f"events-{kind}"
        options = [
            "--warehouse",
            warehouse.root,
            "--set",
            "run.planted_images=0",
            "--set",
            "run.checked_images=0",
            "--set",
        ]
        options += [f"lsh.word_join={args.word_join}", "--spark", "spark.master=local[2]"]
        options += ["--spark", "spark.sql.shuffle.partitions=16", *event_log(events)]
        costs: list[Cost] = [
            measured([sys.executable, str(JOBS / f"{job}.py"), *options], Path(f"{warehouse.root}.log"))
            for job in ("lsh_join", "cluster")
        ]
        told = " | ".join(f"{cost.core_s:.0f} ({cost.wall_s:.0f})" for cost in costs)
        n_pairs = warehouse.read(PAIRS).count()
        print(f"| {kind} | {told} | {n_pairs:,} | {hottest(events)} |", flush=True)
        print(steps(warehouse), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
