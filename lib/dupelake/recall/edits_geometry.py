"""Edits that move pixels: size, crops, turns, frames. See `edits`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import cos, exp, radians, sin, sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]

MIN_SIDE_PX = 8  # no edit makes a picture smaller than this


@dataclass(frozen=True)
class Shown:
    """Edited pixels, before encoding.

    Attributes:
        rgb: uint8 (h, w, 3), C-contiguous.
        kept_fraction: 0 to 1, share of the original's area that can still be seen.
        picture_side_px: short side of what shows the original.
        quality: of the encoder; 0 leaves it to `edits`.
        format: as Pillow names it.
    """

    rgb: RGB
    kept_fraction: float
    picture_side_px: int
    quality: int = 0
    format: str = "JPEG"


def whole(rgb: RGB) -> Shown:
    """Pixels that show the whole original and nothing else."""
    return Shown(np.ascontiguousarray(rgb), 1.0, min(rgb.shape[:2]))


def then(
    first: Shown,
    change: Callable[[RGB, float, np.random.Generator], Shown],
    strength: float,
    rng: np.random.Generator,
) -> Shown:
    """Apply one edit after another; kept fractions multiply, and the picture inside shrinks in proportion."""
    second = change(first.rgb, strength, rng)
    share = first.picture_side_px / min(first.rgb.shape[:2])
    return replace(
        second,
        kept_fraction=first.kept_fraction * second.kept_fraction,
        picture_side_px=max(1, round(second.picture_side_px * min(1.0, share))),
    )


def scaled(rgb: RGB, width: int, height: int) -> RGB:
    """Resized to a size (each side at least MIN_SIDE_PX): by area when it shrinks, else cubic."""
    width, height = max(MIN_SIDE_PX, width), max(MIN_SIDE_PX, height)
    shrinks = width <= rgb.shape[1] and height <= rgb.shape[0]
    return np.asarray(
        cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8
    )


def resize(rgb: RGB, factor: float, rng: np.random.Generator) -> Shown:
    """Both sides times `factor`."""
    return whole(scaled(rgb, round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)))


def squash(rgb: RGB, factor: float, rng: np.random.Generator) -> Shown:
    """Multiply one side by `factor`; the seed selects it."""
    height, width = rgb.shape[:2]
    if rng.integers(2):
        return whole(scaled(rgb, round(width * factor), height))
    return whole(scaled(rgb, width, round(height * factor)))


def crop(rgb: RGB, area: float, rng: np.random.Generator) -> Shown:
    """Crop to `area` of the picture, anywhere in it, with an aspect up to 15 % from the picture's."""
    height, width = rgb.shape[:2]
    stretch = exp(rng.uniform(-0.15, 0.15))
    w, h = width * sqrt(area * stretch), height * sqrt(area / stretch)
    if w > width:
        w, h = float(width), height * area
    elif h > height:
        w, h = width * area, float(height)
    w_px, h_px = min(width, max(MIN_SIDE_PX, round(w))), min(height, max(MIN_SIDE_PX, round(h)))
    x, y = int(rng.integers(width - w_px + 1)), int(rng.integers(height - h_px + 1))
    part = np.ascontiguousarray(rgb[y : y + h_px, x : x + w_px])
    return Shown(part, w_px * h_px / (width * height), min(w_px, h_px))


def mirror(rgb: RGB, strength: float, rng: np.random.Generator) -> Shown:
    """Mirror left to right."""
    return whole(rgb[:, ::-1])


def flip(rgb: RGB, strength: float, rng: np.random.Generator) -> Shown:
    """Mirror top to bottom."""
    return whole(rgb[::-1])


def quarter_turn(rgb: RGB, degrees: float, rng: np.random.Generator) -> Shown:
    """Rotate clockwise by 90, 180 or 270 degrees."""
    return whole(np.rot90(rgb, -round(degrees / 90)))


