"""The application: its paths, and what they answer."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from dupelake.config import ServeConfig
from dupelake.errors import ConfigError, DupelakeError, QueryError, SchemaError
from dupelake.group.giving import WORDS, Added, Line, give
from dupelake.lookup.answer import FAILED
from dupelake.lookup.manifest import manifest_of
from dupelake.runtime.redaction import redact_uris
from dupelake.serve import examples
from dupelake.serve.book import DeltaBook
from dupelake.serve.gate import DECISIONS, IS_TRUSTED, App, Gate
from dupelake.serve.given import MAX_FETCHES, checked_text, images_of
from dupelake.serve.metrics import Metrics
from dupelake.serve.pool import Pool
from dupelake.serve.process import Job
from dupelake.serve.refused import Refused, refusing_faults
from dupelake.serve.stored import group_of, image_of
from dupelake.version import __version__
from dupelake.warehouse.paths import known_local

_MAX_DECIDING = 8  # requests that write verdicts at the same time; they wait for one lock
Text = Annotated[str, AfterValidator(checked_text)]
"""A text that can be stored."""
LongText = Annotated[Text, Field(max_length=8_000)]


@dataclass(frozen=True)
class Served:
    """What a server serves.

    Attributes:
        warehouse: folder or URI of the tables.
        index: folder of the index.
        cfg: section `serve`.
        n_processes: that check images.
        token: that requests must carry; None for none.
    """

    warehouse: str
    index: Path
    cfg: ServeConfig
    n_processes: int
    token: str | None


class Verdict(BaseModel):
    """One verdict, as a row of `dupelake decide --csv`."""

    model_config = ConfigDict(extra="forbid")
    image: Annotated[LongText, Field(description="image_id or uri")]
    verdict: Annotated[Text, Field(description=f"one of {', '.join(WORDS)}")]
    other: Annotated[LongText | None, Field(description="image_id or uri of the second image")] = None
    note: LongText | None = None


class Decisions(BaseModel):
    """Verdicts of one person; all are added, or none."""

    model_config = ConfigDict(extra="forbid")
    author: Annotated[Text, Field(min_length=1, max_length=200)]
    verdicts: Annotated[list[Verdict], Field(min_length=1, max_length=1_000)]
    again: Annotated[bool, Field(description="also add what the author's latest verdict says already")] = False


def build_app(served: Served) -> App:
    """The ASGI application. Its processes start and end with its lifespan."""
    cfg, metrics = served.cfg, Metrics()
    pool = Pool(served.index, served.n_processes, cfg.timeout_s, cfg.max_waiting)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await pool.start()
            yield
        finally:
            await pool.close()

    app = FastAPI(
        title="dupelake",
        version=__version__,
        description="Has the warehouse this picture? The answer is the decision of the next night.",
        lifespan=lifespan,
        redoc_url=None,
        responses={401: examples.REFUSED, 503: examples.REFUSED},
    )
    add_errors(app)
    _add_check(app, served, pool, metrics)
    _add_stored(app, served)
    _add_decisions(app, served)
    _add_state(app, served, pool, metrics)
    return Gate(app, served.token, cfg.max_bytes, cfg.timeout_s, metrics)


def _add_check(app: FastAPI, served: Served, pool: Pool, metrics: Metrics) -> None:
    # Slow web servers must not take the places of uploads.
    urls = threading.BoundedSemaphore(max(1, min(MAX_FETCHES, (served.n_processes + served.cfg.max_waiting) // 2)))

    @app.post("/check", responses=examples.CHECK_RESPONSES, openapi_extra={"requestBody": examples.CHECK_BODY})
    async def check(
        request: Request,
        scope: Annotated[str | None, Query(max_length=1_000, description="of the images")] = None,
        on_duplicate: Literal["report", "reject", "link"] = "report",
    ) -> Response:
        """What the next night would decide about each image, as `dupelake check --json`. Nothing is written.

        422 if no image could be read; where several are given, one that could not has the status `failed`.
        """
        with pool.place():
            items, failures = await images_of(request, served.cfg, urls)
            said = await pool.ask(Job(items, scope, on_duplicate, failures))
        for status, _ in said:
            metrics.count_image(status)
        body = '{"answers": [' + ", ".join(answer for _, answer in said) + "]}"
        code = 422 if all(status == FAILED for status, _ in said) else 200
        return Response(body, code, media_type="application/json")


def _add_stored(app: FastAPI, served: Served) -> None:
    @app.get("/groups/{group_id}", responses=examples.GROUP_RESPONSES)
    def group(group_id: str) -> Response:
        """A group of the night that the index shows, its keeper first."""
        return _found("group", group_of(served.index, group_id))

    @app.get("/images/{image_id:path}", responses=examples.IMAGE_RESPONSES)
    def image(image_id: str) -> Response:
        """An image that was read, and its place in a group."""
        return _found("image", image_of(served.index, image_id))


def _add_decisions(app: FastAPI, served: Served) -> None:
    places = threading.BoundedSemaphore(_MAX_DECIDING)

    @app.post(DECISIONS, responses=examples.DECISION_RESPONSES)
    def decisions(given: Annotated[Decisions, Body(openapi_examples=examples.DECISIONS)]) -> dict[str, int]:
        """Add verdicts of a person, as `dupelake decide`. The next run applies them."""
        if not places.acquire(blocking=False):
            raise Refused(429, "too_many", "others write verdicts; try again", retry_after_s=1)
        try:
            added = _decide(served, given)
        finally:
            places.release()
        return {"added": added.added, "known": added.known}


def _decide(served: Served, given: Decisions) -> Added:
    folder = known_local(served.warehouse)
    if folder is None:
        told = f"verdicts are written to local warehouses only, and {served.warehouse} is none; use `dupelake decide`"
        raise Refused(501, "not_local", told)
    lines = [
        Line.of(f"verdict {number}", one.image, one.verdict, one.other, one.note)
        for number, one in enumerate(given.verdicts, 1)
    ]
    book = DeltaBook(folder, served.cfg.timeout_s, served.index)
    with refusing_faults():
        try:
            return give(book, lines, given.author, again=given.again)
        except ConfigError as error:
            raise Refused(422, "bad_verdicts", "; ".join(error.faults), faults=error.faults) from error


def _add_state(app: FastAPI, served: Served, pool: Pool, metrics: Metrics) -> None:
    def of_index(read: Any) -> Any:
        def value() -> float:
            try:
                return float(read(manifest_of(served.index)))
            except (DupelakeError, OSError):
                return float("nan")

        return value

    metrics.gauge("dupelake_index_age_seconds", "Since the night of the newest index.", of_index(lambda m: m.age_s()))
    metrics.gauge("dupelake_index_contents", "Contents of the newest index.", of_index(lambda m: m.n_contents))
    metrics.gauge("dupelake_index_refused", "1 if the newest index is not used.", lambda: float(bool(pool.refused)))
    metrics.gauge("dupelake_checks_inside", "Requests to check that are at work or wait.", lambda: pool.n_inside)
    metrics.gauge("dupelake_processes_busy", "Processes that work on a request.", lambda: pool.n_busy)
    metrics.gauge("dupelake_processes", "Processes that check images.", lambda: served.n_processes)
    metrics.gauge("dupelake_process_restarts", "Processes that were replaced.", lambda: pool.n_restarts)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    @app.get("/ready", responses={503: examples.REFUSED})
    async def ready(request: Request) -> Response:
        """Whether images can be checked; and, for who has the token, against which night."""
        if not pool.any_lives:
            raise Refused(503, "not_ready", "no process that checks images runs", retry_after_s=5)
        refused = pool.refused
        try:
            shown = manifest_of(served.index).as_dict()
        except DupelakeError:
            if refused is None:
                if request.scope[IS_TRUSTED]:
                    raise
                raise Refused(503, "not_ready", "there is no usable index", retry_after_s=30) from None
            shown = None  # its manifest cannot be read; the processes have the old one open
        if not request.scope[IS_TRUSTED]:
            return as_json({"status": "ready"})
        return as_json({"status": "ready", "index": shown, "index_refused": refused and redact_uris(refused)})

    @app.get("/metrics")
    async def prometheus() -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def add_errors(app: FastAPI) -> None:
    """Answer refusals and faults with `Refused.body`."""

    async def answer(_: Request, error: Exception) -> Response:
        refused = error if isinstance(error, Refused) else _as_refused(error)
        given = error.headers if isinstance(error, HTTPException) else None  # such as Allow
        # In ASCII: the message may quote half a surrogate pair, which UTF-8 cannot hold.
        body = json.dumps(refused.body())
        return Response(body, refused.status, {**(given or {}), **refused.headers()}, "application/json")

    for kind in (Refused, RequestValidationError, HTTPException, ClientDisconnect, DupelakeError):
        app.add_exception_handler(kind, answer)


def _as_refused(error: Exception) -> Refused:
    if isinstance(error, RequestValidationError):
        faults = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        return Refused(422, "bad_request", "; ".join(faults)[:2_000])
    if isinstance(error.__cause__, Refused):  # raised by the gate while FastAPI read the body
        return error.__cause__
    if isinstance(error, (SchemaError, QueryError)):  # the server asks only questions of its own
        return Refused(500, "bad_table", str(error))
    if isinstance(error, HTTPException):
        return Refused(error.status_code, "bad_request", str(error.detail))
    if isinstance(error, ClientDisconnect):
        return Refused(400, "cut_off", "the request ended before its body did")
    return Refused(503, "not_ready", str(error), retry_after_s=30)


def _found(what: str, values: dict[str, Any] | None) -> Response:
    if values is None:
        raise Refused(404, "not_found", f"the index shows no {what} with this id")
    return as_json(values)


def as_json(values: dict[str, Any]) -> Response:
    """An answer in JSON; times are of ISO 8601."""
    return Response(json.dumps(values, default=lambda value: value.isoformat()), media_type="application/json")
