"""The summary that `dupelake report` prints, and the largest groups as a contact sheet."""

from __future__ import annotations

from PIL import Image

from dupelake.group.totals import totals_of, what_may_go
from dupelake.report.contact_sheet import SheetGroup, draw_contact_sheet, sheet_groups
from dupelake.report.questions import BY_KIND, BY_REASON, largest_groups, last_recall, last_run, members_of
from dupelake.runtime.redaction import redact_uris
from dupelake.runtime.run_report import human_bytes, recall_in_words, tiers_in_words
from dupelake.warehouse.reader import Reader

_MEMBERS_DRAWN = 7


def describe(reader: Reader, run_id: str | None = None) -> str:
    """The state of the warehouse in a few lines; `run_id` is the night whose tables are read, if not the last."""
    by_reason = {row["reason"]: row["n"] for row in reader.query(BY_REASON).to_pylist()}
    n_all, n_ok, n_gone = sum(by_reason.values()), by_reason.pop("ok", 0), by_reason.pop("gone", 0)
    failed = ", ".join(f"{n} {reason}" for reason, n in by_reason.items())
    kinds = ", ".join(f"{row['n']} {row['kind']}" for row in reader.query(BY_KIND).to_pylist())
    (totals,) = reader.query(totals_of()).to_pylist()
    (may_go,) = reader.query(what_may_go()).to_pylist()
    lines = [
        f"Warehouse {redact_uris(reader.root)}",
        f"  images  {n_all}, {n_ok} ok{f', {n_gone} gone' if n_gone else ''}{f', failed: {failed}' if failed else ''}",
        f"  pairs   {kinds or 'no duplicates'}",
        f"  groups  {totals['groups']} of {totals['images_grouped']} images, {totals['copies']} copies; "
        f"{totals['removable']} removable, {human_bytes(may_go['removable_bytes'])}",
        f"  may go  {tiers_in_words(may_go)}",
    ]
    for row in reader.query(last_run(run_id)).to_pylist():
        lines.append(f"  last    {row['job']} {row['run_id']} {row['status']}")
    for row in reader.query(last_recall(run_id)).to_pylist():
        lines.append(f"  recall  {recall_in_words(row['recall'])}, in {row['run_id']}")
    return "\n".join(lines)


def draw_groups(reader: Reader, n_groups: int) -> Image.Image:
    """The contact sheet of the `n_groups` largest groups."""
    groups = load_groups(reader, n_groups)
    total = reader.query(totals_of())["groups"][0].as_py()
    shown = f"{len(groups)} of {total} duplicate groups" if len(groups) < total else f"{total} duplicate groups"
    return draw_contact_sheet(groups, f"dupelake: {shown}")


def load_groups(reader: Reader, n_groups: int) -> list[SheetGroup]:
    """The `n_groups` largest groups (ties by id), each with its first members, keeper first."""
    chosen = reader.query(largest_groups(n_groups))["group_id"].to_pylist()
    return sheet_groups(reader.query(members_of(chosen, _MEMBERS_DRAWN)).to_pylist())
