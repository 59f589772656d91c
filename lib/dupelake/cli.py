"""The console command `dupelake`: run, plan, maintain, forget, report, evaluate, decide, review and more."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dupelake.errors import DupelakeError, unexpected
from dupelake.export.command_lines import add_export
from dupelake.lookup.command_lines import add_check, add_index
from dupelake.pipeline.arguments import STARTS_SPARK, Parser, add_spark, spark_settings
from dupelake.pipeline.job_commands import JOBS, run_command
from dupelake.pipeline.register_command import add_register
from dupelake.pipeline.verdict_commands import add_decide, add_rules, readable
from dupelake.report.command import PAGE, SHEET, add_report
from dupelake.review.command_lines import add_review
from dupelake.runtime.interrupts import Interrupts
from dupelake.runtime.out_files import faults_of_file, refusals_of
from dupelake.runtime.redaction import Redactor
from dupelake.runtime.streams import spared_streams
from dupelake.serve.command_lines import add_serve
from dupelake.version import __version__

if TYPE_CHECKING:
    from dupelake.warehouse.schema_types import Table
    from dupelake.warehouse.tables import Warehouse

# They hold a lock, temporary tables or an unfinished file, and start no Spark for local warehouses.
_HOLDING = ("decide", "rules", "evaluate", "review", "report", "export")

# This module's business is the terminal.
# ruff: noqa: T201


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console command; returns the exit code."""
    with spared_streams():
        try:
            os.getcwd()
        except OSError:
            print("dupelake: the present folder was removed; change to one that exists", file=sys.stderr)
            return 2
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(argv: list[str]) -> int:
    n_debug = 0
    while argv[n_debug:] and len(argv[n_debug]) > 2 and "--debug".startswith(argv[n_debug]):
        n_debug += 1
    if n_debug:
        argv = [*argv[n_debug : n_debug + 1], "--debug", *argv[n_debug + 1 :]]  # an option of every command
    if argv and argv[0] in JOBS:
        return run_command(argv[0], argv[1:])
    if argv and argv[0] == "plan":
        return _plan(argv[1:])
    args = command_parser().parse_args(argv)
    return _guarded(args.call, args)


