"""Check the Markdown files of the repository: links, anchors, file paths in backticks, and the length of lines.

    python scripts/check_markdown.py [ROOT]

Prints `file:line: message` for each fault and exits with 1 where there is one. Standard library only.

A path in backticks counts as a path of the repository when it begins with a folder of the repository (`docs/x.md`) or
with a room of lib/dupelake (`group/stage.py`). `group/stage.py:build_groups` also asks for that name in the file.
Lines may be longer than 120 characters in tables, in code blocks, where they are one long URL, and in sections that a
program writes (`<!-- NAME: written by PROGRAM -->` to `<!-- NAME: end -->`).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

MAX_LINE = 120
LIBRARY = "lib/dupelake"
LEFT_OUT = {
    "build",
    "demo-output",
    "dist",
    "node_modules",
    "site",
    "venv",
}  # folders; so are those that begin with a dot

FENCE = re.compile(r"^\s*(```|~~~)")
CODE_SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
HTML_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
LONG_URL = re.compile(r"^\s*(?:[-*>]\s+|\d+\.\s+)?\S*https?://\S+$")
WRITTEN, WRITTEN_END = re.compile(r"^<!-- [^>]*: written by "), re.compile(r"^<!-- [^>]*: end -->")
PATH = re.compile(r"^(?P<path>[\w.-]+(?:/[\w.*-]+)+/?)(?::(?P<name>\w+))?$")


def markdown_files(root: Path) -> list[Path]:
    """All Markdown files below `root`, but for hidden folders and those of builds."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in LEFT_OUT]
        found += [Path(folder, name) for name in names if name.endswith(".md")]
    return sorted(found)


def prose(path: Path) -> Iterator[tuple[int, str, bool]]:
    """(number, line, may be long) of each line that is not code; a row of a table may be long."""
    in_fence = in_code = is_written = False
    is_blank = True
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if FENCE.match(line):
            in_fence = not in_fence
            continue
        is_indented = line.startswith("    ") and (is_blank or in_code)
        in_code = is_indented or (in_code and not line.strip())
        is_blank = not line.strip()
        if WRITTEN.match(line):
            is_written = True
        if not (in_fence or in_code):
            yield number, line, is_written or line.lstrip().startswith("|") or bool(LONG_URL.match(line))
        if WRITTEN_END.match(line):
            is_written = False


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a Markdown file, made of its headings as GitHub makes them."""
    found: set[str] = set()
    for _, line, _ in prose(path):
        found |= set(HTML_ANCHOR.findall(line))
        heading = HEADING.match(line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).replace("`", "").lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            n = 0
            while (name := slug if n == 0 else f"{slug}-{n}") in found:
                n += 1
            found.add(name)
    return frozenset(found)


def link_fault(root: Path, page: Path, target: str) -> str | None:
    """What is wrong with a link, or None; links to other places are not looked at."""
    if re.match(r"^[a-z][a-z0-9+.-]*:", target, flags=re.I):
        return None
    name, _, anchor = unquote(target).partition("#")
    file = page if not name else (root / name[1:] if name.startswith("/") else page.parent / name)
    if not file.exists():
        return f"link to {target}: there is no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors(file.resolve()):
        return f"link to {target}: there is no heading for #{anchor}"
    return None


def path_fault(root: Path, span: str) -> str | None:
    """What is wrong with a code span that names a file of the repository, or None."""
    match = PATH.match(span)
    if match is None:
        return None
    path, name = match["path"].rstrip("/"), match["name"]
    first = path.split("/")[0]
    if first in (".", ".."):
        return None
    if (root / LIBRARY / first).is_dir() and not (root / first).is_dir():
        base = root / LIBRARY
    elif (root / first).is_dir():
        base = root
    else:
        return None
    found = list(base.glob(path))
    if not found:
        return f"`{span}`: there is no {(base / path).relative_to(root)}"
    text = found[0].read_text(encoding="utf-8") if name and found[0].is_file() else ""
    if name and not re.search(rf"^\s*(?:async )?(?:def|class) {name}\b|^{name}\b\s*[:=]", text, flags=re.M):
        return f"`{span}`: {path} defines no {name}"
    return None


def faults_of(root: Path, page: Path) -> Iterator[str]:
    """`file:line: message` of each fault of one page."""
    for number, line, may_be_long in prose(page):
        place = f"{page.relative_to(root)}:{number}"
        if len(line) > MAX_LINE and not may_be_long:
            yield f"{place}: {len(line)} characters; lines wrap at {MAX_LINE}"
        found = [path_fault(root, span) for span in CODE_SPAN.findall(line)]
        found += [link_fault(root, page, target) for target in LINK.findall(CODE_SPAN.sub("", line))]
        for fault in found:
            if fault:
                yield f"{place}: {fault}"


def main(arguments: list[str]) -> int:
    """Print all faults below the folder that is given, else of this repository."""
    root = Path(arguments[0] if arguments else Path(__file__).parents[1]).resolve()
    faults = [fault for page in markdown_files(root) for fault in faults_of(root, page)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
