"""Reads one object by HTTP; the manifest may come from an untrusted author.

This module follows redirects itself and checks each hop by the access rules (ingest/access.py). It resolves the host
name, checks every address, and connects to one of the checked addresses, so a DNS server cannot give another address
after the check (TLS still verifies the name). It uses no proxy, sends no password of a URL, keeps no cookie, and counts
bytes as received, without decompression. One deadline holds for all attempts.

An `http(s)://` URI is used as written: `%20` is a space, `?` starts the query, `#...` is dropped. Characters that a URI
must not contain (spaces, letters outside ASCII, a lone %) are percent-encoded first.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urljoin

from dupelake.ingest.access import NOT_ALLOWED, Access
from dupelake.ingest.failure import Failure, told

MAX_REDIRECTS = 5
_MAX_TIMEOUTS = 3  # consecutive timeouts of a host
_PORTS = {"http": 80, "https": 443}
_WAIT_S = 60.0  # for the next bytes; a retry may succeed
_CONNECT_TIMEOUT_S = 10.0
_CHUNK = 1 << 18
_MAX_PAUSE_S = 30.0
_HTTP = re.compile(r"https?://", re.IGNORECASE)
_PARTS = re.compile(r"(https?)://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(?:[^\\\s@]*@)?(\[[0-9A-Fa-f:.]+\]|[^@:\[\]]+)(?::([0-9]{0,5}))?")
_HOST = re.compile(r"[A-Za-z0-9_.-]+|\[.*\]")
_LEGAL = "-._~:/?@!$&'()*+,;="  # besides letters, digits and valid escapes
_TRANSIENT = {408, 425, 429}  # and all from 500 on
_PACKED = {"gzip", "x-gzip", "deflate", "compress", "br", "zstd"}

Resolve = Callable[[str, int], list[str]]


def is_http(uri: str) -> bool:
    """Whether this module reads a URI."""
    return _HTTP.match(uri) is not None


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host by the system's resolver; unusual spellings (0x7f.1, 2130706433) become plain addresses.

    Raises:
        OSError: there are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True)
class _Target:
    scheme: str
    host: str  # ASCII; an IPv6 address has no brackets
    port: int
    path: str  # with the query
    named: str  # value of the header Host


class _Refused(Exception):
    """Carries the failure of a file for which a retry is useless."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(reason, message)


