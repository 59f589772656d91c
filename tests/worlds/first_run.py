"""The first run of docs/first-run.md: its pictures, its command, and what of its output may vary."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from pictures import photograph

PAGE = Path(__file__).parents[2] / "docs" / "first-run.md"
HOME = "/home/ana"
"""The folder of the page, which stands for that of a test."""
COMMAND = ("run", "photos", "--warehouse", "dupes")
# What differs from one run to the next; the page lists the same. Everything else must be as it stands there.
_VARIES = (
    (re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}"), "RUN"),
    (re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}"), "TIME"),
    (re.compile(r"\d[\d,]*\.\d a second"), "RATE"),
    (re.compile(r"(?<=done in )\d+\.\d s"), "DURATION"),
    (re.compile(r"(\d+ h )?(\d+ min )?\d+ (s|min)\b(?! left)"), "DURATION"),
    (re.compile(r"(?<= )\d+\.\d(?=,|;| in all|$)"), "SECONDS"),
    (re.compile(r"[█▏▎▍▌▋▊▉ ]{24}(?=\|)"), "BAR"),
    (re.compile(r"^dupelake \d+\.\d+\.\d+"), "dupelake VERSION"),
)
_NOW_AND_THEN = re.compile(r"INFO \[RUN\] \w+: [\d,]+ (of [\d,]+ )?(tasks of Spark|images|contents|pairs)")


def write_photos(folder: Path) -> None:
    """Two photographs, four copies of them, and a file that breaks off."""
    folder.mkdir()
    astronaut, coffee = photograph("astronaut.png"), photograph("coffee.png")
    astronaut.save(folder / "astronaut.png")
    astronaut.resize((200, 200)).save(folder / "astronaut small.jpg", quality=85)
    (folder / "astronaut twin.png").write_bytes((folder / "astronaut.png").read_bytes())
    coffee.save(folder / "coffee.png")
    coffee.save(folder / "coffee q60.jpg", quality=60)
    coffee.crop((40, 30, 390, 260)).save(folder / "coffee cut out.jpg", quality=90)
    (folder / "coffee broken.png").write_bytes((folder / "coffee.png").read_bytes()[:5000])


def command() -> list[str]:
    """The words of the command `dupelake` of this Python."""
    return [sys.executable, "-m", "dupelake.cli", *COMMAND]


def environment() -> dict[str, str]:
    """Of a person's shell: a terminal with colours and letters beyond ASCII."""
    return dict(os.environ) | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def blocks(text: str | None = None) -> list[list[str]]:
    """The lines of each code block of the page that holds output (```text)."""
    found = re.findall(r"^```text\n(.*?)^```$", text or PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [block.splitlines() for block in found]


def settled(lines: Iterable[str], home: Path | str = HOME) -> list[str]:
    """The lines with names in the place of what varies, and without those that a log gets now and then."""
    told = [_settled(line.replace(str(home), HOME).rstrip()) for line in lines]
    return [line for line in told if not _NOW_AND_THEN.search(line)]


def _settled(line: str) -> str:
    for pattern, name in _VARIES:
        line = pattern.sub(name, line)
    return line
