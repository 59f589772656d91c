"""What each request passes before the application: who asks, how many bytes, how long they take to come; counts.

Plain ASGI, so that a body is never held in memory to judge it.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from dupelake.serve.metrics import Metrics
from dupelake.serve.refused import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health", "/ready")
"""Paths that need no token."""
IS_TRUSTED = "dupelake.is_trusted"
"""Of the scope of ASGI: whether the request has the token, or needs none."""
DECISIONS = "/decisions"
"""The path that writes."""
MAX_HEAD_BYTES = 32_768
"""Of the path and the headers of a request."""
MAX_JSON_BYTES = 1_048_576
"""Of a body that is no form: JSON, which is parsed between all other requests."""
_LINGER_S = 2.0  # for the rest of a body, so that its sender reads the answer


class Gate:
    """Refuses requests before the application sees them, and cuts bodies that are too large or too slow.

    Args:
        app: the application.
        token: that each request must have; None if the server can only be reached from this machine.
        max_bytes: of a request.
        timeout_s: to receive a request.
        metrics: counts requests.
        open_paths: paths that need no token.
        writing: paths that write, or change what others get.
    """

    def __init__(
        self,
        app: App,
        token: str | None,
        max_bytes: int,
        timeout_s: float,
        metrics: Metrics,
        open_paths: Collection[str] = OPEN,
        writing: Collection[str] = (DECISIONS,),
    ) -> None:
        self._app, self._metrics, self._open, self._writing = app, metrics, open_paths, writing
        self._token = None if token is None else token.encode()
        self._max_bytes, self._timeout_s = max_bytes, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        headers = dict(reversed(scope["headers"]))  # of a name given twice the first, as in the application
        is_form = _kind_of(headers) == b"multipart/form-data"
        max_bytes = self._max_bytes if is_form else min(self._max_bytes, MAX_JSON_BYTES)
        body = _Body(receive, max_bytes, self._timeout_s)
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not await body.is_read():
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        try:
            self._permit(scope, headers, max_bytes)
            await self._app(scope, body, answer)
        except Refused as refused:
            await _refuse(refused, answer)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self._metrics.count(scope["method"], path, status, time.monotonic() - start)

    def _permit(self, scope: Scope, headers: Mapping[bytes, bytes], max_bytes: int) -> None:
        """Refuses who may not ask, and a body whose announced size is too large."""
        n_bytes = (
            len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(a) + len(b) for a, b in scope["headers"])
        )
        if n_bytes > MAX_HEAD_BYTES:  # uvicorn limits only heads that come in several pieces
            raise Refused(431, "head_too_large", f"path and headers have more than {MAX_HEAD_BYTES} bytes")
        if self._token is None:
            # A page in a browser may reach loopback by a name of its own that it lets point there.
            if not is_loopback(_host_of(headers.get(b"host", b"").decode("latin-1"))):
                raise Refused(421, "other_host", "without a token the header Host must name this machine: localhost")
            # A page of another site may make a browser send a request, and the browser says so.
            origin = headers.get(b"origin")
            if origin is not None and not _is_of_this_machine(origin.decode("latin-1")):
                raise Refused(403, "other_origin", "without a token pages of other sites may not ask: header Origin")
        scope[IS_TRUSTED] = self._is_trusted(headers)
        if not scope[IS_TRUSTED] and scope["path"] not in self._open:
            raise Refused(401, "no_token", "give the header Authorization: Bearer TOKEN")
        size = headers.get(b"content-length", b"0")
        if size.isdigit() and int(size) > max_bytes:
            raise _too_large(max_bytes)
        if scope["method"] == "POST" and scope["path"] in self._writing and _kind_of(headers) != b"application/json":
            # Of all types this one makes a browser ask first whether a page may send it.
            raise Refused(415, "other_type", "give Content-Type: application/json")

    def _is_trusted(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request has the token, or needs none."""
        if self._token is None:
            return True
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)


class _Body:
    """Receives a request: at most so many bytes, in so many seconds."""

    def __init__(self, receive: Receive, max_bytes: int, timeout_s: float) -> None:
        self._receive, self._max_bytes, self._timeout_s = receive, max_bytes, timeout_s
        self._until = time.monotonic() + timeout_s
        self._n_bytes = 0
        self._is_complete = self._is_late = False

    async def __call__(self) -> Message:
        if self._is_complete:
            return await self._receive()  # waits for the client to go
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
        except TimeoutError as error:
            self._is_late = True
            told = f"the request did not come within serve.timeout_s = {self._timeout_s:g} s"
            raise Refused(408, "too_slow", told) from error
        self._n_bytes += len(message.get("body", b""))
        self._is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        if self._n_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        return message

    async def is_read(self) -> bool:
        """Whether the body came to its end; what is left is read for a moment and thrown away."""
        until, left = time.monotonic() + _LINGER_S, self._max_bytes
        while not self._is_complete and not self._is_late and left > 0:
            try:
                message = await asyncio.wait_for(self._receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                break
            left -= len(message.get("body", b""))
            self._is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        return self._is_complete


def is_loopback(host: str) -> bool:
    """Whether a host, as an address or a name, is this machine alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_of_this_machine(origin: str) -> bool:
    try:
        return is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return False


def _kind_of(headers: Mapping[bytes, bytes]) -> bytes:
    """The content type without its parameters, in small letters."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _host_of(header: str) -> str:
    """The host of a header Host, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] or header


def _too_large(max_bytes: int) -> Refused:
    return Refused(413, "too_large", f"the request has more than {max_bytes} bytes (serve.max_bytes, of JSON 1 MiB)")


async def _refuse(refused: Refused, send: Send) -> None:
    body = json.dumps(refused.body()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers()}
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
