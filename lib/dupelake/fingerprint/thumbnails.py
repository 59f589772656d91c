"""Decodes stored thumbnails to pixels, and keeps the colour profile of a picture in its thumbnail."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_START = b"\xff\xd8"  # of every JPEG
_COMMENT = b"\xff\xfe"
_NAME = b"dupelake profile\0"
_MAX_PROFILE_BYTES = 8192  # of cameras and editors: 500 to 4,000; larger ones are tables for printers and scanners


def decode_thumbnail(data: bytes) -> NDArray[np.uint8]:
    """RGB pixels, uint8 (h, w, 3), of a thumbnail as the hash stage encoded it.

    Raises:
        ValueError: the bytes are not a picture.
    """
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("the thumbnail cannot be decoded")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def keep_profile(thumbnail: bytes, profile: bytes | None) -> bytes:
    """The JPEG with the profile that its colours were converted from, as a comment, which viewers do not apply."""
    if profile is None or len(profile) > _MAX_PROFILE_BYTES:
        return thumbnail
    text = _NAME + profile
    return _START + _COMMENT + (len(text) + 2).to_bytes(2, "big") + text + thumbnail[len(_START) :]


def profile_of(thumbnail: bytes) -> bytes | None:
    """The profile that `keep_profile` kept, or None."""
    begin = len(_START) + len(_COMMENT) + 2
    if thumbnail[:4] != _START + _COMMENT or not thumbnail.startswith(_NAME, begin):
        return None
    return thumbnail[begin + len(_NAME) : begin - 2 + int.from_bytes(thumbnail[4:6], "big")]
