"""Frames and scenes: the scene continues across the edge of a crop, a frame does not continue it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from skimage import data

from dupelake.verify.frames import ContentShares, content_shares
from dupelake.verify.picture import content_box, shown_box

SCENES = ("astronaut", "coffee", "chelsea", "rocket")


def scene(name):
    picture = Image.fromarray(getattr(data, name)()).convert("RGB")
    picture.thumbnail((320, 320))
    return picture


def shares_of(picture, other, x, y, factor=1.0, turn=None) -> ContentShares:
    """Shares of `picture`, in which `other` is at (x, y), `factor` times as large; or by the map `turn`."""
    rgb = np.asarray(picture)
    to_other = np.array([[1 / factor, 0, -x / factor], [0, 1 / factor, -y / factor], [0, 0, 1.0]])
    if turn is not None:
        to_other = turn
    other_rgb = np.asarray(other)
    return content_shares(grey(rgb), content_box(rgb), grey(other_rgb), content_box(other_rgb), to_other)


def grey(rgb):
    return np.ascontiguousarray(rgb.mean(axis=2).astype(np.uint8))


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("box", [(0.2, 0.1, 0.8, 0.9), (0, 0, 0.7, 0.7), (0.31, 0.27, 0.83, 0.71)])
def test_the_scene_continues_beyond_a_crop(name, box):
    full = scene(name)
    corner = [round(b * s) for b, s in zip(box, full.size * 2, strict=True)]
    crop = full.crop(corner)
    area = crop.width * crop.height / (full.width * full.height)
    fuller = shares_of(full, crop, *corner[:2])
    assert fuller.overlap == pytest.approx(area, abs=0.04)
    assert fuller.beyond == pytest.approx(1 - area, abs=0.04)
    within = shares_of(crop, full, -corner[0], -corner[1])
    assert (within.overlap, within.beyond) == (1.0, 0.0)


@pytest.mark.parametrize("name", SCENES)
def test_a_border_is_a_frame_and_not_content(name):
    full = scene(name)
    found = shares_of(ImageOps.expand(full, 30, (255, 255, 255)), full, 30, 30)
    area = full.width * full.height / ((full.width + 60) * (full.height + 60))
    assert found.overlap > 0.98
    assert found.beyond < 0.02
    assert found.frame == pytest.approx(1 - area, abs=0.05)


@pytest.mark.parametrize("name", SCENES)
def test_a_caption_bar_is_a_frame_with_content(name):
    full = scene(name)
    captioned = ImageOps.expand(full, (0, 0, 0, 50), (250, 250, 250))
    draw = ImageDraw.Draw(captioned)
    draw.text((20, full.height + 12), "when the build is green at last", fill=(0, 0, 0), font_size=20)
    found = shares_of(captioned, full, 0, 0)
    assert full.height / captioned.height - 0.03 < found.overlap < 0.94  # blank lines below the text are border
    assert found.beyond < 0.02
    assert found.frame == pytest.approx(50 / captioned.height, abs=0.04)


@pytest.mark.parametrize("name", SCENES)
def test_filled_corners_of_a_turned_picture_are_frame(name):
    full = scene(name)
    turned = full.rotate(12, Image.Resampling.BICUBIC, expand=True, fillcolor=(0, 0, 0))
    c, s = np.cos(np.radians(12)), np.sin(np.radians(12))
    centre, middle = (np.array(size) / 2 - 0.5 for size in (turned.size, full.size))
    linear = np.array([[c, -s], [s, c]])  # undoes a turn to the left in y-down coordinates
    to_full = np.eye(3)
    to_full[:2, :2], to_full[:2, 2] = linear, middle - linear @ centre
    found = shares_of(turned, full, 0, 0, turn=to_full)
    assert found.overlap > 0.9
    assert found.beyond < 0.05
    assert found.frame > 0.15


def test_neighbours_in_a_collage_are_frame():
    sheet = Image.new("RGB", (480, 320))
    for k, name in enumerate(SCENES):
        sheet.paste(scene(name).resize((240, 160)), (240 * (k % 2), 160 * (k // 2)))
    coffee = scene("coffee")
    to_coffee = np.array([[coffee.width / 240, 0, -240 * coffee.width / 240], [0, coffee.height / 160, 0], [0, 0, 1.0]])
    found = shares_of(sheet, coffee, 0, 0, turn=to_coffee)
    assert found.overlap == pytest.approx(0.25, abs=0.02)
    assert found.beyond < 0.02
    assert found.frame == pytest.approx(0.75, abs=0.02)


def margined(noise=0):
    """A scene with a white margin, like a product photograph; with noise the margin is not uniform."""
    sheet = ImageOps.expand(scene("astronaut"), (60, 20), (250, 250, 250))
    if not noise:
        return sheet
    rgb = np.asarray(sheet) + np.random.default_rng(5).normal(0, noise, (sheet.height, sheet.width, 3))
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("noise", [8, 20])
def test_a_blank_margin_with_noise_is_not_additional_content(noise):
    plain, noisy = margined(), margined(noise)
    assert content_box(np.asarray(noisy)) != content_box(np.asarray(plain))
    for first, second in ((plain, noisy), (noisy, plain)):
        found = shares_of(first, second, 0, 0)
        assert (found.overlap, found.beyond, found.frame) == (1.0, 0.0, 0.0)


def test_a_border_around_a_blank_margin_is_frame():
    plain = margined()
    bordered = ImageOps.expand(plain, 40, (0, 0, 0))
    found = shares_of(bordered, plain, 40, 40)
    assert (found.overlap, found.beyond) == (1.0, 0.0)
    area = plain.width * plain.height / (bordered.width * bordered.height)
    assert found.frame == pytest.approx(1 - area, abs=0.04)
    assert shares_of(plain, bordered, -40, -40) == ContentShares(1.0, 0.0, 0.0)


def test_another_picture_below_with_a_blank_edge_is_frame():
    full = scene("coffee")
    sheet = ImageOps.expand(full, (0, 0, 0, 120), (30, 30, 30))
    ImageDraw.Draw(sheet).ellipse((60, full.height + 40, 200, full.height + 110), fill=(220, 220, 220))
    found = shares_of(sheet, full, 0, 0)
    assert found.beyond < 0.02
    assert found.frame == pytest.approx(120 / sheet.height, abs=0.03)


def test_shares_add_up_where_nothing_is_flat():
    full = scene("astronaut")
    found = shares_of(full, full.crop((40, 50, 200, 240)), 40, 50)
    assert found.overlap + found.beyond == pytest.approx(1.0)


def on_paper(name: str, size: int = 300) -> Image.Image:
    """A round cut-out on white paper, 20 px from each edge."""
    thing = scene(name).resize((size - 40, size - 40))
    round_ = Image.new("L", thing.size)
    ImageDraw.Draw(round_).ellipse([0, 0, *(side - 1 for side in thing.size)], fill=255)
    paper = Image.new("RGB", (size, size), (255, 255, 255))
    paper.paste(thing, (20, 20), round_)
    return paper


@pytest.mark.parametrize("name", SCENES)
def test_paper_around_an_object_belongs_to_the_picture_and_a_border_does_not(name):
    paper = np.asarray(on_paper(name))
    assert content_box(paper) != (0, 0, 300, 300)
    assert shown_box(paper, content_box(paper)) == (0, 0, 300, 300)
    bordered = np.asarray(ImageOps.expand(scene(name), 30, (255, 255, 255)))
    assert shown_box(bordered, content_box(bordered)) == content_box(bordered)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("fill", [(0, 0, 0), (255, 255, 255), (30, 90, 160)])
def test_corners_filled_in_any_colour_are_frame(name, fill):
    full = scene(name)
    angle, centre = np.radians(6.0), np.array(full.size) / 2
    turned = full.rotate(6.0, Image.Resampling.BICUBIC, expand=True, fillcolor=fill)
    c, s = np.cos(angle), np.sin(angle)
    back = np.array([[c, -s], [s, c]])
    shift = centre - back @ (np.array(turned.size) / 2)
    to_full = np.vstack([np.column_stack([back, shift]), [0, 0, 1]])
    found = shares_of(turned, full, 0, 0, turn=to_full)
    assert found.beyond < 0.015
    assert found.frame > 0.1


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("degrees", [-5.0, 5.0])
def test_a_plain_background_around_a_turned_crop_belongs_to_the_picture(name, degrees):
    """A lawn out of focus is as flat as a filled corner, but it continues across the edges of the crop."""
    thing = scene(name).resize((180, 130))
    lawn = np.random.default_rng(1).normal(0, 150, (260, 380))
    soft = 170 + cv2.GaussianBlur(lawn, (0, 0), 9) + np.linspace(-9, 9, 380)
    full = Image.fromarray(np.clip(soft, 0, 255).astype(np.uint8)).convert("RGB")
    full.paste(thing, (100, 65))
    angle, centre = np.radians(degrees), np.array(full.size) / 2
    shown = np.floor(np.array(full.size) * 0.8).astype(int)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = shown / 2 - turn @ centre
    to_crop = np.vstack([np.column_stack([turn, shift]), [0, 0, 1]])
    crop = Image.fromarray(cv2.warpAffine(np.asarray(full), to_crop[:2], tuple(shown.tolist())))
    boxes = [(0, 0, *picture.size) for picture in (full, crop)]
    found = content_shares(grey(np.asarray(full)), boxes[0], grey(np.asarray(crop)), boxes[1], to_crop)
    assert found.beyond > 0.2
    assert found.frame == 0


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("gutter", [(255, 255, 255), (0, 0, 0)])
def test_a_gutter_tells_the_neighbour_in_a_collage_from_the_rest_of_the_scene(name, gutter):
    """The neighbour is of the same scene, so that no step is larger across the gutter than beside it."""
    full = scene(name)
    width, height = full.size
    half = full.crop((0, 0, width // 2, height))
    sheet = Image.new("RGB", (width + 2, height), gutter)
    sheet.paste(half, (0, 0))
    sheet.paste(full.crop((width // 2, 0, width, height)), (width // 2 + 2, 0))
    assert shares_of(full, half, 0, 0).beyond == pytest.approx(0.5, abs=0.03)
    found = shares_of(sheet, half, 0, 0)
    assert found.beyond < 0.02
    assert found.frame == pytest.approx(0.5, abs=0.03)
