"""The command `dupelake decide`, and the reader of commands without Spark."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dupelake.errors import ConfigError, NotFoundError
from dupelake.pipeline.arguments import add_spark, spark_settings

if TYPE_CHECKING:  # what a command needs is imported when it runs
    from dupelake.group.giving import Added, Line
    from dupelake.warehouse.reader import Reader
    from dupelake.warehouse.tables import Warehouse

# These are commands of a terminal.
# ruff: noqa: T201

Existing = Callable[[argparse.Namespace, list[str]], "Warehouse"]


def add_decide(commands: Any, existing: Existing) -> None:
    """Add the command `decide` to those of the parser; `existing` opens a warehouse in Spark, or raises its faults."""
    decide: argparse.ArgumentParser = commands.add_parser(
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
    decide.set_defaults(call=partial(_decide, existing=existing))


def _decide(args: argparse.Namespace, existing: Existing) -> int:
    from dupelake.group.giving import Line, faults_of_author
    from dupelake.pipeline.decisions import read_lines

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
    done = _give(args, lines, faults, existing)
    blank = f"; {n_blank} rows without a verdict left out" if n_blank else ""
    print(f"{done.added} verdicts added, {done.known} already given by {args.author.strip()}{blank}.")
    if done.added:
        print("The next run applies them; jobs/cluster.py does so at once.")
    return 0


def _give(args: argparse.Namespace, lines: list[Line], faults: list[str], existing: Existing) -> Added:
    """Add verdicts: by delta-rs if the warehouse is local, else by Spark, because the lock there needs Hadoop."""
    from dupelake.group.giving import WAIT_S, faults_of, give
    from dupelake.serve.book import DeltaBook
    from dupelake.warehouse.paths import known_local

    try:
        folder = known_local(args.warehouse, spark_settings(args.spark, []))
        if folder is None:
            warehouse = existing(args, faults)
        else:
            spark_settings(args.spark, faults)
            readable(args, faults, is_written=True)
    except ConfigError as error:
        raise ConfigError([*error.faults, *faults_of(lines)]) from None
    if folder is None:
        from dupelake.pipeline.decisions import decide

        return decide(warehouse, lines, args.author, again=args.again)
    try:
        return give(DeltaBook(folder, WAIT_S), lines, args.author, again=args.again)
    except OSError as error:
        raise ConfigError([f"--warehouse {folder}: cannot be written ({error}); ask for the right"]) from error


def readable(args: argparse.Namespace, faults: list[str], *, is_written: bool = False) -> Reader:
    """Reads the warehouse of a command line without Spark; it must hold images.

    Raises:
        ConfigError: all faults at once, the given ones too.
    """
    from dupelake.pipeline.command_lines import faults_of_warehouse
    from dupelake.warehouse.reader import Reader

    found = faults_of_warehouse(args.warehouse, {}, is_written=is_written)
    try:
        reader = Reader(args.warehouse)
        if not found:
            reader.version("images")
    except NotFoundError as error:
        found.append(f"--{error}")
    if faults or found:
        raise ConfigError([*faults, *found])
    return reader
