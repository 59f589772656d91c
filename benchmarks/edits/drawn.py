"""Edits of the bench that draw: captions, watermarks, screens around a picture, collages. See `registry`.

Text is set in the font that Pillow carries, so that nothing depends on the fonts of a machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, cos, pi, sin, sqrt

import cv2
import numpy as np
from PIL import Image, ImageDraw

from dupelake.recall.edits import INK, PAPER, RGB, Shown, covered, fit_text, font, paint, scaled, words


def caption_bar(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """A bar with a line or two of text above or below the picture, outside of it."""
    height, width = rgb.shape[:2]
    bar = max(8, round(height * share))
    light, on_top, lines = bool(rng.integers(3)), bool(rng.integers(2)), 1 + int(rng.integers(2))
    texts = [words(rng, 4) for _ in range(lines)]
    canvas = np.full((height + bar, width, 3), PAPER if light else INK, np.uint8)
    top = bar if on_top else 0
    canvas[top : top + height] = rgb
    image, draw = paint(canvas)
    for i, text in enumerate(texts):
        y = (0 if on_top else height) + bar * (i + 0.5) / lines
        face = fit_text(text, width * 0.9, bar / lines * 0.6)
        draw.text((width / 2, y), text, fill=INK if light else PAPER, font=face, anchor="mm")
    return Shown(np.array(image), 1.0, min(height, width))


def caption_over(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """An opaque bar with text over the upper or lower edge of the picture."""
    height, width = rgb.shape[:2]
    bar = max(1, round(height * share))
    on_top, text = bool(rng.integers(2)), words(rng, 4)
    fill = tuple(int(c) for c in rng.integers(0, 256, 3))
    y = 0 if on_top else height - bar
    image, draw = paint(rgb)
    draw.rectangle((0, y, width, y + bar - 1), fill=fill)
    ink = INK if sum(fill) > 380 else PAPER
    draw.text((width / 2, y + bar / 2), text, fill=ink, font=fit_text(text, width * 0.9, bar * 0.6), anchor="mm")
    return Shown(np.array(image), 1 - bar / height, min(height, width))


def meme_text(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """White capitals with a black rim at the upper and at the lower edge."""
    height, width = rgb.shape[:2]
    image, draw = paint(rgb)
    for y, anchor in ((height * 0.03, "ma"), (height * 0.97, "md")):
        text = words(rng, 4).upper()
        face = fit_text(text, width * 0.94, height * share)
        rim = max(1, round(height * share / 12))
        draw.text((width / 2, y), text, fill=(255, 255, 255), font=face, anchor=anchor, stroke_width=rim, stroke_fill=0)
    out = np.array(image)
    return Shown(out, 1 - covered(rgb, out), min(height, width))


def watermark_corner(rgb: RGB, opacity: float, rng: np.random.Generator) -> Shown:
    """A transparent line of text in one corner."""
    height, width = rgb.shape[:2]
    text, corner = "(c) " + words(rng, 2), int(rng.integers(4))
    layer = Image.new("L", (width, height))
    face = fit_text(text, width * 0.4, height * 0.06)
    margin = 0.02 * min(width, height)
    x, horizontal = (margin, "l") if corner % 2 else (width - margin, "r")
    y, vertical = (margin, "a") if corner < 2 else (height - margin, "d")
    ImageDraw.Draw(layer).text((x, y), text, fill=255, font=face, anchor=horizontal + vertical)
    return _shining(rgb, np.array(layer), opacity)


def watermark_tiled(rgb: RGB, opacity: float, rng: np.random.Generator) -> Shown:
    """The same slanted, transparent words all over the picture, as picture agencies do."""
    height, width = rgb.shape[:2]
    text, angle = words(rng, 2), float(rng.uniform(20, 40))
    side = ceil(sqrt(width * width + height * height))
    layer = Image.new("L", (side, side))
    draw, face = ImageDraw.Draw(layer), font(side * 0.04)
    step_x, step_y = face.getlength(text) * 1.3, side * 0.11
    for row in range(ceil(side / step_y)):
        for column in range(-1, ceil(side / step_x)):
            draw.text((step_x * (column + row % 2 / 2), step_y * row), text, fill=255, font=face)
    turned = layer.rotate(angle, Image.Resampling.BILINEAR)
    left, top = (side - width) // 2, (side - height) // 2
    return _shining(rgb, np.array(turned.crop((left, top, left + width, top + height))), opacity)


def _shining(rgb: RGB, mask: RGB, opacity: float) -> Shown:
    """Blend white through a mask (uint8, h x w) at an opacity. The picture stays visible, so all of it is kept."""
    alpha = mask.astype(np.float32)[:, :, None] * np.float32(opacity / 255)
    out = (rgb * (1 - alpha) + 255 * alpha + 0.5).astype(np.uint8)
    return Shown(out, 1.0, min(rgb.shape[:2]))


def screenshot_phone(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """The picture, full width, in a post of a phone app; it takes `share` of the screen."""
    height, width = rgb.shape[:2]
    unit = width / 24  # a line of text
    total = max(round(height / share), height + round(7 * unit))
    dark, name, n_likes = bool(rng.integers(2)), words(rng, 1), int(rng.integers(10, 9999))
    paper, ink = ((18, 18, 20), (235, 235, 235)) if dark else ((255, 255, 255), (25, 25, 25))
    canvas = np.full((total, width, 3), paper, np.uint8)
    top = min(round(4 * unit + 0.35 * (total - height - 7 * unit)), total - height - round(2 * unit))
    canvas[top : top + height] = rgb
    image, draw = paint(canvas)
    small, large = font(unit * 0.7), font(unit)
    clock = f"{rng.integers(24)}:{rng.integers(10, 60)}"
    draw.text((unit, unit * 0.3), clock, ink, small)
    draw.rectangle((width - 3 * unit, unit * 0.4, width - unit, unit * 1.1), outline=ink)
    draw.rectangle((width - 3 * unit, unit * 0.4, width - 1.6 * unit, unit * 1.1), fill=ink)
    avatar = tuple(int(c) for c in rng.integers(60, 220, 3))
    draw.ellipse((unit, top - 2.2 * unit, 2.8 * unit, top - 0.4 * unit), fill=avatar)
    draw.text((3.4 * unit, top - 1.3 * unit), name, ink, large, anchor="lm")
    y = top + height + 0.5 * unit
    for i in range(3):
        draw.ellipse(((1 + 2.2 * i) * unit, y, (2.4 + 2.2 * i) * unit, y + 1.4 * unit), outline=ink, width=2)
    y += 2 * unit
    lines = [f"{n_likes} likes"] + [words(rng, 6) for _ in range(40)]
    for text in lines:
        if y > total - 2.5 * unit:
            break
        draw.text((unit, y), text, ink, small)
        y += 1.3 * unit
    return Shown(np.array(image), 1.0, min(height, width))


def screenshot_desktop(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """The picture in a window of a computer, with bars and a column of text; it takes `share` of the screen."""
    height, width = rgb.shape[:2]
    grow = sqrt(1 / share)
    out_w, out_h = round(width * grow), round(height * grow)
    dark = bool(rng.integers(2))
    paper, ink, bar = ((30, 31, 34), (220, 220, 220), (50, 52, 56)) if dark else ((255, 255, 255), INK, (225, 228, 232))
    image, draw = paint(np.full((out_h, out_w, 3), paper, np.uint8))
    free_w, free_h = out_w - width, out_h - height
    top_bar, left = free_h * 0.45, free_w * 0.7
    draw.rectangle((0, 0, out_w, top_bar * 0.9), fill=bar)
    draw.rectangle((0, out_h - free_h * 0.3, out_w, out_h), fill=bar)
    unit = max(6.0, min(free_w, free_h) * 0.12)
    face = font(unit)
    draw.text((unit, top_bar * 0.15), words(rng, 3), ink, face)
    draw.rectangle((unit, top_bar * 0.5, out_w - unit, top_bar * 0.8), outline=ink)
    draw.text(
        (1.5 * unit, top_bar * 0.65), "www." + words(rng, 2).replace(" ", "-") + ".example", ink, face, anchor="lm"
    )
    y = top_bar + unit
    while y < out_h - free_h * 0.35 - unit:
        draw.text((unit * 0.5, y), words(rng, 2), ink, face)
        y += 2 * unit
    for i in range(5):
        fill = tuple(int(c) for c in rng.integers(60, 220, 3))
        x = (1 + 2.5 * i) * unit
        draw.rectangle((x, out_h - free_h * 0.25, x + 1.5 * unit, out_h - free_h * 0.25 + 1.5 * unit), fill=fill)
    out = np.array(image)
    x_px, y_px = round(left), round(top_bar)
    out[y_px : y_px + height, x_px : x_px + width] = rgb
    return Shown(out, 1.0, min(height, width))


def collage(rgb: RGB, others: Sequence[RGB], rng: np.random.Generator) -> Shown:
    """The picture and others in a grid with white lines between them; the seed selects the cell.

    The picture is shown completely; the others are cropped to its aspect. Four pictures share the size of one; two are
    placed side by side.
    """
    n = len(others) + 1
    columns = ceil(sqrt(n))
    rows = ceil(n / columns)
    height, width = rgb.shape[:2]
    cell_w, cell_h = max(8, round(width / rows)), max(8, round(height / rows))
    gap = max(1, round(0.01 * max(cell_w, cell_h)))
    canvas = np.full((rows * (cell_h + gap) - gap, columns * (cell_w + gap) - gap, 3), 255, np.uint8)
    place = int(rng.integers(n))
    pictures = list(others)
    pictures.insert(place, rgb)
    for i, picture in enumerate(pictures):
        x, y = i % columns * (cell_w + gap), i // columns * (cell_h + gap)
        whole = picture if i == place else _cut_to_aspect(picture, cell_w / cell_h)
        canvas[y : y + cell_h, x : x + cell_w] = scaled(whole, cell_w, cell_h)
    return Shown(canvas, 1.0, min(cell_w, cell_h))


def _cut_to_aspect(rgb: RGB, aspect: float) -> RGB:
    height, width = rgb.shape[:2]
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    x, y = (width - w) // 2, (height - h) // 2
    return np.ascontiguousarray(rgb[y : y + h, x : x + w])


def invented_picture(rng: np.random.Generator, shape: Sequence[int]) -> RGB:
    """Clouds of colour with shapes on them, used in place of another picture."""
    height, width = shape[0], shape[1]
    out = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((3, 110.0), (9, 70.0), (40, 50.0)):
        coarse = rng.random((cells, cells, 3), np.float32)
        out += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(weight)
    image, draw = paint(np.clip(out, 0, 255).astype(np.uint8))
    for _ in range(25):
        x, y, r = rng.random() * width, rng.random() * height, (0.02 + 0.12 * rng.random()) * min(width, height)
        fill = tuple(int(c) for c in rng.integers(0, 256, 3))
        if rng.integers(2):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        else:
            draw.polygon([(x + r * cos(a), y + r * sin(a)) for a in rng.random(4) * 2 * pi], fill=fill)
    return np.array(image)
