"""Images inside of other files: members of tar and ZIP archives, and rows of Parquet files. No Spark.

The URI of such an image is the file, `!/`, and the name of the member: `/data/shard-000.tar!/0001.jpg`. The part after
the last `!/` is the member. In it `%`, `!`, `#`, control characters, bytes that are not UTF-8, and the segments `.` and
`..` are percent-encoded, so that different members have different URIs, and that no reader takes one for a path. A
row of a Parquet file is named by its number in the file.

A tar member is read by its offset and size, a ZIP member by the offset of its header, a row by its number. Nothing is
unpacked to a disk, so no name can write anywhere.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

SEPARATOR = "!/"
ALL_ARCHIVES = "*!/"  # end of the source of a folder of archives: `/data/shards/*!/`; that of a tree is `/data/shards/`
UNSAFE_NAME, DUPLICATE, NOT_A_FILE, NESTED = "unsafe_name", "duplicate_member", "not_a_file", "nested_archive"
UNREADABLE_FILE = "unreadable_file"  # a Parquet file among others whose rows cannot be listed
ENCRYPTED, UNSUPPORTED, TOO_MANY = "encrypted", "unsupported_archive", "too_many_members"
MAX_MEMBERS = 2_000_000  # images of one archive; their index is held in the memory of one task, some 500 bytes each
MAX_NAME_BYTES = 1024
_SHOWN_BYTES = 200
_DIGITS = 16
_ESCAPED = re.compile(r"[%!#\x00-\x1f\x7f\ud800-\udfff]")
_DRIVE = re.compile(rb"[A-Za-z]:[\\/]")


@dataclass(frozen=True)
class MemberPlace:
    """Where the bytes of a member lie. The fields are those of `place` in schema.MANIFEST.

    Attributes:
        file: the archive or Parquet file, a local path.
        version: of the file when it was listed (see `version_of`).
        kind: tar, zip or parquet.
        column: of a Parquet file, as `image` or `image.bytes`.
        block: a number that is equal for members that lie beside each other.
        at: offset of the bytes (tar) or of the local header (ZIP), or the number of the row in its file.
        stored_bytes: bytes in the file; 0 for a row.
        byte_size: bytes of the image; 0 for a row.
        method: of compression, as ZIP numbers it.
        crc: CRC-32 of the bytes in a ZIP.
    """

    file: str
    version: str
    kind: str
    column: str = ""
    block: int = 0
    at: int = 0
    stored_bytes: int = 0
    byte_size: int = 0
    method: int = 0
    crc: int = 0


class Entry(NamedTuple):
    """One member of an index, as the archive names it; `fault` is None or `reason: message`."""

    name: bytes
    at: int
    stored_bytes: int
    byte_size: int
    method: int = 0
    crc: int = 0
    fault: str | None = None


class ArchiveFault(Exception):
    """An archive whose index cannot be read, or not to its end; `reason` is one word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def is_member(uri: str) -> bool:
    """Whether a URI names an image inside of another file, which cannot be moved, linked or removed on its own.

    A file in a folder whose name ends with an exclamation mark counts as a member too.
    """
    return SEPARATOR in uri


def container_of(uri: str) -> str:
    """The file that holds a member; a URI that is no member is returned unchanged."""
    return uri.rpartition(SEPARATOR)[0] or uri


def member_of(uri: str) -> str:
    """The name of a member in its archive; "" for a URI that is no member."""
    name = uri.rpartition(SEPARATOR)[2] if is_member(uri) else ""
    return unquote(name.partition("#")[0], errors="surrogateescape")


def member_file_id(file_id: str, uri: str) -> str:
    """The file id of a member: that of its archive, and its name there, which outlives a new version of it."""
    return file_id + SEPARATOR + uri.rpartition(SEPARATOR)[2]


def member_uri(container: str, name: str, nth: int = 0) -> str:
    """The URI of a member.

    Args:
        container: path or URI of the archive or file.
        name: plain text; see `plain_name`.
        nth: counts the earlier members of this name from 1; 0 is the last one, which tools unpack.
    """
    segments = [{".": "%2E", "..": "%2E%2E", "": "%2F"}.get(part, part) for part in _escape(name).split("/")]
    return container + SEPARATOR + "/".join(segments) + (f"#{nth}" if nth else "")


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda match: "".join(f"%{byte:02X}" for byte in _bytes(match[0])), text)


def _bytes(letter: str) -> bytes:
    return letter.encode("utf-8", "surrogateescape" if "\udc80" <= letter <= "\udcff" else "surrogatepass")


def plain_name(raw: bytes) -> tuple[str, str | None]:
    """The name of a member as text, without `.` and empty segments, and why it cannot be used, or None.

    Names that are absolute or contain `..` are refused: whoever unpacks the archive by them writes elsewhere.
    """
    if len(raw) > MAX_NAME_BYTES:
        digest = hashlib.sha256(raw).hexdigest()[:_DIGITS]
        shown = raw[:_SHOWN_BYTES].decode("utf-8", "ignore")
        return f"{shown}~{digest}", f"{UNSAFE_NAME}: its name has {len(raw)} bytes, more than {MAX_NAME_BYTES}"
    text = raw.decode("utf-8", "surrogateescape")
    parts = re.split(rb"[\\/]", raw)
    if raw.startswith((b"/", b"\\")) or _DRIVE.match(raw) or b".." in parts:
        return text, f"{UNSAFE_NAME}: its name leads out of the archive"
    return "/".join(part for part in text.split("/") if part not in ("", ".")), None


def is_hidden(name: str) -> bool:
    """Whether a member is hidden, as a file in a tree is: a segment starts with a dot, or it is a Mac's resource."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/") if part not in (".", ".."))


def version_of(info: os.stat_result) -> str:
    """The version of a file: size and time of change. Its members are read only in the version that was listed."""
    return f"{info.st_size}-{info.st_mtime_ns}"
