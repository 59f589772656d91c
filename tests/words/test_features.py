"""keypoints: keypoints that recur in copies, packing and unpacking, pictures without keypoints."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mirrored import mirrored_features
from pictures import photograph
from PIL import Image

from dupelake.config import FeaturesConfig
from dupelake.words.keypoints import (
    Features,
    extract_features,
    pack_features,
    unpack_features,
)

SCENES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


def grey(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"))


def share_that_recurs(one: Features, other: Features, px: float = 1.5, distance: float = 160.0) -> float:
    """Share of the keypoints of `one` that `other` has at the same place, size and angle, with a similar descriptor."""
    apart = np.linalg.norm(one.xy[:, None] - other.xy[None], axis=2)
    turned = np.abs((one.angle[:, None] - other.angle[None] + 180) % 360 - 180)
    ratio = np.abs(np.log2(one.scale[:, None] / other.scale[None]))
    unlike = np.linalg.norm(one.descriptors[:, None].astype(float) - other.descriptors[None], axis=2)
    return float(((apart < px) & (turned < 15) & (ratio < 0.3) & (unlike < distance)).any(axis=1).mean())


@pytest.mark.parametrize("name", SCENES)
def test_mirrored_features_are_those_of_the_mirrored_picture(name):
    picture = photograph(name, 320)
    found = extract_features(grey(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), 400)
    derived = mirrored_features(extract_features(grey(picture), 400), picture.width)
    assert share_that_recurs(derived, found) > 0.85
    back = mirrored_features(derived, picture.width)
    assert (back.descriptors == extract_features(grey(picture), 400).descriptors).all()


@pytest.mark.parametrize("name", SCENES)
def test_faint_and_soft_copies_keep_their_keypoints(name):
    picture = photograph(name, 320)
    whole = extract_features(grey(picture), 400)
    dim = grey(picture.point([round(v * 0.15) for v in range(256)] * 3))
    found = extract_features(dim, 400)
    assert len(found) >= 0.45 * len(whole), "with OpenCV's contrast threshold a dim picture loses nine in ten"
    assert share_that_recurs(found, whole, px=2.0, distance=200.0) > 0.5
    soft = extract_features(cv2.GaussianBlur(grey(picture), (0, 0), 2.0), 400)
    assert len(soft) >= 60


def test_keypoints_are_a_function_of_the_pixels_and_the_strongest_come_first():
    pixels = grey(photograph("coffee.png", 320))
    many, few = extract_features(pixels, 400), extract_features(pixels, 100)
    assert (len(many), len(few)) == (400, 100)
    assert (few.xy == many.xy[:100]).all()
    again = extract_features(pixels.copy(), 400)
    assert all((getattr(many, name) == getattr(again, name)).all() for name in vars(many))
    assert ((many.angle >= 0) & (many.angle < 360)).all()


def test_bytes_come_back():
    cfg = FeaturesConfig()
    features = extract_features(grey(photograph("coffee.png", 320)), cfg.max_keypoints)
    keypoints, descriptors = pack_features(features)
    assert (len(keypoints), len(descriptors)) == (8 * 400, 128 * 400)
    back = unpack_features(keypoints, descriptors)
    assert np.abs(back.xy - features.xy).max() <= 1 / 64
    assert np.abs(back.scale - features.scale).max() <= 1 / 64
    assert np.abs((back.angle - features.angle + 180) % 360 - 180).max() < 0.01
    assert (back.descriptors == features.descriptors).all()
    assert (
        0.4 < np.linalg.norm(features.descriptors.astype(float), axis=1).mean() / 512 <= 1.01
    )  # unit length times 512


@pytest.mark.parametrize("shape", [(1, 1), (1, 320), (320, 1), (2, 2), (5, 5), (12, 300), (240, 320)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_and_tiny_pictures_have_none(shape, level):
    features = extract_features(np.full(shape, level, np.uint8), 400)
    assert len(features) == 0
    back = unpack_features(*pack_features(features))
    assert (len(back), back.descriptors.shape) == (0, (0, 128))


def test_tiny_pictures_with_structure_do_not_fail():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 50), (2, 3), (3, 3), (7, 1), (8, 8), (16, 16)):
        features = extract_features(rng.integers(0, 256, shape, np.uint8), 400)
        assert len(unpack_features(*pack_features(features))) == len(features)
