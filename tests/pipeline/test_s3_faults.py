"""A night whose S3 server refuses it, or goes away: one line with the fix, the exit code, and a rerun that is right."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import FASTEST, photograph
from s3_server import (
    CHECKED,
    PARTS,
    SECRET,
    Relay,
    Store,
    dupelake,
    environment,
    make_key,
    need_jars,
    s3_server,
    tables_of,
)
from serving import encoded

pytestmark = [pytest.mark.long, pytest.mark.spark, pytest.mark.timeout(1800)]
LAKE, PHOTOS = "s3a://lake/dupes", "s3a://lake/photos"
# Hadoop gives up after seconds, and not after minutes.
HASTY = ("fs.s3a.retry.limit=2", "fs.s3a.attempts.maximum=1", "fs.s3a.path.style.access=true")
SPARK = [word for one in HASTY for word in ("--spark", f"spark.hadoop.{one}")]


def words(warehouse: str = LAKE, photos: str = PHOTOS) -> list[str]:
    return ["run", photos, "--warehouse", warehouse, *FASTEST, *SPARK, "--spark", "spark.sql.shuffle.partitions=2"]


def fill(store: Store) -> None:
    for name in ("a.png", "b.jpg"):
        store.put(f"photos/{name}", encoded(photograph("astronaut.png"), "PNG" if name == "a.png" else "JPEG"))


def fault(said: str) -> str:
    """The one line of what was said that tells the fault; there is no stack and no secret."""
    assert not re.search(r"^\s+at [a-z]|Traceback|^Caused by", said, re.MULTILINE), said
    assert not [part for part in PARTS if part in said]
    lines = [line for line in said.splitlines() if "; check " in line or "make the bucket" in line]
    assert len(lines) == 1, said
    return lines[0]


def test_refused_at_the_start(reader_jar: Path, tmp_path: Path) -> None:
    with s3_server(**CHECKED) as address:
        key, secret = make_key(address)
        store = Store(address, key, secret)
        fill(store)
        good = environment(address, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, **need_jars())
        done = dupelake(*words("s3a://none/dupes"), env=good)
        assert done.returncode == 2
        assert "make the bucket, or give another one" in fault(done.stderr)
        for warehouse in (LAKE, str(tmp_path / "dupes")):  # it is refused by its warehouse, or by its path
            done = dupelake(*words(warehouse), env=good | {"AWS_SECRET_ACCESS_KEY": SECRET})
            assert done.returncode == 2
            assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in fault(done.stderr)
        assert store.keys("dupes") == []


def run_until(env: dict[str, str], what: str, then: Callable[[], None]) -> tuple[int, str]:
    """A night; `then` is called when it says `what`. Its exit code, and what it said."""
    command = [sys.executable, "-m", "dupelake.cli", *words()]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    said = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if what in line:
            then()
    return process.wait(60), "".join(said)


def test_a_server_that_goes_away_and_comes_back(reader_jar: Path) -> None:
    with s3_server() as address, Relay(address) as relay:
        store = Store(address)
        fill(store)
        env = environment(relay.address, **need_jars())
        code, said = run_until(env, " hash: started", relay.down)
        assert code == 1, said
        assert fault(said).endswith("then run the same command again: what is committed stands")
        assert "stay in the store; the next run removes them" in said
        assert "dupes/_lock.json" in store.keys("dupes")
        relay.up()

        def outage() -> None:
            relay.down()
            threading.Timer(0.5, relay.up).start()

        code, said = run_until(env, " hash: started", outage)
        assert code == 0, said
        assert "took over the lock of a run that did not end" in said
        rows = tables_of(store, "dupes", ("images", "groups"))
        assert [row["status"] for row in rows["images"]] == ["ok", "ok"]
        assert not [key for key in store.keys("dupes") if "_lock" in key or "/_staging/" in key]
