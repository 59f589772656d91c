"""Bytes to one upright 8-bit sRGB picture, or the reason why not. No byte string makes `decode` raise.

Pillow does the decoding (HEIC and HEIF through pillow-heif), but for plain colour JPEGs, whose headers Pillow reads and
whose pixels OpenCV decodes: both contain libjpeg-turbo and yield the same pixels, OpenCV in 6 tenths of the time. What
is decided here is what Pillow leaves open: which frame, which way up, on which background, in which colour space, how
large at most, and what identifies the pixels.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pillow_heif
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from dupelake.config import DecodeConfig
from dupelake.kernels.colour import pixels_to_srgb, to_srgb

pillow_heif.register_heif_opener()
Image.init()
cv2.setNumThreads(1)  # one task, one core: Spark starts a Python worker for each

# EPS would start Ghostscript on bytes of unknown origin, and its answer would depend on the machine.
_FORMATS = sorted(set(Image.OPEN) - {"EPS"}, key=lambda name: (name not in ("JPEG", "PNG", "GIF", "WEBP"), name))

# Pillow's limits are attributes of modules, so they are set under a lock while one image is decoded.
# Spark's Python workers are processes: nobody waits here, but a threaded caller stays correct.
_PILLOW_SWITCHES = threading.Lock()

_ORIENTATION_TAG = 0x0112
# EXIF 2.32, 4.6.4 A, tag 274: what turns the stored picture upright.
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], Any]] = {
    2: lambda rgb: cv2.flip(rgb, 1),
    3: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_180),
    4: lambda rgb: cv2.flip(rgb, 0),
    5: cv2.transpose,
    6: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_CLOCKWISE),
    7: lambda rgb: cv2.rotate(cv2.transpose(rgb), cv2.ROTATE_180),
    8: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
# 16, 32 and 64: of IMREAD_REDUCED_COLOR_2, _4 and _8, which ask for BGR
_JPEG_FLAGS = {
    scale: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | reduced
    for scale, reduced in {1: 0, 2: 16, 4: 32, 8: 64}.items()
}
# How decoders word "the file ends too early" (Pillow's own plugins, libtiff, libheif).
_TRUNCATED = re.compile(r"truncat|not enough image data|expected to read \d+ bytes|end of file|premature", re.I)
_BOMB = re.compile(r"decompression bomb|exceeds limit|decompressed data too large|security limit", re.I)
# A marker inside entropy-coded data: not a stuffed zero, not a restart, not a fill byte (ITU-T T.81, B.1.1).
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True)
class Decoded:
    """One picture, upright, on white, in sRGB.

    Attributes:
        rgb: uint8 (height, width, 3), C-contiguous; smaller than `width_px` x `height_px` when `scale` > 1.
        width_px: width after orientation at full size.
        height_px: height after orientation at full size.
        format: Pillow's name of the format (JPEG, PNG, HEIF, ...).
        pixel_digest: 32 hex digits; equal digests mean equal pixels (see `pixel_digest`, `jpeg_stream_digest`).
        scale: 1, or the 2, 4 or 8 by which the JPEG decoder reduced both sides.
    """

    rgb: NDArray[np.uint8]
    width_px: int
    height_px: int
    format: str
    pixel_digest: str
    scale: int = 1

    @property
    def image(self) -> Image.Image:
        """The pixels as a Pillow image of mode RGB, a copy."""
        return Image.fromarray(self.rgb)


@dataclass(frozen=True)
class Failure:
    """Why there is no picture.

    Attributes:
        reason: one word: empty, too_large (bytes), bomb (pixels), truncated, undecodable, out_of_memory; the stages
            that read files add missing, unreadable, not_a_file and others.
        message: what happened, in words, at most 500 characters.
        content_id: first 16 bytes of sha256(bytes), hex; None when there were no bytes to read.
        byte_size: bytes of the file; None when unknown.
    """

    reason: str
    message: str
    content_id: str | None = None
    byte_size: int | None = None


def decode(data: bytes, cfg: DecodeConfig) -> Decoded | Failure:
    """The first frame of `data` as an upright RGB picture; never raises on account of `data`.

    Limits are checked before any pixel is decoded: bytes by length, pixels by the header, and again by Pillow for
    pictures inside pictures (icons, animation frames), whose headers come later.

    A JPEG is decoded at 1/2, 1/4 or 1/8 by its own DCT (the largest reduction that leaves the short side at
    `cfg.reduced_jpeg_min_side_px` or more). pHash and PDQ shrink to 32 and 64 px anyway and move by a few bits at most.
    """
    if not data:
        return Failure("empty", "the file has no bytes")
    if len(data) > cfg.max_bytes:
        return Failure("too_large", f"{len(data)} bytes, more than decode.max_bytes ({cfg.max_bytes})")
    try:
        with _pillow_switches(cfg):
            return _decode(data, cfg)
    except MemoryError:
        return Failure("out_of_memory", "not enough memory to decode it")
    except UnidentifiedImageError:
        return Failure("undecodable", "no decoder knows this format, or the header is broken")
    except Exception as error:
        # Decoders meet hostile bytes with every kind of exception: struct.error, RecursionError, SyntaxError, ...
        return _failure(error)


def pixel_digest(rgb: NDArray[np.uint8]) -> str:
    """Digest of uint8 (height, width, 3) pixels: blake3, 128 bits, over 'rgb', width, height and the pixels.

    Width and height are part of it: a flat 100x500 picture must not equal a flat 200x250 one.
    """
    height, width = rgb.shape[:2]
    hasher = blake3(b"rgb" + width.to_bytes(4, "little") + height.to_bytes(4, "little"))
    return hasher.update(np.ascontiguousarray(rgb).data).hexdigest(length=16)


def jpeg_stream_digest(data: bytes, orientation: int, icc_profile: bytes | None) -> str:
    """Digest of what determines the pixels of a JPEG: its stream without metadata, orientation and ICC profile.

    For JPEGs decoded at reduced scale a digest of the pixels would be unsound: two pictures that differ only in the
    dropped coefficients would pass as equal. Equal streams are equal pictures, and edits of metadata (EXIF, XMP,
    comments, what follows the end marker) leave the stream alone. The price: the same pixels stored another way
    (PNG, optimised Huffman tables) do not meet here, but at 0 bits of pHash and PDQ.

    The first byte hashed differs from `pixel_digest`'s, so a digest of one kind never equals one of the other.
    """
    hasher = blake3(b"jpeg-stream" + bytes([orientation]))
    hasher.update(blake3(icc_profile or b"").digest())
    has_jfif = False
    view = memoryview(data)
    try:
        for marker, start, end in _jpeg_segments(data):
            if marker == 0xE0:  # APP0: only its presence matters, libjpeg guesses the colour space by it
                has_jfif = has_jfif or data[start + 4 : start + 9] == b"JFIF\0"
            elif marker == 0xEE or not (0xE0 <= marker <= 0xEF or marker == 0xFE):  # APP14, and all but APPn, COM
                hasher.update(view[start:end])
    except (IndexError, ValueError):
        # libjpeg forgives more than this parser: fall back on all bytes, which is sound as well.
        return blake3(b"jpeg-file" + bytes([orientation])).update(data).hexdigest(length=16)
    return hasher.update(bytes([has_jfif])).hexdigest(length=16)


@contextmanager
def _pillow_switches(cfg: DecodeConfig) -> Iterator[None]:
    """Pillow's process-wide limits as `cfg` wants them, warnings silent but for the one on bombs, which is an error."""
    with _PILLOW_SWITCHES, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = cfg.max_pixels, cfg.accept_truncated
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def _decode(data: bytes, cfg: DecodeConfig) -> Decoded | Failure:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
        width, height = opened.size
        if width * height > cfg.max_pixels:
            return Failure("bomb", f"{width} x {height} pixels, more than decode.max_pixels ({cfg.max_pixels})")
        if width < 1 or height < 1:
            return Failure("undecodable", f"the picture is {width} x {height} pixels")
        name = opened.format or "unknown"
        scale = _draft(opened, cfg.reduced_jpeg_min_side_px) if name in ("JPEG", "MPO") else 1
        profile = opened.info.get("icc_profile")
        profile = profile if isinstance(profile, bytes) else None
        rgb = _plain_jpeg(opened, data, scale)
        if rgb is None:
            opened.load()
        rgb = np.asarray(to_srgb(opened, profile)) if rgb is None else pixels_to_srgb(rgb, profile)
        # Only now: Pillow turns TIFFs while loading and then reports no orientation; pillow-heif does so on opening.
        orientation = _orientation(opened)
    if scale == 1:
        height, width = rgb.shape[:2]
    rgb = _UPRIGHT[orientation](rgb) if orientation in _UPRIGHT else rgb
    if orientation >= 5:
        width, height = height, width
    digest = pixel_digest(rgb) if scale == 1 else jpeg_stream_digest(data, orientation, profile)
    return Decoded(rgb, width, height, name, digest, scale)


