"""A manifest and its images in an S3 server (moto), and the warehouse as well; the key stands on the command line.

`make s3` fetches the server and the jars. tests/pipeline/test_s3_nights.py has what happens to such a warehouse.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import OPTIONS, photograph
from s3_server import KEY, PARTS, SECRET, TOKEN, Store, dupelake, environment, need_jars, s3_server, tables_of

TABLES = ("images", "hashes", "thumbnails", "pairs", "groups", "group_changes", "runs")


@pytest.fixture
def store() -> Iterator[Store]:
    with s3_server() as address:
        yield Store(address)


def test_the_server_keeps_objects(store: Store) -> None:
    store.put("photos/a #1 %20.jpg", b"x")
    assert store.keys("photos") == ["photos/a #1 %20.jpg"]
    assert store.get("photos/a #1 %20.jpg") == b"x"


def settings(address: str) -> list[str]:
    values = {
        "spark.hadoop.fs.s3a.endpoint": f"http://{address}",
        "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.access.key": KEY,
        "spark.hadoop.fs.s3a.secret.key": SECRET,
        "spark.hadoop.fs.s3a.session.token": TOKEN,
        "spark.sql.shuffle.partitions": "2",
    }
    return [word for key, value in values.items() for word in ("--spark", f"{key}={value}")]


@pytest.mark.long
@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_two_nights_in_a_bucket(store: Store, tmp_path: Path, reader_jar: Path) -> None:
    said = list[str]()
    alone = {name: value for name, value in environment(store.address).items() if not name.startswith("AWS_")}
    env = alone | need_jars()

    def night(qualities: dict[str, int]) -> subprocess.CompletedProcess[str]:
        """Puts images (JPEG quality by name) and a manifest of all into the bucket, and runs a night."""
        for name, quality in qualities.items():
            scene = "astronaut.png" if name.startswith("a") else "coffee.png"
            photograph(scene).save(tmp_path / name, quality=quality)
            store.put(f"photos/{name}", (tmp_path / name).read_bytes())
        rows = [f"s3a://lake/{key}\n" for key in store.keys("photos")]
        store.put("manifest.csv", "".join(["url\n", *rows, "s3a://lake/photos/none.jpg\n"]).encode())
        paths = ["s3a://lake/manifest.csv", "--warehouse", "s3a://lake/dupes"]
        logs = ["--set", f"run.event_log={tmp_path}/events.jsonl", "--set", f"run.metrics_file={tmp_path}/metrics"]
        done = dupelake("run", *paths, *OPTIONS, *logs, *settings(store.address), env=env)
        said.append(done.stdout + done.stderr)
        assert done.returncode == 0, said[-1][-4000:]
        return done

    night({"a.jpg": 95, "b.jpg": 95})
    night({"a copy.jpg": 70})
    rows = tables_of(store, "dupes", TABLES)
    assert {row["uri"].rpartition("/")[2]: row["reason"] for row in rows["images"]} == {
        "a.jpg": None, "b.jpg": None, "a copy.jpg": None, "none.jpg": "missing",
    }  # fmt: skip
    assert len({row["group_id"] for row in rows["groups"]}) == 1
    assert len(rows["groups"]) == 2
    last = dict(max(rows["runs"], key=lambda row: row["started_at"])["counts"])
    assert (last["read"], last["hashed"], last["skipped"], last["failed"]) == (4, 1, 2, 1)
    assert store.keys("dupes/_staging") == [], "what was staged is removed"
    found = {path: store.get(path) for path in store.keys("dupes")} | {
        "tables": json.dumps(rows, default=str).encode(),
        "logs": "".join(said).encode(),
        "events": (tmp_path / "events.jsonl").read_bytes(),
        "metrics": (tmp_path / "metrics").read_bytes(),
    }
    assert [what for what, data in found.items() for part in PARTS if part.encode() in data] == []
    assert "*********(redacted)" in json.dumps(rows["runs"][0]["arguments"])
