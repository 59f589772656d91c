"""Runs the tutorial: `python scripts/tutorial.py` runs its commands and writes what they print into docs/tutorial.md.

A block of commands (```bash) and the block after it (```text) belong together: the second is what the first prints on
stdout. Commands run in one folder, one block after the other; it stands for the clone of the page, HOME. What differs
from one run to the next (ids, times) is not compared.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
PAGE = REPO / "docs" / "tutorial.md"
HOME = "/home/ana/dupelake"
"""The folder of the page."""
_BLOCK = re.compile(r"^```bash\n(?P<commands>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?", flags=re.M | re.S)
_VARIES = (
    (re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}"), "RUN"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{8}\b"), "ID"),
    (re.compile(r"(\d+ h )?(\d+ min )?\b\d+(\.\d)? (s|min)\b"), "DURATION"),
    (re.compile(r"^  seconds .*$", flags=re.M), "  seconds"),
    (re.compile(r"^  recall .*\n", flags=re.M), ""),  # of a sample by id, which depends on the folder
    (re.compile(r"\b\d+\.\d hours\b"), "HOURS"),
)


@dataclass(frozen=True)
class Block:
    """Commands of the page, and what they print; None if the page shows nothing."""

    commands: str
    printed: str | None


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page."""
    for found in _BLOCK.finditer(text):
        yield Block(found["commands"], found["printed"])


def settled(text: str, folder: Path | str = HOME) -> str:
    """What was printed, with names in the place of what varies."""
    told = text.replace(str(folder), HOME)
    for pattern, name in _VARIES:
        told = pattern.sub(name, told)
    return "\n".join(line.rstrip() for line in told.strip("\n").split("\n"))


def environment(folder: Path) -> dict[str, str]:
    """In which `dupelake` and `python` are those of this Python."""
    tools = folder / ".bin"
    tools.mkdir(exist_ok=True)
    for name, words in (("dupelake", "-m dupelake.cli"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
        (tools / name).chmod(0o755)
    paths = [str(REPO / "lib"), *filter(None, sys.path)]
    return dict(os.environ) | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in paths),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def printed_by(commands: str, folder: Path) -> str:
    """What commands print on stdout.

    Raises:
        RuntimeError: one of them failed; with what it said.
    """
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode} of:\n{commands}\n{done.stdout}\n{done.stderr[-4000:]}")
    return done.stdout


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where it runs (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).absolute()
        text = PAGE.read_text(encoding="utf-8")

        def written(found: re.Match[str]) -> str:
            print(found["commands"], end="", flush=True)
            told = printed_by(found["commands"], folder).replace(str(folder), HOME)
            shown = "\n".join(line.rstrip() for line in told.strip("\n").split("\n"))
            print(shown, flush=True)
            return f"```bash\n{found['commands']}```\n" + (f"\n```text\n{shown}\n```\n" if shown else "")

        PAGE.write_text(_BLOCK.sub(written, text), encoding="utf-8")


if __name__ == "__main__":
    main()
