"""Which URIs are files of this machine, and which spellings are one.

stages.fetch.is_remote says the former in Spark; a test holds them together.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*@)?([^/?#@]*)(.*)", re.DOTALL)
_DEFAULT_PORTS = {"http": ":80", "https": ":443", "hdfs": ":8020"}
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


def plain_uri(uri: str) -> str:
    """One spelling for all spellings of a URI that cannot mean two things.

    Local: `file:` URIs become paths, percent-decoded where that gives text; `//` and `/./` are folded, `..` is not, for
    a link may stand before it. Remote: scheme and host in lower case, no default port; of what is no web URI, `//`, `.`
    and `..` are folded, as Hadoop does. Case of paths, queries and escapes stay.

    Args:
        uri: as a manifest gives it; relative paths come back as they are.
    """
    match = _FILE.match(uri)
    if match:
        path = unquote_to_bytes(uri[match.end() :])
        try:
            return _folded(path.decode("utf-8"))
        except UnicodeDecodeError:
            return "file://" + _folded(uri[match.end() :])
    if uri.startswith("/"):
        return _folded(uri)
    remote = _REMOTE.fullmatch(uri)
    if remote is None or uri[:5].lower() == "file:":
        return uri
    scheme, user, host, rest = remote.groups()
    scheme = scheme.lower()
    place = f"{scheme}://{user or ''}{host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, ' '))}"
    if scheme in ("http", "https"):
        return place + rest
    return place + _without_parents(_folded(rest))


def _folded(path: str) -> str:
    if "//" not in path and "/." not in path:
        return path
    return re.sub(r"(/\.)+(?=/|\Z)", "", re.sub("/+", "/", path))


def _without_parents(path: str) -> str:
    if "/.." not in path:
        return path
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        else:
            kept.append(segment)
    return "/" + "/".join(kept)
