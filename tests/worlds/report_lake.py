"""A warehouse of many groups, written by delta-rs without Spark: rows as nights leave them, for tests of the report."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from deltalake import DeltaTable, write_deltalake
from made_lake import arrow, make_tables
from PIL import Image

from dupelake.config import Config
from dupelake.warehouse.schema import ALL_TABLES, GROUP_CHANGES, GROUPS, HASHES, IMAGES, PAIRS, RUNS, THUMBNAILS

# relation, tier, kind, is_removable, reason of the members after the keeper, in turn
MEMBERS = (
    ("copy", "identical", "exact", True, "Copy: same bytes as the keeper."),
    ("copy", "verified", "near", False, "Copy: same picture at half the size (320x240 against 640x480)."),
    ("alternate", None, "edited", False, "Alternate: something is laid over it (text, a logo or the like)."),
    ("copy", "copies", "crop", False, "Copy: crop that shows 80 % of the keeper, JPEG quality about 85."),
)
RECALL = {
    "all": {"found": 30, "planted": 32, "share": 0.9375, "low": 0.7985, "high": 0.9827},
    "by_edit": {
        "crop 0.5": {"found": 16, "planted": 16, "share": 1.0, "low": 0.8064, "high": 1.0, "proposed": 16},
        "sticker 0.05": {"found": 14, "planted": 16, "share": 0.875, "low": 0.6398, "high": 0.965, "proposed": 16},
    },
    "legs": {"pdq": {"found": 51, "true": 51, "share": 1.0, "low": 0.93, "high": 1.0}},
    "checked": 21,
}
HASH = {
    **{"phash": 0, "phash_mirrored": 0, "pdq": bytes(32), "pdq_mirrored": bytes(32), "pdq_quality": 100},
    **{"is_low_information": False, "detail": 1.0, "hash_version": "h"},
}
NIGHTS = (dt.datetime(2026, 11, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 11, 2, 1, tzinfo=dt.UTC))
Name = Callable[[int, int], str]


def photograph(seed: int) -> bytes:
    """A JPEG of 320 x 240 with smooth areas and edges, about 8 KB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (5, 7, 3), np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)
    fine = rng.normal(0, 7, (120, 160, 1)).repeat(2, 0).repeat(2, 1)
    buffer = io.BytesIO()
    pixels = np.clip(np.asarray(coarse, np.float32) + fine, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def plain_name(group: int, member: int) -> str:
    return f"/data/photos/{group % 97:02d}/IMG_{group:05d}{('', ' copy', ' (2)', ' edited')[member % 4]} {member}.jpg"


def write_lake(
    root: Path,
    n_groups: int,
    name: Name = plain_name,
    reason: Callable[[int, int], str] | None = None,
    recall: dict[str, Any] | None = RECALL,
    n_photographs: int = 200,
) -> Path:
    """Write a warehouse of `n_groups` groups of 2 to 40 images, with three failed images and two nights."""
    make_tables(root)
    rng = np.random.default_rng(7)
    sizes = np.minimum(40, 1 + rng.geometric(0.5, n_groups))
    pictures = [photograph(seed) for seed in range(min(n_photographs, n_groups))]
    rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in ALL_TABLES}
    for g, size in enumerate(sizes.tolist()):
        group_id = f"{g:08x}{'0' * 24}"
        for m in range(size):
            _add(rows, group_id, g, m, size, name(g, m), reason and reason(g, m))
            content = rows["groups"][-1]["content_id"]
            picture = {"content_id": content, "bytes": pictures[(g + m // 4) % len(pictures)]}
            if m == 0 or MEMBERS[(m - 1) % 4][2] != "exact":  # equal bytes are one content
                rows["hashes"].append(HASH | {"content_id": content, "pixel_digest": content})
                rows["thumbnails"].append(picture | {"width_px": 320, "height_px": 240})
        if g % 3 == 0:
            rows["group_changes"].append(
                {"run_id": "night-2", "group_id": group_id, "event": "grew" if g % 2 else "born", "n_images": size}
                | {"changed_at": NIGHTS[1], "sequence": 2}
            )
    _add_failures(rows)
    for table in (IMAGES, HASHES, GROUPS, PAIRS, THUMBNAILS, GROUP_CHANGES):
        write_deltalake(str(root / table.name), arrow(table, rows[table.name]), mode="append")
    _write_runs(root, rows, recall)
    return root


def _add(rows: dict[str, Any], group_id: str, g: int, m: int, size: int, uri: str, told: str | None) -> None:
    relation, tier, kind, goes, reason = MEMBERS[(m - 1) % 4] if m else ("keeper", None, None, False, "Kept: larger.")
    content_id = f"{g:08x}{0 if kind == 'exact' else m:08x}{'c' * 16}"
    keeper, score = f"image-{g}-0", 1.0 if m == 0 or kind == "exact" else round(0.999 - 0.01 * (g % 45), 6)
    image = {"image_id": f"image-{g}-{m}", "scope": f"shop {g % 3}", "content_id": content_id}
    rows["images"].append(
        image
        | {"uri": uri, "partition": "2026-11-01", "byte_size": 50_000 + 1000 * (g % 90) - m, "width_px": 640}
        | {"height_px": 480, "format": "JPEG" if m % 3 else "PNG", "status": "ok", "ingested_at": NIGHTS[0]}
        | {"attempts": 0, "file_id": f"file-{g}-{m}"}
    )
    rows["groups"].append(
        image
        | {"group_id": group_id, "is_keeper": m == 0, "relation": relation, "is_removable": goes, "tier": tier}
        | {"compared_with": keeper if m else None, "score_to_keeper": score, "kind": kind, "reason": told or reason}
        | {"group_size": size, "updated_at": NIGHTS[0]}
    )
    if m and kind != "exact":
        rows["pairs"].append(
            {"src_id": f"{g:08x}{0:08x}{'c' * 16}", "dst_id": content_id, "is_mirrored": False, "kind": kind}
            | {"score": score, "is_duplicate": True, "found_by": "words", "hash_version": "h", "join_version": "j"}
            | {"decide_version": "d"}
        )


def _add_failures(rows: dict[str, Any]) -> None:
    for i, (reason, message) in enumerate((("truncated", "ends early"), ("empty", "no bytes"), ("truncated", "cut"))):
        rows["images"].append(
            {"image_id": f"failed-{i}", "uri": f"https://ana:secret@shop.example/{i}.jpg?sig=abcdefgh", "scope": ""}
            | {"partition": "2026-11-01", "status": "failed", "reason": reason, "error_message": message}
            | {"ingested_at": NIGHTS[0], "attempts": 1}
        )


def _write_runs(root: Path, rows: dict[str, Any], recall: dict[str, Any] | None) -> None:
    tables = {table.name: DeltaTable(str(root / table.name)).version() for table in ALL_TABLES}
    counts = {"hashed": len(rows["images"]) - 3, "failed": 3, "copies": 1, "pairs_measured": len(rows["pairs"])}
    told = []
    for number, at in enumerate(NIGHTS, start=1):
        told.append(
            {"run_id": f"night-{number}", "job": "nightly", "status": "succeeded", "started_at": at}
            | {"finished_at": at + dt.timedelta(seconds=90), "arguments": "", "config_fingerprint": "", "versions": []}
            | {"counts": list(counts.items()), "seconds": [], "config": json.dumps(Config().as_dict())}
            | {"tables": list(tables.items()), "recall": json.dumps(recall) if recall and number == 2 else None}
        )
    write_deltalake(str(root / RUNS.name), arrow(RUNS, told), mode="append")
