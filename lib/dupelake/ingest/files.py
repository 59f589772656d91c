"""Which file bytes were read from: several names of one file must not pass for several files.

An id says that two readings met one file. It errs to one side: where two files get one id, and have equal bytes too,
a copy is kept that could have gone; the other error would remove a file for its own sake.
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
_STAYS = "!#$%&'()*+,/:;=?@[]~"  # reserved characters, and the percent sign of escapes
# Connectors of one store: how it is reached says nothing about which object it is.
_STORE = {"http": "https", "s3": "s3a", "s3n": "s3a", "abfs": "abfss", "wasb": "wasbs"}
_PORTS = {"https": ("80", "443"), "hdfs": ("8020",)}
_DIGITS = 32


def local_file_id(descriptor: int) -> str:
    """The id of an open local file: its file system and its inode, whatever name it was opened by.

    The file system is named by its own id (`statvfs`), not by its device number: that one differs from machine to
    machine and from mount to mount. FUSE makes inode numbers up as it goes; there, the path without links counts.

    Args:
        descriptor: of the open file.

    Raises:
        OSError: the file's state cannot be read.
    """
    info = os.fstat(descriptor)
    if info.st_ino == 0 or _makes_inodes_up(info.st_dev):
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
    """One spelling for all spellings that name one remote object.

    Scheme and host in lower case, the connectors of one store under one scheme, no default port. A web URI is
    normalised as RFC 3986 has it: dot segments, escapes of unreserved characters, no fragment, no user. Of other URIs
    every character stands for itself, as Hadoop has it, which folds `//`, `.` and `..`.

    Args:
        uri: with a scheme and `://`; anything else comes back as it is.
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
    if scheme != "https":  # the part before @ may be a container (abfss); of the others it is a user
        kept = "" if scheme == "s3a" else user + at
        return f"{scheme}://{kept}{host}{_folded(rest, empty_counts=False)}"
    path, question, query = rest.partition("#")[0].partition("?")
    return f"https://{host}{_folded(_escaped(path), empty_counts=True)}{question}{_escaped(query)}"


def _escaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        letter = chr(int(match[1], 16))
        return letter if letter in _UNRESERVED else match[0].upper()

    return quote(_ESCAPE.sub(plain, text), safe=_STAYS, errors="surrogatepass")


def _folded(path: str, *, empty_counts: bool) -> str:
    """A path without `.` and `..`; without empty segments, unless they count."""
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
def _makes_inodes_up(device: int) -> bool:
    """Whether a device is a FUSE file system of no disk of its own (object stores, sshfs)."""
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
