"""Draw pairs of images with their evidence below, with Pillow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from dupelake.report.contact_sheet import BACK, GREY, INK, fit_text, font, load_thumbnail
from dupelake.verify.in_words import evidence_lines

TILE_PX = 220
_GAP_PX, _HEAD_PX, _FONT_PX, _LINE_PX, _LINES = 12, 62, 12, 16, 10
CARD_WIDTH_PX = 2 * TILE_PX + 4
CARD_HEIGHT_PX = TILE_PX + _LINES * _LINE_PX + 8
BOX_COLOUR, _FALSE, _MISSED, _TILE = (235, 30, 140), (200, 50, 40), (200, 120, 0), (235, 235, 235)
FRAME_COLOURS = {"false": _FALSE, "missed": _MISSED}


@dataclass(frozen=True)
class Picture:
    """One image of a pair, as drawn."""

    name: str
    thumbnail: bytes | None
    width_px: int | None
    height_px: int | None


@dataclass(frozen=True)
class PairCard:
    """A pair, with the source of the evidence on the left.

    Attributes:
        source: left picture, to which `difference_box` refers.
        other: right picture.
        headline: one line that says what is wrong.
        evidence: columns of PAIRS, or None if the pair was never measured.
        note: another line, such as the groups of both.
    """

    source: Picture
    other: Picture
    headline: str
    evidence: Mapping[str, Any] | None
    note: str = ""


def draw_pair_sheet(cards: Sequence[PairCard], title: str, frame: str) -> Image.Image:
    """Draw a sheet of cards, row by row.

    Args:
        cards: cards in order; for an empty list the sheet says that there are none.
        title: the line at the top.
        frame: `false` or `missed`; decides the colour of the headlines.

    Returns:
        An RGB image, three cards wide at most. The largest local difference is outlined in pink on the source.
    """
    columns = max(1, min(3, len(cards)))
    rows = -(-len(cards) // columns)
    width = max(2, columns) * (CARD_WIDTH_PX + _GAP_PX) + _GAP_PX
    sheet = Image.new("RGB", (width, _HEAD_PX + max(60, rows * (CARD_HEIGHT_PX + _GAP_PX))), BACK)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP_PX, 10), title, INK, font(17))
    legend = "left: source of the evidence, its largest local difference outlined; right: destination"
    draw.text((_GAP_PX, 36), legend, GREY, font(_FONT_PX))
    if not cards:
        draw.text((_GAP_PX, _HEAD_PX + 15), "None.", INK, font(17))
    for i, card in enumerate(cards):
        row, column = divmod(i, columns)
        left = _GAP_PX + column * (CARD_WIDTH_PX + _GAP_PX)
        _draw_card(sheet, draw, card, left, _HEAD_PX + row * (CARD_HEIGHT_PX + _GAP_PX), FRAME_COLOURS[frame])
    return sheet


def _draw_card(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, card: PairCard, left: int, top: int, colour: tuple[int, int, int]
) -> None:
    box = card.evidence.get("difference_box") if card.evidence is not None else None
    for i, picture in enumerate((card.source, card.other)):
        _draw_picture(sheet, draw, picture, left + i * (TILE_PX + 4), top, box if i == 0 else None)
    sizes = [
        f"{picture.name} ({picture.width_px}x{picture.height_px})" if picture.width_px else picture.name
        for picture in (card.source, card.other)
    ]
    for i, text in enumerate(sizes):
        place = (left + i * (TILE_PX + 4), top + TILE_PX + 3)
        draw.text(place, fit_text(draw, text, TILE_PX, _FONT_PX), INK, font(_FONT_PX))
    lines = [(card.headline, colour), *((line, INK) for line in evidence_lines(card.evidence)), (card.note, GREY)]
    for i, (text, ink) in enumerate([line for line in lines if line[0]][: _LINES - 1], start=1):
        place = (left, top + TILE_PX + 3 + i * _LINE_PX)
        draw.text(place, fit_text(draw, text, CARD_WIDTH_PX, _FONT_PX), ink, font(_FONT_PX))


def _draw_picture(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    picture: Picture,
    left: int,
    top: int,
    box: Mapping[str, float | None] | None,
) -> None:
    draw.rectangle([left, top, left + TILE_PX - 1, top + TILE_PX - 1], fill=_TILE)
    tile = load_thumbnail(picture.thumbnail, TILE_PX)
    if tile is None:
        draw.text((left + 12, top + TILE_PX // 2), "no thumbnail", GREY, font(_FONT_PX))
        return
    x, y = left + (TILE_PX - tile.width) // 2, top + (TILE_PX - tile.height) // 2
    sheet.paste(tile, (x, y))
    corners = _corners(box, tile.width, tile.height)
    if corners is not None:
        x0, y0, x1, y1 = corners
        draw.rectangle([x + x0, y + y0, x + x1, y + y1], outline=BOX_COLOUR, width=2)


def _corners(box: Mapping[str, float | None] | None, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Pixels of a box given in fractions, clipped to the picture; None if there is no box or it is empty."""
    if box is None or any(box[name] is None for name in ("x", "y", "width", "height")):
        return None
    x, y, w, h = (float(box[name] or 0.0) for name in ("x", "y", "width", "height"))
    if w <= 0 or h <= 0:
        return None
    x0, y0 = (round(min(max(low, 0.0), 1.0) * (size - 1)) for low, size in ((x, width), (y, height)))
    x1, y1 = (round(min(max(high, 0.0), 1.0) * (size - 1)) for high, size in ((x + w, width), (y + h, height)))
    return x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)
