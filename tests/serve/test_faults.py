"""Faults of requests, indexes and processes that must cost one request at most."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from made_lake import make_night
from pictures import SCENES, photograph
from serving import Server, encoded, form

from dupelake.config import ServeConfig
from dupelake.errors import ConfigError, EnvironmentFault
from dupelake.group.giving import Added, Line, give
from dupelake.ingest.failure import Failure
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER, NAME
from dupelake.lookup.reading import Item
from dupelake.serve import book as book_of_serve
from dupelake.serve import given, pool
from dupelake.serve.book import DeltaBook
from dupelake.serve.process import Job
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.scratch import scratch_beside

JSON = {"Content-Type": "application/json"}
PICTURE = encoded(photograph(SCENES[0], 200), "JPEG", quality=80)
KEEP = {"author": "ann", "verdicts": [{"image": "/none", "verdict": "keeper"}]}


@pytest.fixture(scope="module")
def wide(made_lake: Path) -> Iterator[Server]:
    """A server with the default limits."""
    with Server(made_lake, "--processes", "1", fetch_urls=True) as running:
        yield running


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    root = tmp_path / "dupes"
    make_night(root, {f"/photos/{SCENES[0]}": encoded(photograph(SCENES[0]))})
    build_index(str(root), root / FOLDER)
    return root


def until(is_so, patience_s: float = 60) -> None:
    end = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def spoil(lake: Path, **values: object) -> None:
    """Replace the manifest by one with these values."""
    manifest = lake / FOLDER / NAME
    beside = manifest.with_name("beside")
    beside.write_text(json.dumps(json.loads(manifest.read_text()) | values), encoding="utf-8")
    beside.replace(manifest)


def test_text_that_is_no_unicode_is_refused(wide):
    pids = wide.workers()
    for path, body in (
        ("/check", {"url": "http://h/\ud800"}),
        ("/decisions", {"author": "ann", "verdicts": [{"image": "\ud800", "verdict": "keeper"}]}),
        ("/decisions", KEEP | {"author": "\ud800"}),
        ("/decisions", KEEP | {"\ud800": 1}),
    ):
        reply = wide.post(path, body)
        assert (reply.status, reply.json.keys()) == (422, {"reason", "message"}), body
    for kind, name in (("utf-7", "+2AA-"), ("punycode", "-\\xff!")):
        body, headers = form(b"", names=[name])
        reply = wide.ask("POST", "/check", body, {"Content-Type": headers["Content-Type"] + f"; charset={kind}"})
        assert reply.status == 422, kind
    assert wide.workers() == pids


def test_a_fault_of_one_image_costs_no_other(lake):
    worker = pool.Worker(lake / FOLDER, 1, 30.0)
    worker.start()
    odd = Item("odd", "http://h/\ud800", PICTURE)
    said = worker.ask(Job((Item("a", None, PICTURE), odd, Item("b", None, PICTURE)), None, "report"))
    assert [status for status, _ in said] == ["copy", "failed", "copy"]
    assert json.loads(said[1][1])["reason"] == "internal_error"
    assert worker.n_starts == 1
    worker.end()


def test_a_page_of_another_site_writes_nothing(wide):
    body = json.dumps(KEEP).encode()
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example"):
        reply = wide.ask("POST", "/decisions", body, {**JSON, "Origin": origin})
        assert (reply.status, reply.json["reason"]) == (403, "other_origin"), origin
    assert wide.ask("POST", "/decisions", body, {**JSON, "Origin": "http://localhost:3000"}).status == 422
    for kind in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x+json"}):
        reply = wide.ask("POST", "/decisions", body, kind)
        assert (reply.status, reply.json["reason"]) == (415, "other_type"), kind
    assert wide.ask("POST", "/decisions", body, {"Content-Type": "application/json; charset=utf-8"}).status == 422


def test_only_forms_may_be_larger_than_json(wide):
    body = json.dumps(KEEP | {"author": "a" * 1_100_000}).encode()
    for kind in ("application/x+json", "application/json", "text/plain"):
        assert wide.ask("POST", "/decisions", body, {"Content-Type": kind}).status == 413, kind
    assert wide.check(b"x" * 1_100_000).answer["reason"] == "undecodable"


def test_a_new_index_with_any_fault_is_not_opened_and_ends_no_process(lake):
    with Server(lake, "--processes", "1") as server:
        pids = server.workers()
        state = json.loads((lake / FOLDER / NAME).read_text())["state"]
        (lake / FOLDER / "broken").mkdir()
        for file in (lake / FOLDER / state).iterdir():
            (lake / FOLDER / "broken" / file.name).write_bytes(b"" if file.suffix == ".npy" else file.read_bytes())
        for values, told in (
            ({"state": "nowhere"}, "unable to open database"),
            ({"state": "broken"}, "No data left"),
            ({"unknown": 1}, "unexpected keyword"),
        ):
            spoil(lake, **values)
            assert server.check(PICTURE).answer["status"] == "copy"
            assert told in server.get("/ready").json["index_refused"], values
        build_index(str(lake), lake / FOLDER, full=True)
        assert server.check(PICTURE).answer["status"] == "copy"
        assert server.get("/ready").json["index_refused"] is None
        assert server.workers() == pids


def test_a_fault_of_the_disk_is_tried_again(lake):
    with Server(lake, "--processes", "1") as server:
        state = lake / FOLDER / json.loads((lake / FOLDER / NAME).read_text())["state"]
        held = state / "units.npy"
        held.rename(state / "away")
        spoil(lake, run_id="night-again")
        assert server.check(PICTURE).answer["index"]["run_id"] == "night-1"
        (state / "away").rename(held)
        until(lambda: server.check(PICTURE).answer["index"]["run_id"] == "night-again", 10)


def test_requests_go_to_processes_that_live(lake):
    with Server(lake, "--processes", "2") as server:
        spoil(lake, versions=json.loads((lake / FOLDER / NAME).read_text())["versions"] | {"decide": "another"})
        victim = server.workers()[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in server.workers())
        for _ in range(12):
            assert server.check(PICTURE).status == 200
            time.sleep(0.3)
        build_index(str(lake), lake / FOLDER, full=True)
        until(lambda: len(server.workers()) == 2)


def stopped(lake: Path, timeout_s: float) -> pool.Worker:
    """A process that has the index open and then hangs."""
    worker = pool.Worker(lake / FOLDER, 1, timeout_s)
    worker.start()
    os.kill(worker._process.pid, signal.SIGSTOP)
    return worker


def test_a_process_that_takes_no_job_is_ended_in_time(lake, monkeypatch):
    monkeypatch.setattr(pool, "_EXTRA_S", 1.0)
    worker, said = stopped(lake, 1.0), []
    job = Job((Item("a", None, PICTURE + bytes(2_000_000)),), None, "report")  # more than a pipe holds
    asking = threading.Thread(target=lambda: said.extend(worker.ask(job)), daemon=True)
    asking.start()
    asking.join(60)
    assert not asking.is_alive()
    ((status, answer),) = said
    assert (status, json.loads(answer)["reason"]) == ("failed", "timeout")
    worker.end()


def test_what_is_closed_starts_no_process(lake):
    async def closed_at_work() -> pool.Pool:
        made = pool.Pool(lake / FOLDER, 1, 30.0, 1)
        await made.start()
        os.kill(made.workers[0]._process.pid, signal.SIGSTOP)
        asked = asyncio.create_task(made.ask(Job((Item("a", None, PICTURE),), None, "report")))
        await asyncio.sleep(0.5)
        await made.close()
        with pytest.raises(pool.Refused):
            await asyncio.wait_for(asked, 60)
        return made

    made = asyncio.run(closed_at_work())
    assert made.workers[0].n_starts == 1
    assert not made.workers[0].is_alive


def test_refusals_while_a_body_is_read_keep_their_status(wide):
    body = (b" " * 65_536 for _ in range(20))
    assert wide.ask("POST", "/decisions", body, JSON).status == 413
    wrong = wide.get("/decisions")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")


def test_a_table_of_other_columns_is_no_reason_to_try_again(lake):
    shutil.rmtree(lake / "decided")
    write_deltalake(str(lake / "decided"), pa.table({"other": ["columns"]}))
    said = {"author": "ann", "verdicts": [{"image": f"/photos/{SCENES[0]}", "verdict": "keeper"}]}
    with Server(lake, "--processes", "1") as server:
        reply = server.post("/decisions", said)
        assert (reply.status, reply.json["reason"]) == (500, "bad_table"), reply.body
        assert "retry-after" not in reply.headers


def test_a_process_that_the_system_refuses_is_a_fault_of_the_environment(lake):
    worker = pool.Worker(lake / FOLDER, 1, 30.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no file can be opened
    try:
        with pytest.raises(EnvironmentFault, match="did not start"):
            worker.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    worker.start()
    worker.end()


def test_ready_tells_strangers_no_more_than_that(lake):
    token = {"DUPELAKE_TOKEN": "a token of the tests, 0123456789"}
    with Server(lake, "--processes", "1", env=token) as server:
        assert "/docs" not in server.log
        assert server.get("/ready").json == {"status": "ready"}
        known = server.get("/ready", {"Authorization": f"Bearer {token['DUPELAKE_TOKEN']}"})
        assert known.json["index"]["run_id"] == "night-1"
        (lake / FOLDER / NAME).unlink()
        assert str(lake) not in server.get("/ready").body.decode()


def test_slow_urls_leave_places_to_uploads():
    """No public server answers slowly here, so this is the part that counts and waits."""

    async def asked() -> list[object]:
        limits = ServeConfig(timeout_s=1.0, fetch_urls=True)
        urls = threading.BoundedSemaphore(1)
        both = [given._of_url("http://slow.example/", limits, urls) for _ in range(2)]
        return await asyncio.gather(*both, return_exceptions=True)

    real, given.fetched = given.fetched, lambda *_: time.sleep(4)
    try:
        found, refused = asyncio.run(asked())
    finally:
        given.fetched = real
    assert found[1][0] == Failure("timeout", "not read within 1 s")
    assert (refused.status, refused.reason) == (429, "too_many")


def test_only_the_authors_verdicts_on_these_images_are_read(lake):
    """As `dupelake decide`: the latest verdict counts, whichever image is named first."""
    make_night(lake, {f"/photos/{name}": encoded(photograph(name)) for name in SCENES[1:3]}, 2)
    a, b, c = (f"/photos/{name}" for name in SCENES[:3])
    book = DeltaBook(lake, 10)
    lines = [Line("1", a, "not_duplicate", b), Line("2", c, "keeper")]
    assert (give(book, lines, " ann ").added, give(book, lines, "ann").known) == (2, 2)
    assert give(book, [Line("1", b, "not_duplicate", a)], "ann").known == 1
    assert give(book, [Line("1", b, "duplicate", a)], "ann").added == 1
    assert give(book, lines, "ann") == Added(1, 1)
    with pytest.raises(ConfigError, match="author: is empty"):
        give(book, lines, " ")
    with pytest.raises(ConfigError, match="is about two images; give the second image"):
        give(book, [Line("1", a, "duplicate")], "ann")


def test_images_are_looked_up_in_the_index_and_in_the_table_alike(tmp_path, monkeypatch):
    """By ids and by any spelling of a URI; a URI of two images, one of another night, and one that is not known."""
    root = tmp_path / "dupes"
    uris = ("/photos//a.png", "file:///photos/b%20c.png", "S3A://Bucket/x/../d.png", "http://H:80/e?x=1", "/f.png")
    data = encoded(photograph(SCENES[0], 64))
    make_night(root, dict.fromkeys(uris, data))
    make_night(root, {"/photos/./a.png": data}, 2)
    ids = Reader(root).table("images", ["image_id", "uri"]).to_pylist()
    names = [row[name] for row in ids for name in row]
    names += ["/photos/a.png", "/photos/b c.png", "s3a://bucket/d.png", "http://h/e?x=1", "/none.png", "", "%", "/."]
    index = root / FOLDER
    assert DeltaBook(root, 10, index).look_up(names)  # without an index
    build_index(str(root), index)
    by_table, scans = DeltaBook(root, 10).look_up(names), []
    monkeypatch.setattr(book_of_serve, "scratch_beside", lambda *given: (scans.append(1), scratch_beside(*given))[1])
    assert DeltaBook(root, 10, index).look_up(names) == by_table
    assert not scans
    assert by_table["/photos/a.png"].n == 2
    assert by_table.keys() == set(names) - {"/none.png", "", "%", "/."}
    make_night(root, {"/late.png": data}, 3)  # the index does not show it yet
    assert DeltaBook(root, 10, index).look_up(["/late.png"])["/late.png"].n == 1
    assert scans
