"""What each generator and guard is worth: decisions and groups made again without it, from the evidence of a full run.

    .venv/bin/python -m benchmarks.edits.ablation --work /tmp/edits-bench/full [--write]

A generator is taken away by dropping the pairs that no other found, a measure by the value that a copy has; no
image is read again. Groups are built by the library's own stages. Needs `benchmarks.edits.run --steps product` before.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.edits.corpus import read_truth, read_unscored
from benchmarks.edits.score import number, read_result, score
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.group.components_stage import connected_components
from dupelake.group.stage import build_groups
from dupelake.runtime.session import build_session
from dupelake.verify.decide_stage import decide
from dupelake.warehouse.schema import GROUP_CHANGES, GROUPS, HASHES, IMAGES, PAIRS
from dupelake.warehouse.staging import Staging
from dupelake.warehouse.tables import Warehouse

GENERATORS = ("phash", "pdq", "words", "embedding")
# What each measure is in an unaltered copy: with it the measure says nothing against any pair.
GUARDS = {"cell shifts": ("cell_shift_px", 0.0), "unexplained colours": ("unexplained_colour", 0.0)}
GUARDS["agreeing cells"] = ("agreeing_share", 1.0)
BEGIN, END = "<!-- ablation: written by benchmarks/edits/ablation.py -->", "<!-- ablation: end -->"
QUALITY = Path(__file__).parents[1] / "quality.md"
Change = Callable[[DataFrame], DataFrame]


def without_generator(name: str) -> Change:
    """Only pairs that another generator found too."""
    return lambda pairs: pairs.where(F.col("found_by") != name)


def only_generator(name: str) -> Change:
    """Only pairs that this generator found."""
    return lambda pairs: pairs.where(
        F.array_contains(F.split("found_by", "[+]"), name) | (F.col("found_by") == "pixel")
    )


def with_value(column: str, value: float) -> Change:
    """One measure as a copy has it, where it was measured."""
    return lambda pairs: pairs.withColumn(column, F.when(F.col(column).isNotNull(), F.lit(value)))


def as_they_are(pairs: DataFrame) -> DataFrame:
    return pairs


def variants() -> list[tuple[str, Change, bool]]:
    """(name, change of pairs, whether the chain guard stands)."""
    rows: list[tuple[str, Change, bool]] = [("everything", as_they_are, True)]
    rows += [(f"without generator {name}", without_generator(name), True) for name in GENERATORS]
    rows += [(f"generator {name} alone", only_generator(name), True) for name in ("words", "embedding")]
    rows += [(f"without {name}", with_value(*given), True) for name, given in GUARDS.items()]
    rows.append(("without chain guard", as_they_are, False))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--label", default="dupelake")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/quality.md")
    args = parser.parse_args()
    root = args.work / "results" / args.label / "warehouse"
    spark = build_session("ablation")
    warehouse = Warehouse(spark, str(root.absolute()))
    lines = [
        "| | copies found (groups) | copies found (pairs) | precision of groups, by pair | wrong groups |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, change, guarded in variants():
            out = Path(folder) / name.replace(" ", "-")
            out.mkdir()
            staging = Staging(Warehouse(spark, str(out / "staging")), "ablation")
            write_result(warehouse, staging, out, change, guarded)
            lines.append(told(name, args.work, out))
            print(lines[-1], flush=True)
    table = "\n".join(lines)
    (args.work / "ablation.md").write_text(table + "\n", encoding="utf-8")
    if args.write:
        write_section(table)
    return 0


def write_result(warehouse: Warehouse, staging: Staging, out: Path, change: Change, guarded: bool) -> None:
    """pairs.csv and groups.csv of a variant, as `score` reads them."""
    cfg = Config()
    images, hashes = warehouse.read(IMAGES), warehouse.read(HASHES)
    pairs = staging.save(decide(change(warehouse.read(PAIRS)), cfg.decide))
    empty = [warehouse.spark.createDataFrame([], table.schema) for table in (GROUPS, GROUP_CHANGES)]
    if guarded:
        now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        found = build_groups(images, hashes, pairs, *empty, cfg, "ablation", now, staging.save)
        groups = found.groups.select("image_id", F.col("group_id").alias("group"))
    else:
        edges = pairs.where("is_duplicate").select(F.col("src_id").alias("src"), F.col("dst_id").alias("dst"))
        components = connected_components(edges, staging.save)
        groups = components.join(images, F.col("vertex") == F.col("content_id")).select(
            "image_id", F.col("component").alias("group")
        )
    name = F.element_at(F.split("uri", "/"), -1)
    grouped = groups.join(images.select("image_id", name.alias("image")), "image_id").select("image", "group").collect()
    write_csv(out / "groups.csv", ["image", "group"], sorted((r["image"], r["group"]) for r in grouped))
    named = images.where("status = 'ok'").select("content_id", name.alias("name"))
    accepted = pairs.where("is_duplicate").select("src_id", "dst_id", "score")
    for side, column in (("src_id", "a"), ("dst_id", "b")):
        accepted = accepted.join(named.select(F.col("content_id").alias(side), F.col("name").alias(column)), side)
    rows = sorted((*sorted((r["a"], r["b"])), r["score"], "") for r in accepted.collect())
    write_csv(out / "pairs.csv", ["a", "b", "value", "evidence"], rows)
    (out / "meta.json").write_text(json.dumps({"tool": "dupelake"}), encoding="utf-8")


def write_csv(path: Path, header: list[str], rows: list[Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def told(name: str, work: Path, out: Path) -> str:
    """A line of the table."""
    found = score(read_result(out), read_truth(work / "corpus"), read_unscored(work / "corpus"))
    wrong = found.groups.n - found.groups.hits
    return (
        f"| {name} | {number(found.copies.value)} | {number(found.direct.value)} | {number(found.implied.value)} "
        f"of {found.implied.n} | {wrong} of {found.groups.n} |"
    )


def write_section(table: str) -> None:
    """Puts the table between its marks in benchmarks/quality.md, or at its end."""
    text = (
        f"{BEGIN}\n## Ablation: what each generator and each measure is worth\n\n"
        "    .venv/bin/python -m benchmarks.edits.ablation --work /tmp/edits-bench/full --write\n\n"
        "On the edits bench. A generator is taken away by dropping the pairs that no other generator found, a guard\n"
        "by a threshold that lets everything pass; without chain guard, groups are plain connected components.\n\n"
        f"{table}\n{END}\n"
    )
    old = QUALITY.read_text(encoding="utf-8") if QUALITY.exists() else ""
    if BEGIN in old and END in old:
        text = old[: old.index(BEGIN)] + text.rstrip("\n") + old[old.index(END) + len(END) :]
    else:
        text = old + ("\n" if old else "") + text
    QUALITY.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
