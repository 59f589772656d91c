"""A warehouse with groups, written by delta-rs without Spark: for tests of what reads groups."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deltalake import DeltaTable, write_deltalake
from made_lake import arrow, make_tables

from dupelake.config import Config
from dupelake.ingest.uris import local_path
from dupelake.warehouse.schema import ALL_TABLES, DECISIONS, GROUPS, IMAGES, RUNS

AT = dt.datetime(2026, 11, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Member:
    """An image, and its place in a group; without a group it is an image of its own, without data it failed."""

    image_id: str
    uri: str
    data: bytes | None
    group: str | None = None
    relation: str = "keeper"
    tier: str | None = None
    is_removable: bool = False
    scope: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    source: str = "photos.csv"
    file_id: str | None = None
    score: float = 1.0
    is_deleted: bool = False
    nights_ago: int = 0  # since it was read

    def content(self) -> dict[str, Any]:
        if self.data is None:
            return {"content_id": None, "byte_size": None, "status": "failed", "reason": "missing"}
        digest = hashlib.sha256(self.data).hexdigest()[:32]
        return {"content_id": digest, "byte_size": len(self.data), "status": "ok", "width_px": 1, "height_px": 1}

    def as_image(self) -> dict[str, Any]:
        names = {"image_id": self.image_id, "uri": self.uri, "scope": self.scope, "source": self.source}
        when = {"partition": "2026-11-01", "ingested_at": AT - dt.timedelta(days=self.nights_ago), "attempts": 0}
        gone = {"deleted_at": AT, "deleted_reason": "tombstone"} if self.is_deleted else {}
        told = {"extra": list(self.extra.items()), "file_id": self.file_id}
        return {**names, **when, **self.content(), **gone, **told}

    def as_group(self, size: int) -> dict[str, Any]:
        names = {"image_id": self.image_id, "group_id": self.group, "scope": self.scope}
        place = {"relation": self.relation, "is_keeper": self.relation == "keeper", "is_removable": self.is_removable}
        said = {"tier": self.tier, "score_to_keeper": self.score, "group_size": size, "updated_at": AT}
        why = {"reason": f"{self.relation.capitalize()}: made.", "kind": self.tier and "near"}
        return {**names, **place, **said, **why, "content_id": self.content()["content_id"]}


def keeper(image_id: str, uri: str, data: bytes, group: str, **more: Any) -> Member:
    return Member(image_id, uri, data, group, **more)


def copy(image_id: str, uri: str, data: bytes, group: str, tier: str = "identical", **more: Any) -> Member:
    return Member(image_id, uri, data, group, "copy", tier, **{"is_removable": True, **more})


def make_lake(root: Path, members: Iterable[Member], removable: str = "identical") -> Path:
    """A warehouse after one complete night with `cluster.removable`; returns its folder."""
    members = list(members)
    make_tables(root)
    sizes = {group: sum(one.group == group for one in members) for group in {one.group for one in members}}
    grouped = [one.as_group(sizes[one.group]) for one in members if one.group is not None]
    for table, rows in ((IMAGES, [one.as_image() for one in members]), (GROUPS, grouped)):
        write_deltalake(str(root / table.name), arrow(table, rows), mode="append")
    write_night(root, removable)
    return root


def write_night(root: Path, removable: str = "identical", run_id: str = "night-1") -> None:
    """The record of a complete night that left the tables as they are now."""
    tables = [(table.name, DeltaTable(str(root / table.name)).version()) for table in ALL_TABLES]
    config = replace(Config(), cluster=replace(Config().cluster, removable=removable))
    run = {"run_id": run_id, "job": "nightly", "status": "succeeded", "started_at": AT, "finished_at": AT}
    empty = {"arguments": "", "config_fingerprint": "", "versions": [], "counts": [], "seconds": []}
    told = {"config": json.dumps(config.as_dict()), "tables": tables}
    write_deltalake(str(root / RUNS.name), arrow(RUNS, [run | empty | told]), mode="append")


def decide(root: Path, image_id: str, other: str, verdict: str) -> None:
    """A verdict of now, which no night has applied."""
    row = {"image_id": image_id, "other_image_id": other, "verdict": verdict, "author": "ana", "decided_at": AT}
    write_deltalake(str(root / DECISIONS.name), arrow(DECISIONS, [row]), mode="append")


def written(members: Iterable[Member]) -> list[Member]:
    """The same members, each with a file at its URI."""
    members = list(members)
    for one in members:
        path = local_path(one.uri)
        if one.data is not None and path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(one.data)
    return members
