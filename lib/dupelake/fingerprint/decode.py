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
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from dupelake.config import DecodeConfig
from dupelake.fingerprint import digest, jpegs, memory, pngs, tiffs
from dupelake.fingerprint.colour import changes_colours, pixels_to_srgb, render
from dupelake.fingerprint.encoding import Encoding, read_encoding
from dupelake.fingerprint.rasters import dark_colours
from dupelake.fingerprint.tiffs import NotDecodedError, Reading
from dupelake.ingest.failure import Failure

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
_BOMB = re.compile(r"decompressed data too large|too much memory|security limit", re.I)
_PIXELS = re.compile(r"\((\d+) pixels\)")  # in Pillow's words on bombs
_MAX_TEXT_BYTES = 1 << 26  # texts of a PNG, unpacked; prompts and workflows of image generators have some MB
_DARK = 63  # of colours cut from 16 bits to 8, when 14 bits or fewer are used


@dataclass(frozen=True)
class Decoded:
    """One picture, upright, on white (white on transparency: on black), in sRGB.

    Attributes:
        rgb: uint8 (height, width, 3), C-contiguous; smaller than `width_px` x `height_px` when `scale` > 1.
        width_px: width after orientation at full size.
        height_px: height after orientation at full size.
        format: Pillow's name of the format (JPEG, PNG, HEIF, ...).
        pixel_digest: 32 hex digits; equal for files that no viewer tells apart (see kernels.digest).
        scale: 1, or the 2, 4 or 8 by which the JPEG decoder reduced both sides.
        encoding: how the file keeps the picture.
    """

    rgb: NDArray[np.uint8]
    width_px: int
    height_px: int
    format: str
    pixel_digest: str
    scale: int = 1
    encoding: Encoding = field(default_factory=Encoding)

    @property
    def image(self) -> Image.Image:
        """The pixels as a Pillow image of mode RGB, a copy."""
        return Image.fromarray(self.rgb)


def decode(data: bytes, cfg: DecodeConfig, max_memory_bytes: int | None = None) -> Decoded | Failure:
    """The first frame of `data` as an upright RGB picture; never raises on account of `data`.

    Limits are checked before any pixel is decoded: bytes by length, pixels and memory by the header, and pixels again
    by Pillow for pictures inside pictures (icons, animation frames), whose headers come later.

    A JPEG is decoded at 1/2, 1/4 or 1/8 by its own DCT (the largest reduction that leaves the short side at
    `cfg.reduced_jpeg_min_side_px` or more). pHash and PDQ shrink to 32 and 64 px anyway and move by a few bits at most.

    Args:
        data: of the file.
        cfg: what is accepted.
        max_memory_bytes: what the process may take for it (`guard.max_memory_bytes`); None for no limit.
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
        broken = pngs.fault(data) or "no decoder knows this format, or the header is broken"
        return Failure("truncated" if broken.startswith("truncated") else "undecodable", broken)
    except Exception as error:
        # Decoders meet hostile bytes with every kind of exception: struct.error, RecursionError, SyntaxError, ...
        return _failure(error, cfg)


def _attempt(data: bytes, cfg: DecodeConfig, max_memory_bytes: int | None) -> Decoded | Failure:
    """Decodes `data`, or what is left of it without a fault that costs no pixel."""
    try:
        return _decode(data, cfg, max_memory_bytes)
    except Exception as error:
        mended: bytes | None = None
        if data.startswith(pngs.SIGNATURE) and isinstance(error, (UnidentifiedImageError, SyntaxError, ValueError)):
            mended = pngs.repaired(data)
        elif data[:2] == b"\xff\xd8" and _TRUNCATED.search(str(error)):
            mended = jpegs.with_end(data)
        if mended is None:
            raise
        decoded = _decode(mended, cfg, max_memory_bytes)
    if isinstance(decoded, Decoded) and data.startswith(pngs.SIGNATURE) and pngs.shows_more(data):
        return replace(decoded, pixel_digest=pngs.stream_digest(data, 1))
    return decoded


@contextmanager
def _pillow_switches(cfg: DecodeConfig) -> Iterator[None]:
    """Pillow's process-wide limits as `cfg` wants them, warnings silent but for the one on bombs, which is an error."""
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
    """Bytes that texts and the profile of a PNG may unpack to; larger texts are left out, the picture stands."""
    return min(_MAX_TEXT_BYTES, cfg.max_bytes)


