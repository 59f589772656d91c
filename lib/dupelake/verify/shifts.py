"""Shift of each cell of one picture relative to an aligned picture.

The map from a picture to its copy is one projective map, so after alignment only encoding and resampling shift cells,
by some hundredths of a pixel. No such map exists between two photographs of one subject: another camera position causes
parallax, another pose moves parts of a person. Even if such photographs correlate well, some of their cells are shifted
by a pixel.

Reference:
    B. Lucas, T. Kanade, "An iterative image registration technique with an application to stereo vision", IJCAI 1981:
    one step of it, for each cell by itself.
"""

from __future__ import annotations

import cv2
import numpy as np

from dupelake.verify.cells import FloatArray, cell_means

MAX_SHIFT_PX = 2.0  # one step of Lucas-Kanade measures no larger shift
_DAMPING = 0.05  # share of the trace; it suppresses the shift along a straight edge, which cannot be measured


def cell_shifts(
    a: FloatArray,
    b: FloatArray,
    a_gradients: tuple[FloatArray, FloatArray],
    b_gradients: tuple[FloatArray, FloatArray],
    inside: FloatArray,
    side: int,
) -> tuple[FloatArray, FloatArray]:
    """The shift of each cell of `b` against `a`, x and y, in pixels; float32 (rows, columns) each.

    Args:
        a: float32 (h, w), one picture, without shading; h and w are multiples of `side`.
        b: float32 (h, w), the other picture, equally sharp.
        a_gradients: float32 (h, w) twice, gradients of `a`, 0 outside the overlap.
        b_gradients: the same for `b`.
        inside: float32 (h, w), 1 where both show content, else 0.
        side: of a cell, in pixels.
    """
    gx, gy = ((one + other) / 2 for one, other in zip(a_gradients, b_gradients, strict=True))

    def spread(image: FloatArray) -> FloatArray:
        return cv2.resize(image, (inside.shape[1], inside.shape[0]), interpolation=cv2.INTER_NEAREST)

    share = np.maximum(cell_means(inside, side), 0.05)
    levels = [cell_means(g * inside, side) / share for g in (a, b)]
    centred = [(g - spread(level)) * inside for g, level in zip((a, b), levels, strict=True)]
    energies = [cell_means(g * g, side) for g in centred]
    # a change of contrast is not a shift
    gain = np.clip(np.sqrt((energies[0] + 1e-3) / (energies[1] + 1e-3)), 0.25, 4.0)
    residual = centred[1] * spread(gain) - centred[0]
    products = (gx * gx, gx * gy, gy * gy, gx * residual, gy * residual)
    xx, xy, yy, xr, yr = (cell_means(product, side) for product in products)
    damping = _DAMPING * (xx + yy) + 1e-6
    xx, yy = xx + damping, yy + damping
    determinant = xx * yy - xy * xy
    dx, dy = (yy * xr - xy * yr) / determinant, (xx * yr - xy * xr) / determinant
    return np.clip(dx, -MAX_SHIFT_PX, MAX_SHIFT_PX), np.clip(dy, -MAX_SHIFT_PX, MAX_SHIFT_PX)
