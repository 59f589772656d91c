"""`dupelake review --serve`: the page, its pairs and pictures over HTTP. Who may ask is judged by serve/gate.py."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request

from dupelake.config import ServeConfig
from dupelake.errors import ConfigError
from dupelake.report.last_run import last_options
from dupelake.review.assets import MIME, SERVED_POLICY, served_page, text_of
from dupelake.review.cards import ACTIONS
from dupelake.review.desk import UNDO, Desk, Said
from dupelake.review.originals import original_of
from dupelake.serve.app import Text, add_errors, as_json
from dupelake.serve.gate import DECISIONS, OPEN, App, Gate
from dupelake.serve.metrics import Metrics
from dupelake.serve.refused import Refused, refusing_faults
from dupelake.serve.server import listen, token_of
from dupelake.version import __version__
from dupelake.warehouse.paths import known_local
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.schema import THUMBNAILS

LEASE = "/lease"
_STATIC = "/static/"
_KEPT = 2_000  # keys that one request may name
_THUMBNAILS = 512  # in memory, about 30 KB each
_HEADERS = {
    "Content-Security-Policy": SERVED_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # pages of other sites must not show the pictures
    "Cross-Origin-Opener-Policy": "same-origin",
}
_Name = Annotated[Text, Field(min_length=1, max_length=200)]
_Keys = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=_KEPT)]


class Lease(BaseModel):
    """A reviewer asks for pairs, and says which she still has."""

    model_config = ConfigDict(extra="forbid")
    session: _Name
    author: _Name
    n: Annotated[int, Field(ge=0, le=50)]
    held: _Keys
    skipped: _Keys


class Judged(BaseModel):
    """A verdict on a pair that was handed out."""

    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(max_length=64)]
    action: Literal[(*ACTIONS, UNDO)]  # type: ignore[valid-type]
    seen: Annotated[int, Field(ge=0)]


class Verdicts(BaseModel):
    """Verdicts of a reviewer, each on its own."""

    model_config = ConfigDict(extra="forbid")
    session: _Name
    author: _Name
    verdicts: Annotated[list[Judged], Field(min_length=1, max_length=50)]


@dataclass(frozen=True)
class Pages:
    """What the server shows.

    Attributes:
        desk: hands out the pairs.
        reader: of the warehouse.
        cfg: section `serve`.
        token: that requests must carry; None for none.
    """

    desk: Desk
    reader: Reader
    cfg: ServeConfig
    token: str | None


def serve_review(warehouse: str, cfg: ServeConfig, host: str, port: int, limit: int) -> int:
    """Serve the review of a local warehouse until a signal; returns the exit code.

    Raises:
        ConfigError: the warehouse is not local, or the token is missing or bad.
        NotFoundError: there is no warehouse, or no night has made its tables.
        EnvironmentFault: the address cannot be had.
    """
    folder = known_local(warehouse)
    if folder is None:
        told = "verdicts are written to local warehouses only; write a page with --out, and use `dupelake decide`"
        raise ConfigError([f"--warehouse {warehouse}: {told}"])
    token = token_of(cfg, host, os.environ)
    reader = Reader(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        told = f"user {os.getuid()} cannot write there; have its owner allow it, or write a page with --out"
        raise ConfigError([f"--warehouse {warehouse}: {told}"])
    desk = Desk(folder, last_options(reader), limit, cfg.timeout_s)
    app = build_app(Pages(desk, reader, cfg, token))
    says = "" if token is None else "; the page asks for the token"
    listen(app, cfg, host, port, f"dupelake review: open {{url}}/ in a browser{says}; Ctrl-C ends it")
    return 0


def build_app(pages: Pages) -> App:
    """The ASGI application, behind the gate of `dupelake serve`."""
    app = FastAPI(title="dupelake review", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BaseHTTPMiddleware, dispatch=_with_headers)
    add_errors(app)
    _add_page(app, pages.token)
    _add_verdicts(app, pages.desk)
    _add_pictures(app, pages.desk, pages.reader)
    open_paths = (*OPEN, "/", *(f"{_STATIC}{name}" for name in MIME))  # they hold nothing of the warehouse
    cfg = pages.cfg
    return Gate(app, pages.token, cfg.max_bytes, cfg.timeout_s, Metrics(), open_paths, (DECISIONS, LEASE))


async def _with_headers(request: Request, go_on: RequestResponseEndpoint) -> Response:
    reply = await go_on(request)
    for name, value in _HEADERS.items():
        reply.headers[name] = value
    reply.headers.setdefault("Cache-Control", "no-store")
    return reply


def _add_page(app: FastAPI, token: str | None) -> None:
    page = served_page(needs_token=token is not None)

    @app.get("/")
    def start() -> Response:
        return Response(page, media_type="text/html; charset=utf-8")

    @app.get(_STATIC + "{name}")
    def static(name: str) -> Response:
        if name not in MIME:
            raise Refused(404, "not_found", "there is no such file")
        return Response(text_of(name), media_type=MIME[name])

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}


def _add_verdicts(app: FastAPI, desk: Desk) -> None:
    @app.post(LEASE)
    def lease(given: Lease) -> Response:
        return as_json(desk.hand_out(given.session, given.author.strip(), given.n, given.skipped, given.held))

    @app.post(DECISIONS)
    def decisions(given: Verdicts) -> Response:
        said = [Said(one.key, one.action, one.seen) for one in given.verdicts]
        with refusing_faults():
            return as_json({"outcomes": desk.judge(given.session, given.author, said)})

    @app.get("/maps/{key}")
    def placed(key: str) -> Response:
        card = desk.card(key)
        if card is None:
            raise Refused(404, "not_found", "the pair is not in the queue")
        return as_json(desk.pictures.maps([card])[key])


def _add_pictures(app: FastAPI, desk: Desk, reader: Reader) -> None:
    @lru_cache(maxsize=_THUMBNAILS)
    def thumbnail_of(content_id: str, version: int) -> bytes | None:  # one that was purged is not in the next version
        return desk.pictures.thumbnails([content_id]).get(content_id)

    @app.get("/thumbnails/{content_id}")
    def thumbnail(content_id: str) -> Response:
        return _picture(thumbnail_of(content_id, reader.version(THUMBNAILS.name)), "image/jpeg")

    @app.get("/pictures/{image_id:path}")
    def picture(image_id: str, content: str | None = None) -> Response:
        reply = _picture(*original_of(reader, image_id, content))
        if content is None:  # the same address shows other bytes when the file got them
            reply.headers["Cache-Control"] = "no-store"
        return reply


def _picture(data: bytes | None, kind: str) -> Response:
    if data is None:
        return Response(status_code=204)  # no fault: the page shows the thumbnail, or says that there is none
    return Response(data, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})
