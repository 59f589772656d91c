"""A soak of `dupelake serve`: clients ask while the index is replaced and processes are killed; counts what goes wrong.

    python -m benchmarks.serve --warehouse DIR --images DIR --work DIR --minutes 10
    python -m benchmarks.serve --warehouse DIR --images DIR --work DIR --minutes 1 --clients 1 --events 0

It builds an index of the warehouse in the work folder and starts a server on loopback. The questions are edits of some
images of the folder, and broken files. Each answer is compared with that of `dupelake.check` for the same bytes. Ends
after the given minutes or requests, whichever comes first.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import dupelake
from dupelake.lookup.build import build_index
from dupelake.lookup.reading import files_of

# ruff: noqa: S311 - what is random here guards nothing
N_QUESTIONS = 60


def questions(images: str, rng: random.Random) -> list[bytes]:
    """Edits of images of a folder as files, and one broken file in twenty."""
    paths = sorted(files_of([images], ("jpg", "jpeg", "png")))
    out = []
    for number, path in enumerate(rng.sample(paths, min(N_QUESTIONS, len(paths)))):
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((640, 640))
        width, height = picture.size
        if number % 4 == 1:
            picture = picture.crop((width // 6, 0, width, height))
        elif number % 4 == 2:
            picture = ImageOps.mirror(picture)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=rng.randint(60, 90))
        data = buffer.getvalue()
        out.append(data[: len(data) // 3] if number % 20 == 19 else data)
    return out


def compared(answer: dict[str, Any]) -> dict[str, Any]:
    """What must be equal: all but the name, the action, and when the index was built and asked."""
    kept = {name: value for name, value in answer.items() if name not in ("image", "action", "index")}
    return json.loads(json.dumps(kept)) | {"night": answer["index"]["run_id"]}


class Server:
    """`dupelake serve` on a free port of loopback."""

    def __init__(self, warehouse: str, index: Path, log: Path) -> None:
        command = [sys.executable, "-m", "dupelake.cli", "serve", "--warehouse", warehouse, "--index", str(index)]
        with log.open("w") as file:
            self.process = subprocess.Popen([*command, "--port", "0"], stdout=file, stderr=file)
        until = time.monotonic() + 300
        while "listens on" not in log.read_text():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        self.port = int(log.read_text().partition("listens on http://127.0.0.1:")[2].partition(",")[0])

    def workers(self) -> list[int]:
        """The processes that check."""
        starters = [one for one in children(self.process.pid) if b"forkserver" in read(one, "cmdline")]
        return [pid for starter in starters for pid in children(starter)]

    def memory_mb(self) -> float:
        """Megabytes of all its processes, shared pages shared out (PSS)."""
        found, total = [self.process.pid], 0
        while found:
            pid = found.pop()
            found += children(pid)
            lines = [line for line in read(pid, "smaps_rollup").splitlines() if line.startswith(b"Pss:")]
            total += sum(int(line.split()[1]) for line in lines)
        return total / 1024


def read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def children(parent: int) -> list[int]:
    stats = {int(e.name): read(int(e.name), "stat") for e in Path("/proc").iterdir() if e.name.isdigit()}
    return sorted(pid for pid, stat in stats.items() if stat and int(stat.rpartition(b")")[2].split()[1]) == parent)


class Clients:
    """Threads that ask random questions, one after the other, and compare what comes back."""

    def __init__(self, port: int, files: Sequence[bytes], wanted: Sequence[dict[str, Any]], most: int, n: int) -> None:
        self._port, self._files, self._wanted, self._most = port, files, wanted, most
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.faults: list[str] = []
        self.wrong: list[str] = []
        self.built: set[str] = set()
        self.done = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(n)]
        for one in self._threads:
            one.start()

    def join(self) -> None:
        """Stop them."""
        self.done.set()
        for one in self._threads:
            one.join()

    def _run(self, number: int) -> None:
        rng = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        while not self.done.is_set() and sum(self.statuses.values()) < self._most:
            at = rng.randrange(len(self._files))
            boundary = uuid.uuid4().hex
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="q{at}"\r\n\r\n'
            body = head.encode() + self._files[at] + f"\r\n--{boundary}--\r\n".encode()
            start = time.perf_counter()
            try:
                kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
                connection.request("POST", "/check", body, kind)
                reply = connection.getresponse()
                text = reply.read()
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(repr(error))
                connection.close()
                continue
            self.statuses[reply.status] += 1
            if reply.status in (200, 422):
                self.seconds.append(time.perf_counter() - start)
                self._compare(at, json.loads(text)["answers"][0])
            elif reply.status in (429, 503):
                time.sleep(float(reply.headers["Retry-After"]))

    def _compare(self, at: int, answer: dict[str, Any]) -> None:
        self.built.add(answer["index"]["built_at"])
        if compared(answer) != self._wanted[at]:
            self.wrong.append(f"question {at}: {json.dumps(answer)[:500]}")


def disturb(
    server: Server, warehouse: str, index: Path, minutes: float, clients: Clients, n_events: int
) -> list[float]:
    """Replaces the index and kills processes, in turns and evenly over the time; the memory every few seconds."""
    start, memory = time.monotonic(), [server.memory_mb()]
    for event in range(1, n_events + 1):
        while time.monotonic() < start + 60 * minutes * event / (n_events + 1) and not clients.done.is_set():
            time.sleep(1)
            memory.append(server.memory_mb())
        if event % 2:
            build_index(warehouse, index, full=True, told=lambda _: None)
            continue
        worker = random.Random(event).choice(server.workers())  # every second time the child that decodes
        os.kill((children(worker) or [worker])[0] if event % 4 else worker, signal.SIGKILL)
    while time.monotonic() < start + 60 * minutes:
        time.sleep(1)
        memory.append(server.memory_mb())
    return memory


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warehouse", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--events", type=int, default=20, help="half of them replace the index, half kill a process")
    args = parser.parse_args(argv)
    index = args.work.absolute() / "index"
    index.parent.mkdir(parents=True, exist_ok=True)
    build_index(args.warehouse, index, full=True, told=print)
    files = questions(args.images, random.Random(20))
    wanted = [compared(one.as_dict()) for one in dupelake.check(files, args.warehouse, index=index)]
    print(f"{len(files)} questions: {Counter(one['status'] for one in wanted)}", flush=True)
    server = Server(args.warehouse, index, args.work / "serve.log")
    try:
        clients = Clients(server.port, files, wanted, args.requests, args.clients)
        memory = disturb(server, args.warehouse, index, args.minutes, clients, args.events)
        clients.join()
        told = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        told.request("GET", "/metrics")
        lines = told.getresponse().read().decode().splitlines()
        restarts = next(line.split()[1] for line in lines if line.startswith("dupelake_process_restarts "))
    finally:
        server.process.terminate()
        code = server.process.wait(120)
    p = np.percentile(np.array(clients.seconds) * 1000, [50, 95, 99, 100])
    print(
        f"requests by status: {dict(clients.statuses)}; without an answer: {len(clients.faults)} {clients.faults[:3]}"
    )
    print(f"wrong answers: {len(clients.wrong)} {clients.wrong[:2]}")
    print(f"indexes that answered: {len(clients.built)}; processes replaced: {restarts}; exit code {code}")
    print(f"a request: p50 {p[0]:.0f} ms, p95 {p[1]:.0f} ms, p99 {p[2]:.0f} ms, most {p[3]:.0f} ms")
    tenths = np.array_split(np.array(memory), 10)
    print(f"memory by tenth of the time: {', '.join(f'{part.max():.0f}' for part in tenths if len(part))} MB")
    bad = sum(n for status, n in clients.statuses.items() if status not in (200, 422, 429))
    return 1 if bad or clients.faults or clients.wrong or code else 0


if __name__ == "__main__":
    sys.exit(main())
