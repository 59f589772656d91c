"""The script that draws the terminal of the README from docs/first-run.md."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def words(svg: str) -> str:
    """The text of a picture, without its spaces, which are drawn as columns."""
    return re.sub(r"\s", "", html.unescape("".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))))


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
