"""A warehouse in an S3 server: nights, one of them killed; verdicts beside a night; what else is done from there.

Every process gets its secrets in the environment, as docs/operations.md advises; no file and no line holds them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pictures import OPTIONS, photograph, write_two_nights
from s3_server import PARTS, TOKEN, Store, dupelake, environment, need_jars, s3_server

from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import TABLES

pytestmark = [pytest.mark.long, pytest.mark.spark, pytest.mark.timeout(2400)]
LAKE, PHOTOS = "s3a://lake/dupes", "s3a://lake/photos"
TOLD = ("run_id", "ingested_at", "updated_at", "changed_at")  # when and by which run: not the same in two runs
EVENTS_OF_GROUPS = ("group_changes", "group_moves")  # a night and a batch tell other stories of the same groups
BOOKS = ("decided", "decision_conflicts", "decisions", "overlap_sets", "overlaps", "runs")


@dataclass
class World:
    """The server's bucket, and all that was said of it."""

    store: Store
    folder: Path
    env: dict[str, str]
    said: list[str] = field(default_factory=list)

    def run(self, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """A command that ends with this exit code."""
        done = dupelake(*words, env=self.env | env)
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == code, self.said[-1][-4000:]
        return done

    def night(self, warehouse: str, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """A run over the photos."""
        return self.run(*self.words(warehouse, *words), code=code, **env)

    def words(self, warehouse: str, *words: str) -> list[str]:
        """Of a run over the photos."""
        logs = ["--set", f"run.event_log={self.folder}/events", "--set", f"run.metrics_file={self.folder}/metrics"]
        may_go = ["--set", "cluster.removable=verified"]
        return ["run", PHOTOS, "--warehouse", warehouse, *words, *OPTIONS, *may_go, *logs, *SPARK]

    def rows(self, table: str, warehouse: str = LAKE) -> list[dict]:
        """By delta-rs, which finds the store in the environment."""
        return reader(warehouse, self.env).table(table).to_pylist()


SPARK = ["--spark", "spark.sql.shuffle.partitions=2", "--spark", "spark.hadoop.fs.s3a.path.style.access=true"]


def reader(warehouse: str, env: dict[str, str]) -> Reader:
    return Reader(warehouse, storage_options={name: env[name] for name in env if name.startswith("AWS_")})


class Watching:
    """Looks for secrets in the command lines of all processes, which every user of the machine can read; a context."""

    def __enter__(self) -> Watching:
        self.seen: set[str] = set()
        self.n_java = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            for line in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = line.read_bytes()
                except OSError:
                    continue
                self.n_java += b"java" in text and b"SparkSubmit" in text
                if any(part.encode() in text for part in PARTS):
                    self.seen.add(text.replace(b"\0", b" ").decode(errors="replace"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, reader_jar: Path) -> Iterator[World]:
    """A bucket with the photos of two nights, and the warehouse of the first night."""
    env = need_jars()
    folder = tmp_path_factory.mktemp("s3")
    tree = write_two_nights(folder / "photos")
    with s3_server() as address:
        world = World(Store(address), folder, environment(address, AWS_SESSION_TOKEN=TOKEN, **env))
        for path in sorted(tree.glob("*/*")):
            world.store.put(f"photos/{path.relative_to(tree)}", path.read_bytes())
        with Watching() as watching:
            world.night(LAKE, "--partitions", "2026-11-01")
        assert watching.n_java, "the watch saw no Spark"
        assert not watching.seen
        yield world


def values(world: World, warehouse: str, table: str) -> list[tuple]:
    rows = world.rows(table, warehouse)
    return sorted((tuple((name, row[name]) for name in sorted(row) if name not in TOLD) for row in rows), key=repr)


def test_a_night_that_was_killed_goes_on_and_equals_a_batch(world: World) -> None:
    assert world.rows("groups"), "the first night made groups"
    world.night(LAKE, code=-signal.SIGKILL, DUPELAKE_FAULT="kill:after:pairs")
    left = world.store.keys("dupes")
    assert "dupes/_lock.json" in left, "it was killed, so it gave nothing back"
    assert [key for key in left if key.startswith("dupes/_staging/")]
    n_groups = len(world.rows("groups"))
    again = world.night(LAKE)
    assert "took over the lock of a run that did not end" in again.stderr
    assert len(world.rows("groups")) > n_groups
    batch = str(world.folder / "batch")  # on this machine, which takes half the time
    world.night(batch)
    left_out = {*EVENTS_OF_GROUPS, *BOOKS, "join_keys"}  # join_keys: test_nightly.py says how they differ
    for table in sorted(set(TABLES) - left_out):
        drop = {"group_id"} if table in ("groups", "similar_groups", "clustered") else set()
        both = [
            sorted([tuple(cell for cell in row if cell[0] not in drop) for row in values(world, lake, table)], key=repr)
            for lake in (LAKE, batch)
        ]
        assert both[0] == both[1], table
    left = [key for key in world.store.keys("dupes") if "/_staging/" in key or "_lock" in key or ".clock" in key]
    assert left == []


def test_verdicts_and_another_run_beside_a_night(world: World) -> None:
    """Verdicts wait for the seconds of a commit, another run is refused, and the next night applies the verdicts."""
    uris = [f"{PHOTOS}/date=2026-11-01/{name}" for name in ("astronaut.png", "astronaut half.jpg", "coins.png")]
    ids = {row["uri"]: row["image_id"] for row in world.rows("images")}
    group_of = {row["image_id"]: row["group_id"] for row in world.rows("groups")}
    assert group_of[ids[uris[0]]] == group_of[ids[uris[1]]], "they are copies until somebody says no"
    with running(world, world.words(LAKE, "--full")) as night:
        until = time.monotonic() + 120
        while "dupes/_lock.json" not in world.store.keys("dupes"):
            assert night.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        decide = ["decide", "--warehouse", LAKE, *SPARK]
        with running(world, [*decide, "--author", "bob", uris[0], "not_duplicate", uris[2]]) as bob:
            done = world.run(*decide, "--author", "ann", uris[0], "not_duplicate", uris[1])
            assert done.stdout.startswith("1 verdicts added"), done.stdout
            assert bob.wait(300) == 0
        assert night.poll() is None, "the night ended before the verdict came: this tested nothing"
        refused = world.night(LAKE, code=4)
        assert night.poll() is None, "the night ended before another one came: this tested nothing"
        assert night.wait(600) == 0
    lines = [line for line in refused.stderr.splitlines() if "is at work on this warehouse" in line]
    assert len(lines) == 1
    assert sorted((row["author"], row["other_image_id"]) for row in world.rows("decisions")) == [
        ("ann", ids[uris[1]]),
        ("bob", ids[uris[2]]),
    ]
    assert len(world.rows("decided")) == 4
    world.night(LAKE)
    group_of = {row["image_id"]: row["group_id"] for row in world.rows("groups")}
    assert group_of.get(ids[uris[0]]) != group_of.get(ids[uris[1]])
    assert not [key for key in world.store.keys("dupes") if "_lock" in key]


TURNS = """
import sys, threading
from dupelake.runtime.lock import lock_of
from dupelake.runtime.session import build_session
spark = build_session("locks", dict(one.split("=", 1) for one in sys.argv[2:]))
inside, faults = [], []

def hold(name):
    try:
        for turn in range(12):
            lock = lock_of(spark, sys.argv[1], f"{name}{turn}", wait_s=240, stale_s=600)
            lock.acquire()
            inside.append(name)
            assert inside == [name], inside
            inside.remove(name)
            lock.release()
    except BaseException as error:
        faults.append(repr(error))

threads = [threading.Thread(target=hold, args=(name,)) for name in ("a", "b", "c")]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(faults)
"""


def test_holders_of_the_lock_take_turns(world: World) -> None:
    """The lock may go between any two requests of those who wait for it."""
    command = [sys.executable, "-c", TURNS, "s3a://lake/locks", *SPARK[1::2]]
    done = subprocess.run(command, env=world.env, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout[-2000:] + done.stderr[-2000:]
    assert not world.store.keys("locks")


@contextmanager
def running(world: World, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs; what it said is kept."""
    log = world.folder / f"{words[0]}-{time.monotonic_ns()}.log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "dupelake.cli", *words]
        process = subprocess.Popen(command, env=world.env, stdout=out, stderr=out, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)
            world.said.append(log.read_text(encoding="utf-8"))


def test_what_else_is_done_from_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands without Spark that need groups, and the jobs of Spark that are no night."""
    monkeypatch.chdir(world.folder)
    world.run(*["plan", *world.words(LAKE)[1:]])
    world.run("maintain", "--warehouse", LAKE, *SPARK)
    assert f"images  {len(world.rows('images'))}, " in world.run("report", "--warehouse", LAKE).stdout
    index = ["--index", str(world.folder / "index")]
    world.run("index", "--warehouse", LAKE, *index)
    photograph("chelsea.png").save(world.folder / "new.jpg", quality=55)
    assert "copy in group" in world.run("check", "new.jpg", "--warehouse", LAKE, *index).stdout
    world.run("export", "csv", "--warehouse", LAKE)
    quarantine = world.run("export", "quarantine", "--warehouse", LAKE)
    assert "images that may go, or whose kept image, are no local files; left out" in quarantine.stderr
    assert quarantine.stdout.startswith("0 files to move")
    world.run("review", "--warehouse", LAKE, "--out", "review")


def test_no_secret_is_anywhere(world: World) -> None:
    """In no table, no commit, no other object, nothing that a command wrote or said; after the tests above."""
    found = {table: json.dumps(world.rows(table), default=str) for table in TABLES}
    assert "redacted" not in json.dumps(world.rows("runs"), default=str), "no secret was given in a line"
    found |= {key: world.store.get(key).decode(errors="replace") for key in world.store.keys("dupes")}
    found |= {
        str(path): path.read_bytes().decode(errors="replace")
        for path in world.folder.rglob("*")
        if path.is_file() and not {"photos", "batch"} & set(path.relative_to(world.folder).parts)
    }
    found |= {f"output {number}": text for number, text in enumerate(world.said)}
    assert len(found) > 100
    assert [name for name, text in found.items() if any(part in text for part in PARTS)] == []
