"""`dupelake report`: the largest groups as a contact sheet (PNG), and a summary of the warehouse as text."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import functions as F

from dupelake.group.file_names_stage import totals_of, what_may_go
from dupelake.report.contact_sheet import SheetGroup, draw_contact_sheet, sheet_groups
from dupelake.runtime.redaction import redact_uris
from dupelake.runtime.run_report import human_bytes, recall_in_words, tiers_in_words
from dupelake.warehouse.rules import MEMBER_ORDER
from dupelake.warehouse.schema import GROUPS, IMAGES, PAIRS, RUNS, THUMBNAILS
from dupelake.warehouse.tables import Warehouse, single_row

_MEMBERS_DRAWN = 7


def describe(warehouse: Warehouse) -> str:
    """The state of the warehouse in a few lines."""
    images = warehouse.read(IMAGES)
    by_status = {
        r["reason"] or "ok": r["n"]
        for r in images.groupBy("reason").agg(F.count(F.lit(1)).alias("n")).collect()  # one row per reason
    }
    failed = {k: v for k, v in sorted(by_status.items()) if k != "ok"}
    lines = [
        f"Warehouse {redact_uris(warehouse.root)}",
        f"  images  {sum(by_status.values())}, {by_status.get('ok', 0)} ok"
        + (f", failed: {', '.join(f'{v} {k}' for k, v in failed.items())}" if failed else ""),
    ]
    kinds = warehouse.read(PAIRS).where("is_duplicate").groupBy("kind").agg(F.count(F.lit(1)).alias("n"))
    pairs = {r["kind"]: r["n"] for r in kinds.collect()}  # one row per kind
    lines.append(f"  pairs   {', '.join(f'{v} {k}' for k, v in sorted(pairs.items())) or 'no duplicates'}")
    groups = warehouse.read(GROUPS)
    row = single_row(totals_of(groups))
    may_go = single_row(what_may_go(groups, images)).asDict()
    lines.append(
        f"  groups  {row['groups']} of {row['images_grouped']} images, {row['copies']} copies; "
        f"{row['removable']} removable, {human_bytes(may_go['removable_bytes'])}"
    )
    lines.append(f"  may go  {tiers_in_words(may_go)}")
    last = warehouse.read(RUNS).orderBy(F.desc("started_at")).first()
    if last is not None:
        lines.append(f"  last    {last['job']} {last['run_id']} {last['status']}")
    measured = warehouse.read(RUNS).where("recall IS NOT NULL").orderBy(F.desc("started_at")).first()
    if measured is not None:
        lines.append(f"  recall  {recall_in_words(measured['recall'])}, in {measured['run_id']}")
    return "\n".join(lines)


def write_contact_sheet(warehouse: Warehouse, out: Path, n_groups: int) -> int:
    """Draw the `n_groups` largest groups into the PNG `out`; returns the number of drawn groups."""
    groups = load_groups(warehouse, n_groups)
    total = single_row(warehouse.read(GROUPS).agg(F.count_if("is_keeper").alias("n")))["n"]
    shown = f"{len(groups)} of {total} duplicate groups" if len(groups) < total else f"{total} duplicate groups"
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_contact_sheet(groups, f"dupelake: {shown}").save(out)
    return len(groups)


def load_groups(warehouse: Warehouse, n_groups: int) -> list[SheetGroup]:
    """The `n_groups` largest groups (ties by id), each with its first members, keeper first."""
    groups = warehouse.read(GROUPS)
    chosen = groups.where("is_keeper").orderBy(F.desc("group_size"), "group_id").limit(n_groups).select("group_id")
    place = F.expr(f"row_number() OVER (PARTITION BY group_id ORDER BY {MEMBER_ORDER})")
    drawn = (
        groups.join(F.broadcast(chosen), "group_id").withColumn("place", place).where(F.col("place") <= _MEMBERS_DRAWN)
    )
    images = warehouse.read(IMAGES).select("image_id", "uri", "width_px", "height_px", "byte_size", "format")
    thumbnails = warehouse.read(THUMBNAILS).select("content_id", "bytes")
    rows = (
        drawn.join(images, "image_id")
        .join(thumbnails, "content_id", "left")
        .orderBy(F.desc("group_size"), "group_id", "place")
        .collect()
    )  # at most n_groups * _MEMBERS_DRAWN rows
    return sheet_groups(row.asDict() for row in rows)
