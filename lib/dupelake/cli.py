"""The console command `dupelake`: run, report, demo, jars."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dupelake import __version__
from dupelake.errors import DupelakeError

# This module's business is the terminal.
# ruff: noqa: T201


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console command; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["run"]:
        return _run(argv[1:])
    args = _parser().parse_args(argv)
    try:
        return int(args.call(args))
    except DupelakeError as error:
        print(f"dupelake {args.command}: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dupelake", description="Near-duplicate image detection on Spark and Delta Lake."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "run", help="the nightly job on this machine: dupelake run PATH... --warehouse DIR", add_help=False
    )
    report = commands.add_parser("report", help="the found groups as a contact sheet")
    report.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are")
    report.add_argument("--out", metavar="FILE", help="the PNG (default: contact-sheet.png in the present folder)")
    report.add_argument(
        "--groups", type=int, default=30, metavar="N", help="the N groups with most images (default 30)"
    )
    report.set_defaults(call=_report)
    demo = commands.add_parser("demo", help="sample images with known copies, two nights, a contact sheet")
    demo.add_argument("--out", default="demo-output", metavar="DIR", help="where images, tables and sheet go")
    demo.set_defaults(call=_demo)
    jars = commands.add_parser("jars", help="fetch Delta's jars once, for sessions without Maven")
    jars.add_argument(
        "--to", metavar="DIR", help="default: a folder of this Python environment, where it is looked for"
    )
    jars.set_defaults(call=_jars)
    return parser


def _run(argv: Sequence[str]) -> int:
    from dupelake.jobs import nightly
    from dupelake.jobs.common import job_parser, run_job

    return run_job("nightly", job_parser("dupelake run", nightly.__doc__ or "", manifests=True), nightly.body, argv)


def _report(args: argparse.Namespace) -> int:
    from dupelake.jobs.common import absolute
    from dupelake.report.summary import describe, write_contact_sheet
    from dupelake.runtime.session import build_session
    from dupelake.schema import GROUPS
    from dupelake.tables import Warehouse

    warehouse = Warehouse(build_session("dupelake-report"), absolute(args.warehouse))
    if not warehouse.exists(GROUPS):
        print(f"dupelake report: no dupelake tables under {warehouse.root}; run `dupelake run` first", file=sys.stderr)
        return 2
    out = Path(args.out or "contact-sheet.png").absolute()
    write_contact_sheet(warehouse, out, args.groups)
    print(describe(warehouse))
    print(f"Contact sheet: {out}")
    return 0


def _demo(args: argparse.Namespace) -> int:
    import shutil

    from dupelake.demo import NIGHTS, write_images
    from dupelake.jobs import nightly

    out = Path(args.out).absolute()
    if (out / "images").exists() or (out / "warehouse").exists():
        if not (out / "truth.csv").exists():
            print(
                f"dupelake demo: {out} holds images or tables that are not the demo's; give another --out",
                file=sys.stderr,
            )
            return 2
        for name in ("images", "warehouse"):  # of an earlier demo: truth.csv is its mark
            shutil.rmtree(out / name, ignore_errors=True)
    truth = write_images(out / "images")
    print(f"Sample images in {out / 'images'}")
    start = time.monotonic()
    for night in NIGHTS:
        print(f"\nNight {night}", flush=True)
        code = nightly.main([str(out / "images"), "--warehouse", str(out / "warehouse"), "--partitions", night])
        if code:
            return code
    print(f"\nBoth nights took {time.monotonic() - start:.0f} s, Spark's start included.\n")
    code = _report(argparse.Namespace(warehouse=str(out / "warehouse"), out=str(out / "contact-sheet.png"), groups=30))
    print(f"What was made, to compare with: {truth}")
    return code


def _jars(args: argparse.Namespace) -> int:
    from dupelake.runtime.session import collect_jars, jar_folder

    target = Path(args.to) if args.to else jar_folder()
    print(f"{collect_jars(target)} jars in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
