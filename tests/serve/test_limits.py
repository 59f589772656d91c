"""Each status that the server gives, from a real process: what is asked, refused, too much, too slow, or deadly."""

from __future__ import annotations

import concurrent.futures
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pictures import photograph
from PIL import Image
from serving import Server, children_of, encoded, form

import dupelake

TOKEN = "a token of the tests, 0123456789"  # noqa: S105


@pytest.fixture(scope="module")
def guarded(made_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on all addresses, with a token from a file."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN + "\n", encoding="utf-8")
    with Server(made_lake, "--processes", "1", host="0.0.0.0", token_file=str(file)) as running:
        yield running


def jpeg(name: str = "chelsea.png", longest: int = 250) -> bytes:
    return encoded(photograph(name, longest), "JPEG", quality=80)


def without_age(answer: dict) -> dict:
    kept = {key: value for key, value in answer.items() if key not in ("image", "action")}
    return kept | {"index": {key: value for key, value in kept["index"].items() if key != "age_s"}}


def test_answers_are_those_of_dupelake_check(server, made_lake):
    new = Image.fromarray(np.random.default_rng(7).integers(0, 256, (90, 120, 3), np.uint8))
    for data in (jpeg(), jpeg("coffee.png"), encoded(photograph("moon.png")), encoded(new)):
        reply = server.check(data, query="?on_duplicate=reject")
        (wanted,) = dupelake.check(data, made_lake)
        assert reply.status == 200
        assert without_age(reply.answer) == without_age(json.loads(json.dumps(wanted.as_dict())))
        assert reply.answer["action"] == ("reject" if wanted.status == "copy" else "accept")
        assert reply.answer["index"]["age_s"] > 0


def test_several_images_and_their_copies_of_each_other(server, made_lake):
    files = [jpeg("retina.jpg", 300), jpeg(), b"no image", jpeg("retina.jpg", 200)]
    reply = server.check(*files)
    assert reply.status == 200
    answers = reply.json["answers"]
    assert [one["status"] for one in answers] == ["new", "copy", "failed", "new"]
    assert answers[3]["in_folder"][0]["image"] == "image 0"
    for data, answer in zip(files, answers, strict=True):
        (wanted,) = dupelake.check(data, made_lake)
        assert without_age(answer) | {"in_folder": []} == without_age(json.loads(json.dumps(wanted.as_dict())))


def test_images_groups_and_state(server):
    keeper = server.check(jpeg()).answer["group"]["keeper"]
    image = server.get(f"/images/{keeper['image_id']}")
    assert (image.status, image.json["uri"], image.json["group"]) == (200, keeper["uri"], None)
    assert server.get("/health").json == {"status": "ok"}
    ready = server.get("/ready")
    assert (ready.status, ready.json["index"]["run_id"]) == (200, "night-1")
    told = server.get("/metrics").body.decode()
    for line in ('dupelake_http_requests_total{method="POST",path="/check",status="200"}', "dupelake_index_contents 8"):
        assert line in told
    assert server.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    "path",
    [
        "/groups/none",
        "/groups/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/groups/'%20OR%201=1--",
        "/images/none",
        "/images/../../../etc/passwd",
        "/images/..%2f..%2fmanifest.json",
        "/images/%00",
        "/images/" + "a" * 5_000,
        "/nothing",
    ],
)
def test_404(server, path):
    reply = server.get(path)
    assert reply.status == 404
    assert reply.json.keys() == {"reason", "message"}


def test_400_405_and_415(server):
    assert server.get("/check").status == 405
    assert server.ask("POST", "/check", b"x", {"Content-Type": "image/jpeg"}).status == 415
    with socket.create_connection((server.host, server.port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -3\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


def test_413_announced_and_streamed(server):
    large = np.random.default_rng(0).bytes(1_200_000)
    reply = server.check(large)
    assert (reply.status, reply.json["reason"]) == (413, "too_large")
    body, headers = form(large)
    pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
    assert server.ask("POST", "/check", pieces, headers).status == 413


def test_422_of_images_says_why(server):
    bomb = encoded(Image.new("L", (30_000, 30_000)))  # 900 million pixels in 900 KB
    for data, reason in (
        (b"no image", "undecodable"),
        (b"", "empty"),
        (bomb, "too_large"),
        (jpeg()[:2000], "truncated"),
    ):
        reply = server.check(data)
        assert reply.status == 422
        assert (reply.answer["status"], reply.answer["reason"], reply.answer["action"]) == ("failed", reason, "skip")


@pytest.mark.parametrize(("mark", "reason"), [("killed", "crashed"), ("segfault", "crashed"), ("endless", "timeout")])
def test_an_image_that_kills_or_hangs_its_process_costs_one_422(server, mark, reason):
    reply = server.check(jpeg() + f"<{mark}>".encode())
    assert (reply.status, reply.answer["reason"]) == (422, reason)
    assert server.check(jpeg()).status == 200


def test_422_beside_good_images_costs_nothing(server):
    reply = server.check(jpeg(), jpeg() + b"<killed>", jpeg("coffee.png"))
    assert reply.status == 200
    assert [one["status"] for one in reply.json["answers"]] == ["copy", "failed", "copy"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b"\xff\xfe{", "bad_json"),
        (b'{"url": 3}', "no_url"),
        (b'{"url": "/etc/passwd"}', "no_url"),
        (b'{"url": "file:///etc/passwd"}', "no_url"),
        (b'{"urls": []}', "no_url"),
    ],
)
def test_422_of_json(server, body, reason):
    reply = server.ask("POST", "/check", body, {"Content-Type": "application/json"})
    assert (reply.status, reply.json["reason"]) == (422, reason)


