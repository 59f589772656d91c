"""The bench of tiers without Spark, and the rule of edits that nobody sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.altered import THIRD, Confusion, pairs_of, said
from benchmarks.edits import tiers, verified
from benchmarks.edits.registry import edited_pixels
from benchmarks.visibility import NOTICEABLE, largest_difference, seen_difference

from benchmarks import altered
from dupelake.verify.decision import altered_model


def shades(low: int, high: int) -> np.ndarray:
    """uint8 (160, 240, 3): a grey ramp with a texture."""
    ramp = np.linspace(low, high, 240)[None, :, None] + np.random.default_rng(2).normal(0, 4, (160, 240, 1))
    return np.clip(np.repeat(ramp, 3, axis=2), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("edit", "strength", "low", "high", "is_seen"),
    [
        ("grey", 1, 0, 255, False),  # of a grey picture
        ("hue", 90, 0, 255, False),
        ("watermark_corner", 0.35, 250, 255, False),  # white on white
        ("watermark_corner", 0.35, 20, 90, True),
        ("brightness", 0.8, 0, 255, True),
        ("screenshot_phone", 0.6, 0, 255, True),
    ],
)
def test_what_nobody_can_see_makes_no_alternate(edit, strength, low, high, is_seen):
    before = shades(low, high)
    after = edited_pixels(before, edit, strength, 7).rgb
    assert (seen_difference(before, edit, strength, 7, after) >= NOTICEABLE) == is_seen


def test_a_difference_of_lightness_is_measured_in_delta_e():
    grey = np.full((64, 64, 3), 119, np.uint8)  # L* 50
    assert largest_difference(grey, np.full_like(grey, 124)) == pytest.approx(2.0, abs=0.15)
    assert seen_difference(grey, "jpeg", 5, 1, np.zeros_like(grey)) == 0.0
    assert seen_difference(grey, "collage", 2, 1, np.zeros((64, 130, 3), np.uint8)) == math.inf


def test_pairs_are_measured_once_and_decided_as_a_night_decides(tmp_path, monkeypatch):
    from test_verify import scene

    (tmp_path / "data" / "imagenet_sample").mkdir(parents=True)
    for folder in ("clothing_small", "lookalikes"):
        (tmp_path / "data" / folder).mkdir()
    scene("astronaut.png").save(tmp_path / "data" / "imagenet_sample" / "a.JPEG", quality=95)
    cells = [("resize", 0.5), ("jpeg", 30.0), ("sticker", 0.05), ("grey", 1.0)]
    monkeypatch.setattr(verified, "chosen", lambda rng, each: cells[:each])
    name, held = "imagenet_sample/a.JPEG", tmp_path / "work"
    held.mkdir()
    found = verified.decided(tmp_path / "data" / name, 4, name, held)
    assert [(one.made.edit, one.keeper, one.tier, one.fault) for one in found] == [
        ("resize", "original", "verified", ""),
        ("jpeg", "original", "verified", ""),
        ("sticker", "original", "", tiers.ALTERNATE),
        ("grey", "original", "", tiers.ALTERNATE),
    ]
    monkeypatch.setattr(verified, "measure", None)
    assert verified.decided(tmp_path / "data" / name, 4, name, held) == found
    measured = verified.loaded(verified.held_in(held, 4, name))
    assert measured is not None
    monkeypatch.setattr(altered, "used_by_decision", lambda data, rng: [])
    pairs = pairs_of([measured], tmp_path / "data")
    assert [one.made.edit for one in pairs] == [edit for edit, _ in cells]
    assert {one.part for one in pairs} <= {*altered.HALVES, THIRD}
    confusion = Confusion(pairs, said(pairs, altered_model()))
    assert not confusion.wrong(is_alternate=True) + confusion.wrong(is_alternate=False)


def test_a_removal_is_wrong_if_the_kept_image_shows_less_or_is_altered():
    crop = verified.Made("crop", 0.8, 1, 0.0, 0.8, 200)
    sticker = verified.Made("sticker", 0.05, 1, 40.0, 0.95, 200)
    unseen = verified.Made("watermark_corner", 0.35, 1, 1.0, 1.0, 200)
    smaller = verified.Made("resize", 0.5, 1, 0.0, 1.0, 100)
    assert [verified.lost(one, "original") for one in (crop, sticker, unseen, smaller)] == ["", tiers.ALTERNATE, "", ""]
    assert [verified.lost(one, "edited") for one in (crop, sticker, unseen, smaller)] == [
        tiers.MORE,
        tiers.MORE,
        "",
        tiers.FINER,
    ]
