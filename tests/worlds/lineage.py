"""Groups as facts and as sets of images, which history must not change, and both replayed from their events."""

from __future__ import annotations

from collections import Counter

from dupelake.warehouse.schema import GROUP_CHANGES, GROUP_MOVES, GROUPS
from dupelake.warehouse.tables import Warehouse

NAMES = ("group_id", "updated_at")  # these depend on history; all else is a function of the corpus


def grouped(warehouse: Warehouse) -> dict[str, tuple[str, bool]]:
    return {r["image_id"]: (r["group_id"], r["is_keeper"]) for r in warehouse.read(GROUPS).collect()}


def facts(warehouse: Warehouse) -> list[tuple]:
    columns = [c for c in GROUPS.columns if c not in NAMES]
    return sorted((tuple(r) for r in warehouse.read(GROUPS).select(columns).collect()), key=repr)


def parts(warehouse: Warehouse) -> set[frozenset[str]]:
    found: dict[str, set[str]] = {}
    for image, (group, _) in grouped(warehouse).items():
        found.setdefault(group, set()).add(image)
    return {frozenset(images) for images in found.values()}


def replayed(warehouse: Warehouse, last: int) -> dict[str, tuple[str, bool]]:
    """Groups after change number `last`, from group_moves only."""
    state = {}
    for r in warehouse.read(GROUP_MOVES).where(f"sequence <= {last}").orderBy("sequence").collect():
        assert state.get(r["image_id"], (None,))[0] == r["from_group_id"]
        if r["to_group_id"] is None:
            del state[r["image_id"]]
        else:
            state[r["image_id"]] = (r["to_group_id"], r["is_keeper"])
    return state


def sizes_by_events(warehouse: Warehouse) -> dict[str, int]:
    """Sizes of the present groups, from group_changes only; no id occurs twice."""
    sizes, dead = {}, set()
    rows = warehouse.read(GROUP_CHANGES).collect()
    for r in sorted(rows, key=lambda r: (r["sequence"], r["event"] != "born")):
        group, event = r["group_id"], r["event"]
        assert group not in dead, "an id was used again"
        if event == "born":
            assert group not in sizes
        if event in ("ended", "merged_into"):
            del sizes[group]
            dead.add(group)
        else:
            sizes[group] = r["n_images"]
    return sizes


def sizes_now(warehouse: Warehouse) -> dict[str, int]:
    return dict(Counter(group for group, _ in grouped(warehouse).values()))
