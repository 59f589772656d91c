"""Samples of more than 8 bits to 8-bit grey, by what they hold: 12 bits in 16, labels of a mask, elevations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dupelake.fingerprint.tiffs import Reading

_BAND_PIXELS = 1 << 20  # some MB at work beside the whole picture, whatever its mode
_DEPTHS = (10, 12, 14, 16)  # of detectors that write 16 bits


def bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, rows from there on) of a loaded picture, so that no conversion makes a copy of the whole."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    if rows >= height:
        yield 0, image
        return
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(height, top + rows)))


def is_deep(image: Image.Image, reading: Reading) -> bool:
    """Whether samples are numbers that have to be scaled to 8 bits."""
    return image.mode.startswith(("I", "F")) or reading.signed_8


def samples(band: Image.Image, reading: Reading) -> NDArray[Any]:
    """The numbers that the file holds, (height, width), in their own dtype."""
    values: NDArray[Any] = np.asarray(band)
    if reading.signed_8:
        return values.view(np.int8)
    return values.view(np.uint32) if reading.unsigned_32 else values


@dataclass(frozen=True)
class Levels:
    """Maps samples to grey of 8 bits.

    Attributes:
        black: the sample that becomes 0.
        white: the one that becomes 255.
        inverted: the other way round.
        transparent: the sample that is shown as white, or None (PNG's tRNS of grey of 16 bits).
    """

    black: float
    white: float
    inverted: bool = False
    transparent: int | None = None

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Grey of samples (height, width); what is not a number is black."""
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

    Integers within 0..65535 are as wide as they need: white is 2 ** n - 1 for the fewest bits n of 1 to 8, 10, 12, 14
    or 16 that hold the largest of them. So 12 bits in 16 show what their export to 8 bits shows, whatever its size,
    and labels 0..5 of a mask are no black picture. Floats within 0..1 are fractions, within 0..255 they are 8 bits;
    any other range (elevation, signed data) is stretched from its minimum to its maximum.
    """
    low, high, whole = np.inf, -np.inf, True
    for _, band in bands(image):
        values = samples(band, reading)
        if values.dtype.kind == "f":
            whole = False
            values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:  # not a number among them
        low = high = 0.0
    key = image.info.get("transparency")
    transparent = key if isinstance(key, int) else None
    if whole and low >= 0 and high <= 65535:
        return Levels(0.0, _white(int(high)), reading.inverted, transparent)
    if not whole and low >= 0 and high <= 255:
        return Levels(0.0, 1.0 if high <= 1 else 255.0, reading.inverted, transparent)
    return Levels(low, high, reading.inverted, transparent)


def dark_colours(data: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """RGB of a picture whose samples of 16 bits hold fewer, by the same rule; None where that is not what it is.

    Pillow cuts colours of 16 bits to their upper 8, of which such a picture (12 bits in 16) has next to none.

    Args:
        data: the file.
        shape: (height, width, 3) as Pillow has it.
    """
    try:  # BGR: asked for RGB, OpenCV 4.14 gives other numbers of a TIFF of 16 bits
        deep: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
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