def _plain_jpeg(opened: Image.Image, data: bytes, scale: int) -> NDArray[np.uint8] | None:
    """The pixels of an opened JPEG of three components by OpenCV, equal to Pillow's; None for anything unusual.

    OpenCV would leave rows unwritten where a stream ends early and take sizes from a later header than Pillow did, so
    `_is_whole_jpeg` is asked first. What it or OpenCV refuses goes to Pillow, whose errors have words.
    """
    if opened.format != "JPEG" or opened.mode != "RGB" or not _is_whole_jpeg(data):
        return None
    try:
        rgb: Any = cv2.imdecode(np.frombuffer(data, np.uint8), _JPEG_FLAGS[scale])
    except cv2.error:
        return None
    return rgb if rgb is not None and rgb.shape == (opened.height, opened.width, 3) else None


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether libjpeg, reading `data`, surely comes to the end marker before it comes to the end of the bytes.

    And whether it has one frame header of 8 bits, so that everyone reads the same size. In a scan that holds all
    components, libjpeg stops at the first end marker; streams of several scans are walked through to their end.
    """
    frames, components = 0, b""
    try:
        for marker, start, end in _jpeg_segments(data, scans=False):
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                frames += 1
                components = data[start + 9 : start + 10]
                if marker > 0xC2 or data[start + 4] != 8:
                    return False
            elif marker == 0xDA and frames == 1:
                if data[start + 4 : start + 5] == components and data.rfind(b"\xff\xd9", end) >= 0:
                    break
                return sum(1 for _ in _jpeg_segments(data)) > 0  # raises where the walk does not end well
    except (IndexError, ValueError):
        return False
    return frames == 1


def _failure(error: Exception) -> Failure:
    message = f"{type(error).__name__}: {error}"[:500]
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)) or _BOMB.search(message):
        return Failure("bomb", message)
    if isinstance(error, EOFError) or _TRUNCATED.search(message):
        return Failure("truncated", message)
    return Failure("undecodable", message)


def _draft(opened: Image.Image, min_side_px: int) -> int:
    """Have the JPEG decoder reduce as far as `min_side_px` allows; the factor taken, 1 for none."""
    if not min_side_px:
        return 1
    width, height = opened.size
    for scale in (8, 4, 2):
        if -(-min(width, height) // scale) >= min_side_px:
            opened.draft(None, (width // scale, height // scale))
            return scale if opened.size != (width, height) else 1
    return 1


def _orientation(opened: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none, or the EXIF data is broken."""
    try:
        value = opened.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata is no reason to refuse a picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _jpeg_segments(data: bytes, *, scans: bool = True) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to the first EOI; of SOS with its entropy-coded data (ITU-T T.81, B).

    Without `scans` the first SOS, by itself, is the last.

    Raises:
        IndexError: the stream ends early.
        ValueError: it is not a JPEG stream.
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
