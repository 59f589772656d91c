"""What `dupelake export` costs on drawn groups, and whether other tools read the files.

    python -m benchmarks.export --work DIR [--groups 10000] [--files] [--reader imagededup=PYTHON ...]

The warehouse is drawn: groups of 2 to 6 members, as many images again without a group, shards of 1,000 samples. Each
export runs in a process of its own. `--files` makes a small file for each member and runs the quarantine script, a
second time after a kill, and its undo. `--reader TOOL=PYTHON` names the Python in which a tool is installed
(benchmarks/requirements-exports.txt); immich's client is named by its folder (`immich=DIR`).
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyspark.sql.pandas.types import to_arrow_schema

from dupelake.config import Config
from dupelake.warehouse.schema import ALL_TABLES, GROUPS, IMAGES, RUNS, Table

READERS = Path(__file__).with_name("export_readers.py")
FORMATS = (
    "csv",
    "jsonl",
    "parquet",
    "quarantine",
    "dupe-scanner",
    "imagededup",
    "fiftyone",
    "datasets",
    "immich",
    "webdataset",
)
AT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
ROWS = 200_000  # images that are drawn and written at a time


def hexes(numbers: np.ndarray, what: str) -> list[str]:
    """32 hex digits of each number; as UUIDs for `what` = "asset"."""
    found = [hashlib.sha256(f"{what}{number}".encode()).hexdigest()[:32] for number in numbers.tolist()]
    return [f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in found] if what == "asset" else found


def conformed(table: Table, columns: dict[str, Any], n: int) -> pa.Table:
    """Rows with all columns of a table; what is not given is null."""
    schema = to_arrow_schema(table.schema, timezone="UTC")
    return pa.table({f.name: columns.get(f.name, pa.nulls(n, f.type)) for f in schema}, schema)


def draw(root: Path, pictures: Path, n_groups: int, *, files: bool) -> None:
    """A warehouse of `n_groups` groups; with `files` each member is a file whose bytes are its content's."""
    for table in ALL_TABLES:
        schema = to_arrow_schema(table.schema, timezone="UTC")
        DeltaTable.create(str(root / table.name), schema, partition_by=list(table.partition_by))
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 7, n_groups)
    group_of = np.repeat(np.arange(n_groups), sizes)
    place = np.arange(len(group_of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    n_all = 2 * len(group_of)
    for start in range(0, n_all, ROWS):
        number = np.arange(start, min(start + ROWS, n_all))
        is_member = number < len(group_of)
        group = np.where(is_member, group_of[np.minimum(number, len(group_of) - 1)], -number)
        role = np.where(is_member, place[np.minimum(number, len(group_of) - 1)], 0)
        write_rows(root, pictures, number, group, role, is_member, files=files)
    versions = [(table.name, DeltaTable(str(root / table.name)).version()) for table in ALL_TABLES]
    run = {"run_id": "drawn", "job": "nightly", "status": "succeeded", "started_at": AT, "finished_at": AT}
    told = {"arguments": "", "config_fingerprint": "", "config": json.dumps(Config().as_dict()), "tables": versions}
    rows = pa.Table.from_pylist(
        [run | told | {"versions": [], "counts": [], "seconds": []}], to_arrow_schema(RUNS.schema, timezone="UTC")
    )
    write_deltalake(str(root / RUNS.name), rows, mode="append")


def write_rows(
    root: Path,
    pictures: Path,
    number: np.ndarray,
    group: np.ndarray,
    role: np.ndarray,
    is_member: np.ndarray,
    *,
    files: bool,
) -> None:
    """Images with these numbers, and their rows of groups.

    The second member of a group is removable, the fifth is an alternate.
    """
    n = len(number)
    uris = [f"{pictures}/{one // 1000:05}/image {one:08}.jpg" for one in number.tolist()]
    contents, assets = hexes(np.where(role < 2, group, number + 10**9), "content"), hexes(number, "asset")
    sizes = np.full(n, 32, np.int64)
    extra = [[("shard", f"train-{one // 1000:06}.tar"), ("key", f"{one:08}")] for one in number.tolist()]
    if files:
        for uri, content in zip(uris, contents, strict=True):
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
            Path(uri).write_text(content)  # its digest is not its content id, which is computed below
        contents = [hashlib.sha256(content.encode()).hexdigest()[:32] for content in contents]
    text = {"partition": "2026-11-01", "scope": "", "status": "ok"}
    images = {name: pa.array([value] * n) for name, value in text.items()}
    images |= {"image_id": pa.array(assets), "uri": pa.array(uris), "content_id": pa.array(contents)}
    images |= {"byte_size": pa.array(sizes), "extra": pa.array(extra, pa.map_(pa.string(), pa.string()))}
    images |= {"ingested_at": pa.array([AT] * n, pa.timestamp("us", "UTC"))}
    images |= {name: pa.array(np.ones(n, np.int32)) for name in ("width_px", "height_px")}
    write_deltalake(str(root / IMAGES.name), conformed(IMAGES, images, n), mode="append")
    rows = pa.table(images).filter(pa.array(is_member))
    role, n = role[is_member], rows.num_rows
    relation = np.where(role == 0, "keeper", np.where(role == 4, "alternate", "copy"))
    tier = [
        None if one != "copy" else "identical" if r == 1 else "copies" for one, r in zip(relation, role, strict=True)
    ]
    groups = {"image_id": rows["image_id"], "content_id": rows["content_id"], "scope": rows["scope"]}
    groups |= {"group_id": pa.array(hexes(group[is_member], "group")), "is_keeper": pa.array(role == 0)}
    groups |= {"relation": pa.array(relation), "is_removable": pa.array(role == 1), "tier": pa.array(tier, pa.string())}
    groups |= {"score_to_keeper": pa.array(1 - role / 20), "reason": pa.array(["Copy: drawn, no picture."] * n)}
    groups |= {
        "group_size": pa.array(np.full(n, 2, np.int32)),
        "updated_at": pa.array([AT] * n, pa.timestamp("us", "UTC")),
    }
    write_deltalake(str(root / GROUPS.name), conformed(GROUPS, groups, n), mode="append")


# In a small process, because a child's peak of memory is never below the memory of the process that starts it.
LAUNCHER = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
told = child.stdout.read()
status, used = os.wait4(child.pid, 0)[1:]
code = os.waitstatus_to_exitcode(status)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, code, told.strip(), sep="\\n")
"""


def measured(command: list[Any]) -> tuple[float, float, int, str]:
    """Core-seconds, peak MB of memory, exit code and output of a command."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *map(str, command)], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, memory, code, told = done.stdout.split("\n", 3)
    return float(seconds), float(memory), int(code), told.strip()


def quarantine(script: Path, undo: Path, pictures: Path) -> None:
    """Run the script: killed, again, with a file changed in between; then its undo."""
    before = sum(1 for path in pictures.rglob("*.jpg"))
    lines = [line for line in script.read_text().splitlines() if line.startswith("move ")]
    changed = Path(lines[-1].split("'")[1])
    changed.write_text("x" * 32)
    child = subprocess.Popen(["sh", script], stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(10)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    print(f"killed after 10 s: {before - sum(1 for path in pictures.rglob('*.jpg'))} of {len(lines)} files are moved")
    for job in (script, undo):
        seconds, memory, code, told = measured(["sh", job])
        print(f"sh {job.name}: exit {code}, {seconds:.0f} s, {memory:.0f} MB: {told}")
    assert sum(1 for path in pictures.rglob("*.jpg")) == before, "all files are back"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--files", action="store_true")
    parser.add_argument("--reader", action="append", default=[], metavar="TOOL=PYTHON")
    args = parser.parse_args()
    lake, pictures, out = args.work / "lake", args.work / "pictures", args.work / "out"
    shutil.rmtree(args.work, ignore_errors=True)
    out.mkdir(parents=True)
    draw(lake, pictures, args.groups, files=args.files)
    print(f"{args.groups} groups, {DeltaTable(str(lake / 'images')).to_pyarrow_dataset().count_rows()} images")
    for form in FORMATS:
        to = out / (f"{form}.sh" if form == "quarantine" else form)
        seconds, memory, code, told = measured(
            [sys.executable, "-m", "dupelake.cli", "export", form, "--warehouse", lake, "--out", to]
        )
        assert code == 0
        size = to.stat().st_size / 1e6
        print(
            f"| {form} | {seconds:.1f} | {memory:.0f} | {size:.1f} | {told.splitlines()[0].split(', in /')[0]} |",
            flush=True,
        )
    for reader in args.reader:
        tool, _, python = reader.partition("=")
        seconds, memory, code, told = measured(
            ["node", READERS.with_suffix(".mjs"), python, out] if tool == "immich" else [python, READERS, tool, out]
        )
        print(
            f"| {tool} | {seconds:.1f} | {memory:.0f} | exit {code} | {told.splitlines()[-1] if told else ''} |",
            flush=True,
        )
    if args.files:
        quarantine(out / "quarantine.sh", out / "quarantine-undo.sh", pictures)


if __name__ == "__main__":
    main()
