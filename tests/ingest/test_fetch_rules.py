"""Access rules for untrusted manifests: HTTP with servers of these tests on loopback, and local files.

Tests connect only to loopback: `connections` refuses everything else and records all attempts.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image
from pyspark.sql import Row, SparkSession

from dupelake.config import Config, FetchConfig, load_config
from dupelake.errors import ConfigError
from dupelake.fingerprint.stage import read_local
from dupelake.ingest import access as access_module
from dupelake.ingest import webread
from dupelake.ingest.access import Access, is_public, open_local, own_roots
from dupelake.ingest.failure import Failure
from dupelake.ingest.webread import WebReader, read_http
from dupelake.pipeline import hash as hash_job
from dupelake.pipeline import plan, refused
from dupelake.pipeline.options import HashOptions
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import IMAGES
from dupelake.warehouse.tables import Warehouse

LIMIT = 100_000
SECRET = b"bytes of a service that only this machine may reach"
ALLOWED = {"files.test", "other.test"}


class Handler(BaseHTTPRequestHandler):
    """Answers by path; all other paths give the picture of this server."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        server.requests.append((self.path, dict(self.headers)))
        path, _, rest = self.path.partition("?")
        if path == "/to":
            self.answer(302, location=unquote(rest).encode().decode("latin-1"))  # like servers, which send raw UTF-8
        elif path == "/loop":
            self.answer(307, location="/loop")
        elif path == "/hops":
            self.answer(303, location=f"/hops?{int(rest) - 1}" if int(rest) > 1 else "/picture")
        elif path in ("/drip", "/drip-headers"):
            self.drip(in_headers=path == "/drip-headers")
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.pour(b"x" * 65_536)
        elif path == "/endless-chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.pour(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        elif path == "/lies-small":  # announces less than it sends
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.pour(b"abcd")
        elif path == "/packed":
            self.answer(200, b"\x1f\x8b not asked for", encoding="gzip")
        else:
            self.answer(200, server.data)

    def answer(self, code: int, body: bytes = b"", location: str | None = None, encoding: str | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        if location is not None:
            self.send_header("Location", location)
        if encoding is not None:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, *, in_headers: bool) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if not in_headers:
            self.wfile.write(b"Content-Length: 5000\r\n\r\n")
        self.pour(b"X-A: b\r\n" if in_headers else b"x", pause=0.02)

    def pour(self, piece: bytes, pause: float = 0.0) -> None:
        try:
            while True:
                self.wfile.write(piece)
                time.sleep(pause)
        except OSError:  # the reader has closed the connection
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, data: bytes) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.data, self.accepted, self.requests = data, 0, []  # type: ignore[var-annotated]
        super().__init__((host, 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def get_request(self):
        self.accepted += 1
        return super().get_request()

    def handle_error(self, *_: object) -> None:
        pass

    @property
    def port(self) -> int:
        return self.server_port


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def start(host: str = "127.0.0.1", data: bytes = b"picture") -> Server:
        made.append(Server(host, data))
        return made[-1]

    yield start
    for server in made:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of attempted connections; those outside loopback fail before anything is sent."""
    tried: list[str] = []
    connect = socket.create_connection

    def checked(address, *args, **kwargs):
        tried.append(address[0])
        if address[0] != "::1" and not address[0].startswith("127."):
            raise OSError("unreachable, by the test")
        return connect(address, *args, **kwargs)

    monkeypatch.setattr(webread.socket, "create_connection", checked)
    return tried


def names(host: str, port: int) -> list[str]:
    """The DNS of the tests: two allowed names, the refused name `inside.test`; other names use the system."""
    return ["127.0.0.1"] if host in (*ALLOWED, "inside.test") else webread.resolve(host, port)


def rules(**options: object) -> Access:
    values = {"allowed_hosts": ("public", *sorted(ALLOWED)), "timeout_s": 5.0, "retries": 0, "backoff_ms": 1, **options}
    return Access(FetchConfig(**values))  # type: ignore[arg-type]


def read(uri: str, access: Access | None = None, limit: int = LIMIT) -> bytes | Failure:
    return read_http(uri, limit, access or rules(), resolve=names)


def reason(answer: bytes | Failure) -> str:
    return answer.reason if isinstance(answer, Failure) else f"read: {answer[:40]!r}"


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "localhost",
    "LOCALHOST.",
    "user:pw@127.0.0.1",
    "files.test@127.0.0.1",
    "files.test:80@127.0.0.1",
    "127\u30020\u30020\u30021",  # ideographic full stops
    "\uff11\uff12\uff17.0.0.1",  # full-width digits
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:0:0:1]",
    "0.0.0.0",
    "0",
    "[::]",
    "inside.test",
]


@pytest.mark.parametrize("way", ["direct", "redirected"])
def test_loopback_is_reached_by_no_spelling(serve, connections: list[str], way: str) -> None:
    files, inside = serve(), serve(data=SECRET)
    base = "" if way == "direct" else f"http://files.test:{files.port}/to?"
    for host in SPELLINGS:
        uri = f"{base}http://{host}:{inside.port}/secret"
        answer = read(uri)
        if host.endswith(".") and reason(answer) == "unreadable":  # not every system's resolver knows these
            continue
        assert reason(answer) == "not_allowed", host
        assert "fetch.allowed_hosts=[public, files.test, other.test, " in answer.message, "the fix is named"
    assert inside.accepted == 0
    assert set(connections) == ({"127.0.0.1"} if base else set()), "nothing but the allowed server was connected to"


SPECIAL = [
    "169.254.169.254",  # metadata of clouds
    "[fd00:ec2::254]",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[ff02::1]",
    "[::127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a00:1::]",
    "[2001:0:a00:1::]",
    "[2001:db8::1]",
    "0xa9.0xfe.0xa9.0xfe",
    "2852039166",
]


@pytest.mark.parametrize("way", ["direct", "redirected"])
def test_no_special_address_is_connected_to(serve, connections: list[str], way: str) -> None:
    files = serve()
    for host in SPECIAL:
        uri = f"http://{host}/latest/meta-data"
        answer = read(uri if way == "direct" else f"http://files.test:{files.port}/to?{uri}")
        assert reason(answer) == "not_allowed", host
    assert set(connections) <= {"127.0.0.1"}
    assert files.accepted == (0 if way == "direct" else len(SPECIAL))


def test_public_addresses_are_public() -> None:
    for text in ("93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::", "::ffff:8.8.8.8"):
        assert is_public(access_module.ipaddress.ip_address(text)), text


def test_every_address_of_a_name_is_judged(connections: list[str]) -> None:
    for addresses in (["93.184.216.34", "10.0.0.1"], ["10.0.0.1", "93.184.216.34"], ["93.184.216.34", "::1"]):
        answer = read_http("http://two.test/", LIMIT, rules(), resolve=lambda *_, found=addresses: found)
        assert reason(answer) == "not_allowed", addresses
    assert connections == []


def test_a_name_that_changes_between_check_and_connection_gains_nothing(serve, connections: list[str]) -> None:
    files, inside = serve(data=b"picture"), serve("127.0.0.2", SECRET)
    answers = iter(["127.0.0.1", "127.0.0.2", "127.0.0.2"])
    cfg = rules(allowed_hosts=("127.0.0.1",))
    got = read_http(f"http://rebind.test:{files.port}/", LIMIT, cfg, resolve=lambda *_: [next(answers)])
    assert (got, connections, inside.accepted) == (b"picture", ["127.0.0.1"], 0)
    got = read_http(f"http://rebind.test:{files.port}/", LIMIT, cfg, resolve=lambda *_: [next(answers)])
    assert (reason(got), connections) == ("not_allowed", ["127.0.0.1"]), "the second read resolves, and is judged, anew"


def test_a_redirect_to_the_same_name_is_judged_anew(serve) -> None:
    files = serve()
    answers = iter(["127.0.0.1", "127.0.0.2"])
    cfg = rules(allowed_hosts=("127.0.0.1",))
    uri = f"http://rebind.test:{files.port}/to?http://rebind.test:{files.port}/picture"
    assert reason(read_http(uri, LIMIT, cfg, resolve=lambda *_: [next(answers)])) == "not_allowed"
    assert [path for path, _ in files.requests] == [uri.partition(f"{files.port}")[2]]


def test_redirects_that_are_followed_and_those_that_are_not(serve) -> None:
    files, other = serve(), serve(data=b"the other's")
    at = f"http://files.test:{files.port}"
    assert read(f"{at}/to?http://other.test:{other.port}/x") == b"the other's"
    assert read(f"{at}/to?//other.test:{other.port}/x") == b"the other's"
    assert read(f"{at}/to?/picture") == b"picture"
    assert read(f"{at}/hops?5") == b"picture"
    assert reason(read(f"{at}/hops?6")) == "unreadable"
    seen = len(files.requests)
    assert reason(read(f"{at}/loop")) == "unreadable"
    assert len(files.requests) - seen == 6
    for where in ("file:///etc/passwd", "FILE:/etc/passwd", "ftp://files.test/x", "gopher://files.test/x", "data:,x"):
        assert reason(read(f"{at}/to?{where}")) == "not_allowed", where
    for where in ("http://[::1", "http://a\\@b/", "http://[::1%25lo]/", "http://\u2100.test/"):
        assert reason(read(f"{at}/to?{where}")) == "unreadable", where
    assert reason(read(f"{at}/to?https://files.test/", rules(allowed_schemes=("http",)))) == "not_allowed"


def test_requests_carry_no_secret_and_no_proxy_is_used(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    files, proxy = serve(), serve(data=SECRET)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert read(f"http://ana:secret@files.test:{files.port}/a b?q=%20#f") == b"picture"
    ((path, headers),) = files.requests
    assert (path, headers["Host"]) == ("/a%20b?q=%20", f"files.test:{files.port}")
    assert not {"authorization", "cookie"} & {name.lower() for name in headers}
    assert "secret" not in str(headers)
    assert proxy.accepted == 0


def test_no_line_of_a_request_can_be_added(serve) -> None:
    files = serve()
    assert read(f"http://files.test:{files.port}/x HTTP/1.1\r\nX-Evil: 1\r\n\r\n") == b"picture"
    ((path, headers),) = files.requests
    assert "X-Evil" not in headers
    assert path == "/x%20HTTP/1.1%0D%0AX-Evil:%201%0D%0A%0D%0A"


@pytest.mark.parametrize(
    "authority",
    [
        "127.0.0.1\\@files.test",
        "files.test\\.evil.test",
        "files.test%00.evil.test",
        "127.0.0.1%2f@",
        "",
        ":80",
        "[::1",
        "[::1%25lo]",
        "[fe80::1%lo]",
        "files.test:99999",
        "files.test:0",
        "files.test:80:80",
        "files test",
        "a\tb",
        "x" * 300,
    ],
)
def test_what_is_no_url_is_not_read(connections: list[str], authority: str) -> None:
    assert reason(read(f"http://{authority}/x")) == "unreadable"
    assert connections == []


@pytest.mark.parametrize("path", ["/drip", "/drip-headers"])
def test_a_drip_ends_at_the_deadline(serve, path: str) -> None:
    files = serve()
    start = time.monotonic()
    answer = read(f"http://files.test:{files.port}{path}", rules(timeout_s=0.4, retries=2))
    assert reason(answer) == "timeout"
    assert "fetch.timeout_s" in answer.message
    assert time.monotonic() - start < 10, "the answer has no end"
    assert files.accepted == 1, "another try would cost as much again"


def test_a_host_that_drips_does_not_hold_a_task_for_every_row(serve) -> None:
    slow, fast = serve(), serve()
    reader = WebReader(rules(timeout_s=0.1, allowed_hosts=("127.0.0.1",)))
    uris = [f"http://127.0.0.1:{slow.port}/drip?{at}" for at in range(10)]
    assert {reason(reader(uri, LIMIT)) for uri in uris[:2]} == {"timeout"}
    assert reader(f"http://127.0.0.1:{slow.port}/picture", LIMIT) == b"picture", "which counts from the start again"
    assert {reason(reader(uri, LIMIT)) for uri in uris} == {"timeout"}
    assert slow.accepted == 2 + 1 + 3
    assert reader(f"http://127.0.0.1:{fast.port}/picture", LIMIT) == b"picture"


def test_silence_and_redirects_share_one_deadline(serve) -> None:
    files = serve()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, says nothing
        start = time.monotonic()
        uri = f"http://files.test:{files.port}/to?http://other.test:{silent.getsockname()[1]}/"
        assert reason(read(uri, rules(timeout_s=1.0, retries=20))) == "timeout"
        assert reason(read(uri.replace("http://other", "https://other"), rules(timeout_s=1.0))) == "timeout", (
            "a handshake"
        )
    assert time.monotonic() - start < 10, "21 tries of a second each"


def test_bytes_are_counted_as_they_come(serve) -> None:
    files = serve(data=b"x" * (LIMIT + 1))
    at = f"http://files.test:{files.port}"
    for path in ("/endless", "/endless-chunks", "/announced"):
        assert reason(read(at + path)) == "too_large", path
    assert read(at + "/lies-small") == b"abcd"
    assert reason(read(at + "/packed")) == "unreadable"
    assert len(read(at + "/whole", limit=LIMIT + 1)) == LIMIT + 1


def test_ipv6_is_read_where_it_is_allowed(serve) -> None:
    try:
        server = serve("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    for entry in ("::1", "[::1]", "::/64"):
        assert read(f"http://[::1]:{server.port}/", rules(allowed_hosts=(entry,))) == b"picture"
    assert server.requests[0][1]["Host"] == f"[::1]:{server.port}"
    mapped = f"http://[::ffff:127.0.0.1]:{server.port}/"
    assert reason(read(mapped, rules(allowed_hosts=("::1",)))) == "not_allowed"


def test_hosts_by_name_suffix_address_and_network(serve) -> None:
    files = serve()
    for entry in ("files.test", "FILES.test.", "*.test", "127.0.0.1", "127.0.0.0/8", "127.0.0.1/32"):
        assert read(f"http://files.test:{files.port}/", rules(allowed_hosts=(entry,))) == b"picture", entry
    for entry in ("iles.test", "*.files.test", "test", "10.0.0.0/8", "::/0", "public"):
        assert reason(read(f"http://files.test:{files.port}/", rules(allowed_hosts=(entry,)))) == "not_allowed", entry
    assert reason(read("http://public/", rules(allowed_hosts=("other.test",)))) in ("unreadable", "not_allowed")
    public = read_http("http://x.test/", LIMIT, rules(allowed_hosts=("files.test",)), resolve=lambda *_: ["8.8.8.8"])
    assert reason(public) == "not_allowed", "without `public` only what is named is read"


def test_tls_asks_for_the_name_though_the_address_was_checked(serve, tmp_path: Path, monkeypatch) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=files.test", "-addext", "subjectAltName=DNS:files.test", "-keyout", str(key)]
    subprocess.run([*command, "-out", str(cert), "-days", "2"], check=True, capture_output=True)
    files, plain = serve(), serve(data=b"plain")
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    files.socket = context.wrap_socket(files.socket, server_side=True)
    trusting = ssl.create_default_context(cafile=str(cert))
    at = f"https://files.test:{files.port}"
    assert reason(read(at)) == "unreadable", "nobody vouches for the certificate"
    monkeypatch.setattr(webread, "_tls", lambda: trusting)
    assert read(f"{at}/x") == b"picture"
    assert set(asked) == {"files.test"}
    assert reason(read(f"https://other.test:{files.port}/x")) == "unreadable", "a certificate of another name"
    assert reason(read(f"{at}/to?http://files.test:{plain.port}/")) == "not_allowed", "from https to http"
    assert plain.accepted == 0


# Local files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a folder `root` that may be read, and files beside it that may not."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.jpg").write_bytes(b"fine")
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2" / "b.jpg").write_bytes(SECRET)
    (root / "link.jpg").symlink_to("a.jpg")
    (root / "out.jpg").symlink_to(tmp_path / "secret")
    (root / "away").symlink_to(tmp_path / "root-2")
    (root / "chain.jpg").symlink_to("out.jpg")
    (root / "self").symlink_to(".")
    os.mkfifo(root / "pipe.jpg")
    return root


def local(path: Path | str, *roots: Path | str, uri: str | None = None, own: tuple[str, ...] = ()) -> bytes | Failure:
    access = Access(FetchConfig(allowed_roots=tuple(map(str, roots)), retries=0), own)
    return read_local(str(path), uri or str(path), LIMIT, access)


def test_files_outside_of_the_roots_are_refused(tree: Path) -> None:
    for inside in ("a.jpg", "link.jpg", "sub/../a.jpg", "sub/../../root/a.jpg", "self/self/a.jpg"):
        assert local(f"{tree}/{inside}", tree) == b"fine", inside
    outside = (
        "out.jpg",
        "away/b.jpg",
        "chain.jpg",
        "../secret",
        "sub/../../secret",
        "../root-2/b.jpg",
        "self/../secret",
    )
    for path in outside:
        answer = local(f"{tree}/{path}", tree)
        assert reason(answer) == "not_allowed", path
        assert "fetch.allowed_roots=[" in answer.message
    for path in (
        "/etc/passwd",
        "/etc/shadow",
        "/proc/self/environ",
        "/proc/self/cwd/x",
        "/dev/zero",
        "/nowhere",
        "../x",
        "",
    ):
        assert reason(local(path, tree)) == "not_allowed", path
    assert reason(local(tree / "a.jpg")) == "not_allowed", "no root at all"
    assert local(tree / "out.jpg", tree, tree.parent / "secret") == SECRET, "a root may be one file"


def test_the_fix_in_the_message_is_the_fix(tree: Path) -> None:
    odd = tree.parent / "it's, [odd] Grüße"
    odd.mkdir()
    (odd / "a.jpg").write_bytes(b"odd")
    answer = local(odd / "a.jpg", tree)
    assert isinstance(answer, Failure)
    command = answer.message[answer.message.index("--set ") :]
    (value,) = subprocess.run(
        ["bash", "-c", f'set -- {command}; printf %s "$2"'], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    fetch = load_config(None, [value]).fetch
    assert fetch.allowed_roots == (str(tree), str(odd))
    assert read_local(str(odd / "a.jpg"), "", LIMIT, Access(fetch)) == b"odd"


def test_links_of_the_roots_themselves_are_followed(tree: Path) -> None:
    link = tree.parent / "mount"
    link.symlink_to(tree)
    assert local(link / "a.jpg", link) == local(tree / "a.jpg", link) == local(link / "a.jpg", tree) == b"fine"
    assert reason(local(link / "out.jpg", link)) == "not_allowed"


def test_file_uris_and_their_escapes(tree: Path) -> None:
    path = "/x/%2e%2e/../etc/passwd"
    for uri in (f"file://{tree}/sub/%2e%2e/%2E./secret", f"file:{tree}/..%2Fsecret", f"file://host{tree}/../secret"):
        local_path = access_module.local_path(uri)
        assert local_path is not None
        assert reason(local(local_path, tree, uri=uri)) == "not_allowed", uri
    literal = tree / "100%25.jpg"
    literal.write_bytes(b"literal")
    uri = f"file://{literal}"
    assert local(access_module.local_path(uri) or "", tree, uri=uri) == b"literal"
    assert reason(local(access_module.local_path(f"file://{path}") or "", tree, uri=f"file://{path}")) == "not_allowed"


def test_system_places_are_read_only_where_they_are_named(tree: Path) -> None:
    (tree / ".ssh").mkdir()
    (tree / ".ssh" / "id").write_bytes(SECRET)
    (tree / "key.jpg").symlink_to(".ssh/id")
    (tree / ".netrc").write_bytes(SECRET)
    assert [reason(local(tree / ".netrc", tree)), local(tree / ".netrc", tree / ".netrc")] == ["not_allowed", SECRET]
    for path in ("/etc/passwd", "/proc/self/environ", "/proc/self/root/etc/passwd", f"/proc/{os.getpid()}/maps"):
        answer = local(path, "/")
        assert reason(answer) == "not_allowed", path
        assert "is read only where an option names it" in answer.message
    for path in (tree / ".ssh" / "id", tree / "key.jpg"):
        assert [reason(local(path, root)) for root in ("/", tree)] == ["not_allowed"] * 2
        assert local(path, tree / ".ssh") == SECRET
    assert isinstance(local("/etc/passwd", "/", "/etc"), bytes)
    assert local(tree / "a.jpg", "/") == b"fine"


def test_pipes_devices_and_folders_are_never_opened(tree: Path) -> None:
    start = time.monotonic()
    answers = [reason(local(path, tree, "/dev")) for path in (tree / "pipe.jpg", "/dev/zero", "/dev/tty", tree / "sub")]
    assert answers == ["not_a_file"] * 4
    assert time.monotonic() - start < 10, "they have no end"


@pytest.mark.parametrize("without", [None, "O_PATH"])
def test_a_link_replaced_after_the_check_is_refused(tree: Path, monkeypatch, without: str | None) -> None:
    """The path is checked, then the link is replaced before the file is opened."""
    if without:
        monkeypatch.delattr(access_module.os, without)
    realpath = os.path.realpath
    victim = tree / "sub" / "swap.jpg"

    def racing(path, **options):
        found = realpath(path, **options)
        if str(path) == str(victim) and not victim.is_symlink():
            victim.unlink()
            victim.symlink_to(tree.parent / "secret")
        return found

    victim.write_bytes(b"fine")
    monkeypatch.setattr(access_module.os.path, "realpath", racing)
    answer = local(victim, tree)
    assert answer != SECRET
    assert isinstance(answer, Failure)
    monkeypatch.setattr(access_module.os.path, "realpath", realpath)
    for path, expected in ((tree / "a.jpg", b"fine"), (tree / "link.jpg", b"fine"), (tree / "nothing", "missing")):
        got = local(path, tree)
        assert (got if isinstance(got, bytes) else got.reason) == expected


def test_no_descriptor_is_left_open(tree: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    access = Access(FetchConfig(allowed_roots=(str(tree),)))
    for name in ("a.jpg", "out.jpg", "pipe.jpg", "sub"):
        opened = open_local(str(tree / name), access)
        if isinstance(opened, int):
            os.close(opened)
    assert len(os.listdir("/proc/self/fd")) == before


def test_own_roots_are_the_folders_of_manifests(tmp_path: Path) -> None:
    for folder in ("tree", "manifests", "table/_delta_log", "day.parquet", "written"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("m.csv", "manifests/a.csv", "written/_SUCCESS"):
        (tmp_path / file).write_text("uri\n")
    found = {name: own_roots([str(tmp_path / name)]) for name in ("tree", "manifests", "table", "day.parquet", "m.csv")}
    here = str(tmp_path)
    assert found["tree"] == (f"{here}/tree",)
    assert found["manifests"] == (f"{here}/manifests",)
    assert {found[name] for name in ("table", "day.parquet", "m.csv")} == {(here,)}
    assert own_roots([f"{here}/written", f"file://{here}/m.csv", "s3a://b/m.csv"]) == (here,)


def test_what_a_plan_can_tell(tree: Path) -> None:
    link = tree.parent / "mount"
    link.symlink_to(tree)
    access = Access(FetchConfig(allowed_schemes=("file", "s3a"), allowed_roots=("s3a://b",)), (str(link),))
    allowed = (f"{tree}/a", f"{link}/x/../a", f"file://{link}/a", "s3a://b/k", None)
    refused = (f"{link}/../a", "/etc/passwd", f"file:{link}/%2e%2e/a", "http://h/a", "HDFS://n/a", "relative.jpg")
    assert [uri for uri in (*allowed, *refused) if access.looks_refused(uri)] == list(refused)


def test_the_note_names_the_innermost_common_folder() -> None:
    note = functools.partial(Row, n=3, uri="u", option="roots")
    for least, most, wanted in (
        ("/data/x/a.png", "/data/y/b.png", "[/data]"),
        ("/data/x/a.png", "/data/x/a.png", "[/data/x]"),
        ("/etc/passwd", "/home/a.png", "[/etc, /home]"),
    ):
        assert f"--set 'fetch.allowed_roots={wanted}'" in refused._note(note(least=least, most=most), FetchConfig())


def test_rules_that_would_be_misread_are_refused() -> None:
    bad = {
        "allowed_schemes": ["HTTP", "http://", ""],
        "allowed_hosts": ["http://h", "h:80", "*", "0x7f.1", "2130706433", "300.1.1.1", "", "a b"],
        "allowed_roots": ["photos", "", "file:///data", "~/x", "s3a://"],
    }
    for option, values in bad.items():
        for value in values:
            with pytest.raises(ConfigError, match=f"fetch.{option}"):
                load_config(None, [f"fetch.{option}=['{value}']"])
    fine = "fetch.allowed_hosts=[public, images, '*.example.org', 10.0.0.0/8, '::1', '[fd00::]/8', 7-zip.org]"
    assert len(load_config(None, [fine]).fetch.allowed_hosts) == 7
    assert Config().fetch.allowed_roots == ()


@pytest.mark.long
def test_a_run_tells_what_it_refused_and_reads_it_once_it_may(
    spark: SparkSession, tmp_path: Path, serve, capsys: pytest.CaptureFixture[str]
) -> None:
    for at, place in enumerate(("m/in.png", "photos/x/a.png", "photos/y/b.png", "served.png")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 20 + at).convert("RGB").save(tmp_path / place)
    server = serve(data=(tmp_path / "served.png").read_bytes())
    remote = f"http://127.0.0.1:{server.port}/served.png"
    rows = ["m/in.png", "photos/x/a.png", "m/../photos/y/b.png"]
    lines = ["uri", *(str(tmp_path / row) for row in rows), "/etc/passwd", remote]
    (tmp_path / "m" / "m.csv").write_text("\n".join(lines) + "\n")
    root = str(tmp_path / "wh")
    call = [str(tmp_path / "m" / "m.csv"), "--warehouse", root]
    options = ["--set", "guard.timeout_s=30", "--set", "run.max_attempts=1"]
    config = load_config()
    asked = HashOptions((call[0],))
    planned = plan._rows(Run("plan", config, Warehouse(spark, root)), asked)
    assert planned == ({"new": 5}, 3, 0), "hosts are not looked up"
    hash_job.main([*call, *options])
    said = capsys.readouterr().out
    assert "4 not_allowed" in said
    assert server.accepted == 0
    assert "--set 'fetch.allowed_hosts=[public, 127.0.0.1]'" in said
    assert f"--set 'fetch.allowed_roots=[/etc, {tmp_path / 'photos' / 'y'}]' (and perhaps others)" in said
    assert said.count("NOTE") == 2
    allow = ["--set", f"fetch.allowed_roots=[{tmp_path / 'photos'}]", "--set", "fetch.allowed_hosts=[127.0.0.1]"]
    hash_job.main([*call, *options, *allow])
    images = {row.uri: row for row in Warehouse(spark, root).read(IMAGES).collect()}
    left = {uri for uri, row in images.items() if row.reason == "not_allowed"}
    assert left == {"/etc/passwd"}, "the rest was read on the second night, though max_attempts is 1"
    assert server.accepted == 1
    assert all(row.content_id is None and row.byte_size is None for uri, row in images.items() if uri in left)
