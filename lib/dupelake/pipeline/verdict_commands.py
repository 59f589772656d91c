"""The commands `dupelake decide` and `dupelake rules`, and the reader of commands without Spark."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dupelake.errors import ConfigError, NotFoundError
from dupelake.pipeline.arguments import add_spark, spark_settings

if TYPE_CHECKING:  # what a command needs is imported when it runs
    from dupelake.group.giving import Added, Line
    from dupelake.pair_rules import Rule
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
    decide.add_argument(
        "--csv",
        type=os.path.expanduser,
        metavar="FILE",
        help="columns image_id, other_image_id, verdict, note (review.csv)",
    )
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
    """Add verdicts: by delta-rs if the warehouse is local and its path allows that, else by Spark.

    The lock of another warehouse needs Hadoop.
    """
    from dupelake.group.giving import WAIT_S, faults_of, give
    from dupelake.serve.book import DeltaBook
    from dupelake.warehouse.paths import known_local
    from dupelake.warehouse.writer import can_write

    try:
        folder = known_local(args.warehouse, spark_settings(args.spark, []))
        if folder is not None and not can_write(str(folder)):
            folder = None
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


def add_rules(commands: Any) -> None:
    """Add the command `rules` to those of the parser."""
    rules: argparse.ArgumentParser = commands.add_parser(
        "rules", help="what the rules of a configuration would decide; --apply adds their verdicts (docs/rules.md)"
    )
    rules.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are")
    rules.add_argument("--config", type=os.path.expanduser, metavar="FILE", help="YAML file with the section rules")
    rules.add_argument(
        "--rule", action="append", default=[], metavar="NAME", help="only this rule; may be repeated (default: all)"
    )
    does = rules.add_mutually_exclusive_group()
    does.add_argument("--apply", action="store_true", help="add the verdicts, also of rules that are not enabled")
    does.add_argument("--undo", metavar="NAME", help="withdraw all verdicts of this rule")
    rules.add_argument("--examples", type=int, default=3, metavar="N", help="show N pairs of each rule (default 3)")
    rules.add_argument("--json", action="store_true", help="as one JSON object")
    rules.set_defaults(call=_rules)


def _rules(args: argparse.Namespace) -> int:
    from dupelake.rules.in_words import as_json, in_words, undone
    from dupelake.rules.ruling import apply, preview, undo

    rules, faults = _chosen_rules(args)
    writes = args.apply or args.undo is not None
    folder = _local_folder(args, faults) if writes else None
    reader = readable(args, faults, is_written=writes)
    try:
        if args.undo is not None and folder is not None:
            print(undone(args.undo, undo(folder, args.undo), rules, json=args.json))
            return 0
        outcomes = preview(reader, rules, args.examples) if folder is None else apply(folder, rules, args.examples)
    except OSError as error:
        raise ConfigError([f"--warehouse {args.warehouse}: cannot be written ({error}); ask for the right"]) from error
    print((as_json if args.json else in_words)(outcomes, is_applied=args.apply))
    return 0


def _chosen_rules(args: argparse.Namespace) -> tuple[list[Rule], list[str]]:
    """The rules that the command names, and faults."""
    from dupelake.config import load_config

    faults, rules = [], []
    if args.undo is None and args.config is None:
        faults.append("--config: give the YAML file with the rules")
    try:
        rules = list(load_config(args.config).rules.list)
        known = [rule.name for rule in rules]
        if not rules and args.undo is None and not faults:
            faults.append(f"--config {args.config}: rules.list has no rule; docs/rules.md shows some")
        faults += [
            f"--rule {name}: the configuration has {', '.join(known) or 'no rule'}"
            for name in args.rule
            if name not in known
        ]
    except ConfigError as error:
        faults += error.faults
    if args.examples < 0:
        faults.append(f"--examples {args.examples}: must be 0 or more")
    return [rule for rule in rules if not args.rule or rule.name in args.rule], faults


def _local_folder(args: argparse.Namespace, faults: list[str]) -> Path | None:
    """The folder of a local warehouse; a fault where it is not local."""
    from dupelake.warehouse.paths import known_local

    try:
        folder = known_local(args.warehouse)
    except ConfigError:  # a fault of the address, which `readable` tells
        return None
    if folder is None:
        faults.append(
            f"--warehouse {args.warehouse}: rules write to local warehouses only; leave --apply and --undo out"
        )
    return folder


def readable(args: argparse.Namespace, faults: list[str], *, is_written: bool = False) -> Reader:
    """Reads the warehouse of a command line without Spark; it must hold images.

    Raises:
        ConfigError: all faults at once, the given ones too.
    """
    from dupelake.pipeline.command_lines import faults_of_warehouse
    from dupelake.warehouse.reader import Reader

    found = faults_of_warehouse(args.warehouse, {}, is_written=is_written)
    if found:
        raise ConfigError([*faults, *found])
    try:
        reader = Reader(args.warehouse)
        if not faults:
            reader.version("images")
    except NotFoundError as error:
        faults = [*faults, f"--{error}"]
    if faults:
        raise ConfigError(faults)
    return reader
