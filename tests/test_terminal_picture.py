"""The terminal in the README: drawn from the page that holds what a first run prints."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path

from first_run import blocks

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "terminal.svg"


def words(svg: str) -> str:
    """The text of a picture, without its spaces, which are drawn as columns."""
    return re.sub(r"\s", "", html.unescape("".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))))


def test_the_picture_shows_the_page():
    shown = words(PICTURE.read_text(encoding="utf-8"))
    for line in blocks()[0]:
        assert re.sub(r"\s", "", line) in shown, f"run `python scripts/draw_terminal.py`: {line}"


def test_the_script_draws_it_without_the_network():
    spec = importlib.util.spec_from_file_location("draw_terminal", ROOT / "scripts" / "draw_terminal.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = module.draw(
        ["$ dupelake run photos", "hash      100% |███| 7 images, 1.0 a second, 7 s", "Run x (nightly)"]
    )
    assert "dupelakerunphotos" in words(drawn)
    assert "url(" not in re.sub(r"url\(#", "", drawn)
    assert "http" not in drawn.replace("http://www.w3.org", "").replace("https://www.textualize.io", "")
