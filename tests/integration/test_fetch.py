"""Remote objects through the Java reader: a mounted viewfs and an HTTP server, both on this machine."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from pyspark.sql import SparkSession

from dupelake.config import FetchConfig
from dupelake.kernels.uris import local_path
from dupelake.stages import fetch
from dupelake.stages.fetch import fetch_remote, has_reader, is_remote

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
FETCH = FetchConfig()


def content(name: str) -> bytes:
    return hashlib.sha512(name.encode()).digest()


class Handler(BaseHTTPRequestHandler):
    hits: dict[str, int] = {}  # noqa: RUF012
    lock = threading.Lock()

    def do_GET(self) -> None:
        with self.lock:
            nth = self.hits[self.path] = self.hits.get(self.path, 0) + 1
        path = self.path.split("?")[0]
        if path.startswith("/file/"):
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
    """A viewfs of its own name (Hadoop keeps filesystems by name) whose /p is a folder here."""
    folder = tmp_path_factory.mktemp("mounted")
    name = f"dupelake{os.getpid()}"
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    conf.set(f"fs.viewfs.mounttable.{name}.link./p", folder.as_uri())
    return f"viewfs://{name}/p", folder


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
        "s3a:///": "no_filesystem",
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


def test_http_uses_the_uri_as_written(spark: SparkSession, server: str) -> None:
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
    got = fetched(spark, [*wanted, f"{server}/query?a=1&b=%2F"])
    assert bytes(got.pop(f"{server}/query?a=1&b=%2F").data) == b"/query?a=1&b=%2F"
    assert {uri: bytes(row.data) for uri, row in got.items()} == {uri: content(n) for uri, n in wanted.items()}


def test_http_faults(spark: SparkSession, server: str) -> None:
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
    got = fetched(spark, [server + path for path in wanted])
    assert {uri.removeprefix(server): row.reason for uri, row in got.items()} == wanted
    assert "503" in got[f"{server}/down"].message
    # Retried a bounded number of times, and only where it may help.
    assert [Handler.hits[path] for path in ("/down", "/flaky", "/nothing", "/secret", "/big")] == [3, 3, 1, 1, 1]


def test_the_number_of_retries_is_configured(spark: SparkSession, server: str) -> None:
    uri = f"{server}/slow-to-wake"
    assert fetched(spark, [uri], cfg=FetchConfig(retries=0))[uri].reason == "unreadable"
    assert Handler.hits["/slow-to-wake"] == 1
    assert bytes(fetched(spark, [uri], cfg=FetchConfig(retries=6, backoff_ms=1))[uri].data) == b"fifth time"
    assert Handler.hits["/slow-to-wake"] == 5


def test_nothing_listens(spark: SparkSession) -> None:
    uri = "http://127.0.0.1:1/a.jpg"
    assert fetched(spark, [uri])[uri].reason == "unreadable"


def test_each_object_is_read_once(spark: SparkSession, server: str) -> None:
    rows = spark.createDataFrame([(f"{server}/file/once.jpg", None)], "uri string, reason string")
    got = fetch_remote(rows, LIMIT, FETCH).where("fetched.reason is null and length(fetched.data) > 0")
    # A deterministic function is copied into the filter, hence read twice, unless this optimizer setting saves it.
    spark.conf.set("spark.sql.optimizer.avoidDoubleFilterEval", "false")
    try:
        assert len(got.select("fetched.data", "fetched.reason").collect()) == 1
    finally:
        spark.conf.unset("spark.sql.optimizer.avoidDoubleFilterEval")
    assert Handler.hits["/file/once.jpg"] == 1


def test_local_and_failed_rows_are_left_alone(spark: SparkSession, server: str) -> None:
    assert set(fetched(spark, ["/a.jpg", "file:///a.jpg", "a:b.jpg", None]).values()) == {None}
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
    got = {row.uri: row.remote for row in rows.select("uri", is_remote(rows.uri).alias("remote")).collect()}
    assert got == {uri: local_path(uri) is None for uri in uris}


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
