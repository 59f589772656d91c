"""Edits of the bench that move pixels: size, crops, turns, frames. See `registry`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import cos, radians, sin

import cv2
import numpy as np

from dupelake.recall.edits import RGB, Change, Shown, scaled, turned, whole


def then(
    first: Shown,
    change: Change,
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


def squash(rgb: RGB, factor: float, rng: np.random.Generator) -> Shown:
    """Multiply one side by `factor`; the seed selects it."""
    height, width = rgb.shape[:2]
    if rng.integers(2):
        return whole(scaled(rgb, round(width * factor), height))
    return whole(scaled(rgb, width, round(height * factor)))


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
    return Shown(turned(rgb, degrees, out_w, out_h, fill, rng), 1.0, min(width, height))


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
    bars = letterbox(np.ascontiguousarray(rgb.transpose(1, 0, 2)), share, rng)
    return replace(bars, rgb=np.ascontiguousarray(bars.rgb.transpose(1, 0, 2)))
