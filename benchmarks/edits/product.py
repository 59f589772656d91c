"""Runs dupelake over the corpus by its command line and reads what it found from its tables, through delta-rs."""

from __future__ import annotations

import csv
import json
import resource
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.quality import evidence_text, read_table

from dupelake.profiles import BALANCED

GROUP_COLUMNS = (
    *("relation", "is_keeper", "is_removable", "kind", "score_to_keeper", "reason"),
    *("tier", "compared_with"),  # of later versions
)


def settings(options: Sequence[str], profile: str) -> dict[str, Any]:
    """The settings of a run, as meta.json keeps them."""
    return {"set": list(options)} | ({} if profile == BALANCED else {"profile": profile})


def run(images: Path, out: Path, options: Sequence[str], *, update: bool = False, profile: str = BALANCED) -> None:
    """`dupelake run IMAGES --warehouse OUT/warehouse --set ...`, then pairs.csv, groups.csv and meta.json in OUT.

    Args:
        images: folder, or a manifest.
        out: folder of the results.
        options: KEY=VALUE for `--set`.
        profile: for `--profile`.
        update: over the tables that are there, so that only what the program's version or options change is made anew.

    Raises:
        SystemExit: the run failed; its output is in OUT/run.log.
    """
    warehouse = out / "warehouse"
    if not update:
        shutil.rmtree(warehouse, ignore_errors=True)  # of a run that was cut short
    out.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("dupelake")), "run", str(images), "--warehouse", str(warehouse)]
    command += ["--profile", profile, *(word for option in options for word in ("--set", option))]
    start, before = time.perf_counter(), core_seconds()
    with (out / "run.log").open("wb") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    seconds, cores = time.perf_counter() - start, core_seconds() - before
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}; see {out / 'run.log'}")
    meta = {"tool": "dupelake", "settings": settings(options, profile), "seconds": round(seconds, 1)}
    meta["core_seconds"] = round(cores, 1)
    export(warehouse, out, meta)


def core_seconds() -> float:
    """Of all ended children of this process, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def export(warehouse: Path, out: Path, meta: dict[str, Any]) -> None:
    """The tables as the files that `score` reads: images by file name, contents of equal pixels as all their images."""
    digest = {
        r["content_id"]: r["pixel_digest"] for r in read_table(warehouse, "hashes", ("content_id", "pixel_digest"))
    }
    name: dict[str, str] = {}
    images_of: defaultdict[str, set[str]] = defaultdict(set)
    failed = 0
    for r in read_table(warehouse, "images", ("image_id", "uri", "content_id", "status")):
        name[r["image_id"]] = Path(r["uri"]).name
        if r["status"] == "ok":
            images_of[digest[r["content_id"]]].add(name[r["image_id"]])
        failed += r["status"] != "ok"
    lines: list[tuple[Any, ...]] = []
    for names in images_of.values():
        lines += [(a, b, 1, "equal pixels") for a, b in combinations(sorted(names), 2)]
    measured: list[tuple[Any, ...]] = []
    for r in read_table(warehouse, "pairs"):
        for a in images_of[digest[r["src_id"]]]:
            for b in images_of[digest[r["dst_id"]]]:
                measured.append((a, b, r["score"], r["kind"] or "", evidence_text(r)))
                if r["is_duplicate"]:
                    lines.append((a, b, r["score"], measured[-1][-1]))
    write(out / "pairs.csv", ("a", "b", "value", "evidence"), sorted(lines))
    write(out / "measured.csv", ("a", "b", "score", "kind", "evidence"), sorted(measured))
    rows = read_table(warehouse, "groups")
    columns = [c for c in GROUP_COLUMNS if not rows or c in rows[0]]
    for r in rows:
        r["compared_with"] = name.get(r.get("compared_with", ""), "")
    members = [(name[r["image_id"]], r["group_id"], *(r[c] for c in columns)) for r in rows]
    write(out / "groups.csv", ("image", "group", *columns), sorted(members, key=lambda line: line[:2]))
    runs = read_table(warehouse, "runs", ("run_id", "counts", "seconds", "config_fingerprint", "versions"))
    last = max(runs, key=lambda r: r["run_id"])
    meta |= {key: dict(last[key]) for key in ("counts", "versions") if last.get(key)}
    meta |= {"images": len(name), "failed": failed, "pairs_measured": len(measured), "pairs": len(lines)}
    meta["step_seconds"] = dict(last["seconds"]) if last.get("seconds") else {}
    (out / "meta.json").write_text(json.dumps(meta, indent=1, default=str), encoding="utf-8")


def write(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)
