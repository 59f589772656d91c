"""`dupelake review --out`: the pairs that most deserve a look, as one HTML file, or a folder with it and review.csv.

`dupelake decide --csv` then reads the CSV that the page saves, or the one that a person filled in.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dupelake.csv_cells import write_rows
from dupelake.report.last_run import last_options
from dupelake.review.assets import whole_page
from dupelake.review.cards import Card, CardReader
from dupelake.review.ledger import Ledger
from dupelake.review.order import ordered
from dupelake.runtime.out_files import written_whole
from dupelake.runtime.redaction import redact_uris
from dupelake.warehouse.reader import Reader

log = logging.getLogger(__name__)

MAX_LIMIT = 1000  # cards of a page, with about 60 MB of thumbnails
PAGE, TABLE = "review.html", "review.csv"
CSV_COLUMNS = (
    "image_id",
    "other_image_id",
    "verdict",
    "note",
    "content_id",
    "other_content_id",
    "what",
    "why",
    "score",
    "kind",
    "uri",
    "other_uri",
)


def review(reader: Reader, out: Path, limit: int) -> list[Card]:
    """Write the page, also if there are no pairs; in a folder review.csv as well.

    Args:
        reader: of the warehouse.
        out: a file that ends in .html, or a folder; created if missing.
        limit: maximum number of pairs, 1 to MAX_LIMIT.

    Returns:
        The cards of the page, in the order of `order.ordered`.
    """
    config = last_options(reader)
    shown = CardReader(reader, config)
    cards = shown.cards(ordered(reader, Ledger(reader, config), config, limit))
    is_page = out.suffix.lower() == ".html"
    if not is_page:
        keep_answers(out / TABLE)
        with written_whole(out / TABLE) as table:
            write_csv(cards, table)
    title = f"{redact_uris(reader.root)}: {len(cards)} pairs to look at"
    page = whole_page(title, _data(reader, shown, cards))
    with written_whole(out if is_page else out / PAGE) as unfinished:
        unfinished.write_text(page, encoding="utf-8", errors="backslashreplace")
    return cards


def _data(reader: Reader, shown: CardReader, cards: Sequence[Card]) -> dict[str, Any]:
    """What the script of the page reads (`store.js:pageStore`)."""
    sides = [one for card in cards for one in (card.left, card.right) if one is not None]
    thumbnails = shown.thumbnails({one.content_id for one in sides if one.content_id})
    maps = shown.maps(cards)
    keys = "\n".join([reader.root, *(card.key for card in cards)])
    return {
        "id": hashlib.sha256(keys.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        "cards": [card.as_dict() | {"placed": maps[card.key]} for card in cards],
        "thumbnails": {
            content: f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
            for content, data in thumbnails.items()
        },
    }


def keep_answers(path: Path) -> Path | None:
    """Rename a review.csv that somebody filled in or that `review` did not write, so that it is not overwritten.

    Returns:
        Its new path; None if there was nothing to keep.
    """
    if not path.exists():
        return None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            is_ours = tuple(rows.fieldnames or ()) == CSV_COLUMNS
            if is_ours and not any((row["verdict"] or "").strip() or (row["note"] or "").strip() for row in rows):
                return None
    except (OSError, UnicodeDecodeError, csv.Error):
        pass  # it is not readable, so it may be somebody's work: keep it
    kept = path.with_name(f"review-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(path.stat().st_mtime))}.csv")
    path.replace(kept)
    log.warning("%s was filled in; renamed to %s", path, kept.name)
    return kept


def write_csv(cards: Iterable[Card], path: Path) -> None:
    """Write one row per card, with empty `verdict` and `note`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, CSV_COLUMNS, map(_csv_row, cards))


def _csv_row(card: Card) -> list[Any]:
    measured = card.evidence or {}
    score = f"{measured['score']:.3f}" if measured else ""
    ids = (card.left.image_id, card.right.image_id if card.right else "")
    contents = (card.left.content_id or "", (card.right and card.right.content_id) or "")
    uris = (card.left.uri, card.right.uri if card.right else "")
    return [*ids, "", "", *contents, card.asked.what, card.asked.why, score, measured.get("kind") or "", *uris]
