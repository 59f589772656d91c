"""The commands `dupelake check` and `dupelake index`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from dupelake.csv_cells import line_of, write_rows
from dupelake.errors import ConfigError
from dupelake.lookup.answer import FAILED, Answer
from dupelake.profiles import PROFILES
from dupelake.runtime.streams import is_read

# These are commands of a terminal.
# ruff: noqa: T201

REPORT, REJECT, LINK = "report", "reject", "link"
FOUND, UNREAD = 10, 3
"""Exit codes with --on-duplicate reject: an image is a copy; none is, but an image could not be read."""
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")  # a name may end the line, or command the terminal
_COLUMNS = (
    "image", "status", "action", "group_id", "relation", "kind", "score", "keeper_id", "keeper_uri", "link_to_uri",
    "reason", "copy_in_check",
)  # fmt: skip


def add_check(commands: Any) -> None:
    """Add the command `check` to those of the parser."""
    check: argparse.ArgumentParser = commands.add_parser(
        "check", help="has the warehouse this picture? the decision of a night, without Spark; nothing is written"
    )
    check.add_argument(
        "paths",
        nargs="+",
        type=os.path.expanduser,
        metavar="IMAGE",
        help="a file, or a folder with files in all its folders",
    )
    check.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are; they are only read")
    check.add_argument(
        "--index", type=os.path.expanduser, metavar="DIR", help="of the index (default: inside the warehouse)"
    )
    check.add_argument("--scope", metavar="NAME", help="of the images (default: manifest.default_scope)")
    check.add_argument(
        "--profile",
        choices=tuple(PROFILES),
        help="fast: by bytes, pixels and hashes alone; another must be that of the nights (default: as they compare)",
    )
    form = check.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="CSV with a header")
    check.add_argument(
        "--on-duplicate",
        choices=(REPORT, REJECT, LINK),
        default=REPORT,
        help="the action of each image that would be in a group (a copy, an alternate or the new keeper) or is a copy "
        "of an earlier IMAGE; with reject the exit code is 10 if there is one, else 3 if an image could not be read",
    )
    check.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes that check (default: one a core; one for fewer than 16 files)",
    )
    check.set_defaults(call=_check)


def add_index(commands: Any) -> None:
    """Add the command `index` to those of the parser."""
    index: argparse.ArgumentParser = commands.add_parser(
        "index", help="make or update the index that `dupelake check` reads, without Spark"
    )
    index.add_argument("--warehouse", required=True, metavar="DIR", help="where the tables are; they are only read")
    index.add_argument(
        "--index", type=os.path.expanduser, metavar="DIR", help="of the index (default: inside the warehouse)"
    )
    index.add_argument("--full", action="store_true", help="make all of it anew")
    index.set_defaults(call=_index)


def _index(args: argparse.Namespace) -> int:
    from dupelake.lookup.build import build_index
    from dupelake.lookup.checker import index_folder

    start = time.monotonic()
    folder = index_folder(args.warehouse, args.index)
    build_index(args.warehouse, folder, full=args.full, told=lambda text: print(text, file=sys.stderr, flush=True))
    print(f"{folder}: up to date after {time.monotonic() - start:.1f} s")
    return 0


def _check(args: argparse.Namespace) -> int:
    faults = [f"IMAGE {path}: there is no such file or folder" for path in args.paths if not os.path.exists(path)]
    if args.processes is not None and args.processes < 1:
        faults.append(f"--processes {args.processes}: must be 1 or more")
    if faults:
        raise ConfigError(faults)
    print("dupelake check: opens the index", file=sys.stderr, flush=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each process uses one core; set before numpy is loaded
    from dupelake.lookup.checker import check_files, index_folder
    from dupelake.lookup.manifest import read_manifest
    from dupelake.lookup.reading import files_of

    folder = index_folder(args.warehouse, args.index)
    held = read_manifest(folder)
    paths = list(files_of(args.paths, held.options().manifest.extensions if held else ()))
    write = _writer(args)
    n_copies = n_failed = 0
    answers = check_files(paths, folder, args.scope, args.processes or _processes(len(paths)), args.profile)
    for answer in _shown(answers, len(paths), sys.stderr):
        n_copies += answer.is_copy
        n_failed += answer.status == FAILED
        write(answer, action_of(answer, args.on_duplicate))
        if args.on_duplicate != REJECT and not is_read(sys.stdout):
            return 0
    told = f"{len(paths)} images: {n_copies} copies, {n_failed} not readable"
    how = f"; compared by --profile {args.profile}" if args.profile else ""
    print(f"dupelake check: {told}{_age(held)}{how}", file=sys.stderr)
    if args.on_duplicate == REJECT:
        return FOUND if n_copies else UNREAD if n_failed else 0
    return 0


def action_of(answer: Answer, on_duplicate: str) -> str:
    """What to do with the image: `accept`, or `reject` or `link` if it `is_copy`; `skip` if it cannot be read."""
    if answer.status == FAILED:
        return "skip"
    return on_duplicate if answer.is_copy and on_duplicate != REPORT else "accept"


def _processes(n_files: int) -> int:
    """One process for a few files: others take longer to start than they save."""
    return 1 if n_files < 16 else len(os.sched_getaffinity(0))


def _age(held: Any) -> str:
    return "" if held is None else f"; compared with the night of {held.as_of}, {held.age_s() / 3600:.1f} hours ago"


def _writer(args: argparse.Namespace) -> Callable[[Answer, str], None]:
    if args.json:
        return lambda answer, action: print(json.dumps(answer.as_dict() | {"action": action}), flush=True)
    if not args.csv:
        return lambda answer, action: print(_CONTROL.sub("?", _line(answer, action)), flush=True)
    write_rows(sys.stdout, _COLUMNS, ())
    return lambda answer, action: print(line_of(_cells(answer, action)), end="\r\n", flush=True)


def _line(answer: Answer, action: str) -> str:
    if action == LINK and answer.group is not None:
        return f"{answer.describe()}; link to {answer.group.link_to[1] or answer.group.link_to[0]}"
    return f"{answer.describe()}; {REJECT}" if action == REJECT else answer.describe()


def _cells(answer: Answer, action: str) -> list[Any]:
    group = answer.group.as_dict() if answer.group else {}
    keeper, link = group.get("keeper", {}), group.get("link_to", {})
    return [
        *(answer.image, answer.status, action, group.get("group_id"), group.get("relation"), group.get("kind")),
        *(group.get("score_to_keeper"), keeper.get("image_id"), keeper.get("uri"), link.get("uri")),
        group.get("reason") or answer.message,
        answer.in_folder[0]["image"] if answer.in_folder else None,
    ]


def _shown(answers: Iterable[Answer], n: int, stream: TextIO) -> Iterator[Answer]:
    """The `n` answers. Where the stream is a terminal, a bar shows the rate and the remaining time between them."""
    from dupelake.runtime.bars import Bar, is_terminal

    if not is_terminal(stream):
        yield from answers
        return
    bar = Bar(stream, "check", "images", n)
    for done, answer in enumerate(answers, 1):
        bar.clear()  # so that a line can be written
        yield answer
        bar.show(done)
    bar.end(is_kept=False)
