"""What identifies the pixels of a file, so that two files share it only when no viewer can tell them apart.

Four kinds, each in a domain of its own, so that no digest of one kind equals one of another:

- pixels: of pictures that are nothing but opaque RGB of 8 bits, in whichever container or mode. PNG, BMP, TIFF and
  lossless WebP of equal pixels meet here, palettes and alpha of 255 throughout included.
- samples: of pictures with alpha, with more than 8 bits, of CMYK or Lab, or under a profile that changes colours: the
  numbers as they are stored, before anything is composited, cut or converted.
- streams: of JPEG and PNG whose pixels alone do not tell all (a reduced decode, more frames, gain maps, colours of
  16 bits, unknown chunks): their coded data without metadata.
- files: all bytes, of everything else. Such a file is `exact` with its like, and never `pixel`.
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
    """Digest of all bytes of a file, in a domain of its own."""
    return blake3(b"file").update(data).hexdigest(length=16)


def needs_samples(image: Image.Image, reading: Reading, profile: bytes | None, has_alpha: bool) -> bool:
    """Whether RGB of 8 bits says less than the samples of a loaded picture."""
    return has_alpha or is_deep(image, reading) or image.mode in ("CMYK", "LAB") or changes_colours(profile, image.mode)


def samples_digest(
    image: Image.Image, reading: Reading, profile: bytes | None, has_alpha: bool, orientation: int
) -> str:
    """Digest of the samples of a loaded picture as they are stored, and of all that says how to show them."""
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
