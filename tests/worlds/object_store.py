"""A folder served as a bucket: as much of S3's protocol as reading takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@contextmanager
def bucket(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(address, keys): the server's address, and the access key of each request so far. The bucket is called lake."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            keys.append(self.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0])
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            path = folder / unquote(url.path).removeprefix("/lake").lstrip("/")
            if "list-type" in query:
                self._send(
                    200, self._listing(query.get("prefix", [""])[0], query.get("start-after", [""])[0]), with_body
                )
            elif path.is_file():
                data = path.read_bytes()
                low, high = 0, len(data) - 1
                if asked := self.headers.get("Range"):
                    first, _, last = asked.removeprefix("bytes=").partition("-")
                    low, high = (int(first), min(high, int(last or high))) if first else (len(data) - int(last), high)
                self._send(
                    206 if asked else 200,
                    data[low : high + 1],
                    with_body,
                    f"bytes {low}-{high}/{len(data)}" if asked else "",
                )
            else:
                self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", with_body)

        def _listing(self, prefix: str, after: str) -> bytes:
            files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
            rows = "".join(
                f"<Contents><Key>{escape(name)}</Key><Size>{(folder / name).stat().st_size}</Size>"
                '<LastModified>2026-11-01T00:00:00.000Z</LastModified><ETag>"x"</ETag></Contents>'
                for name in files
                if name.startswith(prefix) and name > after
            )
            return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()

        def _send(self, status: int, body: bytes, with_body: bool, part: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
            self.send_header("ETag", '"x"')
            if part:
                self.send_header("Content-Range", part)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", keys
    finally:
        server.shutdown()
        server.server_close()
