"""Remote objects: by the Java reader from a mounted viewfs, and by HTTP from a server of this test.

tests/ingest/test_fetch_rules.py tests what must not be read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from pyspark.sql import SparkSession

from dupelake.config import FetchConfig
from dupelake.fetch_rules import FETCH_SCHEMES
from dupelake.ingest import fetch_stage as fetch
from dupelake.ingest import webread
from dupelake.ingest.access import Access
from dupelake.ingest.failure import Failure
from dupelake.ingest.fetch_stage import fetch_remote, has_reader, is_http, is_remote
from dupelake.ingest.uris import local_path
from dupelake.ingest.webread import read_http

ROOT = Path(__file__).resolve().parents[2]
ODD_NAMES = [
    "plain.jpg",
    "with space.jpg",
    "100%25.jpg",
    "100%.jpg",
    "a#b.jpg",
    "what?.jpg",
    "Grüße 東京.jpg",
    "[x]{y}*.jpg",
    "a+b&c=d.jpg",
    "back\\slash.jpg",
]  # a:b.jpg: Hadoop's own local filesystem refuses it
LIMIT = 1000
FETCH = FetchConfig(allowed_hosts=("127.0.0.1",), allowed_schemes=(*FETCH_SCHEMES, "nosuch"))


def content(name: str) -> bytes:
    return hashlib.sha512(name.encode()).digest()


class Handler(BaseHTTPRequestHandler):
    hits: dict[str, int] = {}  # noqa: RUF012
    lock = threading.Lock()

    def do_GET(self) -> None:
        with self.lock:
            nth = self.hits[self.path] = self.hits.get(self.path, 0) + 1
        path = self.path.split("?")[0]
        if path.startswith("/webhdfs/v1/"):
            status = {"type": "FILE", "length": 3, "pathSuffix": "", "permission": "644", "owner": "a", "group": "a"}
            status |= {"modificationTime": 0, "accessTime": 0, "blockSize": 1, "replication": 1}
            self.answer(200, b"one" if "op=OPEN" in self.path else json.dumps({"FileStatus": status}).encode())
        elif path.startswith("/file/"):
            self.answer(200, content(unquote(path[len("/file/") :])))
        elif path == "/query":
            self.answer(200, self.path.encode())
        elif path == "/flaky":
            self.answer(200 if nth == 3 else 503, b"third time")
        elif path == "/slow-to-wake":
            self.answer(200 if nth == 5 else 503, b"fifth time")
        elif path == "/down":
            self.answer(503, b"")
        elif path == "/cut":
            self.answer(200, b"x" * 10, length=20)
        elif path == "/cut-once":
            self.answer(200, b"x" * 20 if nth == 2 else b"x", length=20)
        elif path == "/moved":
            self.answer(302, b"", location="/file/plain.jpg")
        elif path == "/big":
            self.answer(200, b"x" * (LIMIT + 1))
        elif path == "/big-unannounced":
            self.answer(200, b"x" * (LIMIT + 1), length=None)
        elif path == "/unannounced":
            self.answer(200, b"x" * LIMIT, length=None)
        elif path == "/empty":
            self.answer(200, b"")
        else:
            self.answer(403 if path == "/secret" else 404, b"no")

    def answer(self, code: int, body: bytes, length: int | None = -1, location: str | None = None) -> None:
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    Handler.hits.clear()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(scope="module")
def mount(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A viewfs with a unique name (Hadoop caches filesystems by name) whose /p is a local folder."""
    folder = tmp_path_factory.mktemp("mounted")
    name = f"dupelake{os.getpid()}"
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    conf.set(f"fs.viewfs.mounttable.{name}.link./p", folder.as_uri())
    return f"viewfs://{name}/p", folder


def by_http(uris: Iterable[str], cfg: FetchConfig = FETCH) -> dict[str, bytes | Failure]:
    return {uri: read_http(uri, LIMIT, Access(cfg)) for uri in uris}


def fetched(spark: SparkSession, uris: list[str | None], reason: str | None = None, cfg: FetchConfig = FETCH) -> dict:
    rows = spark.createDataFrame([(uri, reason) for uri in uris], "uri string, reason string")
    return {row.uri: row.fetched for row in fetch_remote(rows, LIMIT, cfg).collect()}


def test_names_survive_in_a_hadoop_filesystem(spark: SparkSession, mount: tuple[str, Path]) -> None:
    base, folder = mount
    for name in ODD_NAMES:
        (folder / name).write_bytes(content(name))
    got = fetched(spark, [f"{base}/{name}" for name in ODD_NAMES])
    assert {uri: row.message for uri, row in got.items() if row.reason} == {}
    assert {uri: bytes(row.data) for uri, row in got.items()} == {f"{base}/{n}": content(n) for n in ODD_NAMES}
    assert all(row.reason is None and row.message is None for row in got.values())


