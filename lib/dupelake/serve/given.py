"""The images of a request: files of a form, or a URL."""

from __future__ import annotations

import asyncio
import json
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
_READERS = ThreadPoolExecutor(16, "dupelake-fetch")


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
        return replace(found, message=f"more than serve.max_bytes ({cfg.max_bytes} bytes)")
    return found


def checked_text(text: str) -> str:
    """The text as it is.

    Raises:
        ValueError: it holds half a surrogate pair, which JSON can spell and no table, hash or URL can hold.
    """
    text.encode()
    return text


async def images_of(request: Request, cfg: ServeConfig) -> tuple[tuple[Item, ...], dict[int, Failure]]:
    """The images of a request, and the failures of those that could not be fetched, by place.

    Raises:
        Refused: the request has a fault, or URLs are not allowed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return tuple(await _files(request)), {}
    if kind == "application/json":
        return await _of_url(_url(await request.body()), cfg)
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


async def _of_url(url: str, cfg: ServeConfig) -> tuple[tuple[Item, ...], dict[int, Failure]]:
    if not cfg.fetch_urls:
        raise Refused(403, "no_urls", "this server reads no URLs (serve.fetch_urls); send the file")
    found = await asyncio.get_running_loop().run_in_executor(_READERS, lambda: fetched(url, cfg))
    if isinstance(found, Failure):
        return (Item(url, url, b""),), {0: found}
    return (Item(url, url, found),), {}
