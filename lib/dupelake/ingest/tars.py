"""The index of a tar archive, by its headers alone: ustar, GNU and pax. No Spark.

Python's `tarfile` is not used: it reads extended headers of any size, and keeps a kilobyte for each member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dupelake.ingest.members import NOT_A_FILE, TOO_MANY, UNSUPPORTED, ArchiveFault, Entry

Read = Callable[[int, int], bytes]
"""Function from offset and number of bytes to the bytes; fewer at the end of the file."""

_BLOCK = 512
_MAX_EXTENDED_BYTES = 1 << 20
_MAX_HEADERS = 20_000_000
_FILES = (b"0", b"\0", b"7", b"S")
_NO_DATA = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a pipe",
}
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
_SPARSE_KEY = b"GNU.sparse."  # start of the keys of sparse members in pax headers
_PAX, _SHARED_PAX = (b"x", b"X"), b"g"
_PACKED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))


def tar_entries(read: Read, size: int) -> Iterator[Entry]:
    """The members of a tar archive but folders, in their order.

    Args:
        read: reads the archive.
        size: of the archive in bytes.

    Raises:
        ArchiveFault: it is no tar archive, is compressed, is damaged from some header on, or ends without a block of
            zeros, which every writer puts at the end; earlier members are given.
    """
    at, n_headers, name = 0, 0, b""
    shared: dict[bytes, bytes] = {}
    own: dict[bytes, bytes] = {}
    while at < size:
        n_headers += 1
        if n_headers > _MAX_HEADERS:
            raise ArchiveFault(TOO_MANY, f"more than {_MAX_HEADERS} headers")
        header = read(at, _BLOCK)
        if not header.strip(b"\0") and len(header) == _BLOCK:
            return
        kind, n_bytes = _checked(header, at)
        data = at + _BLOCK
        if kind in (_LONG_NAME, _LONG_LINK, *_PAX, _SHARED_PAX):
            text = _extended(read, data, n_bytes)
            if kind == _LONG_NAME:
                name = text.partition(b"\0")[0]
            elif kind == _SHARED_PAX:
                shared |= _needed(_records(text, at))
            elif kind in _PAX:
                own = _needed(_records(text, at))
            at = data + _padded(n_bytes)
            continue
        said = shared | own
        n_bytes = _number(said[b"size"], 10, at) if b"size" in said else n_bytes
        name = said.get(b"path") or name or _name(header)
        if kind == _SPARSE:
            data = _after_sparse(read, header, data)
        stored = 0 if kind in _NO_DATA else n_bytes
        fault = _fault(kind, said)
        if data + stored > size:
            fault = f"truncated: the archive ends before its {stored} bytes do"
        if kind != b"5" and not name.endswith(b"/"):
            yield Entry(name, data, stored, stored, fault=fault)
        if data + stored > size:
            raise ArchiveFault("truncated", f"it ends inside of a member, after {size} bytes")
        at, name, own = data + _padded(stored), b"", {}
    raise ArchiveFault("truncated", f"it has no mark of its end, so it may be cut off after {size} bytes")


def _checked(header: bytes, at: int) -> tuple[bytes, int]:
    """The type and the size in a header.

    Raises:
        ArchiveFault: these bytes are no header.
    """
    for mark, what in _PACKED if at == 0 else ():
        if header.startswith(mark):
            raise ArchiveFault(
                UNSUPPORTED, f"it is compressed ({what}), so members cannot be read alone; unpack it to .tar"
            )
    if len(header) < _BLOCK:
        raise ArchiveFault("truncated", f"it ends inside of a header, at byte {at}")
    told, held = header[148:156].strip(b"\0 "), sum(header) - sum(header[148:156]) + 8 * 32
    try:
        is_header = int(told or b"0", 8) == held
    except ValueError:
        is_header = False
    if not is_header:
        raise ArchiveFault("undecodable", f"there is no header of a tar archive at byte {at}")
    return header[156:157], _number(header[124:136], 8, at)


def _number(field: bytes, base: int, at: int) -> int:
    if base == 8 and field[:1] == b"\x80":  # GNU: base 256
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ") or b"0"
    if not digits.isdigit():
        raise ArchiveFault("undecodable", f"the header at byte {at} has no size")
    try:
        return int(digits[:20], base)
    except ValueError:
        raise ArchiveFault("undecodable", f"the header at byte {at} has no size") from None


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _extended(read: Read, at: int, n_bytes: int) -> bytes:
    if n_bytes > _MAX_EXTENDED_BYTES:
        raise ArchiveFault("bomb", f"an extended header at byte {at} has {n_bytes} bytes")
    text = read(at, n_bytes)
    if len(text) < n_bytes:
        raise ArchiveFault("truncated", f"it ends inside of an extended header, at byte {at}")
    return text


def _records(text: bytes, at: int) -> dict[bytes, bytes]:
    """The records of a pax header: `27 path=some/name.jpg` and a line end each; the number counts the whole record."""
    found, start = {}, 0
    while start < len(text) and text[start] != 0:
        space = text.find(b" ", start, start + 20)
        length = int(text[start:space]) if space > start and text[start:space].isdigit() else 0
        key, equals, value = text[space + 1 : start + length - 1].partition(b"=")
        if space < 0 or length <= space - start or not equals:  # a length of 0 would not move on
            raise ArchiveFault("undecodable", f"the pax header at byte {at} cannot be read")
        found[key] = value
        start += length
    return found


def _needed(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The records that are used; one stands for all of a sparse member. Others would fill the memory."""
    kept = {key: records[key] for key in (b"path", b"size") if key in records}
    return kept | ({_SPARSE_KEY: b""} if any(key.startswith(_SPARSE_KEY) for key in records) else {})


def _after_sparse(read: Read, header: bytes, at: int) -> int:
    """Where the data of an old GNU sparse member begin: after its map."""
    more = header[482:483]
    while more not in (b"\0", b""):
        block = read(at, _BLOCK)
        more, at = block[504:505], at + _BLOCK
    return at


def _fault(kind: bytes, said: dict[bytes, bytes]) -> str | None:
    if kind in _NO_DATA:
        return f"{NOT_A_FILE}: it is {_NO_DATA[kind]} inside of an archive, which is not followed"
    if kind == _SPARSE or _SPARSE_KEY in said:
        return f"{UNSUPPORTED}: a sparse member of a tar archive is not read"
    return None if kind in _FILES else f"{NOT_A_FILE}: a member of the type {kind!r} of tar archives"


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // _BLOCK) * _BLOCK
