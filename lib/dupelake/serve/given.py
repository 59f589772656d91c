"""The images of a request: files of a form, or a URL."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from dupelake.config import FetchConfig, ServeConfig
from dupelake.fetch_rules import PUBLIC
from dupelake.ingest.access import NOT_ALLOWED, Access
from dupelake.ingest.failure import Failure
from dupelake.ingest.webread import Resolve, is_http, read_http, resolve
from dupelake.lookup.reading import Item
from dupelake.serve.refused import Refused

MAX_IMAGES = 32
"""Of one request."""
_MAX_URL = 8_000  # characters
MAX_FETCHES = 16
"""URLs that are read at the same time."""
_READERS = ThreadPoolExecutor(MAX_FETCHES, "dupelake-fetch")
_EXTRA_S = 1.0  # for what the deadline of a fetch does not cover, such as a slow resolver


def access_of(cfg: ServeConfig) -> Access:
    """The access rules of URLs that clients give: web servers with public addresses, and nothing else.

    What manifests may name (`fetch.allowed_*`) is not asked: their authors are others than the clients of a server.
    """
    fetch = FetchConfig(
        allowed_schemes=("http", "https"), allowed_hosts=(PUBLIC,), allowed_roots=(), timeout_s=cfg.timeout_s, retries=0
    )
    return Access(fetch)


def fetched(url: str, cfg: ServeConfig, *, resolve: Resolve = resolve) -> bytes | Failure:
    """The bytes of a URL, or why they are not read (ingest/webread.py)."""
    found = read_http(url, cfg.max_bytes, access_of(cfg), resolve=resolve)
    if isinstance(found, Failure) and found.reason == NOT_ALLOWED:
        told = "the URL, or where it redirects to, is no http(s) URL of a server with only public addresses"
        return replace(found, message=told)  # clients cannot set options
    if isinstance(found, Failure) and found.reason == "too_large":
        return replace(found, message=f"more than {cfg.max_bytes} bytes")
    if isinstance(found, Failure) and found.reason == "timeout":
        return _too_slow(cfg)
    return found


def checked_text(text: str) -> str:
    """The text as it is.

    Raises:
        ValueError: it holds half a surrogate pair, which JSON can spell and no table, hash or URL can hold.
    """
    text.encode()
    return text


async def images_of(
    request: Request, cfg: ServeConfig, urls: threading.BoundedSemaphore
) -> tuple[tuple[Item, ...], dict[int, Failure]]:
    """The images of a request, and the failures of those that could not be fetched, by place.

    Args:
        request: of a client.
        cfg: the limits.
        urls: how many URLs may be read at the same time.

    Raises:
        Refused: the request has a fault, or URLs are not allowed, or too many are read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return tuple(await _files(request)), {}
    if kind == "application/json":
        return await _of_url(_url(await request.body()), cfg, urls)
    raise Refused(
        415, "other_type", f"Content-Type is {kind or 'missing'}; give multipart/form-data, or application/json"
    )


async def _files(request: Request) -> list[Item]:
    try:
        async with request.form(max_files=MAX_IMAGES, max_fields=0) as form:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            items = [
                Item(checked_text(part.filename or f"image {number}"), None, await part.read())
                for number, part in enumerate(files, 1)
            ]
    except (HTTPException, UnicodeError) as error:  # the latter: a name of a file in an odd charset
        told = error.detail if isinstance(error, HTTPException) else str(error)
        raise Refused(422, "bad_form", f"{told} (at most {MAX_IMAGES} files, no other fields)") from error
    if not items:
        raise Refused(422, "no_image", "the form has no complete file; send at least one, as field `image`")
    return items


def _url(body: bytes) -> str:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(422, "bad_json", f"the body is no JSON: {error}"[:300]) from error
    url = given.get("url") if isinstance(given, dict) and given.keys() == {"url"} else None
    try:
        if isinstance(url, str) and is_http(checked_text(url)) and len(url) <= _MAX_URL:
            return url
    except ValueError:
        pass
    raise Refused(422, "no_url", 'give {"url": "https://..."}, an http or https URL')


def _too_slow(cfg: ServeConfig) -> Failure:
    return Failure("timeout", f"not read within {cfg.timeout_s:g} s")


async def _of_url(
    url: str, cfg: ServeConfig, urls: threading.BoundedSemaphore
) -> tuple[tuple[Item, ...], dict[int, Failure]]:
    if not cfg.fetch_urls:
        raise Refused(403, "no_urls", "this server reads no URLs (serve.fetch_urls); send the file")
    if not urls.acquire(blocking=False):
        raise Refused(429, "too_many", "too many URLs are being read; try again, or send the file", retry_after_s=1)
    fetch = _READERS.submit(fetched, url, cfg)
    fetch.add_done_callback(lambda _: urls.release())  # a thread that is given up still works
    try:
        found = await asyncio.wait_for(asyncio.wrap_future(fetch), cfg.timeout_s + _EXTRA_S)
    except TimeoutError:
        found = _too_slow(cfg)
    if isinstance(found, Failure):
        return (Item(url, url, b""),), {0: found}
    return (Item(url, url, found),), {}
