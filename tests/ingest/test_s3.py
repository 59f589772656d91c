"""A manifest, its images and the warehouse in an S3 server (moto), through hadoop-aws; the secret appears nowhere.

Needs moto, and the jars of org.apache.hadoop:hadoop-aws, which Spark fetches through Maven (690 MB), or finds in the
folder that DUPELAKE_S3_JARS names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import deltalake
import pytest
from pictures import OPTIONS, photograph

KEY, SECRET = "AKIAIOSFODNN7DUPELAKE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYdupelakeKEY"  # of nobody
TABLES = ("images", "hashes", "thumbnails", "pairs", "groups", "group_changes", "runs")
NIGHT = """
import sys
from dupelake.pipeline import nightly
sys.exit(nightly.main(sys.argv[1:]))
"""


@pytest.fixture
def store() -> Iterator[tuple[object, str]]:
    """(client, address) of a server with the bucket `lake`."""
    server_of = pytest.importorskip("moto.server", reason="no moto: pip install 'moto[s3]' flask flask-cors")
    boto3 = pytest.importorskip("boto3")
    server = server_of.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
    )
    client.create_bucket(Bucket="lake")
    yield client, address
    server.stop()


def settings(address: str) -> list[str]:
    jars = os.environ.get("DUPELAKE_S3_JARS")
    values = {
        "spark.hadoop.fs.s3a.endpoint": address,
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


@pytest.mark.long
@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_two_nights_in_a_bucket(store, tmp_path: Path, reader_jar: Path) -> None:
    client, address = store
    said: list[str] = []

    def night(names: dict[str, int]) -> None:
        """Puts images (seed of the edit by name) and a manifest into the bucket, and runs a night on all of it."""
        for name, quality in names.items():
            file = tmp_path / name
            photograph("astronaut.png" if name.startswith("a") else "coffee.png").save(file, quality=quality)
            client.upload_file(str(file), "lake", f"photos/{name}")
        listed = client.list_objects_v2(Bucket="lake", Prefix="photos/")["Contents"]
        text = "url,etag\n" + "".join(f"s3a://lake/{one['Key']},{one['ETag'].strip(chr(34))}\n" for one in listed)
        client.put_object(Bucket="lake", Key="manifest.csv", Body=text + "s3a://lake/photos/none.jpg,\n")
        paths = ["s3a://lake/manifest.csv", "--warehouse", "s3a://lake/dupes"]
        files = ["--set", f"run.event_log={tmp_path}/events.jsonl", "--set", f"run.metrics_file={tmp_path}/metrics"]
        done = subprocess.run(
            [sys.executable, "-c", NIGHT, *paths, *OPTIONS, *files, *settings(address)],
            capture_output=True, text=True, check=False, timeout=850,
        )  # fmt: skip
        said.append(done.stdout + done.stderr)
        assert done.returncode == 0, said[-1][-4000:]

    night({"a.jpg": 95, "b.jpg": 95})
    night({"a copy.jpg": 70})
    options = {
        "endpoint_url": address, "allow_http": "true", "access_key_id": KEY, "secret_access_key": SECRET,
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
    kept = [one["Key"] for one in client.list_objects_v2(Bucket="lake", Prefix="dupes/_staging/").get("Contents", ())]
    assert kept == [], "what was staged is removed"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix="dupes/"):
        for one in page["Contents"]:
            assert SECRET.encode() not in client.get_object(Bucket="lake", Key=one["Key"])["Body"].read(), one["Key"]
    for what, text in {
        "tables": json.dumps(rows, default=str),
        "logs": "".join(said),
        "events": (tmp_path / "events.jsonl").read_text(),
        "metrics": (tmp_path / "metrics").read_text(),
    }.items():
        assert SECRET not in text, what
