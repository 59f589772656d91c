"""The console command `dupelake`: run, plan, maintain, forget, report, evaluate, decide, review and more."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dupelake.errors import DupelakeError
from dupelake.lookup.command_lines import add_check, add_index
from dupelake.pipeline.arguments import Parser, add_spark, spark_settings
from dupelake.pipeline.register_command import add_register
from dupelake.runtime.interrupts import Interrupted, Interrupts
from dupelake.runtime.redaction import Redactor
from dupelake.serve.command_lines import add_serve
from dupelake.version import __version__

if TYPE_CHECKING:
    from dupelake.warehouse.schema_types import Table
    from dupelake.warehouse.tables import Warehouse

# This module's business is the terminal.
# ruff: noqa: T201

_JOBS = {"run": "nightly", "forget": "forget", "maintain": "maintain", "overlap": "overlap"}
"""Commands that are jobs of `pipeline/`, with their options."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console command; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in _JOBS:
        return int(import_module(f"dupelake.pipeline.{_JOBS[argv[0]]}").main(argv[1:], f"dupelake {argv[0]}"))
    if argv and argv[0] == "plan":
        return _plan(argv[1:])
    args = _parser().parse_args(argv)
    return _guarded(args.call, args)


def _guarded(call: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Exit code of a command that holds no lock; errors of ours and signals are told in a line."""
    redactor = Redactor.of(spark_settings(getattr(args, "spark", []), []))
    with Interrupts(f"dupelake {args.command}", "nothing is left half done; run it again") as interrupts:
        args.watch = interrupts.watch
        try:
            return int(call(args))
        except (Exception, Interrupted) as error:
            if interrupts.exit_code:  # its Spark jobs were cancelled
                print(f"dupelake {args.command}: {interrupts.message}", file=sys.stderr)
                return interrupts.exit_code
            if isinstance(error, DupelakeError):
                faults: list[str] = getattr(error, "faults", [])  # several stand below each other
                told = faults[0] if len(faults) == 1 else f"refused:\n{error}" if faults else str(error)
                print(redactor(f"dupelake {args.command}: {told}"), file=sys.stderr)
                return error.exit_code
            print(redactor(traceback.format_exc()), file=sys.stderr)
            return 1


def _parser() -> argparse.ArgumentParser:
    about = "Near-duplicate image detection on Spark and Delta Lake."
    parser: argparse.ArgumentParser = Parser(prog="dupelake", description=about)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "run", help="the nightly job on this machine: dupelake run PATH... --warehouse DIR", add_help=False
    )
    commands.add_parser("forget", help="take images out by hand: dupelake forget --image ID ...", add_help=False)
    commands.add_parser("plan", help="what a run would do; takes the options of run", add_help=False)
    commands.add_parser("maintain", help="compact the tables, drop old versions: dupelake maintain ...", add_help=False)
    commands.add_parser(
        "overlap", help="which sources, partitions, scopes or values of a column share pictures", add_help=False
    )
    report = commands.add_parser("report", help="the found groups as a contact sheet")
    report.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are")
    report.add_argument("--out", metavar="FILE", help="the PNG (default: contact-sheet.png in the present folder)")
    report.add_argument(
        "--groups", type=int, default=30, metavar="N", help="the N groups with most images (default 30)"
    )
    report.set_defaults(call=_report)
    add_check(commands)
    add_index(commands)
    add_serve(commands)
    add_register(commands)
    _add_evaluate(commands)
    _add_decide(commands)
    _add_review(commands)
    _add_vocabulary(commands)
    demo = commands.add_parser("demo", help="sample images with known copies, two nights, a contact sheet")
    demo.add_argument("--out", default="demo-output", metavar="DIR", help="where images, tables and sheet go")
    demo.set_defaults(call=_demo)
    jars = commands.add_parser("jars", help="fetch Delta's jars once, for sessions without Maven")
    jars.add_argument(
        "--to", metavar="DIR", help="default: a folder of this Python environment, where it is looked for"
    )
    jars.set_defaults(call=_jars)
    return parser


def _plan(argv: Sequence[str]) -> int:
    from dupelake.pipeline.command_lines import manifest_command
    from dupelake.pipeline.plan import describe_plan

    parsed = manifest_command("dupelake plan", "What a run would do; nothing is written.").parse(argv)
    parsed.args.command = "plan"

    def call(args: argparse.Namespace) -> int:
        given = parsed.check(is_written=False)
        print(describe_plan(_open(args), given.config, given.options))
        return 0

    return _guarded(call, parsed.args)


def _open(args: argparse.Namespace) -> Warehouse:
    """The warehouse of a command line, in a session with its settings."""
    from dupelake.runtime.session import build_session
    from dupelake.warehouse.tables import Warehouse

    print(f"dupelake {args.command}: starts Spark, which takes some seconds", file=sys.stderr, flush=True)
    spark = build_session(f"dupelake-{args.command}", spark_settings(args.spark, []))
    args.watch(spark)
    return Warehouse(spark, args.warehouse)


def _report(args: argparse.Namespace) -> int:
    from dupelake.errors import ConfigError
    from dupelake.pipeline.command_lines import faults_of_warehouse
    from dupelake.report.summary import describe, write_contact_sheet
    from dupelake.warehouse.reader import Reader

    if faults := faults_of_warehouse(args.warehouse, {}, is_written=False):
        raise ConfigError(faults)
    reader, out = Reader(args.warehouse), Path(args.out or "contact-sheet.png").absolute()
    write_contact_sheet(reader, out, args.groups)
    print(describe(reader))
    print(f"Contact sheet: {out}")
    return 0


def _add_decide(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    decide = commands.add_parser(
        "decide", help="add a person's verdicts on images: duplicate, not_duplicate, alternate, keeper, withdrawn"
    )
    decide.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are")
    add_spark(decide)
    decide.add_argument("--author", required=True, metavar="NAME", help="who decides")
    decide.add_argument("--csv", metavar="FILE", help="columns image_id, other_image_id, verdict, note (review.csv)")
    decide.add_argument("--note", metavar="TEXT", help="why, in words")
    decide.add_argument("--again", action="store_true", help="add what this author's latest verdict says already")
    decide.add_argument("image", nargs="?", metavar="IMAGE", help="image_id or uri")
    decide.add_argument("verdict", nargs="?", metavar="VERDICT")
    decide.add_argument("other", nargs="?", metavar="OTHER", help="image_id or uri of the second image")
    decide.set_defaults(call=_decide)


def _decide(args: argparse.Namespace) -> int:
    from dupelake.errors import ConfigError
    from dupelake.group.giving import Line, faults_of, faults_of_author
    from dupelake.pipeline.decisions import decide, read_lines

    lines: list[Line] = []
    faults, n_blank = faults_of_author(args.author, "--author"), 0
    if (args.csv is None) == (args.image is None):
        faults.append("give either --csv FILE or IMAGE VERDICT [OTHER]")
    elif args.csv is None:
        lines = [Line.of("arguments", args.image, args.verdict, args.other, args.note)]
    else:
        try:
            lines, n_blank = read_lines(Path(args.csv))
        except ConfigError as error:
            faults += error.faults
    try:
        warehouse = _existing(args, faults)
    except ConfigError as error:
        raise ConfigError([*error.faults, *faults_of(lines)]) from None
    blank = f"; {n_blank} rows without a verdict left out" if n_blank else ""
    done = decide(warehouse, lines, args.author, again=args.again)
    print(f"{done.added} verdicts added, {done.known} already given by {args.author.strip()}{blank}.")
    if done.added:
        print("The next run applies them; jobs/cluster.py does so at once.")
    return 0


def _existing(args: argparse.Namespace, faults: list[str], table: Table | None = None) -> Warehouse:
    """The warehouse, which must hold `table` (images); all faults at once, those of the command line before Spark."""
    from dupelake.errors import ConfigError
    from dupelake.pipeline.command_lines import faults_of_warehouse
    from dupelake.warehouse.paths import known_local
    from dupelake.warehouse.schema import IMAGES

    faults = [*faults]
    settings = spark_settings(args.spark, faults)
    found = faults_of_warehouse(args.warehouse, settings, is_written=args.command == "decide")
    folder = None if found else known_local(args.warehouse, settings)
    if folder is not None and not os.path.exists(folder):
        found = [f"--warehouse {args.warehouse}: there is no such folder; run `dupelake run` first"]
    faults += found
    if faults:
        raise ConfigError(faults)
    warehouse, table = _open(args), table or IMAGES
    if not warehouse.exists(table):
        raise ConfigError([f"--warehouse {args.warehouse}: holds no table {table.name}; run `dupelake run` first"])
    return warehouse


def _add_review(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    review = commands.add_parser("review", help="what most deserves a person's look, as one HTML page and a CSV")
    review.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are; they are only read")
    add_spark(review)
    review.add_argument("--out", required=True, metavar="DIR", help="where review.html and review.csv go")
    review.add_argument("--limit", type=int, default=60, metavar="N", help="pairs to show (default 60, at most 1000)")
    review.set_defaults(call=_review)


def _review(args: argparse.Namespace) -> int:
    from dupelake.review.pages import MAX_LIMIT, review

    faults = []
    if not 0 < args.limit <= MAX_LIMIT:
        faults.append(f"--limit {args.limit}: allowed is 1 to {MAX_LIMIT}")
    out = Path(args.out).absolute()
    if os.path.exists(out) and not os.path.isdir(out):
        faults.append(f"--out {out}: is a file; give a folder")
    found = review(_existing(args, faults), out, args.limit)
    print(f"{len(found)} pairs to look at in {out / 'review.html'}")
    print(f"Fill in the column verdict of {out / 'review.csv'}, then:")
    print(f"  dupelake decide --warehouse {args.warehouse} --csv {out / 'review.csv'} --author NAME")
    return 0


def _add_vocabulary(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    vocabulary = commands.add_parser("vocabulary", help="train visual words on the pictures of a warehouse")
    vocabulary.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are; only read")
    add_spark(vocabulary)
    vocabulary.add_argument("--out", required=True, metavar="FILE", help="the vocabulary, for features.vocabulary")
    vocabulary.add_argument("--seed", type=int, default=0, help="of the sample and the training (default 0)")
    vocabulary.add_argument(
        "--images", type=int, default=4000, metavar="N", help="train on N pictures (default 4000, at most 10000)"
    )
    vocabulary.set_defaults(call=_vocabulary)


def _vocabulary(args: argparse.Namespace) -> int:
    from dupelake.pipeline.vocabulary import MAX_IMAGES, train_on_warehouse
    from dupelake.warehouse.schema import FEATURES

    out = Path(args.out).absolute()
    faults = []
    if not 0 < args.images <= MAX_IMAGES:
        faults.append(f"--images {args.images}: allowed is 1 to {MAX_IMAGES}")
    if args.seed < 0:
        faults.append(f"--seed {args.seed}: must be 0 or more")
    if not os.path.isdir(out.parent) or os.path.isdir(out):
        faults.append(f"--out {out}: give a file in a folder that exists")
    warehouse = _existing(args, faults, FEATURES)
    vocabulary = train_on_warehouse(warehouse, out, args.seed, args.images)
    print(f"{out}: version {vocabulary.version}, {len(vocabulary.stop_words)} stop words")
    print(f"To use it: --set features.vocabulary={out}; a warehouse with other features needs --full once.")
    return 0


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser("evaluate", help="found groups and pairs against a truth file: figures and pictures")
    evaluate.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are; they are only read")
    add_spark(evaluate)
    evaluate.add_argument("--truth", required=True, metavar="CSV", help="pairs or groups of images (docs/evaluate.md)")
    evaluate.add_argument(
        "--out", default="evaluation", metavar="DIR", help="where the files go (default: evaluation in this folder)"
    )
    evaluate.add_argument(
        "--by",
        default="auto",
        choices=("auto", "image_id", "uri", "name"),
        help="what the truth names images by; name: the end of the uri's path (default: whichever matches)",
    )
    evaluate.add_argument(
        "--closed",
        action="store_true",
        help="the truth names every duplicate: found pairs with an image that it does not name are false",
    )
    evaluate.add_argument(
        "--candidates", type=int, default=36, metavar="N", help="draw the N worst false and missed pairs (default 36)"
    )
    evaluate.set_defaults(call=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    from dupelake.errors import ConfigError
    from dupelake.evaluate.evaluation import evaluate
    from dupelake.evaluate.files import describe, write_files
    from dupelake.evaluate.truth import read_truth

    faults = []
    if args.candidates < 0:
        faults.append(f"--candidates {args.candidates}: must be 0 or more")
    out = Path(args.out).absolute()
    if os.path.exists(out) and not os.path.isdir(out):
        faults.append(f"--out {args.out}: is a file; give a folder")
    try:
        truth = read_truth(Path(args.truth))
    except ConfigError as error:
        faults += error.faults
    warehouse = _existing(args, faults)
    result = evaluate(warehouse, truth, by=args.by, closed=args.closed, n_shown=args.candidates)
    files = write_files(result, out)
    print(describe(result))
    print(f"\nIn {out}: {', '.join(path.name for path in files)}")
    return 0


def _demo(args: argparse.Namespace) -> int:
    from dupelake.demo import NIGHTS, clear, write_images
    from dupelake.pipeline import nightly

    out = Path(args.out).absolute()
    clear(out)
    truth = write_images(out / "images")
    print(f"Sample images in {out / 'images'}")
    start = time.monotonic()
    for night in NIGHTS:
        print(f"\nNight {night}", flush=True)
        code = nightly.main([str(out / "images"), "--warehouse", str(out / "warehouse"), "--partitions", night])
        if code:
            return code
    print(f"\nBoth nights took {time.monotonic() - start:.0f} s, Spark's start included.\n")
    shown = {"warehouse": str(out / "warehouse"), "out": str(out / "contact-sheet.png"), "groups": 30}
    code = _report(argparse.Namespace(**{**vars(args), **shown}))
    print(f"What was made, to compare with: {truth}")
    return code


def _jars(args: argparse.Namespace) -> int:
    from dupelake.runtime.session import collect_jars, jar_folder

    target = Path(args.to) if args.to else jar_folder()
    print(f"{collect_jars(target)} jars in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
