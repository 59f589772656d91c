"""The map and the boxes that people look at."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pictures import photograph
from PIL import Image, ImageDraw, ImageOps
from review_world import encoded

from dupelake.verify.aligning import PictureCache, laid_on
from dupelake.verify.differing import differing_boxes, moved_box
from dupelake.words.keypoints import extract_features, pack_features

WHOLE = np.eye(3)


def pixels(picture):
    small = picture.copy()
    small.thumbnail((320, 320))
    return np.asarray(small.convert("RGB"))


def with_patch(picture, box):
    """The picture with a striped patch; the box in fractions."""
    out = picture.copy()
    x, y, w, h = (round(part * side) for part, side in zip(box, picture.size * 2, strict=True))
    ImageDraw.Draw(out).rectangle([x, y, x + w, y + h], fill=(255, 0, 255))
    return out


def overlap(a, b):
    """Intersection over union of two boxes."""
    width, height = (max(0.0, min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png", "rocket.jpg"])
def test_what_was_added_is_framed_and_encoding_and_light_are_not(name):
    picture, box = photograph(name), (0.3, 0.4, 0.2, 0.25)
    (found,) = differing_boxes(pixels(picture), pixels(with_patch(picture, box)), WHOLE)
    assert overlap(found, box) > 0.8
    coded = Image.open(io.BytesIO(encoded(picture, "JPEG")))
    assert differing_boxes(pixels(picture), pixels(coded), WHOLE) == []
    darker = picture.point(lambda level: round(0.7 * level + 10))
    assert differing_boxes(pixels(picture), pixels(darker), WHOLE) == []
    (both,) = differing_boxes(pixels(picture), pixels(with_patch(darker, box)), WHOLE)
    assert overlap(both, box) > 0.8


def test_other_pictures_differ_everywhere_so_no_place_is_named():
    one, other = photograph("chelsea.png").resize((320, 240)), photograph("coffee.png").resize((320, 240))
    assert differing_boxes(pixels(one), pixels(other), WHOLE) == []


def test_a_box_is_moved_to_the_place_that_the_map_says():
    mirrored = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
    assert moved_box((0.1, 0.2, 0.3, 0.4), mirrored) == pytest.approx((0.6, 0.2, 0.3, 0.4))
    beyond = np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])
    assert moved_box((0.1, 0.2, 0.3, 0.4), beyond) is None


@pytest.mark.parametrize("kind", ["mirrored", "crop", "turned"])
def test_the_map_lays_corners_where_they_belong(kind):
    picture = photograph("chelsea.png")
    width, height = picture.size
    edited, corner = {
        "mirrored": (ImageOps.mirror(picture), (1.0, 0.0)),
        "crop": (picture.crop((40, 30, width, height)), (-40 / (width - 40), -30 / (height - 30))),
        "turned": (picture.transpose(Image.Transpose.ROTATE_270), (1.0, 0.0)),  # clockwise
    }[kind]
    cache = PictureCache()
    for content, shown in (("a", picture), ("b", edited)):
        small = shown.copy()
        small.thumbnail((320, 320))
        keypoints, descriptors = pack_features(extract_features(np.asarray(small.convert("L")), 400))
        parts = {"keypoints": keypoints, "descriptors": descriptors}
        cache.received[content] = {"thumbnail": encoded(small, "JPEG"), "width_px": small.width, **parts}
    laid = laid_on({"content_id": "a", "dst_id": "b"}, cache)
    at = laid.on_dst @ (0, 0, 1)
    assert at[:2] / at[2] == pytest.approx(corner, abs=0.03)
    assert cache.has_no_thumbnail("c")
    assert laid_on({"content_id": "a", "dst_id": "c"}, cache) is None
