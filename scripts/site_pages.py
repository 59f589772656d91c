"""A hook of MkDocs (mkdocs.yml): the pages of the site that are not files of docs/, and links between all of them.

- reference/: made from the code by scripts/reference.py.
- ways/: each script of docs/ways as a page; its comments are the text.
- repository/: Markdown of the repository outside of docs/, to which pages link.

Links are written as they work in the repository. Here they are led to the pages of the site; a link to a file that the
site does not have becomes the name of the file.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO)]

from scripts.reference import PAGES  # noqa: E402 - after the path

_OUTSIDE = ("README.md", "CONTRIBUTING.md", "benchmarks/*.md")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
_LANGUAGES = {".sh": "bash", ".py": "python"}
_ITEM = re.compile(r"(?:\d\.|-) ")
_NAMED = re.compile(r"(?<!\[)`((?:docs|benchmarks)/\w+\.md)`(?!\])")
"""A page that is named and not linked."""
_FENCE = re.compile(r"^\s*(```|~~~)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made here."""
    made = {f"reference/{name}.md": page() for name, page in PAGES.items()}
    made |= {f"ways/{path.stem}.md": page_of_script(path) for path in scripts_of(REPO)}
    made |= {f"repository/{path.relative_to(REPO)}": path.read_text(encoding="utf-8") for path in outside(REPO)}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead the links of a page to pages of the site, and indent what stands in lists."""
    return indented(linked(markdown, page.file.src_uri, set(files.src_uris)))


def scripts_of(repo: Path) -> list[Path]:
    """The users' ways."""
    return sorted(path for path in (repo / "docs" / "ways").iterdir() if path.suffix in _LANGUAGES)


def outside(repo: Path) -> Iterator[Path]:
    """The Markdown files outside of docs/ that are pages."""
    for pattern in _OUTSIDE:
        yield from sorted(repo.glob(pattern))


def page_of_script(path: Path) -> str:
    """A script as Markdown: comments at the beginning of a line are text, everything else is code.

    The title is the first line of the docstring in Python, and of the comments in a shell script.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        module = ast.parse(text)
        title, _, about = (ast.get_docstring(module) or "").partition("\n")
        lines = [f"# {line}".rstrip() for line in about.splitlines()] + text.splitlines()[module.body[0].end_lineno :]
    else:
        _, title, *lines = text.splitlines()
        title = title.removeprefix("# ")
    out, code = [f"# {title.rstrip('.')}", ""], [""]
    for line in [*lines, "#"]:
        if line != "#" and not line.startswith("# "):
            code.append(line)
            continue
        if any(code):
            out += ["", f"```{_LANGUAGES[path.suffix]}", "\n".join(code).strip("\n"), "```", ""]
        code = []
        out.append(line[2:])
    return "\n".join([*out, f"The whole script is [{path.name}]({path.name})."]) + "\n"


def linked(markdown: str, src_uri: str, known: set[str]) -> str:
    """The text of a page with its relative links led to pages and files of the site.

    Args:
        markdown: its text.
        src_uri: its place in the site.
        known: the places of all pages and files.
    """
    home = src_uri.removeprefix("repository/") if src_uri.startswith("repository/") else f"docs/{src_uri}"
    here = posixpath.dirname(src_uri)

    def led(found: re.Match[str]) -> str:
        mark, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(home), target))
        as_page = place.removeprefix("docs/") if place.startswith("docs/") else f"repository/{place}"
        ways = [re.sub(r"^(ways/\w+)\.\w+$", r"\1.md", as_page)] if here != "ways" else []
        for inside in (*ways, posixpath.normpath(posixpath.join(here, target)), as_page):
            if inside in known:
                return f"{mark}[{text}]({posixpath.relpath(inside, here or '.')}{anchor})"
        return text if (REPO / place).exists() else found[0]  # what is nowhere fails the build

    def named(found: re.Match[str]) -> str:
        place = found[1].removeprefix("docs/") if found[1].startswith("docs/") else f"repository/{found[1]}"
        return f"[{found[0]}]({posixpath.relpath(place, here or '.')})" if place in known else found[0]

    in_fence, out = False, []
    for line in markdown.split("\n"):
        in_fence ^= bool(_FENCE.match(line))
        out.append(line if in_fence else _NAMED.sub(named, _LINK.sub(led, line)))
    return "\n".join(out)


def indented(markdown: str) -> str:
    """The same text with lists as Python-Markdown needs them.

    What stands in an item is indented by four, where the width of its mark is enough elsewhere. An item after one of
    several paragraphs has an empty line before it.
    """
    width, in_fence, is_long = 0, False, False  # of the mark of the present item, 0 outside of lists
    out: list[str] = []
    for line in markdown.split("\n"):
        mark = None if in_fence else _ITEM.match(line)
        in_fence ^= bool(_FENCE.match(line))
        if mark:
            out += [""] if width and is_long and out[-1] else []
            width, is_long = len(mark[0]), False
        elif line and not line.startswith(" " * width):
            width = 0
        is_long |= not line
        out.append(" " * (4 - width) + line if width and line and not mark else line)
    return "\n".join(out)
