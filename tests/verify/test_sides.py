"""kernels.sides: which of two aligned pictures has something laid over it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pictures import photograph

from dupelake.recall.edits import EDITS
from dupelake.verify.sides import added


def half(rgb: np.ndarray) -> np.ndarray:
    size = rgb.shape[1] // 2, rgb.shape[0] // 2
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def edited(rgb: np.ndarray, name: str, strength: float) -> np.ndarray:
    return EDITS[name].change(rgb, strength, np.random.default_rng(4)).rgb


@pytest.fixture(scope="module", params=["chelsea.png", "coffee.png", "rocket.jpg"])
def picture(request: pytest.FixtureRequest) -> np.ndarray:
    return np.asarray(photograph(request.param, 320))


@pytest.mark.parametrize(
    ("name", "strength"), [("sticker", 0.05), ("caption_over", 0.1), ("meme_text", 0.14), ("watermark_tiled", 0.5)]
)
def test_what_was_laid_over_a_picture_is_on_its_side(picture, name, strength):
    plain, other = half(picture), half(edited(picture, name, strength))
    mask = np.ones(plain.shape[:2], np.uint8)
    found = added(plain, other, mask)
    assert found.dst > 0.005 > found.src
    assert added(other, plain, mask) == (found.dst, found.src)


@pytest.mark.parametrize(
    ("name", "strength"), [("gamma", 0.7), ("contrast", 1.3), ("grey", 1), ("sepia", 1), ("blur", 0.5), ("noise", 15)]
)
def test_filters_lay_nothing_over_a_picture(picture, name, strength):
    plain, other = half(picture), half(edited(picture, name, strength))
    assert max(added(plain, other, np.ones(plain.shape[:2], np.uint8))) < 0.004


def test_nothing_is_said_of_next_to_no_overlap():
    blank = np.zeros((12, 12, 3), np.float32)
    assert added(blank, blank + 50, np.ones((12, 12), np.uint8)) == (0.0, 0.0)
