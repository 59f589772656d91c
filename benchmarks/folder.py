"""A folder of real pictures from end to end: dupelake, imagededup and czkawka, each in its own process.

    .venv/bin/python -m benchmarks.folder --data ../shared/data --work DIR --imagededup PYTHON --czkawka CLI

Pictures are those of `benchmarks.nights.run real`: quarters of photographs and four edited copies of each, five per
scene. dupelake runs with all defaults (features, words, embedding on the CPU, verification, keepers, Delta tables).
imagededup runs PHash and CNN, the latter with weights of dupelake's default kind (see edits/peers.py). czkawka_cli runs
its similar images. Core-seconds are those of whole process trees. Recall is the share of pairs of one scene that are in
one group (imagededup: connected components of its pairs). Precision is the share of pairs in one group that are of one
scene. PYTHON is an environment with edits' requirements-peers.txt; CLI comes from `cargo install czkawka_cli`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.nights.cost import Cost, measured
from benchmarks.nights.run import JOBS, scenes, write_picture

from dupelake.runtime.session import build_session
from dupelake.warehouse.schema import GROUPS, IMAGES
from dupelake.warehouse.tables import Warehouse

_PEERS = Path(__file__).parent / "edits" / "peers.py"
_CZKAWKA = ("", "-c 8 -z Lanczos3 -s 10")  # its defaults; 64 bits at the radius that it recommends for these
_COPIES = 5  # of a scene, the picture itself among them


def draw(args: argparse.Namespace) -> tuple[Path, dict[str, int]]:
    """A flat folder of pictures, and the scene of each name."""
    photographs = scenes(args.data)
    n_scenes = 4 * len(photographs)
    write = partial(write_picture, photographs=photographs, folder=args.work / "made")
    flat, truth = args.work / f"images-{args.scenes}", {}
    flat.mkdir(parents=True, exist_ok=True)
    for scene in range(min(args.scenes, n_scenes)):
        for number in range(scene, _COPIES * n_scenes, n_scenes):
            link = flat / f"{number}.jpg"
            if not link.is_file():
                link.hardlink_to(write(number))
            truth[link.name] = scene
    return flat, truth


def by_dupelake(args: argparse.Namespace, folder: Path, log: Path) -> tuple[Cost, dict[str, str]]:
    warehouse = args.work / f"warehouse-{args.scenes}"
    command = [sys.executable, str(JOBS / "nightly.py"), str(folder), "--warehouse", str(warehouse)]
    cost = measured([*command, "--spark", "spark.master=local[2]"], log)
    wh = Warehouse(build_session("folder-bench"), str(warehouse))
    rows = wh.read(GROUPS).join(wh.read(IMAGES).select("image_id", "uri"), "image_id").select("uri", "group_id")
    return cost, {Path(row["uri"]).name: row["group_id"] for row in rows.collect()}  # of a bench


def by_imagededup(args: argparse.Namespace, folder: Path, log: Path, *, method: str) -> tuple[Cost, dict[str, str]]:
    out = log.with_suffix("")
    out.mkdir(exist_ok=True)
    weights = next((args.data / "weights").glob("mobilenetv2*"))
    command = [str(args.imagededup), str(_PEERS), method, "--images", str(folder), "--out", str(out)]
    cost = measured([*command, "--weights", str(weights.absolute())], log)
    with (out / "groups.csv").open(encoding="utf-8", newline="") as file:
        return cost, {row["image"]: row["group"] for row in csv.DictReader(file)}


def by_czkawka(args: argparse.Namespace, folder: Path, log: Path, *, hashes: str) -> tuple[Cost, dict[str, str]]:
    out = log.with_suffix(".txt")
    # -W: the exit status says whether it ran, not whether it found something; -H: no cache of an earlier run; -m: it
    # would pass over pictures of less than 16 KB
    options = ["-d", str(folder.absolute()), "-f", str(out), "-W", "-H", "-m", "1", *hashes.split()]
    cost = measured([str(args.czkawka), "image", *options], log)
    groups, number = {}, 0
    for before, line in pairwise(["", *out.read_text(encoding="utf-8").splitlines()]):
        if not line.startswith('"'):
            continue
        number += not before.startswith('"')
        groups[Path(line.split('"')[1]).name] = str(number)
    return cost, groups


def scored(groups: Mapping[str, str], truth: Mapping[str, int]) -> tuple[float, float]:
    """(recall, precision) of pairs in one group."""

    def pairs(counts: Counter[object]) -> int:
        return sum(n * (n - 1) // 2 for n in counts.values())

    true = pairs(Counter(truth.values()))
    grouped = pairs(Counter(groups.values()))
    right = pairs(Counter((group, truth[name]) for name, group in groups.items()))
    return right / true, right / max(1, grouped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--imagededup", type=Path, help="the Python of its environment; not measured if not given")
    parser.add_argument("--czkawka", type=Path, help="its command line program; not measured if not given")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    folder, truth = draw(args)
    ways: dict[str, Any] = {"dupelake": by_dupelake}
    if args.imagededup:
        for method in ("imagededup-phash", "imagededup"):
            ways[method] = partial(by_imagededup, method=method)
    if args.czkawka:
        for hashes in _CZKAWKA:
            ways[f"czkawka {hashes or 'as it comes'}"] = partial(by_czkawka, hashes=hashes)
    print("| tool | pictures | core-seconds | seconds | recall | precision |\n|---|---|---|---|---|---|", flush=True)
    for name, way in ways.items():
        cost, groups = way(
            args, folder, args.work / f"{''.join(c if c.isalnum() else '-' for c in name)}-{args.scenes}.log"
        )
        recall, precision = scored(groups, truth)
        told = f"{cost.core_s:.0f} | {cost.wall_s:.0f} | {recall:.3f} | {precision:.3f}"
        print(f"| {name} | {len(truth):,} | {told} |", flush=True)


if __name__ == "__main__":
    main()
