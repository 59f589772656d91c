"""The questions in SQL of the pages, and a warehouse in which each of them has an answer."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

REPO = Path(__file__).parents[2]
PAGES = ("README.md", "docs/sql.md", "docs/removals.md")
LATER = dt.timedelta(days=1)


def questions(page: str) -> list[str]:
    """The queries of a page."""
    text = re.sub(r"^ {3}", "", (REPO / page).read_text(encoding="utf-8"), flags=re.M)
    blocks = re.findall(r"```sql\n(.*?)```", text, flags=re.S)
    found = [query.strip() for block in blocks for query in re.sub(r" --.*", "", block).split(";")]
    return [query for query in found if query]


def rows_of(root: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table, at its newest version."""
    return DeltaTable(root / table).to_pyarrow_table().to_pylist(maps_as_pydicts="strict")


def add(root: Path, table: str, *rows: dict[str, Any], mode: Literal["append", "overwrite"] = "append") -> None:
    """Add rows, or replace all rows by them. (What `DeltaTable.update` writes, pyarrow cannot filter.)"""
    stored = DeltaTable(root / table)
    schema = stored.to_pyarrow_dataset().schema
    write_deltalake(stored, pa.Table.from_pylist(list(rows), schema), mode=mode)


def asked_lake(made: Path, root: Path) -> Path:
    """A copy of the warehouse `made` at `root` with what its nights did not bring, noted as another complete night."""
    shutil.copytree(made, root)
    _add_pairs(root)
    _add_images(root)
    _add_verdicts(root)
    (last,) = sorted(rows_of(root, "runs"), key=lambda row: row["started_at"])[-1:]
    later = {"started_at": last["started_at"] + LATER, "finished_at": last["finished_at"] + LATER}
    change = rows_of(root, "group_changes")[0]
    add(root, "group_changes", {**change, "run_id": "later", "event": "grew"})
    versions = {name: DeltaTable(root / name).version() for name, _ in last["tables"].items()}
    add(
        root,
        "runs",
        {**last, **later, "run_id": "later", "tables": versions},
        {**last, "run_id": "refused", "status": "failed", "counts": {"read": 7}, "tables": None, "error_message": "x"},
    )
    return root


def _add_pairs(root: Path) -> None:
    """Another shot of one thing, an accepted pair that the groups keep apart, and a pair that was not accepted."""
    stored = rows_of(root, "pairs")
    known = {(row["src_id"], row["dst_id"]) for row in stored}
    heads = sorted({row["content_id"] for row in rows_of(root, "groups") if row["is_keeper"]})
    free = [(a, b) for a in heads for b in heads if a < b and (a, b) not in known]
    for (src, dst), kind, score in zip(free, ("similar", "near", None), (0.31, 0.71, 0.11), strict=False):
        row = {**stored[0], "src_id": src, "dst_id": dst, "kind": kind, "score": score, "is_duplicate": score > 0.5}
        add(root, "pairs", row)


def _add_images(root: Path) -> None:
    """An image that failed on three nights, a failed one that is deleted, and a second name of a removable file."""
    images = {row["image_id"]: row for row in rows_of(root, "images")}
    failed = next(row for row in images.values() if row["status"] == "failed")
    gone = {"deleted_at": failed["ingested_at"], "deleted_reason": "tombstone"}
    groups = rows_of(root, "groups")
    member = next(row for row in groups if row["is_removable"])
    named = images[member["image_id"]]
    add(
        root,
        "images",
        {**failed, "image_id": "often", "uri": "/often.jpg", "attempts": 3},
        {**failed, "image_id": "gone", "uri": "/gone.jpg", **gone},
        {**named, "image_id": "again", "uri": "/another name.png"},
    )
    groups.append({**member, "image_id": "again"})
    for row in groups:
        row["group_size"] += row["group_id"] == member["group_id"]
    add(root, "groups", *groups, mode="overwrite")


def _add_verdicts(root: Path) -> None:
    """A verdict, and one of an unknown image."""
    a, b = sorted(row["image_id"] for row in rows_of(root, "groups"))[:2]
    at = rows_of(root, "runs")[0]["started_at"]
    verdict = {"image_id": a, "other_image_id": b, "verdict": "not_duplicate", "author": "ann", "decided_at": at}
    unknown = {**verdict, "image_id": "nobody", "verdict": "duplicate"}
    add(root, "decisions", verdict, unknown)
    told = {"conflict_id": "c", "kind": "unknown_image", "message": "No manifest brought nobody.", "since": at}
    add(root, "decision_conflicts", {**unknown, **told})
