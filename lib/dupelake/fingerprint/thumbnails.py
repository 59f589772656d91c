"""Decodes stored thumbnails to pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def decode_thumbnail(data: bytes) -> NDArray[np.uint8]:
    """RGB pixels, uint8 (h, w, 3), of a thumbnail as the hash stage encoded it.

    Raises:
        ValueError: the bytes are not a picture.
    """
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("the thumbnail cannot be decoded")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