def rotate_filled(rgb: RGB, degrees: float, rng: np.random.Generator) -> Shown:
    """Rotate in either direction on a larger black or white canvas that contains all of the picture."""
    height, width = rgb.shape[:2]
    angle = radians(degrees)
    out_w = round(width * cos(angle) + height * sin(angle))
    out_h = round(width * sin(angle) + height * cos(angle))
    fill = (0, 0, 0) if rng.integers(2) else (255, 255, 255)
    return Shown(_turned(rgb, degrees, out_w, out_h, fill, rng), 1.0, min(width, height))


def rotate_cropped(rgb: RGB, degrees: float, rng: np.random.Generator) -> Shown:
    """Rotate in either direction and crop to the largest rectangle of the picture's aspect that needs no fill."""
    height, width = rgb.shape[:2]
    angle = radians(degrees)
    # The corner (w/2, h/2) k of the wanted rectangle, turned back, must lie inside the picture in x and in y.
    k = min(
        width / (width * cos(angle) + height * sin(angle)),
        height / (width * sin(angle) + height * cos(angle)),
    )
    out_w, out_h = max(MIN_SIDE_PX, int(width * k) - 1), max(MIN_SIDE_PX, int(height * k) - 1)
    turned = _turned(rgb, degrees, out_w, out_h, (0, 0, 0), rng)
    return Shown(turned, min(1.0, out_w * out_h / (width * height)), min(out_w, out_h))


def _turned(rgb: RGB, degrees: float, out_w: int, out_h: int, fill: Sequence[int], rng: np.random.Generator) -> RGB:
    height, width = rgb.shape[:2]
    sign = 1 if rng.integers(2) else -1
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), sign * degrees, 1.0)
    matrix[:, 2] += (out_w - width) / 2, (out_h - height) / 2
    out = cv2.warpAffine(rgb, matrix, (out_w, out_h), flags=cv2.INTER_CUBIC, borderValue=tuple(fill))
    return np.asarray(out, np.uint8)


def perspective(rgb: RGB, strength: float, rng: np.random.Generator) -> Shown:
    """Perspective: the two corners of one side move inwards by `strength` of that side; the outside is cropped."""
    height, width = rgb.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    a = int(rng.integers(4))  # the side from corner a to corner b
    b = (a + 1) % 4
    inside = corners.copy()
    inside[a] += (corners[b] - corners[a]) * strength
    inside[b] += (corners[a] - corners[b]) * strength
    kept = float(cv2.contourArea(inside)) / (width * height)
    matrix = cv2.getPerspectiveTransform(inside, corners)
    out = cv2.warpPerspective(rgb, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Shown(np.asarray(out, np.uint8), kept, min(width, height))


def border_white(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """A white border of width `share` times the short side."""
    return _bordered(rgb, share, (255, 255, 255))


def border_black(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """A black border of width `share` times the short side."""
    return _bordered(rgb, share, (0, 0, 0))


def border_coloured(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """A border of width `share` times the short side, in a colour chosen by the seed."""
    return _bordered(rgb, share, tuple(int(c) for c in rng.integers(0, 256, 3)))


def _bordered(rgb: RGB, share: float, fill: Sequence[int]) -> Shown:
    height, width = rgb.shape[:2]
    edge = max(1, round(min(height, width) * share))
    out = np.full((height + 2 * edge, width + 2 * edge, 3), fill, np.uint8)
    out[edge : edge + height, edge : edge + width] = rgb
    return Shown(out, 1.0, min(width, height))


def letterbox(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """Black or white bars above and below, `share` of the new height in all."""
    height, width = rgb.shape[:2]
    bar = max(1, round(height * share / (1 - share) / 2))
    out = np.full((height + 2 * bar, width, 3), 0 if rng.integers(4) else 255, np.uint8)  # black bars are more common
    out[bar : bar + height] = rgb
    return Shown(out, 1.0, min(width, height))


def pillarbox(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """Bars left and right, `share` of the new width in all."""
    turned = letterbox(np.ascontiguousarray(rgb.transpose(1, 0, 2)), share, rng)
    return replace(turned, rgb=np.ascontiguousarray(turned.rgb.transpose(1, 0, 2)))
