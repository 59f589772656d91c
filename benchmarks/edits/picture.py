"""Recall by edit and strength as a picture: one row an edit, one block a tool, one field a strength."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.edits.registry import EDITS
from benchmarks.edits.report import Found
from PIL import Image, ImageDraw

from dupelake.recall.edits import font

FIELD_W, FIELD_H, LEFT, TOP, GAP = 30, 17, 150, 64, 18
LEAST_WIDTH = 640  # of the title and the legend
# From white at 0 over yellow and green to blue at 1: light to dark, so that grey prints read too (after viridis).
_STOPS = ((253, 231, 37), (122, 209, 81), (34, 168, 132), (42, 120, 142), (65, 68, 135))


def colour(share: float) -> tuple[int, int, int]:
    """Field colour of a recall, 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    i = min(int(place), len(_STOPS) - 2)
    low, high = _STOPS[i], _STOPS[i + 1]
    red, green, blue = (round(a + (b - a) * (place - i)) for a, b in zip(low, high, strict=True))
    return red, green, blue


def draw(found: Found, path: Path) -> None:
    """Writes the PNG (a palette of 64 colours: under 150 KB)."""
    edits = [name for name in EDITS if any(cell[0] == name for cell in found[0][1].cells)]
    columns = max(len(EDITS[name].strengths) for name in edits)
    block = columns * FIELD_W + GAP
    width = max(LEFT + block * len(found) + GAP, LEAST_WIDTH)
    image = Image.new("RGB", (width, TOP + FIELD_H * len(edits) + 44), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    pen.text(
        (8, 8), "Copies found in one group with their original, by edit and strength (mild to strong)", 0, font(14)
    )
    for row, name in enumerate(edits):
        y = TOP + FIELD_H * row
        pen.text((LEFT - 8, y + FIELD_H / 2), name.replace("_", " "), 0, font(11), anchor="rm")
    for column, (result, one) in enumerate(found):
        x = LEFT + block * column
        pen.text((x, 30), result.label, 0, font(13))
        pen.text((x, 46), f"{one.groups.n - one.groups.hits} wrong groups of {one.groups.n}", (150, 30, 30), font(11))
        for row, name in enumerate(edits):
            for i, strength in enumerate(EDITS[name].strengths):
                share = one.cells.get((name, strength))
                if share and share.n:
                    _field(pen, x + i * FIELD_W, TOP + FIELD_H * row, share.value)
    _legend(pen, LEFT, image.height - 26)
    image.quantize(64).save(path, optimize=True)


def _field(pen: ImageDraw.ImageDraw, x: int, y: int, value: float) -> None:
    pen.rectangle((x, y, x + FIELD_W - 2, y + FIELD_H - 2), fill=colour(value))
    text = "1" if value == 1 else f".{int(value * 100):02d}"
    ink = (255, 255, 255) if value > 0.4 else (0, 0, 0)
    pen.text((x + FIELD_W / 2 - 1, y + FIELD_H / 2 - 1), text, ink, font(10), anchor="mm")


def _legend(pen: ImageDraw.ImageDraw, x: int, y: int, steps: Sequence[float] = (0, 0.25, 0.5, 0.75, 0.9, 1)) -> None:
    for i, value in enumerate(steps):
        pen.rectangle((x + 74 * i, y, x + 74 * i + 20, y + 12), fill=colour(value))
        pen.text((x + 74 * i + 26, y + 6), f"{value:g}", 0, font(11), anchor="lm")
