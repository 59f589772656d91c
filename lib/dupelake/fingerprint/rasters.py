"""Converts samples of more than 8 bits to 8-bit grey by their range: 12 bits in 16, labels of a mask, elevations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dupelake.fingerprint.pngs import SIGNATURE
from dupelake.fingerprint.tiffs import Reading

_BAND_PIXELS = 1 << 20  # some MB in memory besides the whole picture, for any mode
_DEPTHS = (10, 12, 14, 16)  # bits of detectors that write 16-bit samples


def bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, band of rows) of a loaded picture, so that conversions do not copy the whole picture."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    if rows >= height:
        yield 0, image
        return
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(height, top + rows)))


def is_deep(image: Image.Image, reading: Reading) -> bool:
    """Whether samples must be scaled to 8 bits."""
    return image.mode.startswith(("I", "F")) or reading.signed_8


def samples(band: Image.Image, reading: Reading) -> NDArray[Any]:
    """The sample values of the file, (height, width), in their own dtype."""
    values: NDArray[Any] = np.asarray(band)
    if reading.signed_8:
        return values.view(np.int8)
    return values.view(np.uint32) if reading.unsigned_32 else values


@dataclass(frozen=True)
class Levels:
    """Maps samples to grey of 8 bits.

    Attributes:
        black: the sample that becomes 0.
        white: the sample that becomes 255.
        inverted: black becomes 255 and white becomes 0.
        transparent: the sample that becomes white, or None (PNG's tRNS of 16-bit grey).
    """

    black: float
    white: float
    inverted: bool = False
    transparent: int | None = None

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Grey of samples (height, width); NaN becomes 0 before inversion."""
        scaled: Any = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
        scaled -= self.black
        scaled *= 255.0 / (self.white - self.black) if self.white > self.black else 0.0
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        np.clip(scaled, 0.0, 255.0, out=scaled)
        if self.inverted:
            np.subtract(255.0, scaled, out=scaled)
        scaled += 0.5
        grey = scaled.astype(np.uint8)
        if self.transparent is not None:
            grey[values == self.transparent] = 255
        return grey


def find_levels(image: Image.Image, reading: Reading) -> Levels:
    """The levels of a loaded deep picture.

    For integers within 0..65535 white is 2 ** n - 1, with the least n of 1 to 8, 10, 12, 14 or 16 that holds the
    largest sample. So 12 bits in 16 look like their export to 8 bits, and a mask with labels 0..5 is not black. Floats
    within 0..1 are fractions; floats within 0..255 are 8-bit levels. Any other range (elevation, signed data) is
    stretched from its minimum to its maximum.
    """
    low, high, whole = np.inf, -np.inf, True
    for _, band in bands(image):
        values = samples(band, reading)
        if values.dtype.kind == "f":
            whole = False
            values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:  # there is no finite sample
        low = high = 0.0
    key = image.info.get("transparency")
    transparent = key if isinstance(key, int) else None
    if whole and low >= 0 and high <= 65535:
        return Levels(0.0, _white(int(high)), reading.inverted, transparent)
    if not whole and low >= 0 and high <= 255:
        return Levels(0.0, 1.0 if high <= 1 else 255.0, reading.inverted, transparent)
    return Levels(low, high, reading.inverted, transparent)


def dark_colours(data: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """RGB of a picture whose 16-bit samples use fewer bits, by the rule of `find_levels`; None for other pictures.

    Pillow keeps the upper 8 of 16 bits, which are nearly all zero in such a picture (12 bits in 16).

    Args:
        data: of the file.
        shape: (height, width, 3) of Pillow's picture.
    """
    # In RGB OpenCV 4.14 gives wrong values for a 16-bit TIFF, so BGR is read.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    if data.startswith(SIGNATURE):  # Pillow turns a TIFF while it loads it, and no PNG
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        deep: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from error
        return None
    if deep is None or deep.dtype != np.uint16 or deep.shape != shape:
        return None
    levels = Levels(0.0, _white(int(deep.max())))
    rgb = np.empty(shape, np.uint8)
    rows = max(1, _BAND_PIXELS // shape[1])
    for top in range(0, shape[0], rows):
        rgb[top : top + rows] = levels(deep[top : top + rows, :, ::-1])
    return rgb


def _white(high: int) -> float:
    bits = max(1, high.bit_length())
    return float(2 ** (bits if bits <= 8 else next(depth for depth in _DEPTHS if depth >= bits)) - 1)
