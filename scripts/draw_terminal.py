"""Draw the terminal of the README: the first block of docs/first-run.md as docs/images/terminal.svg.

    python scripts/draw_terminal.py

The page holds what a run prints, and a test compares them; so this picture needs no run.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

REPO = Path(__file__).resolve().parents[1]
PAGE, PICTURE = REPO / "docs" / "first-run.md", REPO / "docs" / "images" / "terminal.svg"
_WIDTH = 120
_STYLES = (  # the first that matches a whole line colours its groups, which are named after styles
    (re.compile(r"(?P<bold_green>\$) (?P<bold>.*)"), "none"),
    (re.compile(r"(?P<cyan>\w+ +)\d+% \|(?P<green>.*)\| .*"), "none"),
    (re.compile(r"(?P<bold>Run \S+ .*)"), "none"),
    (re.compile(r"  (?P<cyan>(images|contents|embedded|pairs|recall|groups|may go|seconds|to \w+ .*?:)) .*"), "none"),
)


def transcript() -> list[str]:
    """The lines of the first block of output on the page."""
    found = re.search(r"^```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    if found is None:
        raise SystemExit(f"{PAGE} holds no block of output (```text)")
    return found[1].splitlines()


def draw(lines: list[str]) -> str:
    """The lines in a terminal, as SVG."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    for line in lines:
        text = Text(line)
        for pattern, _ in _STYLES:
            found = pattern.fullmatch(line)
            if found:
                for style in found.groupdict():
                    text.stylize(style.replace("_", " "), *found.span(style))
                break
        console.print(text, soft_wrap=False)
    svg = console.export_svg(title="dupelake run", unique_id="dupelake")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)  # no font from the network


def main() -> None:
    """Write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(transcript()), encoding="utf-8")
    print(PICTURE)


if __name__ == "__main__":
    main()
