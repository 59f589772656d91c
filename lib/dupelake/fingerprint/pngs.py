"""Parses the chunks of a PNG without decoding it: what it shows besides 8-bit samples, its digest, its faults."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from blake3 import blake3

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT = {b"tEXt", b"zTXt", b"iTXt"}
# Chunks that no viewer shows: text, times, EXIF, hints. Not sTER (stereo), acTL (animation), bKGD and unknown chunks.
_METADATA = _TEXT | {b"tIME", b"eXIf", b"sBIT", b"hIST", b"sPLT", b"iDOT", b"vpAg", b"oFFs", b"pCAL", b"sCAL", b"caBX"}
_PICTURE = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"sRGB"}
# Gamma and primaries of sRGB, as encoders write them with, or instead of, the chunk sRGB.
_USUAL_GAMMA = range(45_400, 45_510)
_USUAL_PRIMARIES = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
_IDLE_TRAILER_BYTES = 64
_LARGE_TEXT_BYTES = 1 << 16

Chunk = tuple[bytes, int, int]


def chunks(data: bytes) -> Iterator[Chunk]:
    """(kind, start of the body, end of the body) of each chunk up to IEND.

    Raises:
        ValueError: `data` is not a PNG, or ends before IEND.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("no PNG signature")
    at = len(SIGNATURE)
    while True:
        kind, start = data[at + 4 : at + 8], at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        if len(kind) < 4 or end + 4 > len(data):
            raise ValueError("the file ends within a chunk")
        yield kind, start, end
        if kind == b"IEND":
            return
        at = end + 4


def shows_more(data: bytes) -> bool:
    """Whether the file shows anything besides 8-bit samples (or 16-bit grey), their alpha and their ICC profile.

    Examples: more frames, 16-bit colours, a colour space other than sRGB that is not given by a profile, pixels that
    are not square, layers, unknown chunks, data after the end.
    """
    try:
        found = list(chunks(data))
    except ValueError:
        return True
    kinds = {kind for kind, _, _ in found}
    start = found[0][1]
    depth, colours = data[start + 8 : start + 10]
    transparent = colours in (4, 6) or b"tRNS" in kinds
    if depth == 16 and colours != 0:
        return True
    named = b"sRGB" in kinds or b"iCCP" in kinds  # they override gamma and primaries
    for kind, start, end in found:
        body = data[start:end]
        if kind in _PICTURE or kind in _METADATA or (kind == b"bKGD" and not transparent):
            continue
        if kind == b"pHYs" and (body[:4] == body[4:8] or len(body) < 8):
            continue
        if kind == b"gAMA" and (named or int.from_bytes(body, "big") in _USUAL_GAMMA):
            continue
        if kind == b"cHRM" and (named or _numbers(body) == _USUAL_PRIMARIES):
            continue
        return True
    return len(data[found[-1][2] + 4 :].strip(b"\0\xff\r\n ")) > _IDLE_TRAILER_BYTES


def mend_transparency(info: dict[Any, Any], data: bytes) -> None:
    """Gives the transparent colour of tRNS the scale of Pillow's samples, which have 8 bits; Pillow leaves it as it is.

    Of 16-bit colours only the upper byte can be compared.

    Args:
        info: of the opened picture; changed.
        data: of the file.
    """
    key, (depth, colours) = info.get("transparency"), data[24:26]
    if colours == 0 and depth in (2, 4) and isinstance(key, int):
        info["transparency"] = key * (255 // (2**depth - 1))
    elif colours == 2 and depth == 16 and isinstance(key, tuple):
        info["transparency"] = tuple(value >> 8 for value in key)


def _numbers(body: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(body[at : at + 4], "big") for at in range(0, len(body), 4))


def stream_digest(data: bytes, orientation: int) -> str:
    """Digest of all chunks but metadata, and of the data after IEND: equal for files that differ only in metadata."""
    hasher = blake3(b"png-stream" + bytes([orientation]))
    view = memoryview(data)
    last = 0
    try:
        for kind, start, end in chunks(data):
            last = end + 4
            if kind not in _METADATA:
                hasher.update(kind + (end - start).to_bytes(4, "big")).update(view[start:end])
    except ValueError:
        return blake3(b"png-file" + bytes([orientation])).update(data).hexdigest(length=16)
    return hasher.update(view[last:]).hexdigest(length=16)


def repaired(data: bytes) -> bytes | None:
    """`data` without texts that may be too large to read and without ancillary chunks whose checksum is wrong.

    None if there are no such chunks. No critical chunk is dropped, so the picture is complete. Short texts are kept,
    because they may hold the orientation (XMP).
    """
    kept = [SIGNATURE]
    try:
        found = list(chunks(data))
    except ValueError:
        return None
    for kind, start, end in found:
        body = data[start:end]
        packed = kind == b"zTXt" or (kind == b"iTXt" and body.partition(b"\0")[2][:1] != b"\0")
        if kind in _TEXT and (packed or end - start > _LARGE_TEXT_BYTES):
            continue
        if kind[0] & 0x20 and not _checksum_is_right(data, start, end):
            continue
        kept.append(data[start - 8 : end + 4])
    return b"".join(kept) if len(kept) <= len(found) else None


def fault(data: bytes) -> str | None:
    """The fault of a PNG that no decoder opens; None if no fault is found or `data` is not a PNG."""
    if not data.startswith(SIGNATURE):
        return None
    try:
        for kind, start, end in chunks(data):
            if not _checksum_is_right(data, start, end):
                return f"the PNG is damaged: the checksum of its chunk {kind.decode('latin-1')} is wrong"
    except ValueError as error:
        return f"truncated PNG: {error}"
    return None


def _checksum_is_right(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(data[start - 4 : end]) == int.from_bytes(data[end : end + 4], "big")
