"""Bytes to one upright 8-bit sRGB picture, or the reason why not. No byte string makes `decode` raise.

Pillow does the decoding (HEIC and HEIF through pillow-heif). What is decided here is what Pillow leaves open: which
frame, which way up, on which background, in which colour space, how large at most, and what identifies the pixels.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pillow_heif
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from dupelake.config import DecodeConfig

pillow_heif.register_heif_opener()
Image.init()

# EPS would start Ghostscript on bytes of unknown origin, and its answer would depend on the machine.
_FORMATS = sorted(set(Image.OPEN) - {"EPS"}, key=lambda name: (name not in ("JPEG", "PNG", "GIF", "WEBP"), name))

# Pillow's limits are attributes of modules, so they are set under a lock while one image is decoded.
# Spark's Python workers are processes: nobody waits here, but a threaded caller stays correct.
_PILLOW_SWITCHES = threading.Lock()

_ORIENTATION_TAG = 0x0112
# EXIF 2.32, 4.6.4 A, tag 274: what turns the stored picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
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
        image: Pillow image of mode RGB; smaller than `width_px` x `height_px` when `scale` > 1.
        rgb: the same pixels, uint8 (height, width, 3), C-contiguous, read-only.
        width_px: width after orientation at full size.
        height_px: height after orientation at full size.
        format: Pillow's name of the format (JPEG, PNG, HEIF, ...).
        pixel_digest: 32 hex digits; equal digests mean equal pixels (see `pixel_digest`, `jpeg_stream_digest`).
        scale: 1, or the 2, 4 or 8 by which the JPEG decoder reduced both sides.
    """

    image: Image.Image
    rgb: NDArray[np.uint8]
    width_px: int
    height_px: int
    format: str
    pixel_digest: str
    scale: int = 1


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
                has_jfif = has_jfif or data[start + 4:start + 9] == b"JFIF\0"
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
        opened.load()
        # Only now: Pillow turns TIFFs while loading and then reports no orientation; pillow-heif does so on opening.
        orientation = _orientation(opened)
        profile = opened.info.get("icc_profile")
        profile = profile if isinstance(profile, bytes) else None
        image = _to_srgb(opened, profile)
        if scale == 1:
            width, height = image.size
        image = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
        if orientation >= 5:
            width, height = height, width
    rgb = np.asarray(image)
    digest = pixel_digest(rgb) if scale == 1 else jpeg_stream_digest(data, orientation, profile)
    return Decoded(image, rgb, width, height, name, digest, scale)


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


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`image` (loaded) of any mode as RGB: 8 bit, alpha on white, through its ICC profile."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return _apply_profile(image, profile)
    if image.mode.startswith(("I", "F")):
        return _apply_profile(_scale_to_8_bit(image), profile)
    if image.mode == "LAB":
        return _cms(image, _lab_to_srgb())
    alpha = None
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode not in ("L", "CMYK"):  # these two have profiles of their own kind
        image = image.convert("RGB")
    rgb = _apply_profile(image, profile)
    if alpha is None or alpha.getextrema() == (255, 255):
        return rgb
    white = Image.new("RGB", rgb.size, (255, 255, 255))
    white.paste(rgb, mask=alpha)
    return white


def _scale_to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or floating, as L.

    Integers within 0..65535 are read as 16 bit, floats within 0..1 as fractions and within 0..255 as 8 bit;
    any other range (elevation, signed data) is stretched from its minimum to its maximum.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        grey = values / 257.0
    elif low >= 0 and high <= 1:
        grey = values * 255.0
    elif low >= 0 and high <= 255:
        grey = values
    else:
        grey = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    key = image.info.get("transparency")
    if isinstance(key, int):  # PNG's tRNS of a 16-bit grey picture: this one value is transparent
        grey = np.where(values == key, 255.0, grey)
    return Image.fromarray((grey + 0.5).astype(np.uint8))


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`image` of mode RGB, L or CMYK as sRGB; a profile that is broken or of another colour space is ignored."""
    if profile:
        try:
            transform = _profile_to_srgb(profile, image.mode)
            if transform is not None:
                return _cms(image, transform)
        except Exception:  # littlecms refuses many real profiles; the numbers themselves are the best guess left
            return image.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _cms(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("no image came out of the colour transform")
    return converted


@lru_cache(maxsize=32)  # a camera writes the same profile into every file; building a transform takes milliseconds
def _profile_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Transform from `profile` to sRGB; None when it is of another colour space, or changes nothing to speak of."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if source.profile.xcolor_space.strip() != {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}[mode]:
        return None
    if "srgb" in (source.profile.profile_description or "").lower():
        return None
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode == "RGB":
        # Unnamed sRGB is common (Google, Facebook): compare on a grid of colours; 2 of 255 is below JPEG's own noise.
        steps = np.linspace(0, 255, 9).round().astype(np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(27, 27, 3)
        moved = np.asarray(_cms(Image.fromarray(grid), transform)).astype(np.int16) - grid
        if int(np.abs(moved).max()) <= 2:
            return None
    return transform


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to the first EOI; of SOS with its entropy-coded data (ITU-T T.81, B).

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
        end = at + 2 + int.from_bytes(data[at + 2:at + 4], "big")
        if marker == 0xDA:
            found = _NEXT_MARKER.search(data, end)
            if found is None:
                raise ValueError("no EOI marker")
            end = found.start()
        yield marker, at, end
        at = end
