"""Pixel digests: two files have equal digests only if every viewer shows them alike.

There are four kinds. Each has its own domain, so digests of two kinds are never equal:

- pixels: for opaque 8-bit RGB in any container or mode. PNG, BMP, TIFF and lossless WebP with equal pixels have equal
  digests, also with palettes or with alpha that is 255 everywhere.
- samples: for pictures with alpha, with more than 8 bits, in CMYK or Lab, or with a profile that changes colours: the
  stored values before they are composited, cut or converted.
- streams: for JPEG and PNG that their pixels do not identify (reduced decoding, more frames, gain maps, 16-bit
  colours, unknown chunks): the coded data without metadata.
- files: for all other files: all bytes. Two such files are of kind `exact` or not equal at all, never of kind `pixel`.
"""

from __future__ import annotations

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image

from dupelake.fingerprint.colour import changes_colours, rgba
from dupelake.fingerprint.rasters import bands, is_deep
from dupelake.fingerprint.tiffs import Reading


def pixel_digest(rgb: NDArray[np.uint8]) -> str:
    """Digest of uint8 (height, width, 3) pixels: blake3, 128 bits, over 'rgb', width, height and the pixels.

    Width and height are part of it: a flat 100x500 picture must not equal a flat 200x250 one.
    """
    height, width = rgb.shape[:2]
    hasher = blake3(b"rgb" + width.to_bytes(4, "little") + height.to_bytes(4, "little"))
    return hasher.update(np.ascontiguousarray(rgb).data).hexdigest(length=16)


def file_digest(data: bytes) -> str:
    """Digest of all bytes of a file, in its own domain."""
    return blake3(b"file").update(data).hexdigest(length=16)


def needs_samples(image: Image.Image, reading: Reading, profile: bytes | None, has_alpha: bool) -> bool:
    """Whether 8-bit RGB does not identify the samples of a loaded picture."""
    return has_alpha or is_deep(image, reading) or image.mode in ("CMYK", "LAB") or changes_colours(profile, image.mode)


def samples_digest(
    image: Image.Image, reading: Reading, profile: bytes | None, has_alpha: bool, orientation: int
) -> str:
    """Digest of the stored samples of a loaded picture, and of everything that decides how they are shown."""
    deep = is_deep(image, reading)
    if has_alpha:
        kind = "RGBA"
    elif deep:
        kind = "I;16" if image.mode.startswith("I;16") else image.mode
    else:
        kind = image.mode if image.mode in ("L", "CMYK", "LAB") else "RGB"
    shown = profile if changes_colours(profile, image.mode) else None
    key = image.info.get("transparency") if deep else None
    hasher = blake3(repr(("samples", kind, image.size, orientation, reading, key)).encode())
    hasher.update(blake3(shown or b"").digest())
    for _, band in bands(image):
        plain = rgba(band) if has_alpha else band if deep or band.mode == kind else band.convert(kind)
        values = np.asarray(plain)
        stored = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
        hasher.update(stored.view(np.uint8).data)
    return hasher.hexdigest(length=16)