def test_422_of_forms(server):
    body, headers = form(jpeg())
    kind = {"Content-Type": "multipart/form-data"}
    for cut, given in ((body[: len(body) // 2], headers), (b"--\r\n", kind), (b"", headers), (b"x" * 100, headers)):
        reply = server.ask("POST", "/check", cut, given)
        assert (reply.status, reply.json["reason"]) in ((422, "no_image"), (422, "bad_form"))
    assert server.check(*[b"x"] * 33).json["reason"] == "bad_form"
    assert server.check(jpeg(), query="?on_duplicate=maybe").json["reason"] == "bad_request"
    assert server.check(jpeg(), query="?scope=" + "s" * 2_000).status == 422


def test_408_and_what_is_cut_off(server):
    with socket.create_connection((server.host, server.port)) as slow:
        slow.sendall(b"POST /check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n")
        slow.sendall(b"Content-Type: application/json\r\n\r\n{")
        start = time.monotonic()
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
        assert 3 < time.monotonic() - start < 30
    with socket.create_connection((server.host, server.port), timeout=60) as slow:  # headers that never end
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        assert slow.recv(100) == b""
    with socket.create_connection((server.host, server.port), timeout=60) as slow:  # those of the second request
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health")
        with slow.makefile("rb") as received:
            assert received.read().startswith(b"HTTP/1.1 200")  # to its end
    with socket.create_connection((server.host, server.port)) as gone:
        gone.sendall(b"POST /check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
    assert server.check(jpeg()).status == 200


def test_429_and_503_say_when_to_try_again(server):
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        endless = [clients.submit(server.check, jpeg() + b"<endless>" + bytes([number])) for number in range(6)]
        replies = [one.result() for one in endless]
    found = [reply.status for reply in replies]
    assert set(found) == {422, 429, 503}
    assert found.count(429) == 3  # one works, two wait
    for reply in replies:
        assert ("retry-after" in reply.headers) == (reply.status in (429, 503))
    assert server.check(jpeg()).status == 200


def test_421_other_names_of_loopback(server):
    for host, status in (
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("localhost:1", 200),
        ("[::1]", 200),
    ):
        assert server.get("/health", {"Host": host}).status == status


def test_401_and_403(guarded):
    good = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.check(jpeg(), headers=good).status == 200
    assert guarded.get("/ready").status == 200
    assert guarded.get("/health", {"Host": "any.example"}).status == 200
    bad = ({}, {"Authorization": TOKEN}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {TOKEN[:-1]}"})
    for headers in (*bad, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer \xe9\xe9"}):
        for path in ("/check", "/decisions", "/images/x", "/metrics", "/docs", "/openapi.json", "/none"):
            reply = guarded.ask("GET" if path != "/check" else "POST", path, headers=headers)
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    reply = guarded.post("/check", {"url": "https://example.org/a.jpg"}, good)
    assert (reply.status, reply.json["reason"]) == (403, "no_urls")
    assert guarded.post("/decisions", {"author": "a" * 1_100_000, "verdicts": []}, good).status == 413
    for pid in guarded.workers():
        assert TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_server_stops_with_its_processes(made_lake):
    running = Server(made_lake, "--processes", "1", env={"DUPELAKE_TOKEN": TOKEN})
    assert running.get("/metrics").status == 401  # also on loopback, where there is a token
    workers = running.workers()
    assert workers
    assert running.stop() == 0, running.log
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]


def test_a_server_that_is_killed_leaves_no_process(made_lake):
    running = Server(made_lake, "--processes", "1")
    assert running.check(jpeg()).status == 200
    (worker,) = running.workers()
    left = [worker, *children_of(worker)]
    assert len(left) == 2
    running.process.kill()
    until = time.monotonic() + 30
    while time.monotonic() < until and any(os.path.exists(f"/proc/{pid}") for pid in left):
        time.sleep(0.1)
    assert not [pid for pid in left if os.path.exists(f"/proc/{pid}")]
