"""Lengths of gradients, with the same bits in every run."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_ALIGNED = 16  # floats: the longest registers of a processor


def magnitude(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Length of each vector (x, y), float32 (h, w).

    OpenCV's last bit depends on the address of the result. So the result begins at a multiple of 64 bytes.

    Args:
        x: float32 (h, w).
        y: float32 (h, w).
    """
    room = np.empty(x.size + _ALIGNED, np.float32)
    start = -(room.ctypes.data // room.itemsize) % _ALIGNED
    return cv2.magnitude(x, y, room[start : start + x.size].reshape(x.shape))