def test_bad_objects_are_rows_with_a_reason(spark: SparkSession, mount: tuple[str, Path]) -> None:
    base, folder = mount
    (folder / "empty").write_bytes(b"")
    (folder / "at-limit").write_bytes(b"x" * LIMIT)
    (folder / "large").write_bytes(b"x" * (LIMIT + 1))
    (folder / "sub").mkdir()
    wanted = {
        f"{base}/none.jpg": "missing",
        f"{base}/empty": "empty",
        f"{base}/at-limit": None,
        f"{base}/large": "too_large",
        f"{base}/sub": "not_a_file",
        "nosuch://h/a.jpg": "no_filesystem",
        "gs:///": "no_filesystem",
        "viewfs://unmounted/a": "unreadable",
        "hdfs://": "unreadable",
    }
    got = fetched(spark, list(wanted))
    assert {uri: row.reason for uri, row in got.items()} == wanted
    assert all((row.data is None) == (row.reason is not None) == (row.message is not None) for row in got.values())
    assert len(got[f"{base}/at-limit"].data) == LIMIT


def test_an_unreadable_file_is_not_called_missing(spark: SparkSession, mount: tuple[str, Path]) -> None:
    base, folder = mount
    # Works for root too, unlike a mode: the checksum beside the file is wrong, so Hadoop refuses the bytes.
    (folder / "rotten").write_bytes(b"y" * 600)
    (folder / ".rotten.crc").write_bytes(b"crc\0\0\0\x02\0" + b"\1" * 8)
    assert fetched(spark, [f"{base}/rotten"])[f"{base}/rotten"].reason == "unreadable"


def test_http_uses_the_uri_as_written(server: str) -> None:
    wanted = {
        f"{server}/file/plain.jpg": "plain.jpg",
        f"{server}/file/a%20b%23.jpg": "a b#.jpg",
        f"{server}/file/a b.jpg": "a b.jpg",
        f"{server}/file/Grüße 東京.jpg": "Grüße 東京.jpg",
        f"{server}/file/100%.jpg": "100%.jpg",
        f"{server}/file/[x].jpg": "[x].jpg",
        f"{server}/file/a.jpg#frag": "a.jpg",
        f"{server}/moved": "plain.jpg",
    }
    got = by_http([*wanted, f"{server}/query?a=1&b=%2F"])
    assert got.pop(f"{server}/query?a=1&b=%2F") == b"/query?a=1&b=%2F"
    assert got == {uri: content(name) for uri, name in wanted.items()}


def test_http_faults(server: str) -> None:
    wanted = {
        "/nothing": "missing",
        "/secret": "unreadable",
        "/down": "unreadable",
        "/cut": "unreadable",
        "/flaky": None,
        "/cut-once": None,
        "/big": "too_large",
        "/big-unannounced": "too_large",
        "/unannounced": None,
        "/empty": "empty",
    }
    got = by_http(server + path for path in wanted)
    assert {uri.removeprefix(server): getattr(answer, "reason", None) for uri, answer in got.items()} == wanted
    assert "503" in got[f"{server}/down"].message
    # Retried a bounded number of times, and only where it may help.
    assert [Handler.hits[path] for path in ("/down", "/flaky", "/nothing", "/secret", "/big")] == [3, 3, 1, 1, 1]


def test_the_number_of_retries_is_configured(server: str) -> None:
    uri = f"{server}/slow-to-wake"
    assert by_http([uri], replace(FETCH, retries=0))[uri].reason == "unreadable"
    assert Handler.hits["/slow-to-wake"] == 1
    assert by_http([uri], replace(FETCH, retries=6, backoff_ms=1))[uri] == b"fifth time"
    assert Handler.hits["/slow-to-wake"] == 5


def test_nothing_listens() -> None:
    (answer,) = by_http(["http://127.0.0.1:1/a.jpg"]).values()
    assert answer.reason == "unreadable"


def test_each_object_is_read_once(spark: SparkSession, server: str) -> None:
    # with webhdfs the test can count requests
    rows = spark.createDataFrame(
        [(server.replace("http://", "webhdfs://") + "/once.jpg", None)], "uri string, reason string"
    )
    cfg = replace(FETCH, retries=0, allowed_schemes=("webhdfs",))
    got = fetch_remote(rows, LIMIT, cfg).where("fetched.reason is null and length(fetched.data) > 0")
    # Spark copies a deterministic function into the filter, so that it reads twice, unless this setting prevents it.
    spark.conf.set("spark.sql.optimizer.avoidDoubleFilterEval", "false")
    try:
        assert len(got.select("fetched.data", "fetched.reason").collect()) == 1
    finally:
        spark.conf.unset("spark.sql.optimizer.avoidDoubleFilterEval")
    asked = {path: n for path, n in Handler.hits.items() if "once.jpg" in path}
    assert set(asked.values()) == {1}
    assert any("op=OPEN" in path for path in asked)


def test_local_and_failed_rows_are_left_alone(spark: SparkSession, server: str) -> None:
    uris = ["/a.jpg", "file:///a.jpg", "a:b.jpg", None, f"{server}/untouched", f"{server}/untouched".upper()]
    assert set(fetched(spark, uris).values()) == {None}, "the decoding stage reads these"
    assert fetched(spark, [f"{server}/untouched"], reason="no_uri")[f"{server}/untouched"] is None
    assert "/untouched" not in Handler.hits


