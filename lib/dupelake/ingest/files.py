"""File ids: equal for all names (paths, links, URIs) of one file.

Only one direction of error is safe. If two files with equal bytes get one id, a copy is kept that could be removed. If
one file got two ids, it could be marked as a copy of itself and removed.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from urllib.parse import quote

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)(.*)", re.DOTALL)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"  # reserved characters, and the percent sign of escapes
# Connectors of one store: they name the same objects.
_STORE = {"http": "https", "s3": "s3a", "s3n": "s3a", "abfs": "abfss", "wasb": "wasbs"}
_PORTS = {"https": ("80", "443"), "hdfs": ("8020",)}
_DIGITS = 32


def local_file_id(descriptor: int) -> str:
    """The id of an open local file: its file system and its inode, for any name of the file.

    The file system is identified by its id (`statvfs`), because device numbers differ between machines and mounts. FUSE
    inode numbers are synthetic, so files there are identified by their path without links.

    Args:
        descriptor: of the open file.

    Raises:
        OSError: the file's state cannot be read.
    """
    info = os.fstat(descriptor)
    if info.st_ino == 0 or _has_synthetic_inodes(info.st_dev):
        try:
            return f"path:{_digest(os.fsencode(os.readlink(f'/proc/self/fd/{descriptor}')))}"
        except OSError:  # no /proc
            pass
    try:
        system = os.fstatvfs(descriptor).f_fsid
    except OSError:
        system = info.st_dev
    return f"inode:{system:x}:{info.st_ino:x}"


def remote_file_id(uri: str) -> str:
    """The id of a remote object: a digest of `normal_remote`."""
    return f"uri:{_digest(normal_remote(uri).encode('utf-8', 'surrogatepass'))}"


def normal_remote(uri: str) -> str:
    """The normal form of a URI of a remote object.

    Scheme and host are in lower case, connectors of one store share one scheme, and the default port is dropped. A web
    URI is normalised by RFC 3986: dot segments, escapes of unreserved characters, no fragment, no user. In other URIs
    Hadoop's rules hold: nothing is an escape; `//`, `.` and `..` are folded.

    Args:
        uri: with a scheme and `://`; anything else is returned unchanged.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return uri
    scheme, authority, rest = match.groups()
    scheme = _STORE.get(scheme.lower(), scheme.lower())
    user, at, host = authority.rpartition("@")
    host, colon, port = host.partition(":") if not host.startswith("[") else (host, "", "")
    host = host.lower().rstrip(".")
    if colon and port not in ("", *_PORTS.get(scheme, ())):
        host += f":{port}"
    if scheme != "https":  # the part before @ is a container in abfss, a user in other schemes
        kept = "" if scheme == "s3a" else user + at
        return f"{scheme}://{kept}{host}{_folded(rest, empty_counts=False)}"
    path, question, query = rest.partition("#")[0].partition("?")
    return f"https://{host}{_folded(_escaped(path), empty_counts=True)}{question}{_escaped(query)}"


def _escaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        letter = chr(int(match[1], 16))
        return letter if letter in _UNRESERVED else match[0].upper()

    return quote(_ESCAPE.sub(plain, text), safe=_KEPT_CHARACTERS, errors="surrogatepass")


def _folded(path: str, *, empty_counts: bool) -> str:
    """A path without `.` and `..`, and without empty segments unless `empty_counts`."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != "." and (segment or empty_counts):
            kept.append(segment)
    if empty_counts and segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


@lru_cache(maxsize=1024)
def _has_synthetic_inodes(device: int) -> bool:
    """Whether a device is a FUSE file system without a disk (object stores, sshfs)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                fields = line.split()
                if fields[2] == number:
                    kind = fields[fields.index("-") + 1]
                    return kind == "fuse" or kind.startswith("fuse.")
    except (OSError, IndexError, ValueError):
        pass
    return False


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
