"""The command `dupelake review`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from dupelake.errors import ConfigError
from dupelake.runtime.out_files import faults_of_file, refusals_of
from dupelake.serve.command_lines import faults_of_server, of_extra

# This module's business is the terminal.
# ruff: noqa: T201

_DEFAULT_PAGE, _DEFAULT_QUEUE = 60, 1000
_OF_SERVER = ("host", "port", "config", "set")


def add_review(commands: Any) -> None:
    """Add the command `review` to those of the parser."""
    review: argparse.ArgumentParser = commands.add_parser(
        "review", help="what most deserves a person's look, in the browser (--serve) or as one page; without Spark"
    )
    review.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are")
    way = review.add_mutually_exclusive_group()
    way.add_argument(
        "--serve", action="store_true", help="judge pairs in the browser; verdicts are written at once (the default)"
    )
    way.add_argument(
        "--out",
        type=os.path.expanduser,
        metavar="FILE.html|DIR",
        help="write one page that keeps verdicts; in a folder also review.csv",
    )
    review.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"pairs of the page (default {_DEFAULT_PAGE}), or searched at once by the server ({_DEFAULT_QUEUE}); "
        "at most 1000",
    )
    review.add_argument("--host", help="address to listen on (default 127.0.0.1); others than loopback need a token")
    review.add_argument("--port", type=int, help="default 8000; 0 takes a free one")
    review.add_argument("--config", type=os.path.expanduser, metavar="FILE", help="YAML; its section `serve` is read")
    review.add_argument("--set", action="append", metavar="serve.KEY=VALUE", help="one option")
    review.set_defaults(call=_review)


def _review(args: argparse.Namespace) -> int:
    from dupelake.review.page import MAX_LIMIT

    faults = []
    if args.limit is not None and not 0 < args.limit <= MAX_LIMIT:
        faults.append(f"--limit {args.limit}: allowed is 1 to {MAX_LIMIT}")
    if args.out is not None:
        named = [f"--{name}" for name in _OF_SERVER if getattr(args, name) is not None]
        faults += [f"{name}: is an option of --serve; leave it out, or leave --out out" for name in named]
        faults += _faults_of_out(args.out)
    faults += faults_of_server(args.port or 0, args.set or ())
    if faults:
        raise ConfigError(faults)
    return _serve(args) if args.out is None else _write(args)


def _faults_of_out(out: str) -> list[str]:
    is_page = out.lower().endswith(".html")
    if is_page and os.path.isdir(out):
        return [f"--out {out}: is a folder; give a file that ends in .html, or a folder with another name"]
    if is_page:
        return faults_of_file("--out", out)
    if os.path.exists(out) and not os.path.isdir(out):
        return [f"--out {out}: is a file; give a folder, or a file that ends in .html"]
    return []


def _serve(args: argparse.Namespace) -> int:
    from dupelake.config import load_config

    cfg = load_config(args.config, args.set or []).serve
    with of_extra():
        from dupelake.review.app import serve_review
    port = 8000 if args.port is None else args.port
    return serve_review(args.warehouse, cfg, args.host or "127.0.0.1", port, args.limit or _DEFAULT_QUEUE)


def _write(args: argparse.Namespace) -> int:
    from dupelake.review.page import PAGE, TABLE, review
    from dupelake.warehouse.reader import Reader

    out = Path(args.out).absolute()
    with refusals_of("--out", out):
        cards = review(Reader(args.warehouse), out, args.limit or _DEFAULT_PAGE)
    decide = f"dupelake decide --warehouse {args.warehouse} --author NAME --csv"
    is_page = out.suffix.lower() == ".html"
    print(f"{len(cards)} pairs to look at in {out if is_page else out / PAGE}")
    print("Judge them there and save the CSV, then:")
    print(f"  {decide} review.csv")
    if not is_page:
        print(f"Or fill in the column verdict of {out / TABLE}, and give that.")
    return 0
