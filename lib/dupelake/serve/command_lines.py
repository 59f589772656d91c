"""The command `dupelake serve`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dupelake.errors import ConfigError, EnvironmentFault


def add_serve(commands: Any) -> None:
    """Add the command `serve` to those of the parser."""
    serve: argparse.ArgumentParser = commands.add_parser(
        "serve", help="answer checks over HTTP, with groups, images and verdicts; without Spark"
    )
    serve.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are")
    serve.add_argument(
        "--index", type=os.path.expanduser, metavar="DIR", help="of the index (default: inside the warehouse)"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on; others than loopback need a token")
    serve.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    serve.add_argument("--processes", type=int, metavar="N", help="processes that check (default: one a core)")
    serve.add_argument("--config", type=os.path.expanduser, metavar="FILE", help="YAML; its section `serve` is read")
    serve.add_argument("--set", action="append", default=[], metavar="serve.KEY=VALUE", help="one option")
    serve.set_defaults(call=_serve)


def _serve(args: argparse.Namespace) -> int:
    from dupelake.config import load_config

    faults = []
    if args.processes is not None and args.processes < 1:
        faults.append(f"--processes {args.processes}: must be 1 or more")
    faults += faults_of_server(args.port, args.set)
    if faults:
        raise ConfigError(faults)
    cfg = load_config(args.config, args.set).serve
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each process uses one core; set before numpy is loaded
    with of_extra():
        from dupelake.serve.server import run
    from dupelake.lookup.checker import index_folder

    folder = index_folder(args.warehouse, args.index)
    n_processes = args.processes or len(os.sched_getaffinity(0))
    return run(args.warehouse, folder, cfg, args.host, args.port, n_processes)


def faults_of_server(port: int, options: Iterable[str]) -> list[str]:
    """The faults of --port and --set of a command that serves."""
    faults = [] if 0 <= port < 65_536 else [f"--port {port}: allowed is 0 to 65535"]
    return faults + [
        f"--set {one}: is no option of serve; only those of serve can be set here"
        for one in options
        if not one.startswith("serve.")
    ]


@contextmanager
def of_extra() -> Iterator[None]:
    """Around imports of what the extra `serve` brings.

    Raises:
        EnvironmentFault: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "dupelake":
            raise
        raise EnvironmentFault(f"{error.name} is not installed; install it: pip install 'dupelake[serve]'") from error
