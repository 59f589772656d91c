"""Runs the application with uvicorn: address, token, signals."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dupelake.config import ServeConfig
from dupelake.errors import ConfigError, EnvironmentFault
from dupelake.lookup.index import Index, opened
from dupelake.serve.app import Served, build_app
from dupelake.serve.gate import MAX_HEAD_BYTES, App, is_loopback

TOKEN_VARIABLE = "DUPELAKE_TOKEN"  # noqa: S105 - a name
_LEAST_TOKEN = 16
_MAX_CONNECTIONS = 1_000


def token_of(cfg: ServeConfig, host: str, environment: MutableMapping[str, str]) -> str | None:
    """The token of a server, from its file or the environment, whence it is removed; None on loopback without one.

    Raises:
        ConfigError: the file cannot be read, the token is too short, or there is none and others can reach the host.
    """
    given = environment.pop(TOKEN_VARIABLE, "").strip()
    if cfg.token_file:
        try:
            given = Path(cfg.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"serve.token_file: {cfg.token_file} cannot be read ({error})"]) from error
    where = f"serve.token_file {cfg.token_file}" if cfg.token_file else TOKEN_VARIABLE
    if (cfg.token_file or given) and (len(given) < _LEAST_TOKEN or not given.isascii() or not given.isprintable()):
        raise ConfigError(
            [f"{where}: give a token of {_LEAST_TOKEN} or more ASCII characters, such as that of: openssl rand -hex 32"]
        )
    if not given and not is_loopback(host):
        raise ConfigError(
            [
                f"--host {host}: others can reach it, so requests must carry a token; set serve.token_file or "
                f"{TOKEN_VARIABLE}, or leave --host out"
            ]
        )
    return given or None


class _Protocol(H11Protocol):
    """Closes a connection whose next request does not begin in time; uvicorn waits for its headers without end."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    @property
    def _is_between(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect(self) -> None:
        if not self._is_between and self._late is not None:
            self._late.cancel()
            self._late = None
        elif self._is_between and self._late is None:
            self._late = self.loop.call_later(self.config.timeout_graceful_shutdown or 1, self._end)

    def _end(self) -> None:
        self._late = None
        if self._is_between:
            self.transport.close()


class _Server(uvicorn.Server):
    """Says where it listens, and takes a signal to stop as the end of its work, not as a fault."""

    greeting = "{url}"

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        sys.stderr.write(f"{self.greeting.format(url=f'http://{shown}:{port}')}\n")
        sys.stderr.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def run(warehouse: str, folder: Path, cfg: ServeConfig, host: str, port: int, n_processes: int) -> int:
    """Serve checks until a signal; returns the exit code.

    Raises:
        ConfigError: the token is missing or bad.
        VersionMixError: there is no index, or it is of other versions.
        EnvironmentFault: the address cannot be had, or a process does not start.
    """
    token = token_of(cfg, host, os.environ)
    opened(folder, Index).close()  # refused here, with the command that mends it
    app = build_app(Served(warehouse, folder, cfg, n_processes, token))
    # A browser has no token to show, so /docs opens only where none is needed.
    pages = ", its pages on /docs" if token is None else ", requests need the token"
    if not listen(app, cfg, host, port, f"dupelake serve: listens on {{url}}{pages}"):
        raise EnvironmentFault("the processes that check images did not start; the lines above say why")
    return 0


def listen(app: App, cfg: ServeConfig, host: str, port: int, greeting: str) -> bool:
    """Serve an application until a signal; returns whether it ever started.

    Args:
        app: the application, behind its gate.
        cfg: `timeout_s` is read.
        host: address to listen on.
        port: 0 takes a free one.
        greeting: the line that says where it listens, with {url}.

    Raises:
        EnvironmentFault: the address cannot be had.
    """
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="asyncio",
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            # also the time of the headers (_Protocol)
            timeout_graceful_shutdown=max(1, round(cfg.timeout_s)),
        )
    )
    server.greeting = greeting
    try:
        server.run()
    except SystemExit as error:  # uvicorn has said why
        raise EnvironmentFault(f"--host {host} --port {port}: cannot listen there") from error
    return bool(server.started)
