"""What makes one picture finer than another: pixels, and detail that no noise and no frame explains."""

from __future__ import annotations

import pytest

from dupelake.frames.frame import Frame
from dupelake.frames.functions import locally
from dupelake.group.finer_stage import resolution

SOFT = {"detail": 0.4, "sharpness": 1.0, "noise": 0.1, "frame": 0.0, "overlap": 1.0}
SHARP = SOFT | {"detail": 1.0, "sharpness": 2.1, "noise": 1.0}
NOTHING = {"sharpness": None, "noise": None}


def measured(src: dict, dst: dict, scale: float = 1.0) -> float:
    row: dict = {"scale": scale}
    for end, of in (("src", src), ("dst", dst)):
        row |= {f"detail_{end}": of["detail"], f"{end}_frame": of["frame"], f"{end}_overlap": of["overlap"]}
        row[f"{end}_condition"] = {name: of[name] for name in ("sharpness", "noise")}
    with locally():
        (found,) = Frame.of_rows([row], list(row)).select(resolution().alias("r")).rows()
    return found["r"]


def test_a_sharp_picture_is_finer_than_its_blurred_copy():
    assert measured(SOFT, SHARP) == pytest.approx(2.5)
    assert measured(SHARP, SOFT) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "more",
    [
        {"sharpness": 1.5},  # JPEG's blocks, or a copy that was sharpened a little
        {"noise": 14.0},  # salt and pepper
        {"frame": 0.15},  # the edge of a border is sharp
        NOTHING,
    ],
)
def test_what_is_no_detail_of_the_scene_makes_no_picture_finer(more):
    assert measured(SOFT, SHARP | more) == 1.0
    assert measured(SHARP | more, SOFT) == 1.0


def test_a_frame_that_both_have_explains_nothing():
    framed = {"frame": 0.15}
    assert measured(SOFT | framed, SHARP | framed) == pytest.approx(2.5)


def test_detail_corrects_for_enlarging():
    enlarged = SHARP | {"detail": 0.5, "sharpness": 1.05}
    assert measured(SHARP, enlarged, 2.0) == pytest.approx(1.0)
    assert measured(enlarged, SHARP, 0.5) == pytest.approx(1.0)


def test_more_pixels_with_detail_are_finer():
    assert measured(SHARP, SHARP | {"sharpness": 1.4}, 2.0) == 2.0


def test_a_reduced_copy_is_not_finer_because_it_is_sharper_pixel_by_pixel():
    assert measured(SOFT, SHARP | {"sharpness": 2.0}, 0.5) == 1.0


def test_a_part_is_not_finer_by_its_detail():
    assert measured(SOFT | {"overlap": 0.5}, SHARP) == 1.0
