"""The edits bench: corpus, dupelake and other tools on it, figures.

    .venv/bin/python -m benchmarks.edits.run --data ../shared/data --work /tmp/edits-bench/full
    .venv/bin/python -m benchmarks.edits.run --data ../shared/data --work /tmp/edits-bench/small --small
    .venv/bin/python -m benchmarks.edits.run --work W --label no-words --set lsh.words=false    # an ablation
    .venv/bin/python -m benchmarks.edits.run --work W --label fast --profile fast
    .venv/bin/python -m benchmarks.edits.run --work W --steps score --labels dupelake,phash,pdq --write

Run in the root of the repository. Steps, each kept in the work folder and not done twice (`--again` does a step again):
`corpus` (images and truth.csv), `product` (dupelake over it, as results/LABEL), `keepers` (dupelake over cases of two
and of six images, each a scope; see keepers.py), `peers` (imagehash, PDQ, imagededup, fastdup, in the environment of
--peers-python; missing: said, and left out), `score` (tables and pictures of all results that are there: report.md,
edits.png, reliability.png, and lists of what is wrong and missed in results/LABEL). `--update` runs `product` and
`keepers` again over their tables, so that only what code or options changed is made anew. `--write` puts the tables
into benchmarks/quality.md and the pictures into docs/edits-bench.png and docs/score-reliability.png.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.edits import corpus, keepers, picture, product, reliability, report
from benchmarks.edits.score import read_result, score, write_lists

from dupelake.profiles import BALANCED, PROFILES

ROOT = Path(__file__).parents[2]
STEPS = ("corpus", "product", "keepers", "peers", "score")
PEERS = ("phash", "pdq", "imagededup", "fastdup")
PEERS_PYTHON = str(Path(tempfile.gettempdir()) / "peers-venv" / "bin" / "python")
MAX_PICTURE_BYTES = 150_000


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    work = Path(args.work).absolute()
    steps = args.steps.split(",")
    folder = work / "corpus"
    if "corpus" in steps:
        if args.again:
            (folder / "corpus.json").unlink(missing_ok=True)
        rows = corpus.build(Path(args.data).absolute(), folder, args.small)
        print(f"corpus: {len(rows)} images in {folder / 'images'}")
    if "product" in steps:
        out = work / "results" / args.label
        if args.again or args.update or not (out / "meta.json").exists():
            print(f"product: {args.label} {' '.join(args.set)}", flush=True)
            (out / "meta.json").unlink(missing_ok=True)
            product.run(folder / "images", out, args.set, update=args.update, profile=args.profile)
        check_options(out, args.set, args.profile)
    if "keepers" in steps:
        run_keepers(args, work)
    if "peers" in steps:
        run_peers(args, folder / "images", work / "results")
    if "score" in steps:
        write_report(args, work)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data", help="folder of the real images")
    parser.add_argument("--work", required=True, help="where corpus, tables and results go; outside the repository")
    parser.add_argument("--small", action="store_true", help="about 60 photographs and 950 images: minutes")
    parser.add_argument("--steps", default="corpus,product,keepers,score", help=f"some of {','.join(STEPS)}")
    parser.add_argument("--label", default="dupelake", help="name of this run of the product in tables")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="handed to `dupelake run`")
    parser.add_argument("--profile", default=BALANCED, choices=tuple(PROFILES), help="handed to `dupelake run`")
    parser.add_argument("--labels", default="", help="results to score, in order; default: dupelake, then all others")
    parser.add_argument("--peers-python", default=PEERS_PYTHON, metavar="FILE")
    parser.add_argument("--peers", default=",".join(PEERS), help="which of them")
    parser.add_argument("--again", action="store_true", help="do the named steps again even if their results are there")
    parser.add_argument("--update", action="store_true", help="run dupelake again over the tables that it left")
    parser.add_argument("--write", action="store_true", help="into benchmarks/quality.md and docs/edits-bench.png")
    args = parser.parse_args(argv)
    unknown = set(args.steps.split(",")) - set(STEPS)
    if unknown:
        parser.error(f"--steps: {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    if (args.set or args.profile != BALANCED) and args.label == "dupelake":
        parser.error("--set and --profile want a --label of their own: `dupelake` is the run with all defaults")
    return args


def check_options(out: Path, options: Sequence[str], profile: str) -> None:
    kept = read_result(out).meta["settings"]
    if kept != product.settings(options, profile):
        raise SystemExit(f"{out} holds a run with {kept}; give another --label, or --again")


def is_small(rows: Sequence[corpus.Row]) -> bool:
    return sum(row.group.startswith("photo") and row.edit == "original" for row in rows) < 100


def run_keepers(args: argparse.Namespace, work: Path) -> None:
    out = work / "results" / args.label / "keepers"
    if (out / "keepers.csv").exists() and not (args.again or args.update):
        return
    out.mkdir(parents=True, exist_ok=True)
    rows = corpus.read_truth(work / "corpus")
    keepers.write_manifest(keepers.cases(rows, is_small(rows)), work / "corpus" / "images", out / "manifest.csv")
    print(f"keepers: {args.label}", flush=True)
    allowed = f"fetch.allowed_roots=['{work / 'corpus'}']"
    product.run(out / "manifest.csv", out, [*args.set, allowed], update=args.update, profile=args.profile)
    keepers.export(out / "warehouse", out / "keepers.csv")


def run_peers(args: argparse.Namespace, images: Path, results: Path) -> None:
    python = Path(args.peers_python)
    if not python.exists():
        print(f"peers: left out, no {python}; benchmarks/requirements-peers.txt says how to make it")
        return
    weights = Path(args.data).absolute() / "weights" / "mobilenetv2_100.keras_in1k_same.safetensors"
    for tool in args.peers.split(","):
        out = results / tool
        if (out / "meta.json").exists() and not args.again:
            continue
        out.mkdir(parents=True, exist_ok=True)
        print(f"peers: {tool}", flush=True)
        command = [str(python), str(Path(__file__).with_name("peers.py")), tool, "--images", str(images)]
        command += ["--out", str(out), "--weights", str(weights)]
        with (out / "run.log").open("wb") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        if code:
            print(f"peers: {tool} ended with {code} and is left out; see {out / 'run.log'}", file=sys.stderr)


def write_report(args: argparse.Namespace, work: Path) -> None:
    rows, unscored = corpus.read_truth(work / "corpus"), corpus.read_unscored(work / "corpus")
    small = is_small(rows)
    there = sorted(p.parent.name for p in (work / "results").glob("*/meta.json"))
    there.sort(key=lambda label: (label != "dupelake", label in PEERS, label))
    labels = args.labels.split(",") if args.labels else there
    missing = set(labels) - set(there)
    if missing or not labels:
        raise SystemExit(f"no results of {', '.join(sorted(missing)) or 'any tool'} in {work / 'results'}")
    found = []
    for label in labels:
        result = read_result(work / "results" / label)
        one = score(result, rows, unscored)
        write_lists(one, rows, work / "results" / label)
        found.append((result, one))
    kept = work / "results" / labels[0] / "keepers" / "keepers.csv"
    keeper = keepers.score(keepers.cases(rows, small), kept, rows) if kept.exists() else None
    command = ".venv/bin/python -m benchmarks.edits.run --data ../shared/data --work /tmp/edits-bench/full"
    command = (
        command.replace("full", "small --small") if small else command + " --steps corpus,product,keepers,peers,score"
    )
    text = report.section(rows, found, command, small, keeper)
    (work / "report.md").write_text(text, encoding="utf-8")
    picture.draw(found, work / "edits.png")
    curves = [(result.label, one.bins) for result, one in found if one.bins]
    if curves:
        reliability.draw(curves, work / "reliability.png")
    print(f"score: {work / 'report.md'}, {work / 'edits.png'}")
    for result, one in found:
        print(
            f"  {result.label}: copies found {one.copies.hits} of {one.copies.n}, wrong groups "
            f"{one.groups.n - one.groups.hits} of {one.groups.n}, wrong pairs {len(one.wrong_pairs)}, "
            f"distractors in wrong groups {one.distractors.hits} of {one.distractors.n}"
        )
    if args.write:
        size = (work / "edits.png").stat().st_size
        if size > MAX_PICTURE_BYTES:
            raise SystemExit(f"edits.png weighs {size} bytes, more than {MAX_PICTURE_BYTES}; fewer --labels")
        report.write_section(ROOT / "benchmarks" / "quality.md", text)
        shutil.copyfile(work / "edits.png", ROOT / "docs" / "edits-bench.png")
        if curves:
            shutil.copyfile(work / "reliability.png", ROOT / "docs" / "score-reliability.png")


if __name__ == "__main__":
    sys.exit(main())
