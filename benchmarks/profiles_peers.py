r"""What other tools find and cost on the files of `benchmarks/profiles.py`: rows and columns of profiles.md.

    .venv/bin/python -m benchmarks.profiles_peers --work W --photographs 14 --out DIR \
        [--imagededup PYTHON --weights FILE] [--immaculate PROGRAM] [--czkawka PROGRAM]

Each tool runs with its defaults over one folder with the chosen files. A copy is found if it is in a group with its
original. Cost: core-seconds of the process and its children, less those of a run over one file (the start), an image.
Beside them, in the same run: Pillow's decoding of the same files in one process.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import resource
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.edits import corpus
from benchmarks.folder import by_czkawka
from benchmarks.profiles import Pairs, by_edit_of, chosen, copies_found, found_line, timed
from PIL import Image

PEERS = Path(__file__).parent / "edits" / "peers.py"
Groups = dict[str, set[str]]  # image to the groups that it is in
Way = Callable[[Path, Path], Groups]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the work folder of the edits bench")
    parser.add_argument("--photographs", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--imagededup", help="the Python of its environment")
    parser.add_argument("--weights", default="", help="of mobilenetv2_100, for imagededup's CNN")
    parser.add_argument("--immaculate", help="its program")
    parser.add_argument("--czkawka", type=Path, help="its program")
    args = parser.parse_args(argv)
    rows = chosen(corpus.read_truth(args.work / "corpus"), args.photographs, None)
    files = [args.work / "corpus" / "images" / row.image for row in rows]
    folders = {"all": args.out / "all", "one": args.out / "one"}
    for name, folder in folders.items():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in files if name == "all" else files[:1]:
            shutil.copyfile(file, folder / file.name)
    data = [file.read_bytes() for file in files]
    plain = timed(lambda: [Image.open(io.BytesIO(one)).convert("RGB").load() for one in data])[1]
    print(f"{len(rows)} images. Pillow decodes them in {1000 * plain / len(rows):.1f} core-ms an image.\n")
    at, found = {row.image: i for i, row in enumerate(rows)}, {}
    for name, way in ways(args).items():
        start, _ = cost_of(way, folders["one"], args.out / f"{name} one")
        seconds, groups = cost_of(way, folders["all"], args.out / f"{name} all")
        found[name] = pairs_of(groups, at)
        cost = 1000 * (seconds - start) / len(rows)
        print(f"| {name} | {found_line(rows, found[name])} | {cost:.1f} | {start:.1f} |", flush=True)
    print(by_edit_of(rows, {name: copies_found(rows, pairs) for name, pairs in found.items()}))
    return 0


def cost_of(way: Way, folder: Path, log: Path) -> tuple[float, Groups]:
    """Core-seconds of the processes that a tool started, and its groups."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    groups = way(folder, log)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, groups


def ways(args: argparse.Namespace) -> dict[str, Way]:
    out: dict[str, Way] = {}
    if args.immaculate:
        for method in ("pdq", "phash", "sscd_distilled", "sscd"):
            out[f"immaculate {method}"] = lambda folder, log, m=method: by_immaculate(args.immaculate, m, folder, log)
    if args.imagededup:
        for method in ("imagededup-phash", "imagededup"):
            out[method] = lambda folder, log, m=method: by_imagededup(args, m, folder, log)
    if args.czkawka:
        for hashes in ("", "-c 8 -z Lanczos3 -s 10"):
            out[f"czkawka {hashes}".strip()] = lambda folder, log, h=hashes: of_czkawka(args, h, folder, log)
    return out


def by_immaculate(program: str, method: str, folder: Path, log: Path) -> Groups:
    out = log.with_suffix(".json")
    with out.open("w", encoding="utf-8") as file:
        subprocess.run([program, "--json", "--method", method, str(folder)], stdout=file, check=True)
    said = json.loads(out.read_text(encoding="utf-8"))
    groups: Groups = defaultdict(set)
    for number, paths in enumerate([*said["exact"], *said["near"]]):
        for path in paths:
            groups[Path(path).name].add(str(number))
    return groups


def by_imagededup(args: argparse.Namespace, method: str, folder: Path, log: Path) -> Groups:
    log.mkdir(exist_ok=True)
    command = [args.imagededup, str(PEERS), method, "--images", str(folder), "--out", str(log)]
    with (log / "log").open("w", encoding="utf-8") as told:
        subprocess.run([*command, "--weights", args.weights], stdout=told, stderr=told, check=True)
    with (log / "groups.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: {row["group"]} for row in csv.DictReader(file)}


def of_czkawka(args: argparse.Namespace, hashes: str, folder: Path, log: Path) -> Groups:
    _, groups = by_czkawka(args, folder, log.with_suffix(".log"), hashes=hashes)
    return {image: {group} for image, group in groups.items()}


def pairs_of(groups: Groups, at: dict[str, int]) -> Pairs:
    """Pairs of images (indices) that share a group."""
    members = defaultdict(list)
    for image, some in groups.items():
        for group in some:
            members[group].append(at[image])
    return {(a, b) for some in members.values() for a in some for b in some if a < b}


if __name__ == "__main__":
    sys.exit(main())
