"""Hard negatives, made from real pictures: much in common, yet not the same picture.

Kinds, `n` images each:

- shared_caption, shared_watermark, shared_sticker, shared_screen: one and the same overlay or screen on different
  clothing photographs. Each is a true copy of its own photograph (same group), and of no other.
- form, letter, chart: pages of one template with other entries; each its own group.
- texture: repeated patterns of other period, angle and colours; each its own group.
- same_scene: a photograph of scikit-image with another garment pasted over its middle (about two fifths of the area);
  five garments to a scene. studio_frame: garments in one and the same studio, with its props. Each has the group of the
  photograph that its garment comes from, as ambiguous: it may stand with that one, never with another garment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
from benchmarks.edits.registry import ALTERNATE, apply_edit
from PIL import Image, ImageDraw, ImageOps

from dupelake.recall.edits import RGB, font, words

SHARED = {
    "shared_caption": ("caption_over", 0.25),
    "shared_watermark": ("watermark_tiled", 0.6),
    "shared_sticker": ("sticker", 0.12),
    "shared_screen": ("screenshot_phone", 0.45),
}
SCENES = (
    "brick.png",
    "grass.png",
    "gravel.png",
    "coffee.png",
    "coins.png",
    "camera.png",
    "clock_motion.png",
    "moon.png",
)
INK, PAPER = (30, 30, 30), (252, 252, 250)


def make(data: Path, carriers: list[tuple[str, str]], images: Path, n: int, seed: int) -> list[dict[str, Any]]:
    """Writes the images; returns their rows of the truth, as `corpus.Row` takes them.

    Args:
        data: folder of the real images.
        carriers: (group, path relative to `data`) of the photographs to make them from.
        images: folder to write to.
        n: images of a kind.
        seed: chooses everything.
    """
    rng = np.random.default_rng([seed, 1])
    rows: list[dict[str, Any]] = []

    def add(
        kind: str, i: int, rgb: RGB | bytes, group: str, relation: str, kept: float, side: int, source: str
    ) -> None:
        name = f"{kind}{i:03d}.jpg"
        if isinstance(rgb, bytes):
            (images / name).write_bytes(rgb)
        else:
            Image.fromarray(rgb).save(images / name, quality=90)
        rows.append(
            {"image": name, "group": group, "edit": kind, "strength": 0.0, "kept_fraction": kept}
            | {"short_side_px": side, "relation": relation, "source": source}
        )

    for kind, (edit, strength) in SHARED.items():
        for i, c in enumerate(rng.permutation(len(carriers))[:n]):
            group, source = carriers[c]
            photograph = _load(data / source)
            made = apply_edit(_square(photograph), edit, strength, seed)  # one seed: the same overlay on all
            kept = made.kept_fraction * min(photograph.shape[:2]) / max(photograph.shape[:2])
            add(kind, i, made.data, group, ALTERNATE, kept, made.picture_side_px, source)
    pages: dict[str, Callable[[np.random.Generator], RGB]] = {
        "form": _form,
        "letter": _letter,
        "chart": _chart,
        "texture": _texture,
    }
    for kind, draw in pages.items():
        for i in range(n):
            page = draw(rng)
            add(kind, i, page, f"{kind}{i:03d}", "original", 1.0, min(page.shape[:2]), "made")
    folder = Path(skimage.__file__).parent / "data"
    chosen = rng.permutation(len(carriers))
    for i in range(n):
        group, source = carriers[chosen[i]]
        scene = _load(folder / SCENES[i // 5 % len(SCENES)])
        add("same_scene", i, _pasted(scene, _load(data / source), 0.42), group, "ambiguous", 0.4, 200, source)
    studios = [_studio(np.random.default_rng([seed, 2, s])) for s in range(2)]
    for i in range(n):
        group, source = carriers[chosen[-1 - i]]
        add("studio_frame", i, _pasted(studios[i % 2], _load(data / source), 0.3), group, "ambiguous", 0.4, 200, source)
    return rows


def _load(path: Path) -> RGB:
    with Image.open(path) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def _square(rgb: RGB) -> RGB:
    """The middle square, 400 px: so that a shared overlay lies on the same pixels of every picture."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    return np.asarray(cv2.resize(rgb[y : y + side, x : x + side], (400, 400), interpolation=cv2.INTER_AREA), np.uint8)


def _pasted(scene: RGB, garment: RGB, share: float) -> RGB:
    """The middle of a garment's photograph as an ellipse with soft edges, over `share` of a scene's area."""
    scene = np.asarray(cv2.resize(scene, (480, 480), interpolation=cv2.INTER_AREA), np.float32)
    # An ellipse of half axes a and 1.3 a covers pi 1.3 a^2 of the area 1.
    a = float(np.sqrt(share / (np.pi * 1.3)))
    width, height = round(2 * a * 480), min(470, round(2.6 * a * 480))
    inner = ImageOps.fit(Image.fromarray(garment), (width, height), Image.Resampling.LANCZOS)
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 2 - 4, height // 2 - 4), 0, 0, 360, 1.0, -1)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 2.0), np.float32)[:, :, None]
    x, y = (480 - width) // 2, (480 - height) // 2
    part = scene[y : y + height, x : x + width]
    scene[y : y + height, x : x + width] = np.array(inner, np.float32) * mask + part * (1 - mask)
    return np.clip(scene + 0.5, 0, 255).astype(np.uint8)


