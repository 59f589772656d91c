"""Draw the terminal of the README: the first block of docs/first-run.md as docs/images/terminal.svg.

    python scripts/draw_terminal.py          # the picture alone
    python scripts/draw_terminal.py --run    # first make the runs of the page, and write what they print into it

The page holds what a run prints, and a test compares them; so the picture needs no run.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

REPO = Path(__file__).resolve().parents[1]
PAGE, PICTURE = REPO / "docs" / "first-run.md", REPO / "docs" / "images" / "terminal.svg"
_WIDTH = 120
_STYLES = (  # the first that matches a whole line colours its groups, which are named after styles
    re.compile(r"(?P<bold_green>\$) (?P<bold>.*)"),
    re.compile(r"(?P<cyan>\w+ +)\d+% \|(?P<green>.*)\| .*"),
    re.compile(r"(?P<bold>Run \S+ .*)"),
    re.compile(r"  (?P<cyan>(images|contents|embedded|pairs|recall|groups|may go|seconds|to \w+ .*?:)) .*"),
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
        for pattern in _STYLES:
            found = pattern.fullmatch(line)
            if found:
                for style in found.groupdict():
                    text.stylize(style.replace("_", " "), *found.span(style))
                break
        console.print(text, soft_wrap=False)
    svg = console.export_svg(title="dupelake run", unique_id="dupelake")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)  # no font from the network


def record() -> None:
    """Make the two runs of the page in an empty folder, and write what they print into its blocks."""
    sys.path.insert(0, str(REPO / "tests" / "worlds"))
    import first_run
    from screens import Session

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        first_run.write_photos(home / "photos")
        first = Session(first_run.command(), first_run.environment(), cwd=home)
        if first.code:
            raise SystemExit(first.output)
        night = subprocess.run(
            first_run.command(), cwd=home, env=first_run.environment(), text=True, check=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ).stdout.splitlines()  # fmt: skip
        shown = [["$ " + " ".join(["dupelake", *first_run.COMMAND]), *first.lines], night]
        blocks = iter("".join(f"{line}\n" for line in lines).replace(folder, first_run.HOME) for lines in shown)
    text = PAGE.read_text(encoding="utf-8")
    text = re.sub(r"^```text\n.*?^```$", lambda _: f"```text\n{next(blocks)}```", text, flags=re.M | re.S)
    PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description="Draw the terminal of the README from docs/first-run.md.")
    parser.add_argument("--run", action="store_true", help="first make the runs of the page and write what they print")
    if parser.parse_args().run:
        record()
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(transcript()), encoding="utf-8")
    print(PICTURE)


if __name__ == "__main__":
    main()