def _decode(data: bytes, cfg: DecodeConfig, max_memory_bytes: int | None) -> Decoded | Failure:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
        reading = tiffs.prepare(opened, data) if isinstance(opened, TiffImagePlugin.TiffImageFile) else Reading()
        width, height = opened.size
        if width < 1 or height < 1:
            return Failure("undecodable", f"the picture is {width} x {height} pixels")
        name = opened.format or "unknown"
        if width * height > cfg.max_pixels:
            return _too_many_pixels(f"{width} x {height}", cfg)
        is_jpeg = name in ("JPEG", "MPO")
        scale = _draft(opened, cfg.reduced_jpeg_min_side_px) if is_jpeg else 1
        if max_memory_bytes is not None:
            needed = memory.needed_bytes(opened, data, scale)
            if needed > max_memory_bytes:
                return Failure(
                    "too_large",
                    f"{width} x {height} pixels of {name} ({opened.mode}) take some {needed >> 20} MiB to decode, more "
                    f"than guard.max_memory_bytes ({max_memory_bytes >> 20} MiB); give the workers more memory, or "
                    "raise that",
                )
        profile = opened.info.get("icc_profile")
        profile = profile if isinstance(profile, bytes) else None
        plain = is_jpeg or _is_plain(opened, data)
        encoding = read_encoding(opened, data)
        shown, orientation, samples = _pixels(opened, data, scale, profile, reading, plain and scale == 1)
    if scale == 1:
        height, width = shown.shape[:2]
    shown = _UPRIGHT[orientation](shown) if orientation in _UPRIGHT else shown
    if orientation >= 5:
        width, height = height, width
    beside = jpegs.extras(data) if is_jpeg else []
    if is_jpeg and (scale > 1 or beside):
        identity = jpegs.stream_digest(data, orientation, profile, beside)
    elif not plain:
        identity = pngs.stream_digest(data, orientation) if name == "PNG" else digest.file_digest(data)
    else:
        identity = samples or digest.pixel_digest(shown)
    return Decoded(shown, width, height, name, identity, scale, encoding)


def _pixels(
    opened: Image.Image, data: bytes, scale: int, profile: bytes | None, reading: Reading, identify: bool
) -> tuple[NDArray[np.uint8], int, str | None]:
    """RGB as stored, the orientation that turns it upright, and the digest of its samples where RGB says too little."""
    jpeg = _plain_jpeg(opened, data, scale)
    if jpeg is not None:
        orientation = _orientation(opened)
        if not changes_colours(profile, "RGB"):
            return jpeg, orientation, None
        image = Image.fromarray(jpeg)
        rgb = pixels_to_srgb(jpeg, profile)
        return (
            rgb,
            orientation,
            digest.samples_digest(image, reading, profile, False, orientation) if identify else None,
        )
    cut = any(";16" in str(tile.args) for tile in getattr(opened, "tile", []))
    opened.load()
    extremes: Any = opened.getextrema() if cut and opened.mode in ("RGBA", "LA") else ()
    if 0 < max((high for _, high in extremes), default=0) <= _DARK:
        raise NotDecodedError("samples of 16 bits with alpha that use 14 bits or fewer are not decoded")
    # Only now: Pillow turns TIFFs while loading and then reports no orientation; pillow-heif does so on opening.
    orientation = _orientation(opened)
    shown = render(opened, profile, reading)
    if cut and opened.mode == "RGB" and int(shown.rgb.max()) <= _DARK:
        lighter = dark_colours(data, shown.rgb.shape)
        shown = shown if lighter is None else replace(shown, rgb=lighter)
    if not identify or not digest.needs_samples(opened, reading, profile, shown.has_alpha):
        return shown.rgb, orientation, None
    return shown.rgb, orientation, digest.samples_digest(opened, reading, profile, shown.has_alpha, orientation)


def _is_plain(opened: Image.Image, data: bytes) -> bool:
    """Whether an opened file of another format than JPEG shows nothing but its first frame's samples.

    Of formats that are not named here nobody checked that Pillow gives all that a file shows (HEIF and AVIF keep gain
    maps, depth and more than 8 bits; icons several sizes; PSD layers), so the answer is no.
    """
    if opened.format == "PNG":
        return not pngs.shows_more(data)
    if isinstance(opened, TiffImagePlugin.TiffImageFile):
        return opened.format == "TIFF" and not tiffs.shows_more(opened)
    if opened.format == "BMP":  # a header of version 5 may name a colour profile, which Pillow does not read
        return data[14:15] != b"\x7c" or data[70:74] not in (b"DEBM", b"KNIL")
    if opened.format == "PPM":
        return all(tile.codec_name == "raw" and ";16" not in str(tile.args) for tile in getattr(opened, "tile", []))
    return opened.format in ("GIF", "WEBP", "TGA") and not getattr(opened, "is_animated", False)


def _plain_jpeg(opened: Image.Image, data: bytes, scale: int) -> NDArray[np.uint8] | None:
    """The pixels of an opened JPEG of three components by OpenCV, equal to Pillow's; None for anything unusual.

    OpenCV would leave rows unwritten where a stream ends early and take sizes from a later header than Pillow did, so
    `jpegs.is_whole` is asked first. What it or OpenCV refuses goes to Pillow, whose errors have words.
    """
    if opened.format != "JPEG" or opened.mode != "RGB" or not jpegs.is_whole(data):
        return None
    try:
        rgb: Any = cv2.imdecode(np.frombuffer(data, np.uint8), _JPEG_FLAGS[scale])
    except cv2.error:
        return None
    return rgb if rgb is not None and rgb.shape == (opened.height, opened.width, 3) else None


def _too_many_pixels(size: str, cfg: DecodeConfig) -> Failure:
    message = f"{size} pixels, more than decode.max_pixels ({cfg.max_pixels}); raise that to have it decoded"
    return Failure("too_large", message)


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
