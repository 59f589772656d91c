"""Seconds and memory of `dupelake rules` on a synthetic warehouse; Spark is not used.

    python -m benchmarks.rules --work DIR [--pairs 1000000]

Contents come in groups of five, with four pairs each; one image in ten is a second file of equal bytes. People have
judged one pair in a thousand.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyspark.sql.pandas.types import to_arrow_schema

from dupelake.pair_rules import parse_rules
from dupelake.rules.ruling import apply, preview, undo
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import ALL_TABLES, DECIDED, DECISIONS, GROUPS, HASHES, IMAGES, PAIRS, Table

RULES = [
    {
        "name": "camera-original",
        "verdict": "keeper",
        "pair": {"accepted": True},
        "a": {"has_exif": True, "format": ["JPEG"]},
        "b": {"has_exif": False},
    },
    {"name": "archive", "verdict": "keeper", "a": {"path": "*/archive/*"}, "b": {"not_path": "*/archive/*"}},
    {"name": "formats", "verdict": "not_duplicate", "pair": {"accepted": True, "same_format": False}},
    {"name": "sure", "verdict": "duplicate", "pair": {"kind": ["near"], "min_score": 0.5, "same_format": True}},
]
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def write(root: Path, name: Table, columns: dict[str, object], n: int) -> None:
    """Append n rows; a column that is not given is null."""
    schema = to_arrow_schema(name.schema, timezone="UTC")
    arrays = [
        pa.array(np.resize(columns[field.name], n), field.type) if field.name in columns else pa.nulls(n, field.type)
        for field in schema
    ]
    if not (root / name.name).exists():
        made = DeltaTable.create(str(root / name.name), schema, partition_by=list(name.partition_by))
        if name is DECISIONS:
            made.alter.add_constraint(name.checks)
    if n:
        write_deltalake(str(root / name.name), pa.Table.from_arrays(arrays, schema=schema), mode="append")


def make(root: Path, n_pairs: int) -> None:
    """The tables."""
    n = n_pairs // 4 * 5
    rng = np.random.default_rng(0)
    ids = np.array([f"{number:032x}" for number in range(n)])
    first = np.arange(n) // 5 * 5
    formats = np.array(["JPEG", "PNG", "WEBP"])[rng.integers(0, 3, n)]
    folders = np.array(["archive", "phone", "web"])[rng.integers(0, 3, n)]
    uris = np.array([f"/data/{folder}/{number}.img" for number, folder in enumerate(folders)])
    size = dict(
        width_px=np.array([4000]), height_px=rng.integers(500, 4000, n), byte_size=rng.integers(10**4, 10**7, n)
    )
    more = dict(partition=np.array(["2026-11-01"]), scope=np.array([""]), status=np.array(["ok"]))
    more |= dict(ingested_at=np.array([NOW], object), attempts=np.array([0]))
    write(root, IMAGES, dict(image_id=ids, uri=uris, content_id=ids, format=formats) | size | more, n)
    twin = np.arange(0, n, 10)
    twins = dict(image_id=np.char.add("t", ids[twin]), uri=np.char.add(uris[twin], ".copy"), content_id=ids[twin])
    few = {name: values[twin] for name, values in (dict(format=formats) | size).items() if len(values) > 1}
    write(root, IMAGES, twins | few | more | dict(width_px=size["width_px"]), len(twin))
    hashed = dict(content_id=ids, pixel_digest=ids, has_exif=rng.random(n) < 0.4, jpeg_quality=rng.integers(60, 99, n))
    zero = {"phash": 0, "phash_mirrored": 0, "pdq_quality": 90, "is_low_information": False, "detail": 1.0}
    code = dict.fromkeys(("pdq", "pdq_mirrored"), np.array([bytes(32)], object))
    write(root, HASHES, hashed | {k: np.array([v]) for k, v in zero.items()} | code | dict(hash_version=ids[:1]), n)
    other = np.flatnonzero(np.arange(n) != first)
    score = rng.random(len(other)) * 0.6 + 0.4
    found = dict(src_id=ids[first[other]], dst_id=ids[other], score=score, is_duplicate=score >= 0.5)
    told = dict(found_by="pdq", hash_version="h", join_version="j", decide_version="d", is_mirrored=False)
    kinds = np.array(["near", "crop", "edited"])[rng.integers(0, 3, len(other))]
    write(root, PAIRS, found | dict(kind=kinds) | {k: np.array([v]) for k, v in told.items()}, len(other))
    keeper = np.arange(n) == first
    member = np.concatenate([np.arange(n), twin])
    is_keeper = np.concatenate([keeper, np.zeros(len(twin), bool)])
    grouped = dict(
        image_id=np.concatenate([ids, np.char.add("t", ids[twin])]),
        group_id=ids[first[member]],
        content_id=ids[member],
        is_keeper=is_keeper,
        relation=np.where(is_keeper, "keeper", "copy"),
        tier=np.where(is_keeper, None, "verified"),
        kind=np.concatenate([np.where(keeper, None, "near"), np.full(len(twin), "exact", object)]),
    )
    rest = dict(scope="", is_removable=False, score_to_keeper=1.0, reason="", group_size=5, updated_at=NOW)
    write(root, GROUPS, grouped | {k: np.array([v], object) for k, v in rest.items()}, len(member))
    judged = other[::1000]
    said = dict(image_id=ids[first[judged]], other_image_id=ids[judged], verdict=np.array(["not_duplicate"]))
    said |= dict(author=np.array(["ann"]), decided_at=np.array([NOW], object))
    write(root, DECISIONS, said, len(judged))
    for table in ALL_TABLES:
        write(root, table, {}, 0)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    args = parser.parse_args()
    root = args.work / f"pairs-{args.pairs}"
    if not (root / "runs").exists():
        make(root, args.pairs)
    rules, faults = parse_rules(RULES, "rules.list", found := []), found
    assert not faults, faults
    calls = {
        "preview": lambda: preview(Reader(root), rules),
        "apply": lambda: apply(root, rules),
        "apply again": lambda: apply(root, rules),
        "undo sure": lambda: undo(root, "sure"),
    }
    for name, call in calls.items():
        start, busy = time.perf_counter(), time.process_time()
        result = call()
        took, busy = time.perf_counter() - start, time.process_time() - busy
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{name}: {took:.1f} s, {busy:.1f} s of all cores, peak memory so far {peak:.2f} GiB", flush=True)
        for outcome in result if isinstance(result, list) else ():
            print("  ", json.dumps(outcome.as_dict() | {"examples": len(outcome.examples)}))
    print(Reader(root).query("SELECT author, verdict, count(*) AS n FROM decisions GROUP BY 1, 2").to_pylist())
    print("decided:", Reader(root).table(DECIDED.name, ["image_id"]).num_rows)


if __name__ == "__main__":
    main()
