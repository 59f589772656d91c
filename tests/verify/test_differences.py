"""Differences after alignment, by the shipped model: none in copies, a place for edits, colours for recolouring."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from shipped_rule import is_altered, is_edited, is_same
from test_verify import (
    caption,
    curve,
    jpeg,
    noisy,
    part,
    scene,
    screenshot,
    sticker,
    text,
    verified,
    watermark,
)

from dupelake.verify.agreement import agreement

SCENES = ("astronaut.png", "coffee.png", "chelsea.png")

COPIES = {
    "jpeg 5": lambda i: jpeg(i, 5),
    "jpeg 30": lambda i: jpeg(i, 30),
    "half": lambda i: i.resize((240, 180), Image.Resampling.LANCZOS),
    "quarter, jpeg 30": lambda i: jpeg(i.resize((120, 90), Image.Resampling.LANCZOS), 30),
    "double": lambda i: i.resize((960, 720), Image.Resampling.BICUBIC),
    "blur": lambda i: i.filter(ImageFilter.GaussianBlur(3)),
    "noise": lambda i: noisy(i, 25),
    "crop": lambda i: part(i, 0.15, 0.1, 0.7, 0.8),
    "turned": lambda i: i.rotate(5, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255)),
    "squashed": lambda i: i.resize((330, 360), Image.Resampling.LANCZOS),
    "screenshot": screenshot,
    "sharpened": lambda i: i.filter(ImageFilter.UnsharpMask(2, 120, 0)),
}
OTHER_LIGHT = {
    "darker": lambda i: curve(i, lambda a: 255 * (a / 255) ** 1.5),
    "less contrast": lambda i: curve(i, lambda a: (a - 128) * 0.6 + 128),
    "brighter": lambda i: curve(i, lambda a: a * 1.2),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_not_altered(name):
    for source in SCENES:
        found = verified(scene(source), COPIES[name](scene(source)))
        assert is_same(found)
        assert not is_altered(found), source


@pytest.mark.parametrize("name", OTHER_LIGHT)
def test_a_change_of_tone_alters_a_copy_of_the_same_picture(name):
    for source in SCENES:
        found = verified(scene(source), OTHER_LIGHT[name](scene(source)))
        assert is_same(found)
        assert is_altered(found), source


def agreement_of(first: Image.Image, second: Image.Image):
    a, b = (np.asarray(i.convert("L")).astype(np.float32) for i in (first, second))
    return agreement(a, b, np.ones(a.shape, np.uint8))


@pytest.mark.parametrize("source", SCENES)
def test_pictures_are_compared_at_the_sharpness_of_the_softer(source):
    found = agreement_of(scene(source), scene(source).filter(ImageFilter.GaussianBlur(5)))
    assert found.share > 0.95
    assert found.ncc > 0.9


@pytest.mark.parametrize("source", SCENES)
def test_what_shows_through_a_watermark_does_not_contradict(source):
    found = agreement_of(scene(source), watermark(scene(source), 0.4))
    assert found.share > 0.72
    assert found.contradicting < 0.16


def test_a_shift_of_a_pixel_within_a_cell_is_no_difference():
    values = np.asarray(page_like())
    shifted = values.copy()
    shifted[60:180, :319] = values[61:181, 1:]  # half of it one pixel up and left
    found = agreement(values, shifted, np.ones(values.shape, np.uint8))
    assert found.share > 0.97
    assert found.ncc > 0.95


def page_like() -> np.ndarray:
    """float32 (240, 320): fine texture without repeated regions."""
    noise = np.random.default_rng(8).normal(0, 1, (240, 320)).astype(np.float32)
    return np.clip(128 + 120 * cv2.GaussianBlur(noise, (0, 0), 1.0), 0, 255)


def other_eyes(image: Image.Image, size: int = 26) -> Image.Image:
    """A copy in which a small region shows another region of the picture."""
    out = image.copy()
    mask = Image.new("L", (size, size), 0)
    ImageDraw.Draw(mask).ellipse([0, 0, size - 1, size - 1], fill=255)
    values = np.asarray(image.convert("L")).astype(float)
    here = values[150 : 150 + size, 220 : 220 + size].mean()
    corners = [(x, y) for x in range(0, 440, 20) for y in range(0, 320, 20)]
    x, y = max(corners, key=lambda c: -abs(abs(values[c[1] : c[1] + size, c[0] : c[0] + size].mean() - here) - 60))
    out.paste(image.crop((x, y, x + size, y + size)), (220, 150), mask)
    return out


CHANGES = {  # edit, where it is in fractions of the picture
    "sticker": (lambda i: sticker(i, 0.03, (0.3, 0.6)), (0.3, 0.6)),
    "sticker, jpeg 10": (lambda i: jpeg(sticker(i, 0.03, (0.3, 0.6)), 10), (0.3, 0.6)),
    "sticker, half": (lambda i: sticker(i, 0.03, (0.3, 0.6)).resize((240, 180)), (0.3, 0.6)),
    "sticker, darker": (lambda i: curve(sticker(i, 0.03, (0.3, 0.6)), lambda a: 255 * (a / 255) ** 1.5), (0.3, 0.6)),
    "caption": (caption, (0.5, 0.93)),
    "a word": (lambda i: text(i, (40, 30), "Friday", 34, fill=(255, 255, 0)), (0.19, 0.14)),
    "other eyes": (other_eyes, (233 / 480, 163 / 360)),
    "another colour of a part": (
        lambda i: Image.composite(ImageEnhance.Brightness(i).enhance(0.55), i, disc(i, (0.7, 0.3), 40)),
        (0.7, 0.3),
    ),
}


def disc(image: Image.Image, at: tuple[float, float], radius: int) -> Image.Image:
    mask = Image.new("L", image.size, 0)
    x, y = at[0] * image.width, at[1] * image.height
    ImageDraw.Draw(mask).ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
    return mask


@pytest.mark.parametrize("name", CHANGES)
def test_local_changes_are_found_where_they_are(name):
    edit, (x, y) = CHANGES[name]
    for source in SCENES:
        for found, is_back in (
            (verified(scene(source), edit(scene(source))), False),
            (verified(edit(scene(source)), scene(source)), True),
        ):
            assert is_same(found), (source, is_back)
            assert is_edited(found), (source, is_back)
            left, top, width, height = found.difference_box
            assert left - 0.03 <= x <= left + width + 0.03, (source, found.difference_box)
            assert top - 0.03 <= y <= top + height + 0.03, (source, found.difference_box)


def test_the_box_is_in_source_coordinates_if_the_other_is_a_mirrored_crop():
    original = scene("coffee.png")
    copy = part(sticker(original, 0.03, (0.3, 0.6)), 0.1, 0.2, 0.8, 0.7).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left, top, width, height = verified(original, copy).difference_box
    assert left <= 0.3 <= left + width
    assert top <= 0.6 <= top + height
    assert width * height < 0.15


@pytest.mark.parametrize(
    "edit",
    [
        lambda i: i.convert("L"),
        lambda i: curve(i, lambda a: a * np.array([1.2, 1, 0.75])),
        lambda i: curve(i, lambda a: a[:, :, [2, 1, 0]]),
        lambda i: jpeg(curve(i, lambda a: a * np.array([1.25, 1, 0.7])), 20),
    ],
    ids=["grey", "cast", "swapped", "cast, jpeg 20"],
)
def test_recoloured_copies_are_altered(edit):
    for source in SCENES:
        found = verified(scene(source), edit(scene(source)))
        assert is_same(found)
        assert is_altered(found), source


def drawing(margin: int = 60) -> Image.Image:
    """A drawing of many lines on white paper, with margins."""
    out = Image.new("RGB", (480, 360), (255, 255, 255))
    rng = np.random.default_rng(5)
    x, y = (margin + rng.random((2, 40)) * (np.array([[480], [360]]) - 2 * margin)).tolist()
    ImageDraw.Draw(out).line(list(zip(x, y, strict=True)), fill=(0, 0, 0), width=3)
    return out


@pytest.mark.parametrize(
    ("edit", "y"),
    [(lambda i: text(i, (60, 8), "NEVER AGAIN", 34), 0.07), (lambda i: sticker(i, 0.02, (0.5, 0.93)), 0.93)],
    ids=["text", "sticker"],
)
@pytest.mark.parametrize("background", [255, 0])
def test_what_is_laid_over_a_blank_margin_is_found(edit, y, background):
    original, edited = (one if background else ImageOps.invert(one) for one in (drawing(), edit(drawing())))
    for found in (verified(original, edited), verified(edited, original)):
        assert is_same(found)
        assert is_edited(found)
        assert found.difference_box[1] <= y <= found.difference_box[1] + found.difference_box[3]
    assert not is_altered(verified(original, jpeg(original, 40)))


def test_noise_is_less_coherent_than_a_watermark():
    for source in SCENES:
        plain = verified(scene(source), noisy(scene(source), 25)).difference_coherence
        marked = verified(scene(source), watermark(scene(source), 0.3)).difference_coherence
        assert plain + 0.05 < marked, source
