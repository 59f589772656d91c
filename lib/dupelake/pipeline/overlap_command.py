"""The command line of the overlap job."""

from __future__ import annotations

import argparse
import os

from dupelake.pipeline.arguments import Parser
from dupelake.pipeline.command_lines import Command, Faults, add_common, check_holds_images
from dupelake.pipeline.options import OverlapOptions
from dupelake.warehouse.rules import EXTRA

OF_IMAGES = ("source", "partition", "scope")
LEAST_SHARE = 0.05
"""Below it the sketches propose nearly every pair of sets."""


def overlap_command(prog: str, description: str) -> Command[OverlapOptions]:
    """The command line of the overlap job."""
    parser = Parser(prog=prog, description=description)
    parser.add_argument(
        "--by",
        metavar="WHAT",
        help="what makes the sets: source, partition, scope, or a column of the manifest (extra.COLUMN where a column "
        "has one of these names)",
    )
    parser.add_argument(
        "--between", nargs=2, metavar=("A", "B"), help="with --by: also list the images of the pictures of both sets"
    )
    parser.add_argument(
        "--conflicts", metavar="COLUMN", help="list the pictures whose images have several values of this column"
    )
    parser.add_argument(
        "--min-share",
        type=float,
        default=0.1,
        metavar="X",
        help="keep pairs where one set has this share of its pictures in the other (default 0.1, at least "
        f"{LEAST_SHARE})",
    )
    parser.add_argument(
        "--out",
        type=os.path.expanduser,
        default="overlap",
        metavar="DIR",
        help="where the files go (default: overlap in this folder)",
    )
    add_common(parser)
    return Command(parser, _options)


def _options(args: argparse.Namespace, faults: Faults) -> OverlapOptions:
    if args.by is None and args.conflicts is None:
        faults.append("--by, --conflicts: none is given; name what makes the sets, or the column of labels")
    by, conflicts = (_way(flag, value, faults) for flag, value in (("--by", args.by), ("--conflicts", args.conflicts)))
    if args.between is not None:
        if args.by is None:
            faults.append("--between: is about the sets of --by; give that too")
        if args.between[0] == args.between[1]:
            faults.append(f"--between {args.between[0]}: names one set twice; give two")
    if not LEAST_SHARE <= args.min_share <= 1:
        faults.append(f"--min-share {args.min_share:g}: allowed is {LEAST_SHARE} to 1")
    out = os.path.abspath(args.out)
    if os.path.exists(out) and not os.path.isdir(out):
        faults.append(f"--out {args.out}: is a file; give a folder")
    check_holds_images(args, faults)
    between = None if args.between is None else (args.between[0], args.between[1])
    return OverlapOptions(by, conflicts, between, args.min_share, out)


def _way(flag: str, value: str | None, faults: Faults) -> str | None:
    """`value` as `overlaps.sets_by` has it; adds a fault for a column that makes no sets."""
    if value is None or value in OF_IMAGES:
        return value
    from dupelake.ingest.manifest_columns_stage import is_known

    column = value.removeprefix(EXTRA).strip()
    if not column:
        faults.append(f"{flag}: is empty; give {', '.join(OF_IMAGES)}, or a column of the manifest")
    elif is_known(column) and column not in OF_IMAGES:
        faults.append(
            f"{flag} {value}: is not kept as a column of its own; give {', '.join(OF_IMAGES)}, or a column of the "
            "manifest that dupelake does not use itself (images.extra has those)"
        )
    return EXTRA + column
