"""The command `dupelake report`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from dupelake.runtime.out_files import faults_of_file, refusals_of, written_whole

# This is a command of a terminal.
# ruff: noqa: T201

PAGE, SHEET = "report.html", "contact-sheet.png"
_SHEET_GROUPS, _MAX_GROUPS = 30, 100_000
_LEAST_MB, _MOST_MB = 1, 512


def add_report(commands: Any) -> argparse.ArgumentParser:
    """Add the command `report` to those of the parser, without the function that it calls."""
    report: argparse.ArgumentParser = commands.add_parser(
        "report", help="the warehouse as one HTML page: totals, what can be freed, recall, failures, the groups"
    )
    report.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are; they are only read")
    which = report.add_mutually_exclusive_group()
    which.add_argument("--run", metavar="ID", help="as the tables were after this night (runs.run_id)")
    which.add_argument("--group", metavar="ID", help="one group alone, by its id or the beginning of its id")
    report.add_argument(
        "--out", type=os.path.expanduser, metavar="FILE", help=f"the page (default: {PAGE} in the present folder)"
    )
    report.add_argument(
        "--png",
        nargs="?",
        const=SHEET,
        type=os.path.expanduser,
        metavar="FILE",
        help=f"the groups as a contact sheet (default: {SHEET}); the page is then written only with --out",
    )
    report.add_argument(
        "--groups", type=int, metavar="N", help=f"the N groups with most images (default 10000, sheet {_SHEET_GROUPS})"
    )
    report.add_argument("--max-mb", type=int, metavar="MB", help="of the page: fewer pictures fit (default 32)")
    return report


def faults_of_report(args: argparse.Namespace) -> list[str]:
    """What is wrong with the arguments, before anything is read."""
    faults = []
    if args.groups is not None and not 0 < args.groups <= _MAX_GROUPS:
        faults.append(f"--groups {args.groups}: allowed is 1 to {_MAX_GROUPS}")
    if args.max_mb is not None and not _LEAST_MB <= args.max_mb <= _MOST_MB:
        faults.append(f"--max-mb {args.max_mb}: allowed is {_LEAST_MB} to {_MOST_MB}")
    if args.png is not None and args.group:
        faults.append("--png: draws the largest groups, not one of them; leave out --png or --group")
    if args.out is not None and args.out.lower().endswith(".png"):
        faults.append(f"--out {args.out}: the report is an HTML page; give --png {args.out} for the contact sheet")
    if args.png is not None and args.png.lower().endswith((".html", ".htm")):
        faults.append(f"--png {args.png}: the contact sheet is a PNG; give --out {args.png} for the page")
    for option, path in (("--out", args.out), ("--png", args.png)):
        faults += [] if path is None else faults_of_file(option, path)
    return faults


def report(args: argparse.Namespace) -> int:
    """Write the page, or the contact sheet, and print the totals.

    Args:
        args: of a command line without faults (`faults_of_report`).

    Raises:
        NotFoundError: there is no such warehouse, night or group.
    """
    from dupelake.report.page import GROUPS_LISTED, MAX_MB, group_page, warehouse_page
    from dupelake.report.snapshot import open_tables
    from dupelake.report.summary import describe, draw_groups

    reader = open_tables(args.warehouse, args.run)
    told = []
    if args.png is not None:
        sheet = Path(args.png).absolute()
        drawn = draw_groups(reader, args.groups or _SHEET_GROUPS)
        with refusals_of("--png", args.png), written_whole(sheet) as unfinished:
            drawn.save(unfinished, format="PNG")  # whatever its name
        told.append(f"Contact sheet: {sheet}")
    if args.png is None or args.out is not None:
        max_mb = args.max_mb or MAX_MB
        if args.group:
            page = group_page(reader, args.group, max_mb)
        else:
            page = warehouse_page(reader, args.run, args.groups or GROUPS_LISTED, max_mb)
        out = Path(args.out or PAGE).absolute()
        with refusals_of("--out", out), written_whole(out) as unfinished:
            unfinished.write_text(page.html, encoding="utf-8")
        told.append(f"Report: {out}")
    print(describe(reader, args.run))
    print("\n".join(told))
    return 0
