"""The edits of planted copies: seeded changes of a picture that people make, encoded as a file.

An edit is a pure function of (picture, edit, strength, seed): for one version of Pillow, OpenCV and numpy it gives the
same bytes everywhere. Random parts (the place of a crop, the words on a sticker) depend on the seed only. Unless the
edit is an encoding, the result is a JPEG of quality 90, so that no copy has the pixels of its original. The edits bench
draws many more edits with these parts (`benchmarks/edits/registry.py`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import cos, exp, pi, radians, sin, sqrt
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

RGB = NDArray[np.uint8]

MIN_SIDE_PX = 8  # no edit makes a picture smaller than this
_QUALITY = 90  # of edits other than encodings; common in editors and phones

_TEXT = (
    "when you finally see the weekend sale only today look at this cat never again my friends said it would be fine "
    "monday morning coffee best price free delivery new summer photo by studio north all rights reserved nobody told "
    "me about rain wait for it so true every single time"
)
_WORDS = _TEXT.split()
INK, PAPER = (20, 20, 20), (250, 250, 250)


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


Change = Callable[[RGB, float, np.random.Generator], Shown]


def planted_copy(rgb: RGB, edit: str, strength: float, seed: int) -> bytes:
    """The file of a copy by an edit of PLANTED; arguments and errors as of `changed`."""
    return encoded(changed(rgb, edit, _CHANGES[edit], strength, seed))


def changed(rgb: RGB, edit: str, change: Change, strength: float, seed: int) -> Shown:
    """Edit a picture.

    Args:
        rgb: uint8 (h, w, 3), both sides at least 8 px.
        edit: name of the edit, which is part of the seed.
        change: the edit on pixels.
        strength: any sensible value of the edit's unit.
        seed: chooses positions, signs, colours and words; 0 to 2**63 - 1.

    Raises:
        ValueError: a picture of another shape or too small.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or min(rgb.shape[:2]) < MIN_SIDE_PX:
        raise ValueError(f"an edit wants uint8 (h, w, 3) of at least 8 x 8 pixels, not {rgb.dtype} {rgb.shape}")
    rng = np.random.default_rng([seed, crc32(f"{edit}:{float(strength)!r}".encode())])
    return change(rgb, float(strength), rng)


def encoded(shown: Shown) -> bytes:
    """The pixels as a file."""
    buffer = io.BytesIO()
    options = {"method": 3} if shown.format == "WEBP" else {}
    Image.fromarray(shown.rgb).save(buffer, shown.format, quality=shown.quality or _QUALITY, **options)
    return buffer.getvalue()


def whole(rgb: RGB) -> Shown:
    """Pixels that show the whole original and nothing else."""
    return Shown(np.ascontiguousarray(rgb), 1.0, min(rgb.shape[:2]))


def scaled(rgb: RGB, width: int, height: int) -> RGB:
    """Resized to a size (each side at least MIN_SIDE_PX): by area when it shrinks, else cubic."""
    width, height = max(MIN_SIDE_PX, width), max(MIN_SIDE_PX, height)
    shrinks = width <= rgb.shape[1] and height <= rgb.shape[0]
    return np.asarray(
        cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8
    )


def jpeg(rgb: RGB, quality: float, rng: np.random.Generator) -> Shown:
    """Encode as JPEG."""
    return replace(whole(rgb), quality=round(quality))


def resize(rgb: RGB, factor: float, rng: np.random.Generator) -> Shown:
    """Both sides times `factor`."""
    return whole(scaled(rgb, round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)))


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
    inner = turned(rgb, degrees, out_w, out_h, (0, 0, 0), rng)
    return Shown(inner, min(1.0, out_w * out_h / (width * height)), min(out_w, out_h))


def turned(rgb: RGB, degrees: float, out_w: int, out_h: int, fill: Sequence[int], rng: np.random.Generator) -> RGB:
    """Turn about the middle, in either direction, on a canvas of another size."""
    height, width = rgb.shape[:2]
    sign = 1 if rng.integers(2) else -1
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), sign * degrees, 1.0)
    matrix[:, 2] += (out_w - width) / 2, (out_h - height) / 2
    out = cv2.warpAffine(rgb, matrix, (out_w, out_h), flags=cv2.INTER_CUBIC, borderValue=tuple(fill))
    return np.asarray(out, np.uint8)


def words(rng: np.random.Generator, n: int) -> str:
    """`n` words chosen by the seed."""
    return " ".join(_WORDS[i] for i in rng.integers(0, len(_WORDS), n))


def font(height_px: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The default font of Pillow at a letter height."""
    return ImageFont.load_default(max(6.0, height_px))


def fit_text(text: str, width_px: float, height_px: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest font, up to a height, in which one line of text fits a width."""
    wide = font(height_px).getlength(text)
    return font(height_px * min(1.0, width_px / max(1.0, wide)))


def paint(rgb: RGB) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """The pixels as a picture, and what draws on it."""
    image = Image.fromarray(rgb)
    return image, ImageDraw.Draw(image)


def covered(before: RGB, after: RGB) -> float:
    """Share of the pixels that an opaque overlay hides: those that changed."""
    return float((before != after).any(axis=2).mean())


def sticker(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """An opaque badge, star or face that covers `share` of the area, anywhere in the picture."""
    height, width = rgb.shape[:2]
    kind = int(rng.integers(3))
    fill = tuple(int(c) for c in rng.integers(60, 256, 3))
    across, down = rng.random(2)
    # Area over radius squared: disc pi, ten-cornered star of inner radius one half 1.47, label 2 r by r 2.
    radius = min(sqrt(share * width * height / (pi, 1.469, 2.0)[kind]), width / 2, height / 2)
    x, y = radius + across * (width - 2 * radius), radius + down * (height - 2 * radius)
    image, draw = paint(rgb)
    if kind == 0:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=INK)
        for dx in (-0.35, 0.35):
            eye = radius * 0.1
            draw.ellipse((x + dx * radius - eye, y - 0.3 * radius - eye, x + dx * radius + eye, y - 0.1 * radius), INK)
        mouth = (x - 0.5 * radius, y - 0.4 * radius, x + 0.5 * radius, y + 0.6 * radius)
        draw.arc(mouth, 20, 160, INK, max(1, round(radius / 12)))
    elif kind == 1:
        points = [
            (x + radius * (1, 0.5)[i % 2] * sin(i * pi / 5), y - radius * (1, 0.5)[i % 2] * cos(i * pi / 5))
            for i in range(10)
        ]
        draw.polygon(points, fill=fill)
    else:
        draw.rectangle((x - radius, y - radius / 2, x + radius, y + radius / 2), fill=fill)
        text = words(rng, 2).upper()
        draw.text((x, y), text, fill=INK, font=fit_text(text, radius * 1.8, radius * 0.6), anchor="mm")
    out = np.array(image)
    return Shown(out, 1 - covered(rgb, out), min(height, width))


PLANTED: tuple[tuple[str, float], ...] = (
    ("crop", 0.8),
    ("crop", 0.5),
    ("crop", 0.25),
    ("mirror", 1.0),
    ("jpeg", 30.0),
    ("resize", 0.5),
    ("sticker", 0.05),
    ("rotate_cropped", 5.0),
)
"""The (edit, strength) that every run plants: cheap ones (a few milliseconds each at 1 megapixel), one of each kind."""

_CHANGES: dict[str, Change] = {
    "crop": crop,
    "mirror": mirror,
    "jpeg": jpeg,
    "resize": resize,
    "sticker": sticker,
    "rotate_cropped": rotate_cropped,
}
