"""Decodes bytes to one upright 8-bit sRGB picture, or gives the reason of failure. No byte string makes `decode` raise.

Pillow decodes the files (HEIC and HEIF through pillow-heif). For plain colour JPEGs Pillow reads the header and OpenCV
the pixels: both use libjpeg-turbo and give the same pixels, and OpenCV takes 60 % of the time. This module decides what
Pillow leaves open: frame, orientation, background, colour space, size limits, and the identity of the pixels.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from dupelake.config import DecodeConfig
from dupelake.fingerprint import digest, heif, jpegs, memory, pngs, tiffs
from dupelake.fingerprint.colour import changes_colours, pixels_to_srgb, render
from dupelake.fingerprint.encoding import Encoding, read_encoding
from dupelake.fingerprint.rasters import dark_colours
from dupelake.fingerprint.tiffs import NotDecodedError, Reading
from dupelake.ingest.failure import Failure

_DECODES_HEIF = heif.can_decode()
Image.init()
cv2.setNumThreads(1)  # one task, one core: Spark starts a Python worker for each

# EPS would start Ghostscript on untrusted bytes, and its result would depend on the machine.
_FORMATS = sorted(set(Image.OPEN) - {"EPS"}, key=lambda name: (name not in ("JPEG", "PNG", "GIF", "WEBP"), name))

# Pillow's limits are module attributes, so they are set under a lock while one image is decoded. Spark's Python workers
# are processes and never wait here; the lock keeps threaded callers correct.
_PILLOW_SWITCHES = threading.Lock()

_ORIENTATION_TAG = 0x0112
# EXIF 2.32, 4.6.4 A, tag 274: the transform that makes the stored picture upright.
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], Any]] = {
    2: lambda rgb: cv2.flip(rgb, 1),
    3: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_180),
    4: lambda rgb: cv2.flip(rgb, 0),
    5: cv2.transpose,
    6: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_CLOCKWISE),
    7: lambda rgb: cv2.rotate(cv2.transpose(rgb), cv2.ROTATE_180),
    8: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_RGB_MODES = ("RGB", "RGBA", "P", "PA")  # an RGB profile is applied to them, and not to grey, CMYK and Lab
# 16, 32 and 64 are the scale bits of IMREAD_REDUCED_COLOR_2, _4 and _8, which request BGR
_JPEG_FLAGS = {
    scale: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | reduced
    for scale, reduced in {1: 0, 2: 16, 4: 32, 8: 64}.items()
}
# Messages of decoders for a truncated file (Pillow's plugins, libtiff, libheif).
_TRUNCATED = re.compile(r"truncat|not enough image data|expected to read \d+ bytes|end of file|premature", re.I)
_BOMB = re.compile(r"decompressed data too large|too much memory|security limit", re.I)
_PIXELS = re.compile(r"\((\d+) pixels\)")  # in Pillow's message about bombs
_MAX_TEXT_BYTES = 1 << 26  # decompressed texts of a PNG; prompts and workflows of image generators have some MB
_MEASURED_PIXELS = 1 << 25  # of a JPEG that is decoded in full: it takes 5 bytes a pixel
_DARK = 63  # highest 8-bit level of 16-bit colours that use 14 bits or fewer


@dataclass(frozen=True)
class Decoded:
    """One picture, upright, in sRGB, transparency on white (on black if the picture is nearly white).

    Attributes:
        rgb: uint8 (height, width, 3), C-contiguous; smaller than `width_px` x `height_px` when `scale` > 1.
        width_px: width after orientation at full size.
        height_px: height after orientation at full size.
        format: Pillow's name of the format (JPEG, PNG, HEIF, ...).
        pixel_digest: 32 hex digits; equal for files that every viewer shows alike (see fingerprint/digest.py).
        scale: 1, or the factor 2, 4 or 8 by which the JPEG decoder reduced both sides.
        encoding: quality, chroma and other properties of the file.
        profile: the ICC profile that the colours were converted from; None if they were not, or not from RGB.
        full_grey: uint8 (height_px, width_px), upright: the brightness at full size of a JPEG that is reduced; None for
            other pictures, and for a JPEG of unusual form or of more than 33 million pixels.
    """

    rgb: NDArray[np.uint8]
    width_px: int
    height_px: int
    format: str
    pixel_digest: str
    scale: int = 1
    encoding: Encoding = field(default_factory=Encoding)
    profile: bytes | None = None
    full_grey: NDArray[np.uint8] | None = None

    @property
    def image(self) -> Image.Image:
        """The pixels as a Pillow image of mode RGB, a copy."""
        return Image.fromarray(self.rgb)


def decode(data: bytes, cfg: DecodeConfig, max_memory_bytes: int | None = None) -> Decoded | Failure:
    """The first frame of `data` as an upright RGB picture; never raises because of `data`.

    Limits are checked before any pixel is decoded: bytes by the length, pixels and memory by the header. Pillow checks
    the pixels of nested pictures (icons, animation frames), whose headers come later.

    A JPEG is reduced to 1/2, 1/4 or 1/8: the largest reduction that leaves the short side at
    `cfg.reduced_jpeg_min_side_px` or more. pHash and PDQ shrink to 32 and 64 px and change by a few bits at most. It is
    decoded in full all the same, because traces of compression and enlargement are only there. Only a JPEG of unusual
    form or size is reduced by its DCT.

    Args:
        data: of the file.
        cfg: limits and options.
        max_memory_bytes: that the process may use (`guard.max_memory_bytes`); None for no limit.
    """
    if not data:
        return Failure("empty", "the file has no bytes")
    if len(data) > cfg.max_bytes:
        return Failure("too_large", f"{len(data)} bytes, more than decode.max_bytes ({cfg.max_bytes}); raise that")
    try:
        with _pillow_switches(cfg):
            return _attempt(data, cfg, max_memory_bytes)
    except MemoryError:
        return Failure("out_of_memory", "not enough memory to decode it")
    except UnidentifiedImageError:
        return _unidentified(data)
    except Exception as error:
        # On hostile bytes, decoders raise exceptions of any type: struct.error, RecursionError, SyntaxError, ...
        return _failure(error, cfg)


def _attempt(data: bytes, cfg: DecodeConfig, max_memory_bytes: int | None) -> Decoded | Failure:
    """Decodes `data`; if that fails, decodes it again without faults that affect no pixel."""
    try:
        return _decode(data, cfg, max_memory_bytes)
    except Exception as error:
        repaired: bytes | None = None
        if data.startswith(pngs.SIGNATURE) and isinstance(error, (UnidentifiedImageError, SyntaxError, ValueError)):
            repaired = pngs.repaired(data)
        elif data[:2] == b"\xff\xd8" and _TRUNCATED.search(str(error)):
            repaired = jpegs.with_end(data)
        if repaired is None:
            raise
        decoded = _decode(repaired, cfg, max_memory_bytes)
    if isinstance(decoded, Decoded) and data.startswith(pngs.SIGNATURE) and pngs.shows_more(data):
        return replace(decoded, pixel_digest=pngs.stream_digest(data, 1))
    return decoded


@contextmanager
def _pillow_switches(cfg: DecodeConfig) -> Iterator[None]:
    """Sets Pillow's global limits to those of `cfg`. Bomb warnings become errors; other warnings are ignored."""
    with _PILLOW_SWITCHES, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        texts = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = cfg.max_pixels, cfg.accept_truncated
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _text_limit(cfg)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before
            PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = texts


