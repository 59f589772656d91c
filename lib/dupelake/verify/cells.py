"""Gradients, and means over square cells, as all comparisons of aligned pictures take them."""

from __future__ import annotations

from typing import Any

import cv2
from numpy.typing import NDArray

FloatArray = NDArray[Any]  # float32; the stubs of OpenCV promise no type
Mask = NDArray[Any]  # uint8


def gradients(grey: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sobel derivatives in levels per pixel, x and y."""
    return (
        cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8),
        cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8),
    )


def cell_means(image: FloatArray, side: int) -> FloatArray:
    """Mean over each cell of side x side pixels, of an image that `whole_cells` has padded."""
    return cv2.resize(image, (image.shape[1] // side, image.shape[0] // side), interpolation=cv2.INTER_AREA)


def whole_cells(image: NDArray[Any], side: int, border: int) -> NDArray[Any]:
    """`image` enlarged at the right and below to whole cells, by zeros or by its own edge (OpenCV's border types)."""
    height, width = image.shape[:2]
    return cv2.copyMakeBorder(image, 0, -height % side, 0, -width % side, border)
