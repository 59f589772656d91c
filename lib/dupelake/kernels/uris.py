"""Which URIs are files of this machine. stages.fetch.is_remote says the same in Spark; a test holds them together."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_FILE = re.compile(r"file:(?://[^/]*(?=/)|(?=/(?!/)))", re.IGNORECASE)


def local_path(uri: str) -> str | None:
    """The path of a local file, or None when another filesystem has to read the URI.

    What has no `scheme://` is a path and taken to the letter: `a:b.jpg`, `100%25.jpg`, `C:x` are names. A `file:` URI
    (`file:/p`, `file:///p`, `file://host/p`; the host is ignored, as Hadoop does) is percent-decoded, bytes that are
    not UTF-8 included; a `%` without two hex digits, `#` and `?` stand for themselves.

    Args:
        uri: as a manifest gives it.
    """
    match = _FILE.match(uri)
    if match:
        return os.fsdecode(unquote_to_bytes(uri[match.end() :]))
    if _SCHEME.match(uri):
        # file://name without a path: no other filesystem will have it either, so it stays a (missing) local file.
        return uri if uri[:5].lower() == "file:" else None
    return uri
