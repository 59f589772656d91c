"""The index of a ZIP archive by its central directory, and the bytes of one member. No Spark.

Python's `zipfile` is not used: it holds the whole directory, and an object of a kilobyte for each member.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from dupelake.ingest.failure import Failure
from dupelake.ingest.members import (
    ENCRYPTED,
    NOT_A_FILE,
    TOO_MANY,
    UNSUPPORTED,
    ArchiveFault,
    Entry,
    MemberPlace,
)
from dupelake.ingest.tars import Read

_END = struct.Struct("<4sHHHHIIH")
_END_64_LOCATOR = struct.Struct("<4sIQI")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_DIRECTORY = struct.Struct("<4sBBHHHHHIIIHHHHHII")
_LOCAL_BYTES = 30
_MAX_COMMENT_BYTES = 65_535
_CHUNK = 1 << 20
_LARGEST_ENTRY = _DIRECTORY.size + 3 * 0xFFFF
_MAX_DIRECTORY_ENTRIES = 20_000_000
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_LARGEST_SIZE = (1 << 63) - 1  # of `byte_size` in schema.MANIFEST
_MOST_OVERHEAD = 65_536  # bytes by which a deflated member may exceed its size
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 99: "AES"}


def zip_entries(read: Read, size: int) -> Iterator[Entry]:
    """The members of a ZIP archive but folders, in the order of its directory; `at` is that of the local header.

    Args:
        read: reads the archive.
        size: of the archive in bytes.

    Raises:
        ArchiveFault: it is no ZIP archive, is cut off or of several files, or its directory is damaged; earlier members
            are given.
    """
    start, n_bytes, n_entries, modulus, shift = _directory(read, size)
    held, first, at, end = b"", 0, start, start + n_bytes  # `first` is where the next entry begins in `held`
    nth = 0
    while True:
        if len(held) - first < _LARGEST_ENTRY and at < end:
            more = read(at, min(_CHUNK, end - at))
            at = at + len(more) if more else end
            held, first = held[first:] + more, 0
        if len(held) - first < _DIRECTORY.size or held[first : first + 4] != b"PK\1\2":
            break
        if nth == _MAX_DIRECTORY_ENTRIES:
            raise ArchiveFault(TOO_MANY, f"more than {_MAX_DIRECTORY_ENTRIES} members")
        nth += 1
        entry, length = _entry(held, first, start, shift)
        first += length
        if not entry.name.endswith((b"/", b"\\")):
            yield entry
    if nth % modulus != n_entries:
        raise ArchiveFault("truncated", f"its directory has {nth} members, but its end names {n_entries}")


def _directory(read: Read, size: int) -> tuple[int, int, int, int, int]:
    """(start, bytes, entries modulo a number, this number, bytes before the archive proper) of the central directory.

    Writers without ZIP64 note 16 bits of the number of entries, however many there are.
    """
    tail_at = max(0, size - _MAX_COMMENT_BYTES - _END.size)
    tail = read(tail_at, size - tail_at)
    found = tail.rfind(b"PK\5\6")
    while found >= 0 and found + _END.size + int.from_bytes(tail[found + 20 : found + 22], "little") > len(tail):
        found = tail.rfind(b"PK\5\6", 0, found)
    if found < 0:
        is_zip = read(0, 4) == b"PK\3\4"
        raise ArchiveFault(*(("truncated", "it is cut off: the directory at its end is missing") if is_zip else
                             ("undecodable", "it is no ZIP archive")))  # fmt: skip
    _, disk, first_disk, _, n_entries, n_bytes, offset, _ = _END.unpack_from(tail, found)
    end, modulus = tail_at + found, 1 << 16
    locator = read(end - _END_64_LOCATOR.size, _END_64_LOCATOR.size) if end >= _END_64_LOCATOR.size else b""
    if locator[:4] == b"PK\6\7":
        end, modulus = _END_64_LOCATOR.unpack(locator)[2], 1 << 64
        whole = read(end, _END_64.size) if end < size else b""  # no file can be read at 2^63 or beyond
        if len(whole) < _END_64.size or whole[:4] != b"PK\6\6":
            raise ArchiveFault("undecodable", "its ZIP64 directory is not where it should be")
        _, _, _, _, disk, first_disk, _, n_entries, n_bytes, offset = _END_64.unpack(whole)
    if disk not in (0, _FULL_16) or first_disk not in (0, _FULL_16):
        raise ArchiveFault(UNSUPPORTED, "it is one of several files of a split archive; join them")
    shift = end - n_bytes - offset
    if shift < 0:
        raise ArchiveFault("truncated", "its directory begins before the file does")
    return offset + shift, n_bytes, n_entries, modulus, shift


def _entry(held: bytes, first: int, directory_at: int, shift: int) -> tuple[Entry, int]:
    """The entry of the directory that begins at `first` in `held`, and its length there."""
    (_, _, system, _, flags, method, _, _, crc, stored, full, n_name, n_extra, n_comment, _, _, mode, at) = (
        _DIRECTORY.unpack_from(held, first)
    )
    named = first + _DIRECTORY.size
    name, extra = held[named : named + n_name], held[named + n_name : named + n_name + n_extra]
    full, stored, at = _of_zip64(extra, full, stored, at)
    at += shift
    fault = None
    if flags & 0x2001:
        fault = f"{ENCRYPTED}: the member is encrypted; unpack the archive with its password"
    elif system == 3 and (mode >> 16) & 0xF000 not in (0, 0x8000):
        fault = f"{NOT_A_FILE}: a link or a device inside of an archive, which is not followed"
    elif method not in (_STORED, _DEFLATED):
        told = _METHODS.get(method, f"method {method}")
        fault = f"{UNSUPPORTED}: compressed by {told}; only stored and deflated members are read"
    elif stored > full + full // 8 + _MOST_OVERHEAD:
        fault = "bomb: it is stored in far more bytes than it has"
    elif at + _LOCAL_BYTES + stored > directory_at:
        fault = "truncated: its bytes would reach into the directory of the archive"
    elif full > _LARGEST_SIZE:
        fault = "undecodable: no file has its size"
    elif method == _STORED and stored != full:
        fault = "undecodable: it is stored, but its two sizes differ"
    return Entry(name, at, stored, full, method, crc, fault), _DIRECTORY.size + n_name + n_extra + n_comment


def _of_zip64(extra: bytes, full: int, stored: int, at: int) -> tuple[int, int, int]:
    values = [full, stored, at]
    if _FULL_32 not in values:
        return full, stored, at
    start = 0
    while start + 4 <= len(extra):
        key, length = struct.unpack_from("<HH", extra, start)
        start += 4
        if key == 1:
            wide = [extra[place : place + 8] for place in range(start, min(start + length, len(extra)), 8)]
            for nth, value in enumerate(values):
                if value == _FULL_32 and wide and len(wide[0]) == 8:
                    values[nth] = int.from_bytes(wide.pop(0), "little")
            break
        start += length
    return values[0], values[1], values[2]


def overlapping(entries: list[Entry]) -> set[int]:
    """The offsets of members whose bytes overlap those of another one, as in ZIP bombs that store each byte once."""
    found: set[int] = set()
    furthest, of = -1, -1
    for entry in sorted(entries, key=lambda entry: entry.at):
        if entry.at < furthest:
            found |= {entry.at, of}
        end = entry.at + _LOCAL_BYTES + len(entry.name) + entry.stored_bytes
        if end > furthest:
            furthest, of = end, entry.at
    return found


def read_zip_member(read: Read, place: MemberPlace) -> bytes | Failure:
    """The bytes of a member, compared with its checksum; never more than `place.byte_size`."""
    header = read(place.at, _LOCAL_BYTES)
    if len(header) < _LOCAL_BYTES or header[:4] != b"PK\3\4":
        return Failure("undecodable", f"the ZIP archive has no member at byte {place.at}")
    start = place.at + _LOCAL_BYTES + sum(struct.unpack_from("<HH", header, 26))
    unpack = zlib.decompressobj(-15) if place.method == _DEFLATED else None
    data, done, limit = bytearray(), 0, place.byte_size + 1
    while done < place.stored_bytes and len(data) < limit:
        packed = read(start + done, min(_CHUNK, place.stored_bytes - done))
        if not packed:
            return Failure("truncated", "the archive ends inside of this member", byte_size=len(data))
        done += len(packed)
        try:
            data += packed if unpack is None else unpack.decompress(packed, limit - len(data))
        except zlib.error as error:
            return Failure("undecodable", f"the member cannot be unpacked: {error}"[:480])
    return _false(data, place) or bytes(data)


def _false(data: bytearray, place: MemberPlace) -> Failure | None:
    """Why the bytes are not those that the archive names; None if they are."""
    if len(data) > place.byte_size:
        return Failure("bomb", f"it unpacks to more than the {place.byte_size} bytes that the archive names")
    if len(data) < place.byte_size:
        return Failure("truncated", f"it unpacks to {len(data)} of {place.byte_size} bytes", byte_size=len(data))
    if zlib.crc32(data) != place.crc:
        return Failure("undecodable", "the checksum that the archive names is that of other bytes", byte_size=len(data))
    return None
