"""The file of an image for the browser: only the very bytes that a night read and hashed as a picture."""

from __future__ import annotations

import os
from dataclasses import replace

from dupelake.config import Config
from dupelake.fingerprint.fingerprint import content_id
from dupelake.ingest.access import Access, open_local
from dupelake.ingest.failure import Failure
from dupelake.ingest.uris import local_path
from dupelake.warehouse.reader import Reader, quoted
from dupelake.warehouse.rules import LIVE

# GIF is left out: a browser would play it, and the pair was aligned on its first frame.
_MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "AVIF": "image/avif", "BMP": "image/bmp"}
_MAX_BYTES = 64 << 20

Picture = tuple[bytes | None, str]


def original_of(reader: Reader, image_id: str, content: str | None = None) -> Picture:
    """(bytes, type) of a live image; no bytes where the stored thumbnail must do.

    That is so where the file is not on this machine, cannot be read, is larger than 64 MiB, has a format that browsers
    do not show, or no longer holds the bytes that were compared. It is so, too, where `content` is given, and a night
    has read other bytes than these of the image.
    """
    where = f"image_id = {quoted(image_id)} AND {LIVE}"
    rows = reader.table("images", ("uri", "content_id", "byte_size", "format"), where).to_pylist()
    if not rows or content not in (None, rows[0]["content_id"]):
        return None, ""
    row = rows[0]
    kind, path = _MIME.get(row["format"] or ""), local_path(row["uri"] or "")
    if kind is None or path is None or not 0 < (row["byte_size"] or 0) <= _MAX_BYTES:
        return None, ""
    data = _read(path, row["byte_size"])
    return (data, kind) if data is not None and content_id(data) == row["content_id"] else (None, "")


def _read(path: str, n_bytes: int) -> bytes | None:
    """The bytes of a regular file of exactly this size, outside of folders of the system; else None."""
    # The digest decides what is shown, so every folder may be named; those of the system stay closed all the same.
    access = Access(replace(Config().fetch, allowed_roots=("/",)))
    try:
        opened = open_local(path, access)
        if isinstance(opened, Failure):
            return None
        with os.fdopen(opened, "rb") as file:
            if os.fstat(opened).st_size != n_bytes:
                return None
            return file.read(n_bytes)
    except (OSError, ValueError):  # the latter: a NUL byte in the name
        return None
