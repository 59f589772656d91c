"""Local paths of URIs, and the plain form of a URI.

`is_remote` of ingest/fetch_stage.py has the rule of `local_path` in Spark; a test compares the two.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*@)?([^/?#@]*)(.*)", re.DOTALL)
_DEFAULT_PORTS = {"http": ":80", "https": ":443", "hdfs": ":8020"}
_FILE = re.compile(r"file:(?://[^/]*(?=/)|(?=/(?!/)))", re.IGNORECASE)


def local_path(uri: str) -> str | None:
    """The path of a local file, or None if the URI belongs to another filesystem.

    A URI without `scheme://` is a literal path: `a:b.jpg`, `100%25.jpg` and `C:x` are names. A `file:` URI (`file:/p`,
    `file:///p`, `file://host/p`; the host is ignored, as in Hadoop) is percent-decoded, also to bytes that are not
    UTF-8. In it `#`, `?` and a `%` without two hex digits are literal.

    Args:
        uri: as a manifest gives it.
    """
    match = _FILE.match(uri)
    if match:
        return os.fsdecode(unquote_to_bytes(uri[match.end() :]))
    if _SCHEME.match(uri):
        # file://name without a path belongs to no other filesystem, so it is a (missing) local file.
        return uri if uri[:5].lower() == "file:" else None
    return uri


def text_uri(path: str) -> str:
    """`path` as it is; the percent-encoded URI of the file where the name is not UTF-8, and so no text for a table."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return Path(os.path.abspath(path)).as_uri()
    return path


def plain_uri(uri: str) -> str:
    """The plain form of a URI: equal for spellings that certainly name the same object.

    Local: a `file:` URI becomes a path, percent-decoded if the result is text. `//` and `/./` are folded; `..` is not,
    because it may follow a link. Remote: scheme and host are in lower case, and the default port is dropped. Except in
    web URIs `//`, `.` and `..` are folded, as in Hadoop. The case of paths, queries and escapes are unchanged.

    Args:
        uri: as a manifest gives it; a relative path is returned unchanged.
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
