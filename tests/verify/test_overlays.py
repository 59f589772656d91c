"""Overlays (verify/overlays.py): which of two aligned pictures has one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from benchmarks.edits.registry import EDITS
from pictures import photograph

from dupelake.verify.overlays import added_shares


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
def test_an_overlay_is_found_on_the_side_that_has_it(picture, name, strength):
    plain, other = half(picture), half(edited(picture, name, strength))
    mask = np.ones(plain.shape[:2], np.uint8)
    found = added_shares(plain, other, mask)
    assert found.dst > 0.005 > found.src
    assert added_shares(other, plain, mask) == (found.dst, found.src)


@pytest.mark.parametrize(
    ("name", "strength"), [("gamma", 0.7), ("contrast", 1.3), ("grey", 1), ("sepia", 1), ("blur", 0.5), ("noise", 15)]
)
def test_filters_are_not_overlays(picture, name, strength):
    plain, other = half(picture), half(edited(picture, name, strength))
    assert max(added_shares(plain, other, np.ones(plain.shape[:2], np.uint8))) < 0.004


def test_a_tiny_overlap_has_no_overlay():
    blank = np.zeros((12, 12, 3), np.float32)
    assert added_shares(blank, blank + 50, np.ones((12, 12), np.uint8)) == (0.0, 0.0)
