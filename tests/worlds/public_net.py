"""In a network namespace: a web server on a public address, one on loopback, and `dupelake serve` with URLs allowed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pictures import photograph
from serving import Server, encoded

from dupelake.config import ServeConfig
from dupelake.ingest.failure import Failure
from dupelake.serve.given import fetched

PUBLIC = "93.184.216.34"
PICTURE = encoded(photograph("chelsea.png", 250), "JPEG", quality=80)
ASKED: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.server.server_address[0] != PUBLIC:
            ASKED.append(self.path)
        where = {"/to": "/picture", "/in": "http://127.0.0.1:81/secret", "/file": "file:///etc/passwd"}.get(self.path)
        self.send_response(302 if where else 404 if self.path == "/missing" else 200)
        if where:
            self.send_header("Location", where)
        self.end_headers()
        if self.path == "/picture":
            self.wfile.write(PICTURE)
        for _ in range({"/endless": 10_000, "/drip": 100}.get(self.path, 0)):
            self.wfile.write(b"x" * (1 if self.path == "/drip" else 65_536))
            time.sleep(0.2 if self.path == "/drip" else 0)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    for words in (["link", "set", "lo", "up"], ["addr", "add", f"{PUBLIC}/32", "dev", "lo"]):
        subprocess.run(["ip", *words], check=True)
    for address, port in ((PUBLIC, 80), ("127.0.0.1", 81), ("127.0.0.1", 80)):
        service = ThreadingHTTPServer((address, port), Handler)
        threading.Thread(target=service.serve_forever, daemon=True).start()
    found: dict[str, object] = {}
    paths = {
        "picture": "/picture",
        "redirect to a picture": "/to",
        "redirect to loopback": "/in",
        "endless": "/endless",
    }
    paths |= {"redirect to a file": "/file", "missing": "/missing", "drip": "/drip"}
    options = {"fetch_urls": True, "timeout_s": 5, "max_bytes": 2_000_000}
    with Server(Path(sys.argv[1]), "--processes", "1", **options) as server:
        for name, path in paths.items():
            reply = server.post("/check", {"url": f"http://{PUBLIC}{path}"})
            found[name] = [reply.status, reply.answer["reason"] or reply.answer["status"]]
    found |= rebinding()
    found["asked on loopback"] = ASKED
    print(json.dumps(found))  # noqa: T201


def rebinding() -> dict[str, object]:
    """A name that has another address when it is asked again."""
    cfg, questions = ServeConfig(timeout_s=5), []

    def lying(first: str, then: str) -> bytes | Failure:
        questions.clear()

        def resolve(host: str, port: int) -> list[str]:
            questions.append(host)
            return [first if len(questions) == 1 else then]

        return fetched("http://rebind.example/picture", cfg, resolve=resolve)

    out: dict[str, object] = {}
    if lying(PUBLIC, "127.0.0.1") == PICTURE and len(questions) == 1:
        out["rebinding"] = "the picture, and one question to the resolver"
    refused = lying("127.0.0.1", PUBLIC)
    out["rebinding, the other way"] = getattr(refused, "reason", "read")
    return out


if __name__ == "__main__":
    main()
