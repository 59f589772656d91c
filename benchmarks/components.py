"""Connected components on the same edges: dupelake, GraphX, and scipy in memory on one machine.

    .venv/bin/python -m benchmarks.components --work DIR [--edges 10000000] [--graphs random,path,star,power] [--texts]

Each graph is written once as Parquet, and for GraphX as text for its loader. Each method runs in its own process, from
the files to the number of components and the sum of all labels, by which results are compared. Core-seconds are those
of the whole process tree. `union` is scipy's labelling of integer vertices in memory (`group/unionfind.py`), a lower
bound for any method with shuffles.

With --texts ids are 32 hex digits, like content ids. GraphX accepts only numbers, so ids are hashed to 64 bits, as in
dupelake, and the labels are joined with the ids afterwards; then the sum is of the squared sizes of the components.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.nights.cost import measured
from pyspark.sql import DataFrame

Ints = npt.NDArray[np.int64]

_CHUNK = 1_000_000
_SPARK = {"spark.master": "local[2]", "spark.driver.memory": "8g"}


def random_graph(rng: np.random.Generator, n_edges: int) -> tuple[Ints, Ints]:
    """As many vertices as edges, mean degree 2: a giant component and many small ones."""
    ends = rng.integers(0, n_edges, (2, n_edges))
    return ends[0], ends[1]


def paths(rng: np.random.Generator, n_edges: int) -> tuple[Ints, Ints]:
    """Paths of a million vertices in sorted order, for which label propagation needs as many rounds as vertices."""
    at = np.arange(n_edges)
    at = at[at % 1_000_000 != 999_999]
    return at, at + 1


def stars(rng: np.random.Generator, n_edges: int) -> tuple[Ints, Ints]:
    """One star with a tenth of all leaves, the rest in stars of ten."""
    leaf = np.arange(n_edges)
    centre = np.where(leaf < n_edges // 10, 0, leaf // 10)
    return centre + n_edges, leaf


def power_law(rng: np.random.Generator, n_edges: int) -> tuple[Ints, Ints]:
    """Degrees follow a Zipf law of exponent 2; ends are matched at random among as many vertices as edges."""
    ranks = np.minimum(rng.zipf(2.0, (2, n_edges)), n_edges) - 1
    shuffled = rng.permutation(n_edges)
    return shuffled[ranks[0]], rng.integers(0, n_edges, n_edges)


GRAPHS: dict[str, Callable[[np.random.Generator, int], tuple[Ints, Ints]]] = {
    "random": random_graph,
    "path": paths,
    "star": stars,
    "power": power_law,
}


def write_graph(name: str, n_edges: int, work: Path) -> Path:
    """Write Parquet and text of the edges, once."""
    folder = work / f"{name}-{n_edges}"
    if (folder / "done").is_file():
        return folder
    for kind in ("parquet", "text"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    src, dst = GRAPHS[name](np.random.default_rng(7), n_edges)
    order = np.random.default_rng(8).permutation(len(src))
    for number, start in enumerate(range(0, len(src), _CHUNK)):
        part = order[start : start + _CHUNK]
        pq.write_table(pa.table({"src": src[part], "dst": dst[part]}), folder / "parquet" / f"{number:04d}.parquet")
        lines = np.char.add(np.char.add(src[part].astype("U"), " "), dst[part].astype("U"))
        (folder / "text" / f"{number:04d}.txt").write_text("\n".join(lines.tolist()) + "\n", encoding="ascii")
    (folder / "done").touch()
    return folder


def texts(folder: Path) -> Path:
    """Write the same graph with text ids, once."""
    out = folder.with_name(folder.name + "-texts")
    if (out / "done").is_file():
        return out
    (out / "parquet").mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / "parquet").iterdir()):
        table = pq.read_table(path)
        pq.write_table(
            pa.table({name: hex_ids(table[name].to_numpy()) for name in ("src", "dst")}), out / "parquet" / path.name
        )
    (out / "done").touch()
    return out


def hex_ids(numbers: Ints) -> pa.Array:
    """32 hex digits for each number, pseudo-random and unique: multiplication by an odd factor permutes 64 bits."""
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    halves = np.stack([mixed ^ (mixed >> np.uint64(32)), mixed], axis=1).astype(">u8").view(np.uint8)
    nibbles = np.stack([halves >> 4, halves & 15], axis=2).reshape(len(numbers), 32)
    offsets = pa.array(np.arange(len(numbers) + 1, dtype=np.int32) * 32).buffers()[1]
    return pa.Array.from_buffers(pa.string(), len(numbers), [None, offsets, pa.py_buffer(digits[nibbles].tobytes())])


def by_union(folder: Path) -> tuple[int, int]:
    from dupelake.group.unionfind import smallest_labels

    edges = pq.read_table(folder / "parquet")
    ends = edges["src"].to_numpy(), edges["dst"].to_numpy()
    vertices = np.unique(np.concatenate(ends))
    labels = vertices[smallest_labels(*(np.searchsorted(vertices, end) for end in ends), len(vertices))]
    return len(np.unique(labels)), int(labels.sum())


def by_dupelake(folder: Path) -> tuple[int, int]:
    from dupelake.group.components_stage import connected_components
    from dupelake.runtime.session import build_session
    from dupelake.warehouse.staging import Staging
    from dupelake.warehouse.tables import Warehouse

    spark = build_session("components", _SPARK)
    staging = Staging(Warehouse(spark, str(folder / "warehouse")), "bench")
    found = connected_components(spark.read.parquet(str(folder / "parquet")), staging.save)
    answer = told(found)
    staging.remove()
    return answer


def told(found: DataFrame) -> tuple[int, int]:
    """(components, checksum) of (vertex, component)."""
    if dict(found.dtypes)["vertex"] == "string":
        row = found.groupBy("component").count().selectExpr("count(*)", "sum(count * count)").first()
    else:
        row = found.selectExpr("count(DISTINCT component)", "sum(component)").first()
    assert row is not None
    return row[0], row[1]


def by_graphx(folder: Path) -> tuple[int, int]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("graphx")
    for key, value in _SPARK.items():
        builder = builder.config(key, value)
    spark = builder.config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    jvm: Any = spark._jvm
    level = jvm.org.apache.spark.storage.StorageLevel.MEMORY_AND_DISK()
    ids = spark.read.parquet(str(folder / "parquet"))
    text, out = folder / "text", folder / "graphx"
    shutil.rmtree(out, ignore_errors=True)  # of the last run
    if is_text := dict(ids.dtypes)["src"] == "string":
        lines = ids.selectExpr("concat_ws(' ', xxhash64(src), xxhash64(dst)) AS value")
        lines.write.mode("overwrite").text(str(text))
    graph = jvm.org.apache.spark.graphx.GraphLoader.edgeListFile(
        spark.sparkContext._jsc.sc(), str(text), False, 8, level, level
    )
    labelled = jvm.org.apache.spark.graphx.lib.ConnectedComponents.run(graph, *(jvm.scala.reflect.ClassTag.Int(),) * 2)
    labelled.vertices().saveAsTextFile(str(out))
    rows = spark.read.csv(str(out), schema="vertex string, component string")
    found = rows.selectExpr(
        "CAST(substr(vertex, 2) AS BIGINT) AS vertex", "CAST(replace(component, ')', '') AS BIGINT) AS component"
    )
    if is_text:
        ends = ids.select("src").union(ids.select("dst")).distinct()
        names = ends.selectExpr("src AS name", "xxhash64(src) AS vertex")
        found = found.join(names, "vertex").selectExpr("name AS vertex", "component")  # a number is label enough
    return told(found)


WAYS = {"union": by_union, "dupelake": by_dupelake, "graphx": by_graphx}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--graphs", default=",".join(GRAPHS))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--texts", action="store_true", help="ids of 32 hex digits; for dupelake and graphx")
    parser.add_argument("--limit-s", type=int, default=900, help="time limit of each method, in seconds")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")  # rounds, into the log of the way
        way, folder = args.one
        n, checksum = WAYS[way](Path(folder))
        answer = {"components": n, "sum": str(checksum)}
        Path(folder, f"{way}.json").write_text(json.dumps(answer), encoding="utf-8")
        return
    print("| graph | edges | components | way | core-seconds | seconds |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in args.graphs.split(","):
        folder = write_graph(name, args.edges, args.work)
        folder = texts(folder) if args.texts else folder
        seen = set()
        for way in args.ways.split(","):
            if way == "union" and args.texts:  # it takes numbers
                continue
            command = [sys.executable, "-m", "benchmarks.components", "--work", str(args.work), "--one", way]
            try:
                cost = measured([*command, str(folder)], folder / f"{way}.log", args.limit_s)
            except SystemExit as error:
                print(f"| {name} | {args.edges:,} | | {way} | failed: {str(error)[-200:]!r} | |", flush=True)
                continue
            told = json.loads((folder / f"{way}.json").read_text(encoding="utf-8"))
            seen.add((told["components"], told["sum"]))
            took = f"{cost.core_s:.0f} | {cost.wall_s:.0f}"
            print(f"| {name} | {args.edges:,} | {told['components']:,} | {way} | {took} |", flush=True)
        if len(seen) > 1:
            sys.exit(f"{name}: the ways differ: {seen}")


if __name__ == "__main__":
    main()
