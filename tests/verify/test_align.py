"""Content boxes, overlaps, warps and refinement, compared with known maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dupelake.verify.align import box_transform, find_overlap, overlap_shares, refine_transform, transform_points, warp
from dupelake.verify.picture import content_box


def texture(height: int = 240, width: int = 320, sigma: float = 3.0) -> np.ndarray:
    noise = np.random.default_rng(5).normal(0, 1, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def whole(picture: np.ndarray) -> tuple[int, int, int, int]:
    return 0, 0, picture.shape[1], picture.shape[0]


def test_borders_are_not_content_but_a_uniform_picture_is():
    picture = np.repeat(texture()[:, :, None], 3, axis=2)
    framed = cv2.copyMakeBorder(picture, 30, 20, 0, 44, cv2.BORDER_CONSTANT, value=(250, 250, 250))
    x, y, width, height = content_box(framed)
    assert abs(x) <= 1
    assert abs(y - 30) <= 2
    assert abs(width - 320) <= 2
    assert abs(height - 240) <= 2
    assert content_box(picture) == (0, 0, 320, 240)
    assert content_box(np.full((50, 60, 3), 7, np.uint8)) == (0, 0, 60, 50)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_box_transform_maps_a_box_to_a_box_in_each_of_eight_symmetries(quarters, mirrored):
    picture = texture()
    other = np.rot90(picture[:, ::-1] if mirrored else picture, -quarters)
    c, s = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    turn = np.array([[c, -s], [s, c]]) @ np.diag([-1 if mirrored else 1, 1])
    transform = box_transform(whole(picture), whole(other), turn)
    for x, y in ((0, 0), (319, 0), (17, 200), (319, 239)):
        u, v = np.rint(transform_points(transform, np.array([[x, y]], float))[0]).astype(int)
        assert other[v, u] == picture[y, x]


def test_the_overlap_is_what_both_show():
    picture = texture()
    boxes, transform = (
        (whole(picture), whole(picture[40:, 100:])),
        np.array([[1.0, 0, -100], [0, 1, -40], [0, 0, 1]]),
    )
    found = find_overlap(picture, picture[40:, 100:], *boxes, transform)
    assert found.src.shape == (200, 220)
    assert (found.src == found.dst).all()
    assert found.mask.all()
    src_share, dst_share = overlap_shares(*boxes, transform)
    assert src_share == pytest.approx(200 * 220 / (240 * 320))
    assert dst_share == pytest.approx(1.0)


def test_what_hardly_overlaps_or_has_a_horizon_is_refused():
    picture = texture()
    box = whole(picture)
    assert find_overlap(picture, picture, box, box, np.array([[1.0, 0, 300], [0, 1, 0], [0, 0, 1]])) is None
    assert find_overlap(picture, picture, box, box, np.array([[1.0, 0, 900], [0, 1, 0], [0, 0, 1]])) is None
    assert find_overlap(picture, picture, box, box, np.array([[1.0, 0, 0], [0, 1, 0], [-0.004, 0, 1]])) is None


def test_a_warp_to_smaller_takes_means_and_does_not_alias():
    fine = np.where(np.arange(320) % 2, 255, 0).astype(np.uint8)[None, :].repeat(240, axis=0)
    view = np.array([[4.0, 0, 1.0], [0, 4.0, 1.0], [0, 0, 1]])
    assert np.abs(warp(fine, view, (80, 60)) - 127.5).max() < 2


@pytest.mark.parametrize("spoiled", [False, True])
def test_refinement_finds_the_map_within_a_quarter_of_a_pixel(spoiled):
    picture = texture()
    true = np.array([[1.01, 0.015, -3.0], [-0.01, 0.99, 2.0], [4e-5, 2e-5, 1.0]])
    other = cv2.warpPerspective(picture, true, (320, 240), borderMode=cv2.BORDER_REPLICATE)
    other = np.clip(other * 0.7 + 30, 0, 255).astype(np.uint8)  # light must not matter
    if spoiled:
        cv2.circle(other, (200, 120), 75, 255, -1)  # nor a sticker
    overlap = find_overlap(picture, other, whole(picture), whole(other), np.eye(3))
    found = refine_transform(overlap)
    probe = np.array([[20.0, 20], [300, 30], [290, 220], [25, 210], [160, 120]])
    assert np.abs(transform_points(np.eye(3), probe) - transform_points(true, probe)).max() > 2
    assert np.abs(transform_points(found, probe) - transform_points(true, probe)).max() < 0.25


def test_refinement_gives_up_where_there_is_no_alignment_near():
    picture, other = texture(), texture()[::-1].copy()
    overlap = find_overlap(picture, other, whole(picture), whole(other), np.eye(3))
    found = refine_transform(overlap)
    edge = np.array([[0.0, 0], [319, 0], [319, 239], [0, 239]])
    assert found is None or np.abs(transform_points(found, edge) - edge).max() < 320 / 12 + 2