def test_without_the_jar_rows_say_how_to_get_it(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_reader(spark)
    monkeypatch.setattr(fetch, "_READER_CLASS", "io.dupelake.NotThere")
    assert not has_reader(spark)
    got = fetched(spark, ["s3a://b/k.jpg", "/a.jpg"])
    assert got["/a.jpg"] is None
    assert got["s3a://b/k.jpg"].reason == "no_remote_reader"
    assert "s3a://" in got["s3a://b/k.jpg"].message
    assert "make jar" in got["s3a://b/k.jpg"].message


def test_is_remote_agrees_with_local_path(spark: SparkSession) -> None:
    uris = [
        "/a",
        "a",
        "a:b.jpg",
        "C:\\x",
        "file:/a",
        "file:///a",
        "FILE:///a",
        "file://h/a",
        "file://a",
        "file:a",
        "",
        "s3a://b/k",
        "S3A://b/k",
        "x-y+z.1://h",
        "1a://b",
        "://a",
        "a//b",
        "hdfs:/a",
        "http://h/a b",
        "né://x",
        " s3a://b",
        "a\ns3a://b",
        "/dir/s3a://b",
        "files://h/a",
    ]
    rows = spark.createDataFrame([(uri,) for uri in uris], "uri string")
    told = rows.select("uri", is_remote(rows.uri).alias("remote"), is_http(rows.uri).alias("http")).collect()
    assert {row.uri: row.remote for row in told} == {uri: local_path(uri) is None for uri in uris}
    assert {row.uri: row.http for row in told} == {uri: webread.is_http(uri) for uri in uris}


def test_rules_of_hadoop(spark: SparkSession, mount: tuple[str, Path]) -> None:
    base, folder = mount
    (folder / "in").mkdir()
    (folder / "in" / "a.jpg").write_bytes(b"a")
    (folder / "b.jpg").write_bytes(b"b")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.0)
        at = f"127.0.0.1:{listener.getsockname()[1]}"
        refused = [f"{base}/b.jpg", f"{base}/in/../b.jpg", f"{base}/in2/a.jpg", f"viewfs://other{base[8:]}/in/a.jpg"]
        refused += [
            f"hdfs://{at}/a",
            f"HDFS://localhost:{at[10:]}/a",
            f"hdfs://2130706433:{at[10:]}/a",
        ]
        refused += [f"webhdfs://{at}/a", f"har://hdfs-{at}/x.har/a", f"ftp://{at}/a", f"sftp://{at}/a", "nosuch://h/a"]
        special = ("[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fd00::1]", "10.0.0.1")
        refused += [f"hdfs://{host}:{at[10:]}/a" for host in (*special, "169.254.169.254", "[fe80::1]", "127.1")]
        cfg = FetchConfig(allowed_roots=(f"{base}/in",), retries=0)
        got = fetched(spark, [*refused, f"{base}/in/a.jpg", f"{base}/./in//a.jpg"], cfg=cfg)
        assert {uri: row.reason for uri, row in got.items() if uri in refused} == dict.fromkeys(refused, "not_allowed")
        assert all("--set 'fetch.allowed_" in got[uri].message for uri in refused)
        assert {bytes(row.data) for uri, row in got.items() if uri not in refused} == {b"a"}
        with pytest.raises(BlockingIOError):
            listener.accept()
    rows = spark.createDataFrame([(f"hdfs://{at}/a", None)], "uri string, reason string")
    (row,) = fetch_remote(rows, LIMIT, replace(cfg, timeout_s=0.1), [f"hdfs://{at}/manifest.csv"]).collect()
    assert row.fetched.reason != "not_allowed", "the operator named this host"


def test_a_filesystem_that_never_answers_ends_at_the_deadline(spark: SparkSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"hdfs://127.0.0.1:{silent.getsockname()[1]}/a.jpg"
        start = time.monotonic()
        row = fetched(spark, [uri], cfg=replace(FETCH, timeout_s=0.5))[uri]
    assert (row.reason, "fetch.timeout_s = 0.5" in row.message) == ("timeout", True)
    assert time.monotonic() - start < 10


def test_jar_is_reproducible_and_skipped_when_up_to_date(reader_jar: Path, tmp_path: Path) -> None:
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=False)
    script = str(ROOT / "scripts" / "build_jar.py")
    before = reader_jar.read_bytes()
    again = run([sys.executable, script])
    assert (again.returncode, "up to date" in again.stdout) == (0, True)
    forced = run([sys.executable, script, "--force"])
    assert forced.returncode == 0, forced.stderr
    assert reader_jar.read_bytes() == before
    no_jdk = run([sys.executable, script, "--force"], env={"PATH": str(tmp_path), "JAVA_HOME": str(tmp_path)})
    assert no_jdk.returncode == 1
    assert "openjdk-17-jdk-headless" in no_jdk.stderr
