"""Groups and images as the index shows them: rows of one night, which answers of checks name."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from dupelake.lookup.index import opened
from dupelake.lookup.manifest import manifest_of
from dupelake.lookup.state import State
from dupelake.warehouse.rules import member_order
from dupelake.warehouse.schema import GROUPS, IMAGES


def image_of(folder: Path, image_id: str) -> dict[str, Any] | None:
    """The row of an image that was read, deleted or not, with its row of GROUPS; None if there is none."""

    def read(folder: Path) -> dict[str, Any] | None:
        manifest = manifest_of(folder)
        with closing(State(manifest.rows(folder))) as state:
            images = state.rows(IMAGES, "image_id", [image_id])
            groups = state.rows(GROUPS, "image_id", [image_id])
        if not images:
            return None
        return {**images[0], "group": groups[0] if groups else None, "index": manifest.as_dict()}

    return opened(folder, read)


def group_of(folder: Path, group_id: str) -> dict[str, Any] | None:
    """A group and its images, the keeper first; None if there is none."""

    def read(folder: Path) -> dict[str, Any] | None:
        manifest = manifest_of(folder)
        with closing(State(manifest.rows(folder))) as state:
            rows = state.rows(GROUPS, "group_id", [group_id])
            images = {one["image_id"]: one for one in state.rows(IMAGES, "image_id", (row["image_id"] for row in rows))}
        if not rows:
            return None
        members = [{**row, "uri": images[row["image_id"]]["uri"]} for row in sorted(rows, key=member_order)]
        return {"group_id": group_id, "size": len(members), "images": members, "index": manifest.as_dict()}

    return opened(folder, read)