def _studio(rng: np.random.Generator) -> RGB:
    """A grey backdrop with a floor line, a ruler, a colour card, a lamp and the shop's sign."""
    ramp = np.linspace(235, 180, 480)[:, None, None] * np.ones((1, 480, 3))
    ramp[380:] = np.linspace(205, 150, 100)[:, None, None]
    image = Image.fromarray(ramp.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((14, 60, 36, 430), fill=(240, 225, 160), outline=INK)
    for i in range(38):
        draw.line((14, 60 + 10 * i, 20 if i % 5 else 28, 60 + 10 * i), fill=INK)
    for i in range(6):
        card = tuple(int(c) for c in rng.integers(0, 256, 3))
        draw.rectangle((430, 200 + 30 * i, 462, 226 + 30 * i), fill=card, outline=INK)
    draw.text((240, 24), f"{words(rng, 2).upper()} STORE", INK, font(26), anchor="mm")
    draw.polygon([(420, 60), (470, 60), (455, 110), (435, 110)], fill=(60, 60, 65))
    draw.text((240, 462), "www." + words(rng, 1) + ".example   all sizes in cm", INK, font(16), anchor="mm")
    return np.array(image)


def _form(rng: np.random.Generator) -> RGB:
    """A filled form: the print is the same on all, the entries differ."""
    image = Image.new("RGB", (620, 877), PAPER)
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 30, 590, 90), outline=INK, width=2)
    draw.text((45, 60), "APPLICATION FOR REGISTRATION", INK, font(26), anchor="lm")
    draw.text((45, 110), "Fill in block letters. Return to the office within 14 days.", INK, font(14))
    names = ("Surname", "First names", "Street and number", "Postal code, town", "Date of birth", "Telephone")
    for i, name in enumerate(names * 2):
        y = 150 + 48 * i
        draw.text((45, y), name, INK, font(13))
        draw.rectangle((220, y - 8, 575, y + 24), outline=INK)
        draw.text((230, y + 8), words(rng, 3).title(), (20, 30, 120), font(18), anchor="lm")
    for i in range(6):
        x = 45 + 90 * i
        draw.rectangle((x, 750, x + 16, 766), outline=INK)
        if rng.integers(2):
            draw.line((x, 750, x + 16, 766), fill=(20, 30, 120), width=2)
        draw.text((x + 22, 758), f"Item {i + 1}", INK, font(13), anchor="lm")
    draw.text((45, 820), f"No. {rng.integers(10**7):07d}      Signature ______________________", INK, font(15))
    return np.array(image)


def _letter(rng: np.random.Generator) -> RGB:
    """A page of text under one letterhead."""
    image = Image.new("RGB", (620, 877), PAPER)
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 35, 90, 85), fill=(150, 30, 40))
    draw.text((105, 60), "North & Daughters, Solicitors", INK, font(24), anchor="lm")
    draw.line((40, 100, 580, 100), fill=INK, width=2)
    draw.text((40, 130), f"Dear {words(rng, 1).title()},", INK, font(15))
    n_lines = int(rng.integers(18, 26))
    for i in range(n_lines):
        draw.text((40, 165 + 24 * i), words(rng, int(rng.integers(9, 12))), INK, font(15))
    draw.text((40, 185 + 24 * n_lines), "Yours faithfully", INK, font(15))
    draw.line((40, 840, 580, 840), fill=INK)
    draw.text((310, 856), "12 Harbour Street   Tel. 555 0100   office@north.example", INK, font(12), anchor="mm")
    return np.array(image)


def _chart(rng: np.random.Generator) -> RGB:
    """A bar chart and a line on the same axes, with other values."""
    image = Image.new("RGB", (640, 480), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    draw.text((320, 24), "Monthly report: orders and returns", INK, font(20), anchor="mm")
    for i in range(6):
        y = 420 - 70 * i
        draw.line((70, y, 610, y), fill=(210, 210, 210))
        draw.text((60, y), str(20 * i), INK, font(13), anchor="rm")
    values = rng.integers(20, 340, 12)
    for i, value in enumerate(values):
        x = 85 + 44 * i
        draw.rectangle((x, 420 - int(value), x + 28, 420), fill=(70, 120, 180))
        draw.text((x + 14, 436), "JFMAMJJASOND"[i], INK, font(13), anchor="mm")
    line = [(99 + 44 * i, 420 - int(v)) for i, v in enumerate(rng.integers(20, 340, 12))]
    draw.line(line, fill=(200, 80, 40), width=3)
    draw.line((70, 50, 70, 420), fill=INK, width=2)
    draw.line((70, 420, 610, 420), fill=INK, width=2)
    return np.array(image)


def _texture(rng: np.random.Generator) -> RGB:
    """A plaid, dots or a check: a small motif, repeated all over."""
    period, kind = int(rng.integers(14, 60)), int(rng.integers(3))
    colours = rng.integers(0, 256, (3, 3)).astype(np.float32)
    y, x = np.mgrid[0:480, 0:480].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    a, b = u % period / period, v % period / period
    width = rng.uniform(0.25, 0.6)
    if kind == 0:
        first, second = a < width, b < width
    elif kind == 1:
        first, second = (a - 0.5) ** 2 + (b - 0.5) ** 2 < width**2 / 4, a > 2
    else:
        first, second = (a < 0.5) ^ (b < 0.5), b < width / 4
    out = colours[0] + (colours[1] - colours[0]) * first[:, :, None] * 0.6
    out += (colours[2] - colours[0]) * second[:, :, None] * 0.4
    return np.clip(out + rng.normal(0, 2, out.shape), 0, 255).astype(np.uint8)
