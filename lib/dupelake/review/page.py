"""The review page: one self-contained HTML file without scripts, links or external resources. All text is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from dupelake.csv_cells import line_of
from dupelake.report.contact_sheet import load_thumbnail
from dupelake.verify.in_words import evidence_lines

CONFLICT = "conflict"  # kind of the cards that come from verdicts and not from measures
SIDE_PX = 260  # longest side of a picture on the page
_QUALITY = 80
_WORDS = ("duplicate", "not_duplicate", "alternate")

_STYLE = """
:root { color-scheme: light; }
body { font: 14px/1.4 sans-serif; margin: 24px; background: #f6f6f4; color: #1c1c1c; }
h1 { font-size: 20px; margin: 0 0 6px; } p { max-width: 900px; margin: 6px 0; }
section { background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: 12px 14px; margin: 14px 0;
  display: grid; grid-template-columns: 270px 270px minmax(300px, 1fr); gap: 14px; }
h2 { grid-column: 1 / -1; font-size: 15px; margin: 0; } h2 small { font-weight: normal; color: #555; }
.pic { position: relative; background: #e8e8e8; } .pic img { display: block; width: 100%; height: 100%; }
.box { position: absolute; border: 2px solid #eb1e8c; box-shadow: 0 0 0 1px #fff; box-sizing: border-box; }
.none { width: 260px; height: 120px; background: #e8e8e8; color: #666; padding: 12px; box-sizing: border-box; }
.name { font-weight: bold; overflow-wrap: anywhere; } .uri { color: #555; overflow-wrap: anywhere; font-size: 12px; }
.group { font-size: 12px; margin-top: 4px; overflow-wrap: anywhere; } ul { margin: 4px 0 8px; padding-left: 18px; }
code { display: block; background: #f0f0ee; padding: 2px 6px; margin: 2px 0; user-select: all; overflow-wrap: anywhere;
  font: 12px monospace; white-space: pre-wrap; }
""".strip()

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_INTRO = (
    "Each row shows two images and what was measured of them. A pink frame marks where they differ most, on the image "
    "that the measurement started from. To decide, fill in the column <b>verdict</b> of review.csv (duplicate, "
    "not_duplicate, alternate), or copy a line from here into a CSV file whose first line is "
    "<b>image_id,other_image_id,verdict</b>; then run <b>dupelake decide --csv</b>. Rows without a verdict change "
    "nothing."
)


@dataclass(frozen=True)
class Shown:
    """One image as the page shows it.

    Attributes:
        image_id: as in `images`.
        uri: as in the manifest; shown as text, not as a link.
        size: text with pixels, format and bytes, or with what is wrong.
        thumbnail: JPEG bytes of any size, or None.
        group: text about its group.
    """

    image_id: str
    uri: str
    size: str
    thumbnail: bytes | None
    group: str


@dataclass(frozen=True)
class Card:
    """Two images that a person should check.

    Attributes:
        what: the kind of card.
        why: text that says why it should be checked.
        left: the source of the evidence, to which `difference_box` refers.
        right: the other image; None if a verdict names one image only.
        evidence: columns of PAIRS; None if the pair was never measured.
    """

    what: str
    why: str
    left: Shown
    right: Shown | None
    evidence: Mapping[str, Any] | None


def write_page(cards: Sequence[Card], title: str, path: Path) -> None:
    """Write the page; without cards it says that there is nothing to check."""
    body = "\n".join(_card(number, card) for number, card in enumerate(cards, start=1))
    path.write_text(
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>dupelake review</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"<h1>dupelake review</h1>\n<p>{escape(title)}</p>\n<p>{_INTRO}</p>\n"
        f"{body or '<p>Nothing needs a look.</p>'}\n</body>\n</html>\n",
        encoding="utf-8",
    )


def _card(number: int, card: Card) -> str:
    box = card.evidence.get("difference_box") if card.evidence is not None else None
    pictures = _picture(card.left, box) + (_picture(card.right, None) if card.right is not None else "<div></div>")
    # without evidence, evidence_lines says that the pair was not measured
    words = "".join(f"<li>{escape(line)}</li>" for line in evidence_lines(card.evidence))
    lines = "".join(f"<code>{escape(line)}</code>" for line in _csv_lines(card))
    return (
        f'<section id="pair-{number}">\n<h2>{number}. {escape(card.what)} <small>{escape(card.why)}</small></h2>\n'
        f"{pictures}\n<div><ul>{words}</ul>{lines}</div>\n</section>"
    )


def _picture(shown: Shown, box: Mapping[str, float | None] | None) -> str:
    tile = load_thumbnail(shown.thumbnail, SIDE_PX)
    if tile is None:
        picture = '<div class="none">no thumbnail</div>'
    else:
        buffer = io.BytesIO()
        tile.save(buffer, "JPEG", quality=_QUALITY)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        picture = (
            f'<div class="pic" style="width:{tile.width}px;height:{tile.height}px">'
            f'<img alt="{escape(shown.image_id)}" src="data:image/jpeg;base64,{data}">{_overlay(box)}</div>'
        )
    return (
        f'<div>{picture}<div class="name">{escape(shown.image_id)}</div><div class="uri">{escape(shown.uri)}</div>'
        f'<div>{escape(shown.size)}</div><div class="group">{escape(shown.group)}</div></div>'
    )


def _overlay(box: Mapping[str, float | None] | None) -> str:
    """The frame around the largest difference, clipped to the picture; empty text without a box."""
    if box is None or any(box[name] is None for name in ("x", "y", "width", "height")):
        return ""
    x, y, width, height = (float(box[name] or 0.0) for name in ("x", "y", "width", "height"))
    left, right = (min(max(value, 0.0), 1.0) for value in (x, x + width))
    top, bottom = (min(max(value, 0.0), 1.0) for value in (y, y + height))
    if right <= left or bottom <= top:
        return ""
    return (
        f'<div class="box" style="left:{left:.2%};top:{top:.2%};width:{right - left:.2%};'
        f'height:{bottom - top:.2%}"></div>'
    )


def _csv_lines(card: Card) -> list[str]:
    """Lines of a CSV file (image_id, other_image_id, verdict), one for each possible verdict on a card."""
    first, second = card.left.image_id, card.right.image_id if card.right is not None else None
    rows = [(first, "", "keeper")]
    if second is not None:
        rows = [(first, second, word) for word in _WORDS] + [*rows, (second, "", "keeper")]
    if card.what == CONFLICT:  # one of the two decisions may have been a mistake
        rows += [(first, second or "", "withdrawn"), (first, "", "withdrawn"), (second or "", "", "withdrawn")]
    return [line_of(row) for row in dict.fromkeys(row for row in rows if row[0])]
