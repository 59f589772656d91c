"""A warehouse of a few pictures, written by delta-rs without Spark: what a night leaves that finds no copies.

The rows are of the real kernels and versions, so an index of it is a real one. For tests of what reads an index.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyspark.sql.pandas.types import to_arrow_schema

from dupelake.config import Config, EmbedConfig
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.lookup.reading import image_id_of
from dupelake.stage_versions import StageVersions
from dupelake.warehouse.schema import (
    ALL_TABLES,
    BESIDE_NIGHTS,
    DECISIONS,
    FEATURES,
    HASHES,
    IMAGES,
    JOINED,
    RUNS,
    THUMBNAILS,
    Table,
)
from dupelake.words.vocabulary import load_vocabulary

CONFIG = replace(Config(), embed=EmbedConfig(model="none"))


def arrow(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, to_arrow_schema(table.schema, timezone="UTC"))


def make_tables(root: Path) -> None:
    for table in ALL_TABLES:
        schema, parts = to_arrow_schema(table.schema, timezone="UTC"), list(table.partition_by)
        made = DeltaTable.create(str(root / table.name), schema, partition_by=parts)
        if table is DECISIONS:
            made.alter.add_constraint(table.checks)


def make_night(
    root: Path,
    pictures: Mapping[str, bytes],
    number: int = 1,
    config: Config = CONFIG,
    model: tuple[str | None, str | None] = (None, None),
    *,
    is_unchanged: bool = False,
) -> None:
    """Add these pictures, by URI, in one more night; the first one makes the tables.

    Args:
        root: of the warehouse.
        pictures: bytes by URI.
        number: of the night.
        config: of the night.
        model: model_id and preprocess_id whose embeddings it compared; it writes none.
        is_unchanged: the night writes no table but `runs`.
    """
    if not root.exists():
        make_tables(root)
    versions, vocabulary = StageVersions(config), load_vocabulary("default")
    made = {"hash_version": versions.hash, "feature_version": versions.feature}
    at = dt.datetime(2026, 11, number, 1, tzinfo=dt.UTC)
    rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in ALL_TABLES}
    for uri, data in pictures.items():
        shown = fingerprint_image(data, config.decode, config.hash, config.features, vocabulary)
        assert isinstance(shown, Fingerprint)
        values = vars(shown) | made
        named = {"image_id": image_id_of(uri, "", ""), "uri": uri, "partition": str(at.date()), "scope": ""}
        rows["images"].append({**values, **named, "status": "ok", "ingested_at": at, "attempts": 0})
        rows["hashes"].append(values)
        rows["features"].append(values)
        size = {"width_px": shown.thumbnail_width_px, "height_px": shown.thumbnail_height_px}
        rows["thumbnails"].append({"content_id": shown.content_id, "bytes": shown.thumbnail_bytes, **size})
        joined = {"scope": "", "content_id": shown.content_id, "join_version": versions.join(*model)}
        rows["joined"].append(joined)
    for table in () if is_unchanged else (IMAGES, HASHES, FEATURES, THUMBNAILS, JOINED):
        write_deltalake(str(root / table.name), arrow(table, rows[table.name]), mode="append")
    tables = {
        table.name: DeltaTable(str(root / table.name)).version() for table in ALL_TABLES if table not in BESIDE_NIGHTS
    }
    run = {"run_id": f"night-{number}", "job": "nightly", "status": "succeeded", "started_at": at, "finished_at": at}
    empty = {"arguments": "", "config_fingerprint": "", "versions": [], "counts": [], "seconds": []}
    told = {"config": json.dumps(config.as_dict()), "tables": list(tables.items())}
    write_deltalake(str(root / RUNS.name), arrow(RUNS, [run | empty | told]), mode="append")
