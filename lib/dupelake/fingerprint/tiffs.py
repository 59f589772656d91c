"""Corrects TIFF files that Pillow decodes wrongly without an error, or refuses them if that is impossible.

Raw camera files are TIFF files whose first picture is a small preview, which Pillow decodes. Pillow gives wrong values
for samples that are signed, unsigned 32-bit, MinIsWhite with more than 8 bits, planar with 16 bits, subsampled YCbCr,
or big-endian and compressed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from PIL import ImagePalette, TiffImagePlugin

# 16-bit grey whose 0 is white: Pillow supports it only in little-endian files.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 255, 256, 257, 258, 262
_PLANAR, _COLORMAP, _SUB_IFDS, _INK_SET, _SAMPLE_FORMAT, _SUBSAMPLING = 284, 320, 330, 332, 339, 530
_DNG_VERSION, _PHOTOSHOP_LAYERS = 50706, 37724
_OWN_COLOURS = (301, 318, 319)  # transfer function, white point, primaries: a colour space without a profile
_MAX_PAGES = 256
# libtiff gives samples in the byte order of this machine; Pillow then reads them in that of the file.
_NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
_RAW = "raw camera files are not decoded, and their preview is not the picture; export it as JPEG, PNG or TIFF"


class NotDecodedError(Exception):
    """A file that Pillow would decode to a wrong picture; the message goes into the image's row."""


@dataclass(frozen=True)
class Reading:
    """How to interpret the samples that Pillow gives.

    Attributes:
        signed_8: mode L, but the samples are signed.
        unsigned_32: mode I, but the samples are unsigned.
        inverted: 0 is white, and Pillow has not inverted the samples.
    """

    signed_8: bool = False
    unsigned_32: bool = False
    inverted: bool = False


def count_pages(opened: TiffImagePlugin.TiffImageFile) -> int:
    """The number of pages, 2 where a later page is damaged. Call it before `prepare`, because Pillow seeks for it."""
    try:
        return int(opened.n_frames)
    except Exception:  # of any type; what the first page shows is whole
        opened.seek(0)
        return 2


def prepare(opened: TiffImagePlugin.TiffImageFile, data: bytes, pages: int) -> Reading:
    """Prepares `opened` (not yet loaded), so that it loads the full-size picture with the samples of the file.

    Raises:
        NotDecodedError: that is impossible.
    """
    tags: Any = opened.tag_v2
    if _DNG_VERSION in tags or data[8:10] == b"CR" or _has_larger_sub_picture(tags, data):
        raise NotDecodedError(_RAW)
    if _is_reduced(tags):
        if _SUB_IFDS in tags:
            raise NotDecodedError(_RAW)
        _seek_full_size(opened, pages)
        tags = opened.tag_v2
    photometric, bits = tags.get(_PHOTOMETRIC, 0), tags.get(_BITS, (1,))[0]
    if photometric == 5 and tags.get(_INK_SET, 1) != 1:
        raise NotDecodedError("the inks of this TIFF are not cyan, magenta, yellow and black (InkSet)")
    stored = opened.info.get("compression") == "raw"
    if stored and ((tags.get(_PLANAR, 1) == 2 and bits > 8) or _is_subsampled(tags)):
        _read_with_libtiff(opened)
    if opened.use_load_libtiff:
        tiles: Any = opened.tile
        opened.tile = [tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:])) for tile in tiles]
    colours = tags.get(_COLORMAP)
    if opened.mode == "P" and colours and max(colours) < 256:  # written with 8 bits, which libtiff accepts as well
        opened.palette = ImagePalette.raw("RGB;L", bytes(colours))
    kind = tags.get(_SAMPLE_FORMAT, (1,))[0]
    return Reading(
        signed_8=opened.mode == "L" and kind == 2,
        unsigned_32=opened.mode == "I" and bits == 32 and kind == 1,
        inverted=photometric == 0 and opened.mode.startswith(("I", "F")),
    )


def shows_more(opened: TiffImagePlugin.TiffImageFile, pages: int) -> bool:
    """Whether a prepared file shows more than the samples of its first page as Pillow gives them.

    Examples: more pages, nested pictures, Photoshop's layers, samples that Pillow cuts to 8 bits or drops, a colour
    space that is not given by a profile, pixels that are not square.
    """
    tags: Any = opened.tag_v2
    if pages > 1 or any(tag in tags for tag in (_SUB_IFDS, _PHOTOSHOP_LAYERS, *_OWN_COLOURS)):
        return True
    if tags.get(282, 1) != tags.get(283, 1):
        return True
    rawmodes = {_raw_mode(tile) for tile in opened.tile}
    deep = opened.mode.startswith("I")
    if any("X" in mode or "a" in mode or (";16" in mode and not deep) for mode in rawmodes):
        return opened.mode != "RGB" or rawmodes != {"RGBX"} or tags.get(_PHOTOMETRIC) != 6
    colours = tags.get(_COLORMAP) if opened.mode in ("P", "PA") else None
    return colours is not None and max(colours) > 255 and any(value % 257 and value % 256 for value in colours)


def _raw_mode(tile: Any) -> str:
    """The raw mode with which Pillow unpacks the samples of a tile."""
    return str(tile.args[0] if isinstance(tile.args, tuple) else tile.args)


def _is_reduced(tags: Any) -> bool:
    return bool(tags.get(_SUBFILE, 0) & 1) or tags.get(_OLD_SUBFILE) == 2


def _seek_full_size(opened: TiffImagePlugin.TiffImageFile, pages: int) -> None:
    """Seeks the first page that is not a reduced picture; stays on the first page if there is none."""
    for page in range(1, min(pages, _MAX_PAGES)):
        try:
            opened.seek(page)
        except Exception as error:
            raise NotDecodedError(
                f"the first page is a reduced picture, and page {page + 1} cannot be read: {error}"
            ) from error
        if not _is_reduced(opened.tag_v2):
            return
    opened.seek(0)


def _is_subsampled(tags: Any) -> bool:
    return tags.get(_PHOTOMETRIC) == 6 and tuple(tags.get(_SUBSAMPLING, (2, 2))) != (1, 1)


def _read_with_libtiff(opened: TiffImagePlugin.TiffImageFile) -> None:
    """Makes libtiff read the samples; Pillow's own reader gives wrong values. Needs the lock of `decode`."""
    before = TiffImagePlugin.READ_LIBTIFF
    TiffImagePlugin.READ_LIBTIFF = True
    try:
        opened._setup()
    finally:
        TiffImagePlugin.READ_LIBTIFF = before


def _has_larger_sub_picture(tags: Any, data: bytes) -> bool:
    """Whether a nested picture (SubIFDs) has more pixels than the first picture."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if _SUB_IFDS not in tags or order is None or data[2:4] not in (b"\x2a\0", b"\0\x2a"):
        return False
    offsets = tags[_SUB_IFDS]
    for offset in offsets if isinstance(offsets, tuple) else (offsets,):
        try:
            (count,) = struct.unpack_from(order + "H", data, offset)
            sides = {}
            for at in range(offset + 2, offset + 2 + 12 * min(count, 1000), 12):
                tag, kind = struct.unpack_from(order + "HH", data, at)
                if tag in (_WIDTH, _HEIGHT):
                    (sides[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 8)
        except (struct.error, TypeError):
            continue
        if sides.get(_WIDTH, 0) * sides.get(_HEIGHT, 0) > tags.get(_WIDTH, 0) * tags.get(_HEIGHT, 0):
            return True
    return False
