"""One image file to everything that the hash stage stores of it: ids, hashes, flags, thumbnail. One decode, one thread.

Passes over the full-size pixels: the decoder's own, one copy out of Pillow (for digest and PDQ), digest, PDQ's first
axis, grey (Pillow), pHash's first axis, thumbnail. Everything after those works on pictures that fit a cache.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace

from PIL import Image

from dupelake.config import DecodeConfig, HashConfig
from dupelake.kernels import hashing
from dupelake.kernels.decode import Failure, decode


@dataclass(frozen=True)
class Fingerprint:
    """What is known of one image; columns of `images`, `hashes` and `thumbnails` by the same names.

    Attributes:
        content_id: first 16 bytes of sha256(file bytes), 32 hex digits.
        byte_size: bytes of the file.
        width_px: upright, at full size.
        height_px: upright, at full size.
        format: Pillow's name.
        pixel_digest: 32 hex digits.
        phash: 64 bits as a signed integer (Spark's BIGINT).
        phash_mirrored: of the picture mirrored left to right.
        pdq: 32 bytes.
        pdq_mirrored: 32 bytes.
        pdq_quality: 0 to 100.
        is_low_information: hashes of this picture say nothing.
        thumbnail_bytes: JPEG, 4:4:4, without metadata.
        thumbnail_width_px: longest side at most `HashConfig.thumbnail_side_px`.
        thumbnail_height_px: the other side, at least 1.
    """

    content_id: str
    byte_size: int
    width_px: int
    height_px: int
    format: str
    pixel_digest: str
    phash: int
    phash_mirrored: int
    pdq: bytes
    pdq_mirrored: bytes
    pdq_quality: int
    is_low_information: bool
    thumbnail_bytes: bytes
    thumbnail_width_px: int
    thumbnail_height_px: int


def content_id(data: bytes) -> str:
    """First 16 bytes of sha256(data), 32 hex digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def fingerprint_image(data: bytes, decode_cfg: DecodeConfig, hash_cfg: HashConfig) -> Fingerprint | Failure:
    """All of `Fingerprint` for the bytes of a file, or a `Failure` with content_id and byte_size.

    Never raises on account of the bytes. A failure of an empty file has no content_id: all empty files would share it.
    """
    decoded = decode(data, decode_cfg)
    if isinstance(decoded, Failure):
        return replace(decoded, content_id=content_id(data) if data else None, byte_size=len(data))
    try:
        straight, mirrored = hashing.phash_pair(decoded.image.convert("L"))
        pdq = hashing.pdq(decoded.rgb)
        thumbnail = make_thumbnail(decoded.image, hash_cfg.thumbnail_side_px)
        thumbnail_bytes = encode_thumbnail(thumbnail, hash_cfg.thumbnail_quality)
    except MemoryError:
        return Failure("out_of_memory", "not enough memory to hash it", content_id(data), len(data))
    return Fingerprint(
        content_id=content_id(data), byte_size=len(data), width_px=decoded.width_px, height_px=decoded.height_px,
        format=decoded.format, pixel_digest=decoded.pixel_digest,
        phash=hashing.to_signed(straight), phash_mirrored=hashing.to_signed(mirrored),
        pdq=pdq.bits, pdq_mirrored=pdq.mirrored, pdq_quality=pdq.quality,
        is_low_information=hashing.is_low_information(
            decoded.width_px, decoded.height_px, int(straight), pdq.quality, hash_cfg),
        thumbnail_bytes=thumbnail_bytes, thumbnail_width_px=thumbnail.width, thumbnail_height_px=thumbnail.height)


def make_thumbnail(image: Image.Image, side_px: int) -> Image.Image:
    """`image` (RGB) with its longest side at `side_px`, or as it is when it is no longer than that.

    First the largest whole-number reduction that stays above the size (exact means of k x k pixels), then Pillow's
    HAMMING filter for the rest, a factor below 2: as sharp as bicubic in shrinking and half its cost.
    """
    longest = max(image.size)
    if longest <= side_px:
        return image
    width, height = (max(1, (2 * side * side_px + longest) // (2 * longest)) for side in image.size)  # rounded
    return image.resize((width, height), Image.Resampling.HAMMING, reducing_gap=1.0)


def encode_thumbnail(thumbnail: Image.Image, quality: int) -> bytes:
    """JPEG of an RGB image without metadata; 4:4:4, so that colours of small pictures stay sharp."""
    out = io.BytesIO()
    thumbnail.save(out, "JPEG", quality=quality, subsampling=0)
    return out.getvalue()
