"""The warehouse of `dupelake demo` without Spark: the rows that its two nights leave, of the same kernels and rules.

A night's programs run on local tables (`dupelake.frames`), and delta-rs writes the rows. Left out is what no reader of
a tutorial asks for: embeddings, events of groups, state of the join. tests/docs/test_ways.py compares what commands
print of it with what they printed of real nights.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from deltalake import DeltaTable, write_deltalake
from made_lake import arrow, make_tables

from dupelake.config import Config, EmbedConfig
from dupelake.demo import NIGHTS, write_images
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.frames.functions import locally
from dupelake.group.stage import member_rows
from dupelake.ingest.failure import Failure
from dupelake.lookup.candidates import passing_by_words
from dupelake.lookup.measure import Measured, frame_of, measured_pairs, rows_of
from dupelake.lookup.night import hash_row, own_parts
from dupelake.lookup.reading import image_id_of
from dupelake.stage_versions import StageVersions
from dupelake.warehouse.schema import (
    ALL_TABLES,
    FEATURES,
    GROUPS,
    HASHES,
    IMAGES,
    JOINED,
    PAIRS,
    RUNS,
    THUMBNAILS,
)
from dupelake.words.vocabulary import load_vocabulary

CONFIG = replace(Config(), embed=EmbedConfig(model="none"))
AT = dt.datetime(2026, 11, 2, 1, tzinfo=dt.UTC)
Row = dict[str, Any]


def make_demo(folder: Path) -> Path:
    """Write `images`, `truth.csv` and `warehouse` into `folder`."""
    write_images(folder / "images")
    versions, root = StageVersions(CONFIG), folder / "warehouse"
    images, shown = _images(folder / "images")
    contents = {one.content_id: one for one in shown}
    pairs = _pairs(contents, versions)
    made = {"hash_version": versions.hash, "feature_version": versions.feature}
    rows = (
        (IMAGES, images),
        (HASHES, [vars(one) | made for one in contents.values()]),
        (FEATURES, [vars(one) | made for one in contents.values()]),
        (THUMBNAILS, [_thumbnail(one) for one in contents.values()]),
        (JOINED, [{"scope": "", "content_id": one, "join_version": versions.join(None, None)} for one in contents]),
        (PAIRS, pairs),
        (GROUPS, _groups(images, contents, pairs)),
    )
    make_tables(root)
    for table, held in rows:
        write_deltalake(str(root / table.name), arrow(table, held), mode="append")
    _write_run(root)
    return folder


def _images(folder: Path) -> tuple[list[Row], list[Fingerprint]]:
    rows, found = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        night = next(night for night in NIGHTS if night in str(path))
        uri = str(path)
        named = {"image_id": image_id_of(uri, "", ""), "uri": uri, "partition": night, "scope": "", "ingested_at": AT}
        one = fingerprint_image(
            path.read_bytes(), CONFIG.decode, CONFIG.hash, CONFIG.features, load_vocabulary("default")
        )
        if isinstance(one, Failure):
            told = {"status": "failed", "reason": one.reason, "error_message": one.message, "attempts": 1}
            rows.append(named | told)
            continue
        rows.append(vars(one) | named | {"status": "ok", "attempts": 0})
        found.append(one)
    return rows, found


def _pairs(contents: dict[str, Fingerprint], versions: StageVersions) -> list[Row]:
    """What the generators of hashes and words propose, measured and decided."""
    found: dict[tuple[str, str], set[str]] = {}
    for a, b in combinations(sorted(contents), 2):
        by = set()
        for name, at_most in (("phash", CONFIG.lsh.phash_max_bits), ("pdq", CONFIG.lsh.pdq_max_bits)):
            if _bits(contents[a], contents[b], name) <= at_most:
                by.add(name)
        if by:
            found[a, b] = by
    words = {one: shown.words for one, shown in contents.items()}
    for one in contents:
        others = {other: packed for other, packed in words.items() if other != one}
        for other in passing_by_words(one, words[one], others, np.empty(0, np.uint32), CONFIG.lsh):
            found.setdefault((min(one, other), max(one, other)), set()).add("words")
    measured = {key: Measured(hash_row(one, versions.hash), own_parts(one), None) for key, one in contents.items()}
    of = {"join": versions.join(None, None), "verify": versions.verify, "model": None, "preprocess": None}
    with locally():
        return measured_pairs({key: "+".join(sorted(by)) for key, by in found.items()}, measured, of, CONFIG.decide)


def _bits(a: Fingerprint, b: Fingerprint, name: str) -> int:
    """The smaller of the distances straight and mirrored, as pairs have it."""

    def number(one: Fingerprint, which: str) -> int:
        value = getattr(one, which)
        return int.from_bytes(value, "big") if isinstance(value, bytes) else value & (2**64 - 1)

    straight, mirrored = (name, f"{name}_mirrored")
    ways = ((straight, straight), (mirrored, straight), (straight, mirrored))
    return min((number(a, one) ^ number(b, other)).bit_count() for one, other in ways)


def _groups(images: list[Row], contents: dict[str, Fingerprint], pairs: list[Row]) -> list[Row]:
    names, accepted = [field.name for field in IMAGES.schema], [row for row in pairs if row["is_duplicate"]]
    with locally():
        members = member_rows(
            frame_of([{name: row.get(name) for name in names} for row in images], names),
            frame_of([hash_row(one, "h") for one in contents.values()], HASHES.columns),
            frame_of(accepted, PAIRS.columns),
            CONFIG,
            lambda frame: frame,
        )
        rows = rows_of(members.rows)
    return [row | {"group_id": row["star"].rstrip("/")[:32], "updated_at": AT} for row in rows]


def _thumbnail(one: Fingerprint) -> Row:
    size = {"width_px": one.thumbnail_width_px, "height_px": one.thumbnail_height_px}
    return {"content_id": one.content_id, "bytes": one.thumbnail_bytes, **size}


def _write_run(root: Path) -> None:
    tables = [(table.name, DeltaTable(str(root / table.name)).version()) for table in ALL_TABLES]
    run = {"run_id": "20261102T010000-000000", "job": "nightly", "status": "succeeded"}
    empty = {"arguments": "", "config_fingerprint": "", "versions": [], "counts": [], "seconds": []}
    told = {"started_at": AT, "finished_at": AT, "config": json.dumps(CONFIG.as_dict()), "tables": tables}
    write_deltalake(str(root / RUNS.name), arrow(RUNS, [run | empty | told]), mode="append")
