"""The index is replaced under load: no request fails, and each answer is that of an index as a whole."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from made_lake import make_night
from pictures import SCENES, photograph
from serving import Server, children_of, encoded

from dupelake.errors import EnvironmentFault, VersionMixError
from dupelake.lookup.build import build_index
from dupelake.lookup.checker import index_folder
from dupelake.lookup.manifest import FOLDER, FORMAT, NAME, manifest_of
from dupelake.lookup.reading import Item
from dupelake.serve import pool
from dupelake.serve.process import Job
from dupelake.warehouse.reader import Reader

PICTURES = {f"/photos/{name}": encoded(photograph(name)) for name in SCENES}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    root = tmp_path / "dupes"
    make_night(root, dict(list(PICTURES.items())[:2]))
    build_index(str(root), root / FOLDER)
    return root


class Clients:
    """Threads that ask until they are told to stop; what they get by night and image."""

    def __init__(self, server: Server, files: list[bytes], n: int) -> None:
        self.server, self.files = server, files
        self.statuses: Counter[int] = Counter()
        self.found: dict[tuple[str, int], set[tuple[str, str | None]]] = {}
        self.faults: list[str] = []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(n)]
        for one in self._threads:
            one.start()

    def _ask(self, number: int) -> None:
        at = number
        while not self._done.is_set():
            at = (at + 1) % len(self.files)
            try:
                reply = self.server.check(self.files[at])
            except OSError as error:
                self.faults.append(repr(error))
                continue
            self.statuses[reply.status] += 1
            if reply.status == 200:
                group = reply.answer["group"]
                said = reply.answer["status"], group and group["keeper"]["uri"]
                self.found.setdefault((reply.answer["index"]["run_id"], at), set()).add(said)

    def stop(self) -> None:
        self._done.set()
        for one in self._threads:
            one.join()


def test_no_request_fails_while_the_index_is_replaced_and_processes_are_killed(lake):
    files = [encoded(photograph(name, 200), "JPEG", quality=80) for name in SCENES[:6]]
    with Server(lake, "--processes", "2", timeout_s=60) as server:
        clients = Clients(server, files, 4)
        for number in range(2, 6):
            time.sleep(1)
            make_night(lake, dict([list(PICTURES.items())[number]]), number)
            build_index(str(lake), lake / FOLDER, full=number % 2 == 0)  # also removes the files of the old one
            victim = server.workers()[number % 2]
            os.kill((children_of(victim) or [victim])[0] if number % 2 else victim, signal.SIGKILL)
        until = time.monotonic() + 60
        while server.get("/ready").json["index"]["run_id"] != "night-5" and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(2)
        clients.stop()
        assert clients.faults == []
        assert set(clients.statuses) == {200}, clients.statuses
        # Each answer is right for the night that it names: image 2 came in night 2, and so on.
        for (night, at), said in clients.found.items():
            known = at < max(2, int(night.rpartition("-")[2]) + 1)
            assert said == {("copy", f"/photos/{SCENES[at]}") if known else ("new", None)}, (night, at)
        nights = {night for night, _ in clients.found}
        assert {"night-1", "night-5"} <= nights
        told = server.get("/metrics").body.decode()
        assert "dupelake_process_restarts 2.0" in told
        for pid in server.workers():  # the old index is closed
            maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
            held = [line for line in maps if str(lake) in line]
            assert held
            assert not [line for line in held if line.endswith("(deleted)")]


def test_a_bad_index_is_not_opened_and_said(lake):
    data = encoded(photograph(SCENES[0], 200), "JPEG")
    with Server(lake, "--processes", "1") as server:
        assert server.check(data).answer["status"] == "copy"
        manifest = lake / FOLDER / NAME
        beside = manifest.with_name("beside")
        beside.write_text(manifest.read_text().replace('"decide": "', '"decide": "x'), encoding="utf-8")
        beside.replace(manifest)
        assert server.check(data).answer["status"] == "copy"
        assert "decide version" in server.get("/ready").json["index_refused"]
        assert "dupelake_index_refused 1.0" in server.get("/metrics").body.decode()
        build_index(str(lake), lake / FOLDER, full=True)
        assert server.check(data).answer["status"] == "copy"
        assert server.get("/ready").json["index_refused"] is None


def test_a_build_replaces_an_index_of_another_format(lake):
    """As the next night does; until then it is refused with the command."""
    manifest = lake / FOLDER / NAME
    for text in (manifest.read_text().replace(f'"format": {FORMAT}', '"format": 1'), "{"):
        manifest.write_text(text, encoding="utf-8")
        with pytest.raises(VersionMixError, match="build it"):
            manifest_of(lake / FOLDER)
        assert index_folder(str(lake), lake / FOLDER) == lake / FOLDER  # as `dupelake index --index` asks
        build_index(str(lake), lake / FOLDER)
        assert manifest_of(lake / FOLDER).format == FORMAT
        assert len(list((lake / FOLDER).glob("s*-*"))) == 2  # a segment and the rows: nothing of the old one is left


def test_a_process_that_hangs_or_dies_elsewhere_than_in_its_child(lake, monkeypatch):
    monkeypatch.setattr(pool, "_EXTRA_S", 1.0)
    worker = pool.Worker(lake / FOLDER, 1, 1.0)
    worker.start()
    data = encoded(photograph(SCENES[0], 200), "JPEG")
    job = Job((Item("a", None, data), Item("b", None, data)), None, "report")
    assert [status for status, _ in worker.ask(job)] == ["copy", "copy"]
    os.kill(worker._process.pid, signal.SIGSTOP)
    said = worker.ask(job)
    assert [status for status, _ in said] == ["failed", "failed"]
    assert all('"timeout"' in answer for _, answer in said)
    os.kill(worker._process.pid, signal.SIGKILL)
    assert [status for status, _ in worker.ask(job)] == ["copy", "copy"]
    (lake / FOLDER / NAME).unlink()
    worker.end()
    with pytest.raises(EnvironmentFault, match="there is no index"):
        worker.ask(job)


def test_what_is_refused_at_start(lake, tmp_path, capsys, monkeypatch):
    from dupelake import cli

    common = ["serve", "--warehouse", str(lake), "--port", "0"]
    short = tmp_path / "short"
    short.write_text("abc", encoding="utf-8")
    monkeypatch.delenv("DUPELAKE_TOKEN", raising=False)
    for words, told in (
        (["--host", "0.0.0.0"], "requests must carry a token; set serve.token_file or DUPELAKE_TOKEN"),
        (["--host", "::"], "requests must carry a token"),
        (["--set", f"serve.token_file={short}"], "give a token of 16 or more"),
        (["--set", "serve.token_file=/no/such"], "cannot be read"),
        (["--set", "decide.min_score=0.9"], "only those of serve"),
        (["--set", "serve.max_bytes=1"], "serve.max_bytes: is 1"),
        (["--processes", "0"], "must be 1 or more"),
        (["--port", "70000"], "allowed is 0 to 65535"),
        (["--index", str(tmp_path / "none")], "there is no index"),
        (["--host", "192.0.2.1", "--set", f"serve.token_file={tmp_path / 'long'}"], "cannot listen there"),
    ):
        (tmp_path / "long").write_text("x" * 20, encoding="utf-8")
        assert cli.main([*common, *words]) == 2, words
        assert told in capsys.readouterr().err, words


def test_verdicts_over_http(lake):
    (first, second), author = list(PICTURES)[:2], "ann"
    with Server(lake, "--processes", "1") as server:

        def say(*verdicts: dict, **more: object) -> object:
            return server.post("/decisions", {"author": author, "verdicts": list(verdicts), **more})

        apart = {"image": first, "verdict": "not_duplicate", "other": "file://" + second}
        assert say(apart).json == {"added": 1, "known": 0}
        assert say(apart, {"image": second, "verdict": "keeper", "note": "n"}).json == {"added": 1, "known": 1}
        assert say(apart, again=True).json == {"added": 1, "known": 0}
        bad = say({"image": "/none", "verdict": "keeper"}, {"image": first, "verdict": "maybe"}, apart)
        assert (bad.status, len(bad.json["faults"])) == (422, 2)
        assert say().status == 422
        assert server.post("/decisions", {"author": " ", "verdicts": [apart]}).status == 422
        assert server.ask("POST", "/decisions", b"{", {"Content-Type": "application/json"}).status == 422
        (lake / "_lock_decisions.json").write_text("{}", encoding="utf-8")  # somebody holds it
    with Server(lake, "--processes", "1", timeout_s=1) as server:
        busy = say(apart, again=True)
        assert (busy.status, busy.headers["retry-after"]) == (503, "5")
    rows = Reader(lake).table("decisions").sort_by("decided_at").to_pylist()
    assert [(row["verdict"], row["note"]) for row in rows] == [
        ("not_duplicate", None),
        ("keeper", "n"),
        ("not_duplicate", None),
    ]
    assert Reader(lake).table("decided").num_rows == 2 + 1 + 2
