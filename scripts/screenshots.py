"""Makes the pictures of the README and of docs/ again: `make screenshots`.

    python scripts/screenshots.py [--demo DIR] [--out docs/images] [NAME...]

Each picture is one entry of SHOTS. Its page is made from the warehouse of the demo, whose photographs are free;
`dupelake demo` is run where there is none. To add a picture, write a function that makes its page and returns its
address, and add a Shot.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "lib")]

from scripts.chromium import launched  # noqa: E402 - after the path

_COLOURS = 256  # of a PNG: a third of the bytes, and hardly a difference that one sees


@dataclass(frozen=True)
class Demo:
    """What pages are made from.

    Attributes:
        warehouse: of the demo; only read.
        work: an empty folder for pages.
    """

    warehouse: Path
    work: Path


@dataclass(frozen=True)
class Shot:
    """One picture.

    Attributes:
        name: of the PNG, without its ending.
        address: makes the page and returns its address.
        size: width and height of the browser's window in px.
        colours: light or dark.
        steps: what is done on the page before the picture is taken.
    """

    name: str
    address: Callable[[Demo], str]
    size: tuple[int, int] = (1280, 800)
    colours: str = "light"
    steps: Callable[[Any], None] = lambda page: None


def command(*words: str) -> str:
    """What `dupelake` prints with these arguments."""
    done = subprocess.run([sys.executable, "-m", "dupelake.cli", *words], check=True, capture_output=True, text=True)
    return done.stdout


def report(demo: Demo) -> str:
    """The report of the demo."""
    page = demo.work / "report.html"
    if not page.exists():
        command("report", "--warehouse", str(demo.warehouse), "--out", str(page))
    return page.as_uri()


def report_groups(demo: Demo) -> str:
    """The same, at its groups."""
    return f"{report(demo)}#groups"


def search(words: str) -> Callable[[Any], None]:
    """Search for a group and open it."""

    def steps(page: Any) -> None:
        page.fill("#search", words)
        page.wait_for_selector("#status:has-text(' of ')")
        page.locator("[role=option]:visible").first.click()

    return steps


PHONE = (390, 844)
SHOTS = (
    Shot("report-overview", report, (1280, 1010)),
    Shot("report-groups", report_groups, (1280, 800), "dark"),
    Shot("report-phone", report_groups, PHONE, "light", search("astronaut")),
)


def take(shots: Sequence[Shot], demo: Demo, out: Path) -> None:
    """Write the PNG of each shot into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with launched() as browser:
        for shot in shots:
            width, height = shot.size
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=shot.colours)
            page = context.new_page()
            page.goto(shot.address(demo))
            page.wait_for_load_state("load")
            shot.steps(page)
            page.wait_for_timeout(300)  # pictures decode beside the script
            path = out / f"{shot.name}.png"
            page.screenshot(path=path)
            context.close()
            with Image.open(path) as image:
                picture = image.convert("RGB")
            picture.quantize(palette=picture.quantize(_COLOURS)).save(path, optimize=True)
            print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(s.name for s in SHOTS)}")
    parser.add_argument("--demo", type=Path, default=REPO / "demo-output", metavar="DIR", help="of `dupelake demo`")
    parser.add_argument("--out", type=Path, default=REPO / "docs" / "images", metavar="DIR", help="where PNGs go")
    args = parser.parse_args()
    if unknown := set(args.names) - {shot.name for shot in SHOTS}:
        parser.error(f"no picture is called {', '.join(sorted(unknown))}")
    if not (args.demo / "warehouse").is_dir():
        subprocess.run([sys.executable, "-m", "dupelake.cli", "demo", "--out", str(args.demo)], check=True)
    chosen = [shot for shot in SHOTS if not args.names or shot.name in args.names]
    with tempfile.TemporaryDirectory() as work:
        take(chosen, Demo(args.demo / "warehouse", Path(work)), args.out)


if __name__ == "__main__":
    main()
