"""A night of 1 % new images beside the full run: core-seconds of the whole process tree, each run a process of its own.

    .venv/bin/python -m benchmarks.nights.run real --data ../shared/data --work DIR [--images 20000]
    .venv/bin/python -m benchmarks.nights.run synthetic --data ../shared/data --work DIR --contents 100000 [--no-words]
    .venv/bin/python -m benchmarks.nights.run identical --data ../shared/data --work DIR --contents 1000000

`real`: edited photographs, the nightly job, without embedding unless `--model` names one: full run over all but the
last 1 %, the night of that 1 %, and the same command again with nothing new. `synthetic`: hashes, words and embeddings
drawn from real ones (`synthetic.py`), the join and cluster jobs. `identical`: so many images of one content. Each
prints a line of benchmarks/nights.md.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.edits.registry import apply_edit, grid
from benchmarks.nights.cost import Cost, measured
from benchmarks.nights.synthetic import COPY_EVERY, Pool, contents, numbered, read_pool, write, write_images
from benchmarks.stages import event_log
from PIL import Image
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dupelake.pipeline import nightly
from dupelake.propose.stage import NAMES
from dupelake.runtime.session import build_session
from dupelake.warehouse.schema import MODELS, PAIRS, RUNS
from dupelake.warehouse.tables import Warehouse

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SETS = ("imagenet_sample", "clothing_small")
COUNTED = ("pairs_measured", "burst_followers", "word_pairs_checked", "words_dropped", "contents_regrouped", "groups")
NIGHT = 100  # one of so many images is new
_SPARK = ["--spark", "spark.master=local[2]"]
_UNMEASURED = ["--set", "run.planted_images=0", "--set", "run.checked_images=0"]  # recall costs what it costs


def scenes(data: Path) -> list[Path]:
    """Photographs that all show something else."""
    found = [p for name in SETS for p in sorted((data / name).rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg")]
    if not found:
        sys.exit(f"--data {data}: holds no photographs of {', '.join(SETS)}")
    return found


def write_picture(number: int, photographs: Sequence[Path], folder: Path) -> Path:
    """Picture `number`: a quarter of a photograph, as it is or edited; five or so of each quarter."""
    path = folder / f"{number % 100:02d}" / f"{number}.jpg"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = number % (4 * len(photographs))
    with Image.open(photographs[scene // 4]) as image:
        whole = image.convert("RGB")
    width, height = whole.width // 2, whole.height // 2
    left, top = scene % 2 * width, scene // 2 % 2 * height
    quarter = whole.crop((left, top, left + width, top + height))
    if number < 4 * len(photographs):
        quarter.save(path, quality=92)
        return path
    rng = np.random.default_rng(number)
    edits = [one for one in grid() if one[0] != "collage"]
    edit, strength = edits[int(rng.integers(len(edits)))]
    path.write_bytes(apply_edit(np.asarray(quarter), edit, strength, number).data)
    return path


def real(args: argparse.Namespace) -> None:
    photographs = scenes(args.data)
    order = np.random.default_rng(0).permutation(args.images).tolist()
    draw = partial(write_picture, photographs=photographs, folder=args.work / "images")
    with ProcessPoolExecutor(2) as pool:
        paths = list(pool.map(draw, order, chunksize=64))
    n_new = args.images // NIGHT
    manifest = args.work / "manifest.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image_id", "uri", "partition"))
        for at, (number, path) in enumerate(zip(order, paths, strict=True)):
            night = "2026-11-02" if at >= args.images - n_new else "2026-11-01"
            rows.writerow((f"i{number}", path.absolute(), night))
    command = [sys.executable, str(JOBS / "nightly.py"), str(manifest), "--warehouse", str(args.work / "warehouse")]
    command += ["--set", f"embed.model={args.model}", *_UNMEASURED, *_SPARK]
    log = args.work / "log"
    watched = event_log(args.work / "events")  # for benchmarks.stages
    full = measured([*command, *watched, "--partitions", "2026-11-01"], log)
    night = measured(command, log)
    again = measured(command, log)
    what = "edited photographs" + ("" if args.model == "none" else f", model {args.model}")
    print(line(what, args.images - n_new, n_new, full, night, again))


def synthetic(args: argparse.Namespace) -> None:
    spark, pool, warehouse = drawing(args, f"synthetic-{args.contents}")
    n_new = args.contents // NIGHT
    n_old = args.contents - n_new
    write(warehouse, contents(spark, pool, 0, n_old, args.tasks).cache(), pool.versions)
    spark.catalog.clearCache()
    full = _joined(args, warehouse.root)
    write(warehouse, contents(spark, pool, n_old, args.contents, 2).cache(), pool.versions)
    spark.catalog.clearCache()
    what = "drawn contents, hashes and embeddings" + ("" if args.no_words else f", words by {args.word_join}")
    print(line(what, n_old, n_new, full, _joined(args, warehouse.root), _joined(args, warehouse.root)), flush=True)
    print(planted(warehouse))
    print(steps(warehouse))


def planted(warehouse: Warehouse) -> str:
    """How many of the planted pairs were proposed, by all legs and by each."""
    known = numbered(warehouse)
    copies = known.where(F.col("n") % COPY_EVERY == COPY_EVERY - 1).withColumn("n", F.col("n") - 1)
    ends = copies.join(known.withColumnRenamed("content_id", "origin"), "n")
    pairs = ends.select(
        F.least("content_id", "origin").alias("src_id"), F.greatest("content_id", "origin").alias("dst_id")
    )
    found = pairs.join(warehouse.read(PAIRS).select("src_id", "dst_id", "found_by"), ["src_id", "dst_id"], "left")
    shares = [F.avg(F.col("found_by").isNotNull().cast("int")).alias("any")]
    shares += [
        F.avg(F.coalesce(F.array_contains(F.split("found_by", r"\+"), leg), F.lit(False)).cast("int")).alias(leg)
        for leg in NAMES
    ]
    row = found.agg(F.count(F.lit(1)).alias("n"), *shares).collect()[0]  # one row
    told = ", ".join(f"{name} {row[name]:.4f}" for name in ("any", *NAMES))
    return (
        f"{row['n']:,} planted pairs, share proposed: {told}; {warehouse.read(PAIRS).count():,} pairs measured in all"
    )


def steps(warehouse: Warehouse) -> str:
    """Seconds and counts of the runs, a line each."""
    rows = warehouse.read(RUNS).orderBy("started_at").collect()  # of a bench: few
    told = []
    for row in rows:
        seconds = ", ".join(f"{name} {value:.0f}" for name, value in row["seconds"].items())
        counts = ", ".join(f"{name} {row['counts'][name]:,}" for name in COUNTED if name in row["counts"])
        told.append(f"{row['job']}: {seconds} s; {counts}")
    return "\n".join(told)


def identical(args: argparse.Namespace) -> None:
    """So many images of one content: a placeholder that a crawler stored a million times."""
    spark, pool, warehouse = drawing(args, f"identical-{args.contents}")
    one = contents(spark, pool, 0, 1, 1)
    write(warehouse, one.cache(), pool.versions)
    (row,) = one.select("content_id").collect()
    n_new = args.contents // NIGHT
    n_old = args.contents - n_new

    def add(first: int, last: int) -> None:
        write_images(warehouse, spark.range(first, last, 1, 8).selectExpr("id", f"'{row['content_id']}' AS content_id"))

    add(1, n_old)
    full = _joined(args, warehouse.root)
    add(n_old, args.contents)
    print(line("one picture", n_old, n_new, full, _joined(args, warehouse.root), _joined(args, warehouse.root)))


def drawing(args: argparse.Namespace, name: str) -> tuple[SparkSession, Pool, Warehouse]:
    """A session, real contents to draw from, and an empty warehouse."""
    spark = build_session("nights-bench", {"spark.master": "local[2]", "spark.driver.memory": "4g"})
    pool_root = str(args.work / "pool")
    if not (args.work / "pool" / "embeddings").is_dir():
        paths = [str(args.data.absolute() / name) for name in SETS]
        if nightly.main([*paths, "--warehouse", pool_root, "--set", "run.planted_images=0"]):
            sys.exit("the run over the real images failed")
    known, warehouse = Warehouse(spark, pool_root), Warehouse(spark, str(args.work / name))
    warehouse.ensure()
    warehouse.append(MODELS, known.read(MODELS))
    return spark, read_pool(known), warehouse


def _joined(args: argparse.Namespace, root: str) -> Cost:
    """The join and the cluster job, a process each."""
    options = ["--warehouse", root, *_UNMEASURED, *_SPARK]
    options += ["--spark", "spark.sql.shuffle.partitions=16"]
    options += ["--spark", "spark.cleaner.periodicGC.interval=1min"]  # shuffle files of a million contents fill a disk
    options += ["--spark", f"spark.driver.memory={args.heap}"]
    options += ["--set", "lsh.words=false"] if args.no_words else ["--set", f"lsh.word_join={args.word_join}"]
    log = Path(f"{root}.log")
    jobs = (JOBS / "lsh_join.py", JOBS / "cluster.py")
    join, cluster = (measured([sys.executable, str(job), *options], log) for job in jobs)
    return join + cluster


def line(what: str, n_old: int, n_new: int, full: Cost, night: Cost, again: Cost) -> str:
    """A row of the table: core-seconds, and the shares with and without what a night with nothing new costs."""
    share = night.core_s / full.core_s
    own = (night.core_s - again.core_s) / full.core_s
    costs = " | ".join(f"{cost.core_s:.0f} ({cost.wall_s:.0f})" for cost in (full, night, again))
    return f"| {what} | {n_old:,} | {n_new:,} | {costs} | {share:.1%} | {own:.1%} |"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function, text in (
        (real, "edited photographs"),
        (synthetic, "drawn contents"),
        (identical, "one picture many times"),
    ):
        command = commands.add_parser(function.__name__, help=text)
        command.add_argument("--data", type=Path, required=True, help="the folder of real images")
        command.add_argument("--work", type=Path, required=True, help="a folder for pictures, warehouses and logs")
        if function is real:
            command.add_argument("--images", type=int, default=20_000)
            command.add_argument("--model", default="none", help="embed.model")
        else:
            command.add_argument("--contents", type=int, default=100_000)
            command.add_argument("--tasks", type=int, default=64, help="in which contents are drawn")
            command.add_argument("--word-join", choices=("blocks", "keys"), default="keys")
            command.add_argument("--heap", default="4g", help="of the JVM that joins and clusters")
            command.add_argument("--no-words", action="store_true", help="hash and embedding legs only")
        command.set_defaults(function=function)
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    costs = " | ".join(f"{run}, core s (s)" for run in ("full", "night", "nothing new"))
    print(f"| what | old | new | {costs} | night / full | less what nothing new costs |")
    args.function(args)


if __name__ == "__main__":
    main()
