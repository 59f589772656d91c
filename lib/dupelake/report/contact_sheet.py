"""Draw groups as rows of thumbnails, the keeper first, with Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from PIL import Image, ImageDraw, ImageFont

_TILE_PX = 190
_LINE_PX = 16
_MAX_LINES = 8  # of a reason
_GAP_PX = 10
_HEAD_PX = 34
_FONT_PX = 12
BACK, INK, GREY = (250, 250, 250), (25, 25, 25), (110, 110, 110)
_KEEP, _REMOVE, _COPY, _ALTERNATE = (34, 139, 34), (200, 50, 40), (40, 90, 200), (215, 150, 20)
_FRAMES = {"keeper": _KEEP, "copy": _COPY, "alternate": _ALTERNATE}


@dataclass(frozen=True)
class Member:
    """One image of a group, as drawn."""

    image_id: str
    name: str
    thumbnail: bytes | None
    width_px: int
    height_px: int
    byte_size: int
    format: str
    relation: str
    is_removable: bool
    reason: str


@dataclass(frozen=True)
class SheetGroup:
    """One group, its keeper first; `size` may be larger than the number of members."""

    group_id: str
    size: int
    members: Sequence[Member]


def sheet_groups(rows: Iterable[Mapping[str, Any]]) -> list[SheetGroup]:
    """Groups to draw, in the order of their first rows.

    Args:
        rows: members in the order in which they are drawn: columns of GROUPS, of their images, and `bytes` of their
            thumbnails.
    """
    members: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        members.setdefault(row["group_id"], []).append(row)
    return [
        SheetGroup(group_id, found[0]["group_size"], [_member(row) for row in found])
        for group_id, found in members.items()
    ]


def _member(row: Mapping[str, Any]) -> Member:
    name = row["uri"].rstrip("/").rsplit("/", 1)[-1]
    return Member(
        row["image_id"],
        unquote(name) if row["uri"].startswith("file:") else name,
        bytes(row["bytes"]) if row["bytes"] is not None else None,
        row["width_px"],
        row["height_px"],
        row["byte_size"],
        row["format"],
        row["relation"],
        row["is_removable"],
        row["reason"],
    )


def draw_contact_sheet(groups: Sequence[SheetGroup], title: str, columns: int = 7, lines: int = 1) -> Image.Image:
    """Draw a sheet of groups, each with at most `lines` lines of at most `columns` tiles.

    Args:
        groups: groups from top to bottom; for an empty list the sheet says that there are none.
        title: the line at the top.
        columns: tiles per line.
        lines: lines per group; the sheet says how many members are not drawn.

    Returns:
        An RGB image. Frames are green for keepers, red for removable copies, blue for copies that are not removable by
        the configuration, and amber for alternates.
    """
    width = columns * (_TILE_PX + _GAP_PX) + _GAP_PX
    drawn = [_lines(group.members[: columns * lines], columns) for group in groups]
    heights = [_HEAD_PX + sum(height for _, height in found) for found in drawn]
    sheet = Image.new("RGB", (width, 2 * _HEAD_PX + max(_HEAD_PX, sum(heights))), BACK)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP_PX, _GAP_PX), title, INK, font(17))
    legend = "green: keeper    red: removable copy    blue: copy, not marked removable    amber: alternate"
    draw.text((_GAP_PX, _HEAD_PX + 4), legend, GREY, font(_FONT_PX))
    if not groups:
        draw.text((_GAP_PX, 2 * _HEAD_PX + 20), "No duplicate groups.", INK, font(17))
    top = 2 * _HEAD_PX
    for group, found in zip(groups, drawn, strict=True):
        _draw_head(sheet, draw, group, sum(len(line) for line, _ in found), top)
        top += _HEAD_PX
        for line, height in found:
            for column, (member, reason) in enumerate(line):
                _draw_member(sheet, draw, member, reason, _GAP_PX + column * (_TILE_PX + _GAP_PX), top)
            top += height
    return sheet


def _lines(members: Sequence[Member], columns: int) -> list[tuple[list[tuple[Member, list[str]]], int]]:
    """The members with their wrapped reasons, line by line, and the height of each line in pixels."""
    found = []
    for at in range(0, len(members), columns):
        line = [(member, _wrapped(member.reason)) for member in members[at : at + columns]]
        found.append((line, _TILE_PX + (3 + max(len(reason) for _, reason in line)) * _LINE_PX))
    return found


def _wrapped(reason: str) -> list[str]:
    """The reason in lines that fit below a tile, at most _MAX_LINES."""
    lines: list[str] = []
    for word in reason.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font(_FONT_PX).getlength(longer) <= _TILE_PX:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= _MAX_LINES else [*lines[: _MAX_LINES - 1], f"{lines[_MAX_LINES - 1]} …"]


def _draw_head(sheet: Image.Image, draw: ImageDraw.ImageDraw, group: SheetGroup, n_drawn: int, top: int) -> None:
    hidden = group.size - n_drawn
    more = f"; {hidden} more not drawn" if hidden > 0 else ""
    draw.line([(_GAP_PX, top + 4), (sheet.width - _GAP_PX, top + 4)], (220, 220, 220))
    draw.text((_GAP_PX, top + 10), f"group {group.group_id[:12]}: {group.size} images{more}", INK, font(13))


def _draw_member(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, member: Member, reason: Sequence[str], left: int, top: int
) -> None:
    colour = _REMOVE if member.is_removable else _FRAMES[member.relation]
    draw.rectangle([left, top, left + _TILE_PX - 1, top + _TILE_PX - 1], fill=(235, 235, 235), outline=colour, width=3)
    tile = load_thumbnail(member.thumbnail, _TILE_PX - 8)
    if tile is None:
        draw.text((left + 12, top + _TILE_PX // 2), "no thumbnail", GREY, font(_FONT_PX))
    else:
        sheet.paste(tile, (left + (_TILE_PX - tile.width) // 2, top + (_TILE_PX - tile.height) // 2))
    ink = tuple(level * 3 // 4 for level in colour)  # darker, so that letters can be read
    size = f"{member.width_px}x{member.height_px} {member.format} {member.byte_size / 1024:.0f} KiB"
    for i, line in enumerate((member.name, size, *reason)):
        draw.text(
            (left, top + _TILE_PX + 3 + i * _LINE_PX),
            fit_text(draw, line, _TILE_PX, _FONT_PX),
            INK if i < 2 else ink,
            font(_FONT_PX),
        )


def load_thumbnail(data: bytes | None, side_px: int) -> Image.Image | None:
    """A stored thumbnail as RGB, no side longer than `side_px`; None if it is missing or does not decode."""
    if data is None:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            tile = image.convert("RGB")
    except OSError:
        return None
    tile.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return tile


def fit_text(draw: ImageDraw.ImageDraw, line: str, width_px: int, size: int) -> str:
    """`line` as one line, with its middle removed if it is wider than `width_px` in a font of `size` pixels."""
    line = " ".join(line.splitlines())  # a file name may have line ends, which Pillow does not measure
    if draw.textlength(line, font(size)) <= width_px:
        return line
    keep = len(line) // 2
    while keep > 2 and draw.textlength(f"{line[:keep]}…{line[-keep:]}", font(size)) > width_px:
        keep -= 1
    return f"{line[:keep]}…{line[-keep:]}"


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The default font of Pillow."""
    return ImageFont.load_default(size)
