"""Colour profiles for pictures."""

from __future__ import annotations

import struct

from PIL import ImageCms

# Primaries of Adobe RGB (1998), section 4.3.1, adapted to D50 as profiles have them.
_WIDE = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def wide_profile() -> bytes:
    """A profile with the primaries and the gamma of Adobe RGB (1998)."""
    made = bytearray(srgb_profile())
    for at in range(132, 132 + 12 * struct.unpack(">I", made[128:132])[0], 12):
        tag, start = bytes(made[at : at + 4]), struct.unpack(">I", made[at + 4 : at + 8])[0]
        if tag in _WIDE:
            made[start + 8 : start + 20] = struct.pack(">3i", *(round(value * 65536) for value in _WIDE[tag]))
        elif tag in (b"rTRC", b"gTRC", b"bTRC"):
            made[start : start + 14] = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.19921875 * 256))
    return bytes(made)
