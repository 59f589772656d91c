"""Odd files and requests that no client sends: the server answers each, and stays right."""

from __future__ import annotations

import csv
import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_lake import CONFIG
from pictures import photograph
from serving import Server, encoded, form

from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.ingest.failure import Failure

MAX_BYTES = 1_000_000  # of the fixture `server`
EVERY = 1 if os.environ.get("DUPELAKE_FUZZ") == "all" else 12


def good(server: Server) -> tuple[int, str]:
    reply = server.check(encoded(photograph("chelsea.png", 250), "JPEG"))
    return reply.status, reply.answer["status"]


def test_odd_files_are_answered_as_a_night_decides_them(server, shared_data):
    """A twelfth of some 1,100 files, or with DUPELAKE_FUZZ=all each."""
    with (shared_data / "truth" / "format_corpus_decode.csv").open() as file:
        paths = [shared_data / row["path"] for row in csv.DictReader(file)][::EVERY]
    read = {path: path.read_bytes() for path in paths}
    with ThreadPoolExecutor(2) as clients:
        replies = dict(zip(read, clients.map(server.check, read.values()), strict=True))
    n_failed = n_read = 0
    for path, data in read.items():
        reply = replies[path]
        if len(data) > MAX_BYTES - 300:
            assert reply.status == 413, path
            continue
        wanted = fingerprint_image(data, CONFIG.decode, CONFIG.hash)
        if isinstance(wanted, Failure):
            n_failed += 1
            assert (reply.status, reply.answer["reason"]) == (422, wanted.reason), path
        else:
            n_read += 1
            assert isinstance(wanted, Fingerprint)
            assert (reply.status, reply.answer["content_id"]) == (200, wanted.content_id), path
    assert n_failed > 5
    assert n_read > 20


def raw(server: Server, data: bytes, patience_s: float = 30) -> bytes:
    """The beginning of what comes back; b"" if the connection ends without an answer, or the client goes before."""
    with socket.create_connection((server.host, server.port), timeout=patience_s) as connection:
        try:
            connection.sendall(data)
            return connection.recv(4096)
        except (ConnectionResetError, BrokenPipeError, TimeoutError):
            return b""


HEAD = b"POST /check HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nxxxx\r\n'


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", (b"400", b"431")),
        (b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", (b"400", b"431")),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (b"400", b"431")),
        (HEAD + b"Content-Length: 5000\r\n\r\n" + PART, (b"408",)),  # longer than what comes
        (HEAD + b"Content-Length: 20\r\n\r\n" + PART + b"--b--\r\n", (b"422",)),  # shorter
        (HEAD + b"Content-Length: 1e3\r\n\r\n" + PART, (b"400",)),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", (b"400",)),
        (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n", (b"400", b"413")),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\nabc", (b"408", b"413", b"422")),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", (b"400",)),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", (b"400", b"422")),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (b"400",)),  # TLS
        (b"\0" * 1000 + b"\r\n\r\n", (b"400",)),
        (b"GET /health HTTP/1.1\r\n\r\n", (b"400", b"421")),  # no Host
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", (b"404", b"405", b"400")),
        (b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n", (b"404", b"400")),
        (b"TRACE /health HTTP/1.1\r\nHost: localhost\r\n\r\n", (b"405",)),
    ],
)
def test_broken_requests_are_refused(server, data, wanted):
    assert raw(server, data)[9:12] in wanted
    assert good(server) == (200, "copy")


def test_many_small_parts_and_fields_are_refused(server):
    field = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nv\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    fields = b"".join(field % number for number in range(5_000)) + b"--b--\r\n"
    for body in (fields, PART * 5_000 + b"--b--\r\n"):
        reply = server.ask("POST", "/check", body, kind)
        assert (reply.status, reply.json["reason"]) == (422, "bad_form")


def test_random_damage_to_a_request(server):
    """Bytes of a good request are changed, cut and repeated: there is an answer, and the server lives on."""
    rng, picture = random.Random(20), encoded(photograph("coins.png", 60), "JPEG")  # noqa: S311
    body, headers = form(picture)
    head = b"POST /check HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + headers["Content-Type"].encode()
    whole = head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    found = set()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data))
            way = rng.randrange(3)
            if way == 0:
                data[at] = rng.randrange(256)
            elif way == 1:
                del data[at : at + rng.randint(1, 50)]
            else:
                data[at:at] = data[at : at + rng.randint(1, 50)]
        found.add(raw(server, bytes(data), 1.5)[9:12])
    assert found <= {b"", b"200", b"400", b"401", b"404", b"405", b"408", b"413", b"415", b"421", b"422"}
    assert {b"200", b"400", b"422"} <= found
    assert good(server) == (200, "copy")


def test_names_of_files_are_names_and_not_paths(server, made_lake: Path):
    data = encoded(photograph("moon.png", 100))
    for name in ("../../../etc/passwd", "/etc/passwd", "a\\b", "x" * 3_000, "näme.png", "%00"):
        body, headers = form(data, names=[name])
        reply = server.ask("POST", "/check", body, headers)
        assert reply.status == 200
        assert reply.answer["content_id"]
    noise = np.random.default_rng(3).bytes(5_000)
    assert server.check(noise).answer["reason"] == "undecodable"
    assert not list(made_lake.parent.rglob("passwd"))