def _text_limit(cfg: DecodeConfig) -> int:
    """Decompressed bytes that the texts and the profile of a PNG may have; larger texts are left out."""
    return min(_MAX_TEXT_BYTES, cfg.max_bytes)


def _decode(data: bytes, cfg: DecodeConfig, max_memory_bytes: int | None) -> Decoded | Failure:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
        reading, pages = Reading(), 1
        if isinstance(opened, TiffImagePlugin.TiffImageFile):
            pages = tiffs.count_pages(opened)
            reading = tiffs.prepare(opened, data, pages)
        width, height = opened.size
        if width < 1 or height < 1:
            return Failure("undecodable", f"the picture is {width} x {height} pixels")
        name = opened.format or "unknown"
        if width * height > cfg.max_pixels:
            return _too_many_pixels(f"{width} x {height}", cfg)
        is_jpeg = name in ("JPEG", "MPO")
        scale = _draft(opened, cfg.reduced_jpeg_min_side_px) if is_jpeg else 1
        is_measured = scale > 1 and width * height <= _MEASURED_PIXELS and opened.mode in ("RGB", "L")
        full = (width, height) if is_measured else None
        if max_memory_bytes is not None:
            needed = memory.needed_bytes(opened, data, scale, in_full=full is not None)
            if needed > max_memory_bytes:
                return Failure(
                    "too_large",
                    f"{width} x {height} pixels of {name} ({opened.mode}) take some {needed >> 20} MiB to decode, more "
                    f"than guard.max_memory_bytes ({max_memory_bytes >> 20} MiB); give the workers more memory, or "
                    "raise that",
                )
        profile = opened.info.get("icc_profile")
        profile = profile if isinstance(profile, bytes) else None
        plain = is_jpeg or _is_plain(opened, data, pages)
        encoding = read_encoding(opened, data)
        converted = profile if opened.mode in _RGB_MODES and changes_colours(profile, "RGB") else None
        shown, orientation, samples, grey = _pixels(opened, data, scale, full, profile, reading, plain and scale == 1)
    if scale == 1:
        height, width = shown.shape[:2]
    if orientation in _UPRIGHT:
        shown, grey = _UPRIGHT[orientation](shown), None if grey is None else _UPRIGHT[orientation](grey)
    if orientation >= 5:
        width, height = height, width
    beside = jpegs.extras(data) if is_jpeg else []
    if is_jpeg and (scale > 1 or beside):
        identity = jpegs.stream_digest(data, orientation, profile, beside)
    elif not plain:
        identity = pngs.stream_digest(data, orientation) if name == "PNG" else digest.file_digest(data)
    else:
        identity = samples or digest.pixel_digest(shown)
    return Decoded(shown, width, height, name, identity, scale, encoding, converted, grey)


