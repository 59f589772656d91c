"""Parses the stream of a JPEG without decoding it: its end, what it holds besides the picture, and its digest."""

from __future__ import annotations

import re
from collections.abc import Iterator

import cv2
import numpy as np
from blake3 import blake3

# The next marker in entropy-coded data: not a stuffed zero, not a restart, not a fill byte (ITU-T T.81, B.1.1).
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END = b"\xff\xd9"
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"  # holds depth maps and second pictures of phones
_IDLE_TRAILER_BYTES = 64  # after the end marker; too few for a picture or a film
# Decoders skip bytes after a complete scan; after an incomplete scan they decode these bits to pixels.
_FILLERS = (bytes(range(1, 251)) * 16, bytes(range(250, 0, -1)) * 16)


def segments(data: bytes, *, scans: bool = True) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to the first EOI; SOS includes its entropy-coded data (ITU-T T.81, B).

    Without `scans` the iteration ends with the header of the first SOS.

    Raises:
        IndexError: the stream ends early.
        ValueError: the data are not a JPEG stream.
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("no SOI marker")
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker where one must be")
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = data[at + 1]
        if marker == 0xD9:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA and not scans:
            yield marker, at, end
            return
        if marker == 0xDA:
            found = _NEXT_MARKER.search(data, end)
            if found is None:
                raise ValueError("no EOI marker")
            end = found.start()
        yield marker, at, end
        at = end


def is_whole(data: bytes) -> bool:
    """Whether libjpeg certainly reaches the end marker of `data`, and `data` has exactly one frame header, of 8 bits.

    With one frame header all readers read the same size. In a scan that holds all components, libjpeg stops at the
    first end marker; streams of several scans are parsed to their end.
    """
    frames, components = 0, b""
    try:
        for marker, start, end in segments(data, scans=False):
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                frames += 1
                components = data[start + 9 : start + 10]
                if marker > 0xC2 or data[start + 4] != 8:
                    return False
            elif marker == 0xDA and frames == 1:
                if data[start + 4 : start + 5] == components and data.rfind(_END, end) >= 0:
                    break
                return sum(1 for _ in segments(data)) > 0  # raises if the stream is not complete
    except (IndexError, ValueError):
        return False
    return frames == 1


def is_progressive(data: bytes) -> bool:
    """Whether the decoder holds all coefficients in memory (several scans): 2 bytes a sample besides the pixels."""
    try:
        for marker, start, end in segments(data, scans=False):
            if marker == 0xC2:
                return True
            if marker == 0xDA:
                return end - start < 12  # fewer than three components in this scan
    except (IndexError, ValueError):
        pass
    return True


def extras(data: bytes) -> list[bytes]:
    """The parts of a file besides its first picture: other pictures, gain maps, depth maps, films.

    These are the bytes after the end marker (unless they are padding or very short), extended XMP, and APP11 (residuals
    of JPEG XT). Empty for an ordinary JPEG. If the stream cannot be parsed, the whole file.
    """
    found = []
    try:
        at = 0
        for marker, start, end in segments(data, scans=False):
            if marker == 0xEB or (marker == 0xE1 and data.startswith(_EXTENDED_XMP, start + 4)):
                found.append(data[start:end])
            at = end
        # Entropy-coded data hold no end marker, but tables between the scans of a progressive stream may, by chance.
        rest = _behind(data, data.find(_END, at))
        if rest:
            rest = _behind(data, max(end for _, _, end in segments(data)))
    except (IndexError, ValueError):
        return [data]
    return [*found, rest] if rest else found


def _behind(data: bytes, end: int) -> bytes:
    """The bytes after the end marker at `end`; empty if they are padding or very short."""
    if end < 0:
        return b""
    rest = data[end + 2 :].strip(b"\0\xff\r\n ")
    return rest if len(rest) > _IDLE_TRAILER_BYTES else b""


def stream_digest(data: bytes, orientation: int, icc_profile: bytes | None, beside: list[bytes]) -> str:
    """Digest of everything that determines the pixels of a JPEG: stream without metadata, orientation, ICC profile.

    For a reduced JPEG a digest of the pixels would be wrong: two pictures that differ only in the dropped detail would
    be equal. Equal streams give equal pictures, and edits of metadata (EXIF, XMP, comments) do not change the stream.
    The drawback: equal pixels stored in another way (PNG, optimised Huffman tables) have other digests; their pHash and
    PDQ differ by few bits. `beside` is the result of `extras`, which is hashed as well.

    The hashed prefix differs from that of `pixel_digest`, so digests of two kinds are never equal.
    """
    hasher = blake3(b"jpeg-stream" + bytes([orientation]))
    hasher.update(blake3(icc_profile or b"").digest())
    has_jfif = False
    view = memoryview(data)
    try:
        for marker, start, end in segments(data):
            if marker == 0xE0:  # APP0: only its presence matters, libjpeg guesses the colour space by it
                has_jfif = has_jfif or data[start + 4 : start + 9] == b"JFIF\0"
            elif marker == 0xEE or not (0xE0 <= marker <= 0xEF or marker == 0xFE):  # APP14, and all but APPn, COM
                hasher.update(view[start:end])
    except (IndexError, ValueError):
        # libjpeg accepts more streams than this parser; the digest of all bytes is correct for them.
        return blake3(b"jpeg-file" + bytes([orientation])).update(data).hexdigest(length=16)
    for part in beside:
        hasher.update(blake3(part).digest())
    return hasher.update(bytes([has_jfif])).hexdigest(length=16)


def with_end(data: bytes) -> bytes | None:
    """`data` with its end marker, if only that is missing; None if part of the picture is missing, too.

    It decodes the data twice, followed by two different fillers. If the pixels are equal, no pixel depends on the
    filler, so the scan is complete.
    """
    if not _scans_are_complete(data):
        return None
    stem = data[:-1] if data[-1:] == b"\xff" else data
    first, second = (cv2.imdecode(_array(stem + filler + _END), cv2.IMREAD_UNCHANGED) for filler in _FILLERS)
    if first is None or second is None or first.shape != second.shape or not np.array_equal(first, second):
        return None
    return stem + _END


def _array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def _scans_are_complete(data: bytes) -> bool:
    """Whether the headers of the scans cover every coefficient to its last bit."""
    missing: set[tuple[int, int]] | None = None
    try:
        for marker, start, _ in segments(data + _END):
            if 0xC0 <= marker <= 0xC2:
                count = data[start + 9]
                spectrum = range(64) if marker == 0xC2 else range(1)
                missing = {(data[start + 10 + 3 * i], k) for i in range(count) for k in spectrum}
            elif marker == 0xDA and missing is not None:
                count = data[start + 4]
                head = start + 5 + 2 * count
                low, high, bits = data[head], data[head + 1], data[head + 2] & 15
                if not bits:
                    missing -= {(data[start + 5 + 2 * i], k) for i in range(count) for k in range(low, high + 1)}
    except (IndexError, ValueError):
        return False
    return missing is not None and not missing
