"""Encoding of a file, from its header: JPEG quality, chroma, lossy web formats, camera data, profile, bit depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# ITU-T T.81, table K.1, which libjpeg scales by a quality.
_LUMA = np.fromstring(
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99",
    np.int64,
    sep=" ",
)


def scaled_luma(quality: int) -> NDArray[np.int64]:
    """int64 (8, 8): the luma quantisation table of libjpeg at a quality of 1 to 100 (jcparam.c)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((_LUMA.reshape(8, 8) * percent + 50) // 100, 1, 255)


_QUALITIES = np.arange(1, 101)
_SUMS = np.array([scaled_luma(quality).sum() for quality in _QUALITIES.tolist()])
_CHROMA = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0"}
_MAKE, _MODEL, _EXIF_IFD, _EXPOSURE = 0x010F, 0x0110, 0x8769, 0x829A
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I", "F")


@dataclass(frozen=True)
class Encoding:
    """The encoding of a file, from its header.

    Attributes:
        jpeg_quality: 1 to 100, the quality whose libjpeg table has the nearest sum; None if the file is not a JPEG.
        chroma_subsampling: 4:4:4, 4:2:2, 4:2:0, ...; None if the file is not a JPEG of three components.
        is_web_lossy: a lossy format that no camera writes: lossy WebP, AVIF, GIF.
        has_exif: the EXIF data names a camera or an exposure time.
        has_icc: the file has a colour profile.
        bit_depth: bits per stored sample.
    """

    jpeg_quality: int | None = None
    chroma_subsampling: str | None = None
    is_web_lossy: bool = False
    has_exif: bool = False
    has_icc: bool = False
    bit_depth: int = 8


def read_encoding(opened: Image.Image, data: bytes) -> Encoding:
    """The encoding of an opened picture, without its pixels. Broken data count as absent.

    Args:
        opened: by Pillow, not yet loaded.
        data: of the file.
    """
    tables: Any = getattr(opened, "quantization", None)
    is_jpeg = opened.format in ("JPEG", "MPO") and bool(tables)
    return Encoding(
        jpeg_quality=_jpeg_quality(tables[min(tables)]) if is_jpeg else None,
        chroma_subsampling=_chroma(opened) if is_jpeg else None,
        is_web_lossy=opened.format in ("AVIF", "GIF") or (opened.format == "WEBP" and b"VP8 " in data[12:4096]),
        has_exif=_has_exif(opened),
        has_icc=bool(opened.info.get("icc_profile")),
        bit_depth=_bit_depth(opened),
    )


def _jpeg_quality(table: Any) -> int:
    """The quality whose libjpeg table has the nearest sum, for entries in any order."""
    return int(_QUALITIES[int(np.abs(_SUMS - np.sum(table)).argmin())])


def _chroma(opened: Image.Image) -> str | None:
    layers: Any = getattr(opened, "layer", [])
    if len(layers) != 3:
        return None
    (_, across, down, *_), (_, chroma_across, chroma_down, *_) = layers[0], layers[1]
    return _CHROMA.get((across // max(1, chroma_across), down // max(1, chroma_down)))


def _has_exif(opened: Image.Image) -> bool:
    if not opened.info.get("exif") and opened.format not in ("TIFF", "HEIF"):
        return False
    try:
        exif = opened.getexif()
        return any(exif.get(tag) for tag in (_MAKE, _MODEL)) or bool(exif.get_ifd(_EXIF_IFD).get(_EXPOSURE))
    except Exception:  # broken metadata count as absent
        return False


def _bit_depth(opened: Image.Image) -> int:
    known: Any = opened.info.get("bit_depth")
    if isinstance(known, int) and 1 <= known <= 32:
        return known
    is_deep = opened.mode in _DEEP_MODES or any(";16" in str(tile.args) for tile in getattr(opened, "tile", []))
    return 16 if is_deep else 8