class _Pixels(NamedTuple):
    """RGB as stored, its EXIF orientation, `full_grey`, and the digest of samples that RGB does not identify."""

    rgb: NDArray[np.uint8]
    orientation: int
    samples: str | None = None
    full_grey: NDArray[np.uint8] | None = None


def _pixels(
    opened: Image.Image,
    data: bytes,
    scale: int,
    full: tuple[int, int] | None,
    profile: bytes | None,
    reading: Reading,
    identify: bool,
) -> _Pixels:
    jpeg, grey = _plain_jpeg(opened, data, scale, full)
    if jpeg is not None:
        orientation = _orientation(opened)
        if not changes_colours(profile, "RGB"):
            return _Pixels(jpeg, orientation, None, grey)
        rgb = pixels_to_srgb(jpeg, profile)
        samples = None
        if identify:
            samples = digest.samples_digest(Image.fromarray(jpeg), reading, profile, False, orientation)
        return _Pixels(rgb, orientation, samples, grey)
    if opened.format == "PNG":
        pngs.mend_transparency(opened.info, data)
    cut = any(";16" in str(tile.args) for tile in getattr(opened, "tile", []))
    grey = _full_grey(data, full) if full and opened.mode == "L" else None
    opened.load()
    extremes: Any = opened.getextrema() if cut and opened.mode in ("RGBA", "LA") else ()
    if 0 < max((high for _, high in extremes), default=0) <= _DARK:
        raise NotDecodedError("samples of 16 bits with alpha that use 14 bits or fewer are not decoded")
    # After loading: Pillow rotates TIFFs while loading and then reports no orientation; pillow-heif does so on opening.
    orientation = _orientation(opened)
    shown = render(opened, profile, reading)
    if cut and opened.mode == "RGB" and int(shown.rgb.max()) <= _DARK:
        lighter = dark_colours(data, shown.rgb.shape)
        shown = shown if lighter is None else replace(shown, rgb=lighter)
    if not identify or not digest.needs_samples(opened, reading, profile, shown.has_alpha):
        return _Pixels(shown.rgb, orientation, None, grey)
    samples = digest.samples_digest(opened, reading, profile, shown.has_alpha, orientation)
    return _Pixels(shown.rgb, orientation, samples, grey)