def _guarded(call: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Exit code of a command that is no job; errors of ours and signals are told in a line."""
    redactor = Redactor.of(spark_settings(getattr(args, "spark", []), []))
    advice, unwinds = "nothing is left half done; run it again", args.command in _HOLDING
    with Interrupts(f"dupelake {args.command}", advice, unwinds=unwinds) as interrupts:
        args.watch = interrupts.watch
        try:
            return int(call(args))
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                interrupts.note(signal.SIGINT)
            if interrupts.exit_code:  # its Spark jobs were cancelled
                print(f"dupelake {args.command}: {interrupts.message}", file=sys.stderr)
                return interrupts.exit_code
            if isinstance(error, DupelakeError):
                faults: list[str] = getattr(error, "faults", [])  # several stand below each other
                told = faults[0] if len(faults) == 1 else f"refused:\n{error}" if faults else str(error)
                print(redactor(f"dupelake {args.command}: {told}"), file=sys.stderr)
                return error.exit_code
            if args.debug:
                print(redactor(traceback.format_exc()), file=sys.stderr)
            print(redactor(f"dupelake {args.command}: {unexpected(error)}"), file=sys.stderr)
            return 1


def command_parser() -> argparse.ArgumentParser:
    """The parser of all commands; those that are jobs have parsers of their own (pipeline/job_commands.py)."""
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
    add_report(commands).set_defaults(call=_report)
    add_check(commands)
    add_index(commands)
    add_serve(commands)
    add_export(commands)
    add_register(commands)
    _add_evaluate(commands)
    add_decide(commands, _existing)
    add_rules(commands)
    add_review(commands)
    _add_vocabulary(commands)
    demo = commands.add_parser("demo", help="sample images with known copies, two nights, a report")
    demo.add_argument(
        "--out",
        type=os.path.expanduser,
        default="demo-output",
        metavar="DIR",
        help="where images, tables and report go",
    )
    demo.set_defaults(call=_demo)
    jars = commands.add_parser("jars", help="fetch Delta's jars, and S3's, once, for sessions without Maven")
    jars.add_argument(
        "--to",
        type=os.path.expanduser,
        metavar="DIR",
        help="default: a folder of this Python environment, where it is looked for",
    )
    jars.add_argument("--s3", action="store_true", help="those that read and write S3 (s3a://) as well, 16 MB")
    jars.set_defaults(call=_jars)
    return parser


def _plan(argv: Sequence[str]) -> int:
    from dupelake.pipeline.command_lines import manifest_command

    parsed = manifest_command("dupelake plan", "What a run would do; nothing is written.").parse(argv)
    parsed.args.command = "plan"

    def call(args: argparse.Namespace) -> int:
        given = parsed.check(is_written=False)
        from dupelake.pipeline.plan import describe_plan

        print(describe_plan(_open(args), given.config, given.options))
        return 0

    return _guarded(call, parsed.args)


def _open(args: argparse.Namespace) -> Warehouse:
    """The warehouse of a command line, in a session with its settings."""
    from dupelake.runtime.session import build_session
    from dupelake.warehouse.tables import Warehouse

    spark = build_session(f"dupelake-{args.command}", spark_settings(args.spark, []))
    args.watch(spark)
    return Warehouse(spark, args.warehouse)


def _report(args: argparse.Namespace) -> int:
    from dupelake.errors import ConfigError
    from dupelake.pipeline.command_lines import faults_of_warehouse
    from dupelake.report.command import faults_of_report, report

    if faults := [*faults_of_warehouse(args.warehouse, {}, is_written=False), *faults_of_report(args)]:
        raise ConfigError(faults)
    return report(args)


def _existing(args: argparse.Namespace, faults: list[str], table: Table | None = None) -> Warehouse:
    """The warehouse, which must hold `table` (images); all faults at once, those of the command line before Spark."""
    from dupelake.errors import ConfigError
    from dupelake.pipeline.command_lines import faults_of_warehouse
    from dupelake.warehouse.paths import known_local
    from dupelake.warehouse.schema import IMAGES

    faults = [*faults]
    settings = spark_settings(args.spark, faults)
    found = faults_of_warehouse(args.warehouse, settings, is_written=False)
    folder = None if found else known_local(args.warehouse, settings)
    if folder is not None and not os.path.exists(folder):
        found = [f"--warehouse {args.warehouse}: there is no such folder; run `dupelake run` first"]
    faults += found
    if faults:
        raise ConfigError(faults)
    told = f"dupelake {args.command}: warehouse {args.warehouse}; {STARTS_SPARK}"
    print(Redactor()(told), file=sys.stderr, flush=True)
    warehouse, table = _open(args), table or IMAGES
    if not warehouse.exists(table):
        raise ConfigError([f"--warehouse {args.warehouse}: holds no table {table.name}; run `dupelake run` first"])
    return warehouse


def _add_vocabulary(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    vocabulary = commands.add_parser("vocabulary", help="train visual words on the pictures of a warehouse")
    vocabulary.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are; only read")
    add_spark(vocabulary)
    vocabulary.add_argument(
        "--out", required=True, type=os.path.expanduser, metavar="FILE", help="the vocabulary, for features.vocabulary"
    )
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
    faults += faults_of_file("--out", out)
    if not os.path.isdir(out.parent):
        faults.append(f"--out {out}: give a file in a folder that exists")
    warehouse = _existing(args, faults, FEATURES)
    vocabulary = train_on_warehouse(warehouse, out, args.seed, args.images)
    print(f"{out}: version {vocabulary.version}, {len(vocabulary.stop_words)} stop words")
    print(f"To use it: --set features.vocabulary={out}; a warehouse with other features needs --full once.")
    return 0


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser("evaluate", help="found groups and pairs against a truth file: figures and pictures")
    evaluate.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are; they are only read")
    evaluate.add_argument(
        "--truth",
        required=True,
        type=os.path.expanduser,
        metavar="CSV",
        help="pairs or groups of images (docs/evaluate.md)",
    )
    evaluate.add_argument(
        "--out",
        type=os.path.expanduser,
        default="evaluation",
        metavar="DIR",
        help="where the files go (default: evaluation in this folder)",
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
    result = evaluate(readable(args, faults), truth, by=args.by, closed=args.closed, n_shown=args.candidates)
    with refusals_of("--out", out):
        files = write_files(result, out)
    print(describe(result))
    print(f"\nIn {out}: {', '.join(path.name for path in files)}")
    return 0


def _demo(args: argparse.Namespace) -> int:
    from dupelake.demo import NIGHTS, clear, write_images
    from dupelake.pipeline import nightly

    out = Path(args.out).absolute()
    clear(out)
    with refusals_of("--out", out):
        truth = write_images(out / "images")
    print(f"Sample images in {out / 'images'}")
    start = time.monotonic()
    for night in NIGHTS:
        print(f"\nNight {night}", flush=True)
        asked = [str(out / "images"), "--warehouse", str(out / "warehouse"), "--partitions", night]
        code = nightly.main([*asked, *(["--debug"] if args.debug else [])], "dupelake demo")
        if code:
            return code
    print(f"\nBoth nights took {time.monotonic() - start:.0f} s, Spark's start included.\n")
    shown = ["--warehouse", str(out / "warehouse"), "--out", str(out / PAGE), "--png", str(out / SHEET)]
    code = _report(command_parser().parse_args(["report", *shown]))
    print(f"What was made, to compare with: {truth}")
    return code


def _jars(args: argparse.Namespace) -> int:
    from dupelake.runtime.session import collect_jars, jar_folder

    target = Path(args.to) if args.to else jar_folder()
    with refusals_of("--to", target):
        n_jars = collect_jars(target, with_s3=args.s3)
    print(f"{n_jars} jars in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
