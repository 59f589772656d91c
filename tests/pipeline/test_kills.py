"""The kill matrix: a night killed at a named point and started again ends with the tables of a night never killed.

Some cells run always. With DUPELAKE_KILL_CELLS=all all of them run, or those that -k picks, and what came of each is
written into the table of docs/reliability.md.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import OPTIONS, write_two_nights
from standalone import cluster_of_two, submit

from dupelake.pipeline import nightly
from dupelake.warehouse.schema import ALL_TABLES, IMAGES, RUNS
from dupelake.warehouse.tables import Warehouse

ROOT = Path(__file__).parents[2]
COMMITS = (
    "features", "thumbnails", "hashes", "images", "join_keys", "pairs", "joined", "group_changes", "group_moves",
    "groups", "clustered", "runs",
)  # fmt: skip
WORKERS = ("hash", "words", "align")
CELLS = [f"kill:{when}:{table}" for table in COMMITS for when in ("before", "after")]
CELLS += [f"{verb}:worker:{worker}" for verb in ("kill", "kill-executor") for worker in WORKERS]
PART_ROWS = "4"  # of the cells in parts: killed in the first of several
CELLS += [f"kill:{when}:{table} in parts" for table in ("hashes", "images") for when in ("before", "after")]
FEW = (
    "kill:before:groups",
    "kill:after:images in parts",
    "kill-executor:worker:align",
)
TOLD = ("run_id", "ingested_at", "updated_at", "changed_at")  # when and by which run: not the same in two runs
BEGIN, END = "<!-- kill matrix: written by tests/pipeline/test_kills.py -->", "<!-- kill matrix: end -->"

outcome: dict[str, str] = {}
died: dict[str, str] = {}  # how the run ended


def tables(warehouse: Warehouse) -> dict[str, list[tuple]]:
    found = {}
    for table in ALL_TABLES:
        if table is not RUNS:
            columns = [c for c in table.columns if c not in TOLD]
            rows = warehouse.read(table).select(columns).collect()
            found[table.name] = sorted((tuple(map(plain, row)) for row in rows), key=repr)
    return found


def plain(value):
    return bytes(value) if isinstance(value, bytearray) else value


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return write_two_nights(tmp_path_factory.mktemp("images") / "tree")


@pytest.fixture(scope="module")
def first_night(spark, images, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("base") / "wh"
    assert nightly.main([str(images), "--warehouse", str(root), "--partitions", "2026-11-01", *OPTIONS]) == 0
    return root


@pytest.fixture(scope="module")
def unkilled(spark, images, first_night, tmp_path_factory) -> dict[str, list[tuple]]:
    root = tmp_path_factory.mktemp("unkilled") / "wh"
    shutil.copytree(first_night, root)
    assert nightly.main([str(images), "--warehouse", str(root), *OPTIONS]) == 0
    found = tables(Warehouse(spark, str(root)))
    assert len(found["groups"]) > 10
    return found


@pytest.fixture(scope="module", autouse=True)
def told():
    yield
    if os.environ.get("DUPELAKE_KILL_CELLS") == "all":
        write_table()


def write_table() -> None:
    """Put this run's rows in; rows of cells that did not run stay as they stand."""
    page = ROOT / "docs" / "reliability.md"
    text = page.read_text(encoding="utf-8")
    stand = re.findall(r"^(\| `([^`]+)` \|.*)$", text[text.index(BEGIN) : text.index(END)], flags=re.MULTILINE)
    told = {cell: row for row, cell in stand} | {
        cell: f"| `{cell}` | {died[cell]} | {outcome[cell]} |" for cell in outcome
    }
    rows = "\n".join(told[cell] for cell in CELLS if cell in told)
    table = f"{BEGIN}\n| fault | the run | tables after the next run |\n|---|---|---|\n{rows}\n{END}"
    page.write_text(text[: text.index(BEGIN)] + table + text[text.index(END) + len(END) :], encoding="utf-8")


def fault(cell: str, once: Path) -> dict[str, str]:
    point = cell.removesuffix(" in parts")
    parts = {} if cell == point else {"DUPELAKE_CHUNK_ROWS": PART_ROWS}
    return {"DUPELAKE_FAULT": point, "DUPELAKE_FAULT_ONCE": str(once)} | parts


@pytest.mark.parametrize("cell", CELLS if os.environ.get("DUPELAKE_KILL_CELLS") == "all" else FEW)
@pytest.mark.long
def test_killed_and_started_again(spark, images, first_night, unkilled, tmp_path, cell):
    root, once = tmp_path / "wh", tmp_path / "once"
    shutil.copytree(first_night, root)
    arguments = [str(images), "--warehouse", str(root), *OPTIONS]
    if cell.startswith("kill-executor:"):
        with cluster_of_two(tmp_path) as master:
            settings = [f"spark.executorEnv.{name}={value}" for name, value in fault(cell, once).items()]
            options = [word for setting in settings for word in ("--conf", setting)]
            done = submit(master, ROOT / "jobs" / "nightly.py", arguments, *options, folder=tmp_path)
        assert done.returncode == 0, f"a lost executor fails no run: {done.stderr[-3000:]}"
    else:
        command = [sys.executable, str(ROOT / "jobs" / "nightly.py"), *arguments]
        done = subprocess.run(command, env=os.environ | fault(cell, once), capture_output=True, check=False)
        lost_a_worker = cell.startswith("kill:worker:")
        assert done.returncode == (1 if lost_a_worker else -signal.SIGKILL)  # one machine tries no task again
    assert once.exists(), f"the run never came to {cell}"
    n_done = Warehouse(spark, str(root)).read(IMAGES).count()
    assert nightly.main(arguments) == 0
    if cell == "kill:after:images in parts":
        n_before, n_all = len(list(images.glob("date=2026-11-01/*"))), len(list(images.glob("*/*")))
        assert n_before < n_done < n_all, "the first part is committed, and not the others"
        counts = Warehouse(spark, str(root)).read(RUNS).orderBy("started_at", ascending=False).first()["counts"]
        assert counts["hashed"] + counts["failed"] == n_all - n_done, "nothing is hashed twice"
    died[cell] = "SIGKILL" if done.returncode < 0 else f"exit {done.returncode}"
    found = tables(Warehouse(spark, str(root)))
    differing = [name for name, rows in unkilled.items() if found[name] != rows]
    outcome[cell] = "equal" if not differing else f"differ: {', '.join(differing)}"
    assert not differing
    assert not (root / "_lock.json").exists()
    assert not list((root / "_staging").glob("*"))