def _is_plain(opened: Image.Image, data: bytes, pages: int) -> bool:
    """Whether the samples of its first frame are all that an opened file (not JPEG) shows.

    False for formats that are not named here: Pillow may not give everything that they show (HEIF and AVIF have gain
    maps, depth and more than 8 bits; icons several sizes; PSD layers).
    """
    if opened.format == "PNG":
        return not pngs.shows_more(data)
    if isinstance(opened, TiffImagePlugin.TiffImageFile):
        return opened.format == "TIFF" and not tiffs.shows_more(opened, pages)
    if opened.format == "BMP":  # a header of version 5 may name a colour profile, which Pillow does not read
        return data[14:15] != b"\x7c" or data[70:74] not in (b"DEBM", b"KNIL")
    if opened.format == "PPM":
        return all(tile.codec_name == "raw" and ";16" not in str(tile.args) for tile in getattr(opened, "tile", []))
    return opened.format in ("GIF", "WEBP", "TGA") and not _is_animated(opened)


def _is_animated(opened: Image.Image) -> bool:
    try:
        return bool(getattr(opened, "is_animated", False))
    except Exception:  # of any type: the second frame is damaged, and the first is whole
        opened.seek(0)
        return True


def _plain_jpeg(
    opened: Image.Image, data: bytes, scale: int, full: tuple[int, int] | None
) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """The pixels of an opened JPEG of three components, decoded by OpenCV; None for unusual files. And `full_grey`.

    They are equal to Pillow's unless the picture is decoded in full and reduced afterwards, which is as fast as its DCT
    and nearer to what other formats give.

    OpenCV leaves rows unwritten if a stream ends early, and may take the size from a later header than Pillow, so
    `jpegs.is_whole` is checked first. Files that it or OpenCV refuses are left to Pillow, which explains its errors.

    `full` is the width and height where the full size is decoded.
    """
    if opened.format not in ("JPEG", "MPO") or opened.mode != "RGB":
        return None, None
    width, height = full or opened.size
    rgb = _decoded_jpeg(data, _JPEG_FLAGS[1 if full else scale], (height, width, 3))
    if rgb is None or full is None:
        return rgb, None
    grey: Any = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small: Any = cv2.resize(rgb, opened.size, interpolation=cv2.INTER_AREA)
    return small, grey


def _full_grey(data: bytes, full: tuple[int, int]) -> NDArray[np.uint8] | None:
    """`full_grey` of a grey JPEG, not upright; its reduced picture is read by Pillow."""
    return _decoded_jpeg(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION, (full[1], full[0]))


def _decoded_jpeg(data: bytes, flags: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    if not jpegs.is_whole(data):
        return None
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return pixels if pixels is not None and pixels.shape == shape else None


def _too_many_pixels(size: str, cfg: DecodeConfig) -> Failure:
    message = f"{size} pixels, more than decode.max_pixels ({cfg.max_pixels}); raise that to have it decoded"
    return Failure("too_large", message)


def _unidentified(data: bytes) -> Failure:
    if not _DECODES_HEIF and heif.is_heif(data):
        return Failure("no_decoder", heif.NO_DECODER)
    broken = pngs.fault(data) or "no decoder knows this format, or the header is broken"
    return Failure("truncated" if broken.startswith("truncated") else "undecodable", broken)


def _failure(error: Exception, cfg: DecodeConfig) -> Failure:
    message = f"{type(error).__name__}: {error}"[:500]
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        told = _PIXELS.search(message)
        return _too_many_pixels(told.group(1) if told else "too many", cfg)
    if isinstance(error, NotDecodedError):
        return Failure("undecodable", str(error)[:500])
    if _BOMB.search(message):
        return Failure("bomb", message)
    if isinstance(error, EOFError) or _TRUNCATED.search(message):
        return Failure("truncated", message)
    return Failure("undecodable", message)


def _draft(opened: Image.Image, min_side_px: int) -> int:
    """Makes the JPEG decoder reduce the picture as far as `min_side_px` allows; returns the factor, 1 for none."""
    if not min_side_px:
        return 1
    width, height = opened.size
    for scale in (8, 4, 2):
        if -(-min(width, height) // scale) >= min_side_px:
            opened.draft(None, (width // scale, height // scale))
            return scale if opened.size != (width, height) else 1
    return 1


def _orientation(opened: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 if there is none or the EXIF data is broken."""
    try:
        value = opened.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata is no reason to refuse a picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
