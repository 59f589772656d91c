"""Runs dupelake over the corpus by its command line and reads what it found from its tables, through delta-rs."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

EVIDENCE = (
    "kind",
    "score",
    "found_by",
    "phash_bits",
    "pdq_bits",
    "pdq_quality",
    "cosine_similarity",
    "n_inliers",
    "inlier_spread",
    "aligned_ncc",
    "agreeing_share",
    "src_overlap",
    "dst_overlap",
    "rotation_degrees",
    "is_mirrored",
    "largest_local_difference",
    "colour_difference",
)


def run(images: Path, out: Path, options: Sequence[str]) -> None:
    """`dupelake run IMAGES --warehouse OUT/warehouse --set ...`, then pairs.csv, groups.csv and meta.json in OUT.

    Raises:
        SystemExit: the run failed; its output is in OUT/run.log.
    """
    warehouse = out / "warehouse"
    shutil.rmtree(warehouse, ignore_errors=True)  # of a run that was cut short
    out.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("dupelake")), "run", str(images), "--warehouse", str(warehouse)]
    command += [word for option in options for word in ("--set", option)]
    start = time.perf_counter()
    with (out / "run.log").open("wb") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.perf_counter() - start
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}; see {out / 'run.log'}")
    meta = {"tool": "dupelake", "settings": {"set": list(options)}, "seconds": round(seconds, 1)}
    export(warehouse, out, meta)


def table(warehouse: Path, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a table, those of the columns that it has."""
    delta = DeltaTable(str(warehouse / name))
    there = {field.name for field in delta.schema().fields}
    return delta.to_pyarrow_table(columns=[c for c in columns if c in there]).to_pylist()


def export(warehouse: Path, out: Path, meta: dict[str, Any]) -> None:
    """The tables as the files that `score` reads: images by file name, contents of equal pixels as all their images."""
    digest = {r["content_id"]: r["pixel_digest"] for r in table(warehouse, "hashes", ("content_id", "pixel_digest"))}
    name: dict[str, str] = {}
    images_of: defaultdict[str, list[str]] = defaultdict(list)
    failed = 0
    for r in table(warehouse, "images", ("image_id", "uri", "content_id", "status")):
        name[r["image_id"]] = Path(r["uri"]).name
        if r["status"] == "ok":
            images_of[digest[r["content_id"]]].append(name[r["image_id"]])
        failed += r["status"] != "ok"
    lines = [(a, b, 1, "equal pixels") for twins in images_of.values() for a, b in combinations(sorted(twins), 2)]
    proposed = table(warehouse, "pairs", ("src_id", "dst_id", "is_duplicate", *EVIDENCE))
    for r in proposed:
        if r["is_duplicate"]:
            text = ", ".join(f"{key} {shown(r[key])}" for key in EVIDENCE if r.get(key) is not None)
            twins = (images_of[digest[r["src_id"]]], images_of[digest[r["dst_id"]]])
            lines += [(a, b, r["score"], text) for a in twins[0] for b in twins[1]]
    with (out / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "value", "evidence"])
        writer.writerows(sorted(lines))
    columns = ("image_id", "group_id", "relation", "is_keeper", "is_removable", "kind", "score_to_keeper", "reason")
    with (out / "groups.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "group", *columns[2:]])
        rows = table(warehouse, "groups", columns)
        writer.writerows(sorted([name[r["image_id"]], r["group_id"], *(r[c] for c in columns[2:])] for r in rows))
    runs = table(warehouse, "runs", ("run_id", "counts", "seconds", "config_fingerprint", "versions"))
    last = max(runs, key=lambda r: r["run_id"])
    meta |= {key: dict(last[key]) for key in ("counts", "versions") if last.get(key)}
    meta |= {"images": len(name), "failed": failed, "pairs_measured": len(proposed), "pairs": len(lines)}
    meta["step_seconds"] = dict(last["seconds"]) if last.get("seconds") else {}
    (out / "meta.json").write_text(json.dumps(meta, indent=1, default=str), encoding="utf-8")


def shown(value: Any) -> str:
    """A figure of the evidence, short."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
