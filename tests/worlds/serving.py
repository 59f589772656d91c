"""`dupelake serve` as a process, its children, and clients of it."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from PIL import Image

LIB = Path(__file__).parents[2] / "lib"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def answer(self) -> dict[str, Any]:
        """The only answer of a check."""
        (answer,) = self.json["answers"]
        return answer


def form(*files: bytes, names: Sequence[str] = ()) -> tuple[bytes, dict[str, str]]:
    """A body of files, and its headers."""
    boundary, parts = uuid.uuid4().hex, []
    for number, data in enumerate(files):
        name = names[number] if names else f"image {number}"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


class Serving:
    """A command that serves, as a process; a context.

    Args:
        warehouse: its log lies beside it.
        command: of `dupelake`.
        says: a pattern of the line that tells that it listens.
        env: further variables.

    Attributes:
        found: what the pattern found.
    """

    def __init__(self, warehouse: Path, command: Sequence[str], says: str, env: Mapping[str, str] | None) -> None:
        environment = {**os.environ, "PYTHONPATH": str(LIB), **(env or {})}
        self._log = Path(warehouse).parent / f"{command[0]}-{uuid.uuid4().hex[:6]}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dupelake.cli", *command], stdout=log, stderr=log, env=environment
            )
        until = time.monotonic() + 120
        while not (found := re.search(says, self.log)):
            if time.monotonic() > until or self.process.poll() is not None:
                self.process.kill()
                raise AssertionError(f"the server did not start:\n{self.log}")
            time.sleep(0.1)
        self.found = found

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()


class Server(Serving):
    """A server of checks. `set` are options of the section `serve`."""

    def __init__(
        self,
        warehouse: Path,
        *arguments: str,
        host: str = "127.0.0.1",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        command = ["serve", "--warehouse", str(warehouse), "--port", "0", "--host", host, *arguments]
        for name, value in options.items():
            command += ["--set", f"serve.{name}={json.dumps(value)}"]
        super().__init__(warehouse, command, r"listens on http://\S+:(\d+),", env)
        self.host, self.port = "127.0.0.1", int(self.found[1])

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            connection.request(method, path, body, dict(headers or {}))
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self.ask("GET", path, headers=headers)

    def check(self, *files: bytes, query: str = "", headers: Mapping[str, str] | None = None) -> Reply:
        body, kind = form(*files)
        return self.ask("POST", f"/check{query}", body, {**kind, **(headers or {})})

    def post(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
        given = {"Content-Type": "application/json", **(headers or {})}
        return self.ask("POST", path, json.dumps(value).encode(), given)

    def workers(self) -> list[int]:
        """The processes that check."""
        starters = [pid for pid in children_of(self.process.pid) if b"forkserver" in _command(pid)]
        return [pid for starter in starters for pid in children_of(starter)]


def children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return sorted(found)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
