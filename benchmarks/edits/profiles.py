"""What each profile finds and costs: the table of benchmarks/profiles.md and of the README.

    .venv/bin/python -m benchmarks.edits.run --data ../shared/data --work W --small --steps corpus,product
    .venv/bin/python -m benchmarks.edits.run --work W --steps product --label fast --profile fast
    .venv/bin/python -m benchmarks.edits.run --work W --steps product --label thorough --profile thorough
    .venv/bin/python -m benchmarks.edits.profiles --work W --photographs ../shared/data/imagenet_sample

Run in the root of the repository, after runs of the edits bench with each profile (`dupelake` is balanced). It prints
Markdown: copies found by edit, wrong groups, and core-milliseconds of hashing an image of `--photographs` on one core,
beside Pillow's decoding of the same files. The methods alternate picture by picture, so that a busy machine slows all.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
from benchmarks.edits import corpus
from benchmarks.edits.report_decisions import table
from benchmarks.edits.score import Result, Score, Share, read_result, score
from PIL import Image

from dupelake.config import load_config
from dupelake.fingerprint.fingerprint import fingerprint_image
from dupelake.profiles import BALANCED, PROFILES
from dupelake.words.vocabulary import load_vocabulary


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="the work folder of the edits bench")
    parser.add_argument("--photographs", help="a folder of images, to measure the cost of hashing one")
    args = parser.parse_args(argv)
    rows, unscored = corpus.read_truth(Path(args.work) / "corpus"), corpus.read_unscored(Path(args.work) / "corpus")
    results = {
        name: read_result(Path(args.work) / "results" / ("dupelake" if name == BALANCED else name)) for name in PROFILES
    }
    scores = {name: score(result, rows, unscored) for name, result in results.items()}
    costs = hashing_costs(Path(args.photographs)) if args.photographs else {}
    print(summary(results, scores, costs))
    print()
    print(by_edit(scores))
    return 0


def hashing_costs(folder: Path) -> dict[str, float]:
    """Core-milliseconds an image: `pillow` decodes it, each profile fingerprints it."""
    cv2.setNumThreads(1)
    vocabulary = load_vocabulary("default")
    configs = {name: load_config(None, [], name) for name in PROFILES}
    spent: defaultdict[str, float] = defaultdict(float)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for path in files:
        data = path.read_bytes()
        start = time.process_time()
        Image.open(io.BytesIO(data)).convert("RGB").load()
        spent["pillow"] += time.process_time() - start
        for name, config in configs.items():
            start = time.process_time()
            fingerprint_image(data, config.decode, config.hash, config.features, vocabulary)
            spent[name] += time.process_time() - start
    return {name: 1000 * seconds / len(files) for name, seconds in spent.items()}


def summary(results: dict[str, Result], scores: dict[str, Score], costs: dict[str, float]) -> str:
    """One line a profile."""
    lines = []
    for name, one in scores.items():
        meta = results[name].meta
        wrong = one.groups.n - one.groups.hits
        found = f"{one.copies.hits} of {one.copies.n} ({one.copies.value:.1%})"
        hashing = f"{costs[name]:.1f}" if costs else ""
        lines.append((name, found, f"{wrong} of {one.groups.n}", meta["pairs_measured"], hashing, meta["core_seconds"]))
    header = ("profile", "copies found", "wrong groups", "pairs measured", "hashing, core-ms an image", "run, core-s")
    note = f"\n\nPillow decodes the same files in {costs['pillow']:.1f} core-ms an image." if costs else ""
    return table(header, lines).rstrip("\n") + note


def by_edit(scores: dict[str, Score]) -> str:
    """Copies found by edit, over its strengths; edits at which all profiles find all are one line."""
    edits: defaultdict[str, dict[str, Share]] = defaultdict(lambda: {name: Share() for name in scores})
    for name, one in scores.items():
        for (edit, _), cell in one.cells.items():
            total = edits[edit][name]
            total.hits, total.n = total.hits + cell.hits, total.n + cell.n
    lines, full = [], []
    for edit, found in sorted(edits.items(), key=lambda item: item[1]["fast"].value):
        if all(share.hits == share.n for share in found.values()):
            full.append(edit.replace("_", " "))
            continue
        copies = next(iter(found.values())).n
        lines.append((edit.replace("_", " "), copies, *(f"{found[name].value:.2f}" for name in scores)))
    found_by_all = f"\n\nAll profiles find all copies of: {', '.join(sorted(full))}." if full else ""
    return table(("edit", "copies", *scores), lines).rstrip("\n") + found_by_all


if __name__ == "__main__":
    sys.exit(main())
