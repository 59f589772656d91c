"""Edits: size, kept fraction and determinism of each, on a photograph that ships with scikit-image."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from benchmarks.edits.registry import ALTERNATE, COPY, EDITS, apply_edit, grid
from pictures import photograph
from PIL import Image

from dupelake.recall.edits import PLANTED, planted_copy


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.array(photograph("coffee.png", 240))


def decoded(edited) -> np.ndarray:
    with Image.open(io.BytesIO(edited.data)) as image:
        assert image.format == edited.format
        return np.array(image.convert("RGB"))


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


@pytest.mark.parametrize(("edit", "strength"), grid(), ids=str)
def test_every_grade_makes_a_file_of_the_promised_size_that_is_not_the_original(rgb, edit, strength):
    made = apply_edit(rgb, edit, strength, 1)
    picture = decoded(made)
    assert picture.shape == (made.height_px, made.width_px, 3)
    assert 0 < made.kept_fraction <= 1
    assert 8 <= made.picture_side_px <= min(picture.shape[:2])
    assert picture.shape != rgb.shape or not np.array_equal(picture, rgb)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_a_function_of_picture_strength_and_seed(rgb, edit):
    strength = EDITS[edit].strengths[-1]
    before = rgb.copy()
    first = apply_edit(rgb, edit, strength, 7)
    assert first == apply_edit(rgb, edit, strength, 7)
    assert np.array_equal(rgb, before)


@pytest.mark.parametrize("edit", ["crop", "sticker", "watermark_tiled", "screenshot_phone", "collage", "noise", "hue"])
def test_the_seed_chooses(rgb, edit):
    assert len({apply_edit(rgb, edit, EDITS[edit].strengths[0], seed).data for seed in range(6)}) >= 2


@pytest.mark.parametrize("area", EDITS["crop"].strengths)
@pytest.mark.parametrize("seed", range(4))
def test_a_crop_leaves_its_share_and_shows_pixels_of_the_original(rgb, area, seed):
    made = apply_edit(rgb, "crop", area, seed)
    assert made.kept_fraction == pytest.approx(area, rel=0.03)
    assert made.width_px * made.height_px == pytest.approx(made.kept_fraction * rgb.shape[0] * rgb.shape[1])
    part = decoded(made)
    h, w = part.shape[:2]
    nearest = min(
        mean_difference(rgb[y : y + h, x : x + w], part)
        for y in range(rgb.shape[0] - h + 1)
        for x in range(rgb.shape[1] - w + 1)
    )
    assert nearest < 6  # what JPEG at 90 costs


@pytest.mark.parametrize(
    ("edit", "strength", "back"),
    [
        ("mirror", 1, lambda p: p[:, ::-1]),
        ("flip", 1, lambda p: p[::-1]),
        ("quarter_turn", 90, lambda p: np.rot90(p, 1)),  # turned clockwise; numpy turns counter-clockwise
        ("quarter_turn", 180, lambda p: np.rot90(p, 2)),
        ("quarter_turn", 270, lambda p: np.rot90(p, 3)),
    ],
)
def test_turns_can_be_turned_back(rgb, edit, strength, back):
    assert mean_difference(back(decoded(apply_edit(rgb, edit, strength, 3))), rgb) < 6


@pytest.mark.parametrize("edit", [name for name, edit in EDITS.items() if edit.family in ("encoding", "degrade")])
def test_stronger_grades_of_encoding_and_damage_differ_more(rgb, edit):
    changes = [mean_difference(decoded(apply_edit(rgb, edit, s, 5)), rgb) for s in EDITS[edit].strengths]
    assert all(strong > 1.1 * mild for mild, strong in pairwise(changes)), changes
    assert changes[0] < 13


@pytest.mark.parametrize("degrees", EDITS["rotate_cropped"].strengths)
@pytest.mark.parametrize("seed", range(3))
def test_a_cropped_turn_shows_no_corner_of_the_canvas(degrees, seed):
    white = np.full((120, 200, 3), 255, np.uint8)  # fill would be black
    made = apply_edit(white, "rotate_cropped", degrees, seed)
    assert decoded(made).min() > 240
    filled = apply_edit(white, "rotate_filled", degrees, seed)
    assert filled.width_px > 200
    assert filled.height_px > 120


@pytest.mark.parametrize("share", EDITS["sticker"].strengths)
@pytest.mark.parametrize("seed", range(8))
def test_a_sticker_covers_its_share(rgb, share, seed):
    made = apply_edit(rgb, "sticker", share, seed)
    assert 1 - made.kept_fraction == pytest.approx(share, rel=0.12)
    changed = (np.abs(decoded(made).astype(np.int16) - rgb) > 40).any(axis=2).mean()
    assert changed < share * 1.3


def test_frames_hold_the_whole_picture(rgb):
    for edit, strength in [("border_coloured", 0.15), ("letterbox", 0.3), ("pillarbox", 0.3), ("caption_bar", 0.35)]:
        made = apply_edit(rgb, edit, strength, 11)
        whole = decoded(made)
        h, w = rgb.shape[:2]
        places = [
            mean_difference(whole[y : y + h, x : x + w], rgb)
            for y in range(whole.shape[0] - h + 1)
            for x in range(whole.shape[1] - w + 1)
        ]
        assert min(places) < 6, edit
        assert made.kept_fraction == 1


def test_a_collage_takes_the_pictures_handed_in(rgb):
    red, green, blue = (np.full((50, 80, 3), c, np.uint8) for c in ((200, 0, 0), (0, 200, 0), (0, 0, 200)))
    made = apply_edit(rgb, "collage", 4, 2, [red, green, blue])
    found = decoded(made).reshape(-1, 3).astype(np.int16)
    for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200)):
        share = (np.abs(found - colour).max(axis=1) < 40).mean()
        assert share == pytest.approx(0.25, abs=0.05)
    with pytest.raises(ValueError, match="3 other pictures, not 1"):
        apply_edit(rgb, "collage", 4, 2, [red])


def test_relations_and_planted_edits_are_what_users_would_say(rgb):
    assert {edit.relation for edit in EDITS.values()} == {COPY, ALTERNATE}
    for name in ("jpeg", "resize", "crop", "mirror", "quarter_turn", "blur", "border_white"):
        assert EDITS[name].relation == COPY
    for name in ("caption_bar", "sticker", "watermark_tiled", "grey", "hue", "collage"):
        assert EDITS[name].relation == ALTERNATE
    assert len(EDITS) >= 25
    planted = [edit for edit, _ in PLANTED]
    assert planted.count("crop") == 3
    assert {"mirror", "jpeg", "resize", "sticker", "rotate_cropped"} <= set(planted)
    assert all(cell in grid() for cell in PLANTED)


@pytest.mark.parametrize(("edit", "strength"), PLANTED, ids=str)
def test_a_planted_copy_is_the_edit_of_the_bench(rgb, edit, strength):
    assert planted_copy(rgb, edit, strength, 5) == apply_edit(rgb, edit, strength, 5).data


def test_tiny_pictures_survive_every_grade():
    tiny = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    for edit, strength in grid():
        made = apply_edit(tiny, edit, strength, 1)
        assert min(decoded(made).shape[:2]) >= 8, edit


@pytest.mark.parametrize(
    ("picture", "edit"),
    [
        (np.zeros((20, 20, 3), np.uint8), "sharpness"),
        (np.zeros((20, 20), np.uint8), "jpeg"),
        (np.zeros((20, 20, 3), np.float32), "jpeg"),
        (np.zeros((7, 20, 3), np.uint8), "jpeg"),
    ],
)
def test_what_is_no_edit_or_no_picture_is_refused(picture, edit):
    with pytest.raises(ValueError, match="edit"):
        apply_edit(picture, edit, 50, 0)
