"""A manifest, its images and the warehouse in an S3 server (moto), through hadoop-aws; the secret appears nowhere.

Moto needs other versions of some packages than dupelake, so it runs from a folder of its own:
`pip install --target FOLDER 'moto[s3]' flask flask-cors`, with DUPELAKE_MOTO=FOLDER. Spark fetches hadoop-aws through
Maven (690 MB), or takes the jars in the folder that DUPELAKE_S3_JARS names.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import deltalake
import pytest
from pictures import OPTIONS, photograph
from pyarrow.fs import FileSelector, S3FileSystem

KEY, SECRET = "AKIAIOSFODNN7DUPELAKE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYdupelakeKEY"  # of nobody
TABLES = ("images", "hashes", "thumbnails", "pairs", "groups", "group_changes", "runs")
NIGHT = """
import sys
from dupelake.pipeline import nightly
sys.exit(nightly.main(sys.argv[1:]))
"""


@pytest.fixture
def address() -> Iterator[str]:
    """The address (host:port) of a running server."""
    folder = os.environ.get("DUPELAKE_MOTO", "")
    if not Path(folder, "moto").is_dir():
        pytest.skip(
            "no S3 server: pip install --target FOLDER 'moto[s3]' flask flask-cors, and set DUPELAKE_MOTO=FOLDER"
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    server = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, "the server has ended"
                assert time.monotonic() < until
                time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def bucket(address: str) -> S3FileSystem:
    store = S3FileSystem(
        access_key=KEY, secret_key=SECRET, endpoint_override=address, scheme="http", region="us-east-1",
        allow_bucket_creation=True, allow_delayed_open=True,  # the latter: small objects in one request
    )  # fmt: skip
    store.create_dir("lake")
    return store


def put(store: S3FileSystem, key: str, data: bytes) -> None:
    with store.open_output_stream(f"lake/{key}") as stream:
        stream.write(data)


def files(store: S3FileSystem, folder: str) -> list[str]:
    return [one.path for one in store.get_file_info(FileSelector(f"lake/{folder}", True, True)) if one.is_file]


def settings(address: str) -> list[str]:
    jars = os.environ.get("DUPELAKE_S3_JARS")
    values = {
        "spark.hadoop.fs.s3a.endpoint": f"http://{address}",
        "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.access.key": KEY,
        "spark.hadoop.fs.s3a.secret.key": SECRET,
        "spark.driver.extraClassPath" if jars else "spark.jars.packages": (
            f"{jars}/*" if jars else "org.apache.hadoop:hadoop-aws:3.5.0"
        ),
        "spark.sql.shuffle.partitions": "2",
    }
    return [word for key, value in values.items() for word in ("--spark", f"{key}={value}")]


def test_the_server_keeps_objects(address: str) -> None:
    store = bucket(address)
    put(store, "photos/a.jpg", b"x")
    assert files(store, "photos") == ["lake/photos/a.jpg"]


@pytest.mark.long
@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_two_nights_in_a_bucket(address: str, tmp_path: Path, reader_jar: Path) -> None:
    store, said = bucket(address), list[str]()

    def night(qualities: dict[str, int]) -> None:
        """Puts images (JPEG quality by name) and a manifest of all into the bucket, and runs a night."""
        for name, quality in qualities.items():
            scene = "astronaut.png" if name.startswith("a") else "coffee.png"
            photograph(scene).save(tmp_path / name, quality=quality)
            put(store, f"photos/{name}", (tmp_path / name).read_bytes())
        rows = [f"s3a://{path}\n" for path in sorted(files(store, "photos"))]
        put(store, "manifest.csv", "".join(["url\n", *rows, "s3a://lake/photos/none.jpg\n"]).encode())
        paths = ["s3a://lake/manifest.csv", "--warehouse", "s3a://lake/dupes"]
        logs = ["--set", f"run.event_log={tmp_path}/events.jsonl", "--set", f"run.metrics_file={tmp_path}/metrics"]
        done = subprocess.run(
            [sys.executable, "-c", NIGHT, *paths, *OPTIONS, *logs, *settings(address)],
            capture_output=True, text=True, check=False, timeout=850,
        )  # fmt: skip
        said.append(done.stdout + done.stderr)
        assert done.returncode == 0, said[-1][-4000:]

    night({"a.jpg": 95, "b.jpg": 95})
    night({"a copy.jpg": 70})
    options = {
        "endpoint_url": f"http://{address}", "allow_http": "true", "access_key_id": KEY, "secret_access_key": SECRET,
        "region": "us-east-1",
    }  # fmt: skip
    rows = {
        name: deltalake.DeltaTable(f"s3://lake/dupes/{name}", storage_options=options).to_pyarrow_table().to_pylist()
        for name in TABLES
    }
    assert {row["uri"].rpartition("/")[2]: row["reason"] for row in rows["images"]} == {
        "a.jpg": None, "b.jpg": None, "a copy.jpg": None, "none.jpg": "missing",
    }  # fmt: skip
    assert len({row["group_id"] for row in rows["groups"]}) == 1
    assert len(rows["groups"]) == 2
    last = dict(max(rows["runs"], key=lambda row: row["started_at"])["counts"])
    assert (last["read"], last["hashed"], last["skipped"], last["failed"]) == (4, 1, 2, 1)
    assert files(store, "dupes/_staging") == [], "what was staged is removed"
    for path in files(store, "dupes"):
        with store.open_input_stream(path) as stream:
            assert SECRET.encode() not in stream.read(), path
    for what, text in {
        "tables": json.dumps(rows, default=str),
        "logs": "".join(said),
        "events": (tmp_path / "events.jsonl").read_text(),
        "metrics": (tmp_path / "metrics").read_text(),
    }.items():
        assert SECRET not in text, what