class WebReader:
    """`read_http` for the rows of one task.

    A host with several consecutive timeouts is not contacted again, because a manifest may list thousands of its
    objects, and each would take fetch.timeout_s.

    Args:
        access: as in read_http.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._late: dict[str, int] = {}

    def __call__(self, uri: str, max_bytes: int) -> bytes | Failure:
        """The bytes or the failure, as in read_http."""
        parts = _PARTS.match(uri)
        host = parts.group(2).rpartition("@")[2].lower() if parts else ""
        late = self._late.get(host, 0)
        if late >= _MAX_TIMEOUTS:
            return Failure(
                "timeout", f"{host} was too slow {late} times in a row (fetch.timeout_s), so it was not asked"
            )
        answer = read_http(uri, max_bytes, self._access)
        self._late[host] = late + 1 if isinstance(answer, Failure) and answer.reason == "timeout" else 0
        return answer


def read_http(uri: str, max_bytes: int, access: Access, *, resolve: Resolve = resolve) -> bytes | Failure:
    """The bytes of one object.

    Args:
        uri: `http://` or `https://`.
        max_bytes: larger objects are refused (too_large) and not read to their end.
        access: the rules, the timeout for all attempts together, and the number and pause of retries after transient
            faults (resets, truncated streams, HTTP 408, 425, 429 and 5xx).
        resolve: function from name and port to addresses.

    Returns:
        The bytes, or the failure: not_allowed, missing, empty, too_large, timeout, unreadable.

    Raises:
        MemoryError: the object does not fit.
    """
    cfg = access.cfg
    until = time.monotonic() + cfg.timeout_s
    for attempt in range(cfg.retries + 1):
        try:
            data = _read(uri, max_bytes, access, until, resolve)
            return data if data else Failure("empty", "the object has no bytes", byte_size=0)
        except _Refused as refused:
            return refused.failure
        except (OSError, http.client.HTTPException) as error:
            pause, left = min(_MAX_PAUSE_S, cfg.backoff_ms / 1000 * 2**attempt), until - time.monotonic()
            if left <= 0 or (isinstance(error, TimeoutError) and left <= pause):
                return Failure("timeout", f"not read within fetch.timeout_s = {cfg.timeout_s:g} s")
            if attempt == cfg.retries or left <= pause or isinstance(error, ssl.SSLCertVerificationError):
                tries = f" (tried {attempt + 1} times)" if attempt else ""
                return Failure("unreadable", told(error) + tries)
            time.sleep(pause)
    raise AssertionError


def _read(uri: str, max_bytes: int, access: Access, until: float, resolve: Resolve) -> bytes:
    target = _target(uri)
    for _ in range(MAX_REDIRECTS + 1):
        _permit(access.refuse_scheme(target.scheme))
        addresses = _addresses(target, resolve)
        _permit(access.refuse_host(target.host, addresses))
        with _Connection(target, addresses, until) as connection:
            answer = connection.get()
            location = answer.getheader("Location")
            if answer.status // 100 == 3 and location:
                target = _next(target, location)
                continue
            _check_status(answer)
            return _body(answer, max_bytes)
    raise _Refused("unreadable", f"more than {MAX_REDIRECTS} redirects")


def _permit(refused: Failure | None) -> None:
    if refused is not None:
        raise _Refused(refused.reason, refused.message)


def _target(uri: str) -> _Target:
    """The parts of a URL: the host in ASCII, the path percent-encoded (existing escapes are kept), no user.

    A host that other readers may parse differently (a backslash, an escape or a blank in it) is refused.
    """
    parts = _PARTS.fullmatch(uri.partition("#")[0])
    authority = _AUTHORITY.fullmatch(parts.group(2)) if parts else None
    host = authority.group(1) if authority else ""
    with contextlib.suppress(UnicodeError):
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    if parts is None or authority is None or not _HOST.fullmatch(host):
        raise _Refused("unreadable", f"not a URL: {uri}"[:480])
    scheme = parts.group(1).lower()
    port = int(authority.group(2) or _PORTS[scheme])
    if not 0 < port < 65_536:
        raise _Refused("unreadable", f"not a URL: there is no port {port}")
    pieces = re.split(r"(%[0-9A-Fa-f]{2})", parts.group(3))  # every second one is an escape
    path = "".join(piece if at % 2 else quote(piece, safe=_LEGAL, errors="replace") for at, piece in enumerate(pieces))
    named = host if port == _PORTS[scheme] else f"{host}:{port}"
    path = path if path.startswith("/") else "/" + path
    return _Target(scheme, host.strip("[]"), port, path, named)


def _addresses(target: _Target, resolve: Resolve) -> list[str]:
    try:
        found = resolve(target.host, target.port)
    except UnicodeError as error:  # labels too long, or empty
        raise _Refused("unreadable", f"not a URL: {error}") from error
    if not found:
        raise OSError(f"{target.host} has no address")
    return found


def _next(target: _Target, location: str) -> _Target:
    """The target of a redirect: only http(s), and never from https to http."""
    with contextlib.suppress(UnicodeError):  # http.client reads headers as Latin-1
        location = location.encode("latin-1").decode("utf-8")
    try:
        url = urljoin(f"{target.scheme}://{target.named}{target.path}", location.strip())
    except ValueError as error:
        raise _Refused("unreadable", f"redirected to {location}: {error}"[:480]) from error
    if not is_http(url) or (target.scheme == "https" and not url.lower().startswith("https:")):
        raise _Refused(NOT_ALLOWED, f"redirected to {url}, which is not followed"[:480])
    return _target(url)


def _check_status(answer: http.client.HTTPResponse) -> None:
    said = f"HTTP {answer.status} {answer.reason}".strip()[:200]
    if answer.status in (404, 410):
        raise _Refused("missing", said)
    if answer.status in _TRANSIENT or answer.status >= 500:
        raise OSError(said)
    if answer.status not in (200, 203):
        raise _Refused("unreadable", said)
    packed = {word.strip().lower() for word in (answer.getheader("Content-Encoding") or "").split(",")} & _PACKED
    if packed:  # it was not requested, and the decompressed size is unknown
        raise _Refused("unreadable", f"the server sends it with Content-Encoding {', '.join(sorted(packed))}")


def _body(answer: http.client.HTTPResponse, max_bytes: int) -> bytes:
    expected = answer.length  # None if the server does not send it
    if expected is not None and expected > max_bytes:
        raise _Refused("too_large", f"{expected} bytes, more than decode.max_bytes ({max_bytes})")
    data = bytearray()
    while chunk := answer.read(_CHUNK):
        data += chunk
        if len(data) > max_bytes:
            raise _Refused("too_large", f"more than decode.max_bytes ({max_bytes} bytes)")
    if expected is not None and len(data) < expected:
        raise OSError(f"ended after {len(data)} of {expected} bytes")
    return bytes(data)


class _Connection:
    """One request to one of the checked addresses; always closed at the end."""

    def __init__(self, target: _Target, addresses: list[str], until: float) -> None:
        self._target = target
        self._until = until
        self._answer: http.client.HTTPResponse | None = None
        self._socket = self._connect(addresses)

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        if self._answer is not None:
            self._answer.close()
        self._socket.close()

    def _connect(self, addresses: list[str]) -> socket.socket:
        error: OSError | None = None
        for address in addresses:
            try:
                plain = socket.create_connection((address, self._target.port), min(_CONNECT_TIMEOUT_S, self._left()))
            except OSError as fault:
                error = fault
                continue
            if self._target.scheme == "http":
                return plain
            try:
                plain.settimeout(self._left())
                return _tls().wrap_socket(plain, server_hostname=self._target.host.rstrip("."))
            except BaseException:
                plain.close()
                raise
        raise error or OSError("no address")

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for reading is over")
        return left

    def get(self) -> http.client.HTTPResponse:
        lines = (
            f"GET {self._target.path} HTTP/1.1",
            f"Host: {self._target.named}",
            "User-Agent: dupelake",
            "Accept: image/*, */*;q=0.5",
            "Accept-Encoding: identity",
            "Connection: close",
        )
        self._socket.settimeout(self._left())
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
        self._answer = http.client.HTTPResponse(_Stream(self._socket, self._left), method="GET")  # type: ignore[arg-type]
        self._answer.begin()
        return self._answer


class _Stream(io.RawIOBase):
    """The bytes that a socket receives; each wait is bounded by the remaining time."""

    def __init__(self, connected: socket.socket, left: Callable[[], float]) -> None:
        self._connected = connected
        self._left = left

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(self, 1 << 16)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connected.settimeout(min(_WAIT_S, self._left()))
        return self._connected.recv_into(buffer)


@cache
def _tls() -> ssl.SSLContext:
    """A context that verifies names and certificates by the system's authorities, or those of SSL_CERT_FILE."""
    return ssl.create_default_context()
