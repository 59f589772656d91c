"""Descriptor matching and consensus of keypoints with a known map."""

from __future__ import annotations

import numpy as np
import pytest

from dupelake.verify.matching import (
    descriptor_distances,
    find_consensus,
    find_support,
    fit_homography,
    is_plausible,
    match,
    n_distinct,
)
from dupelake.words.keypoints import MIRROR_PERMUTATION, Features

AFFINE = np.array([[0.75, 0.3, 20.0], [-0.35, 0.8, 60.0]])
SCALE, TURN = np.sqrt(np.linalg.det(AFFINE[:, :2])), np.degrees(np.arctan2(-0.35 - 0.3, 0.75 + 0.8))


def keypoints(n: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    raw = rng.gamma(0.6, 1.0, (n, 128))
    descriptors = np.minimum(np.sqrt(raw / raw.sum(axis=1, keepdims=True)) * 512, 255).astype(np.uint8)
    xy = rng.uniform(20, 300, (n, 2)).astype(np.float32)
    return Features(
        xy, rng.uniform(3, 20, n).astype(np.float32), rng.uniform(0, 360, n).astype(np.float32), descriptors
    )


def moved(features: Features, n_true: int, noise: float = 0.4) -> Features:
    """The first n_true keypoints mapped by AFFINE, the others random with other descriptors; all shuffled."""
    rng = np.random.default_rng(99)
    other = keypoints(len(features), 1234)
    xy = (features.xy @ AFFINE[:, :2].T + AFFINE[:, 2] + rng.normal(0, noise, features.xy.shape)).astype(np.float32)
    true = np.arange(len(features)) < n_true
    order = rng.permutation(len(features))
    return Features(
        np.where(true[:, None], xy, other.xy)[order],
        np.where(true, features.scale * SCALE, other.scale).astype(np.float32)[order],
        np.where(true, np.mod(features.angle + TURN, 360), other.angle).astype(np.float32)[order],
        np.where(true[:, None], features.descriptors, other.descriptors)[order],
    )


def test_distances_are_exact_whole_numbers():
    src, dst = keypoints(50, 1), keypoints(60, 2)
    b = dst.descriptors.astype(np.int64)
    for mirrored, a in ((False, src.descriptors), (True, src.descriptors[:, MIRROR_PERMUTATION])):
        exact = np.square(a.astype(np.int64)[:, None] - b[None]).sum(axis=2)
        assert (descriptor_distances(src, dst, mirrored=mirrored) == exact).all()


def test_the_ratio_test_works_from_either_side_and_leaves_its_table_alone():
    table = np.array([[1.0, 9.0, 9.0], [9.0, 4.0, 5.0]], np.float32)
    before = table.copy()
    rows, columns = match(table)
    # for column 2, row 1 is clearly the nearest (5 against 9), although row 1 itself has a nearer column
    assert list(zip(rows, columns, strict=True)) == [(0, 0), (1, 1), (1, 2)]
    assert (table == before).all()
    turned_rows, turned_columns = match(np.ascontiguousarray(table.T))
    assert set(zip(turned_columns, turned_rows, strict=True)) == set(zip(rows, columns, strict=True))


def test_the_map_is_recovered_among_outliers():
    src = keypoints(200, 3)
    found = find_consensus(src, moved(src, 60), mirrored=False, seed=5)
    assert found is not None
    assert 55 <= found.n_inliers <= 62
    probe = np.array([[30.0, 40.0], [290.0, 50.0], [150.0, 280.0]])
    expected = probe @ AFFINE[:, :2].T + AFFINE[:, 2]
    assert np.abs(probe @ found.transform[:2, :2].T + found.transform[:2, 2] - expected).max() < 1.0


def test_a_mirror_image_is_found_by_permutation_alone():
    src = keypoints(150, 4)
    flipped = Features(
        (src.xy * (-1, 1) + (319, 0)).astype(np.float32),
        src.scale,
        np.mod(180 - src.angle, 360).astype(np.float32),
        src.descriptors[:, MIRROR_PERMUTATION],
    )
    assert find_consensus(src, flipped, mirrored=False, seed=1) is None
    found = find_consensus(src, flipped, mirrored=True, seed=1)
    assert found is not None
    assert found.n_inliers > 130
    assert np.allclose(found.transform, [[-1, 0, 319], [0, 1, 0], [0, 0, 1]], atol=0.05)


def test_support_counts_what_fits_a_given_map():
    src = keypoints(100, 6)
    dst = moved(src, 40)
    true = np.vstack([AFFINE, [0, 0, 1]])
    assert 36 <= find_support(src, dst, true, (160.0, 160.0)).n_inliers <= 42
    wrong = true.copy()
    wrong[0, 2] += 40
    assert find_support(src, dst, wrong, (160.0, 160.0)).n_inliers <= 2


def test_chance_gives_no_consensus():
    assert all(find_consensus(keypoints(300, 10 + i), keypoints(300, 50 + i), False, i) is None for i in range(5))


def test_collinear_points_do_not_determine_a_map():
    src = keypoints(60, 7)
    line = np.stack([np.linspace(10, 300, 60), np.linspace(10, 300, 60)], axis=1).astype(np.float32)
    src = Features(line, src.scale, src.angle, src.descriptors)
    assert find_consensus(src, src, mirrored=False, seed=2) is None


def test_several_keypoints_at_one_point_count_once():
    xy = np.array([[10, 10], [10.5, 10.4], [11, 10], [40, 40]], np.float32)
    assert n_distinct(xy) == 2
    src = keypoints(100, 8)
    crowded = src.xy.copy()
    crowded[20:60] = crowded[20]
    src = Features(crowded, src.scale, src.angle, src.descriptors)
    found = find_consensus(src, moved(src, 60, noise=0.2), mirrored=False, seed=3)
    assert found is not None
    assert 15 <= found.n_inliers <= 30


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_few_keypoints_are_no_error(n):
    few, many = keypoints(n, 9), keypoints(50, 10)
    for a, b in ((few, many), (many, few), (few, few)):
        assert find_consensus(a, b, mirrored=False, seed=0) is None
        assert find_support(a, b, np.eye(3), (10.0, 10.0)).n_inliers == 0 or a is b


def test_a_perspective_is_fitted_where_there_is_one():
    src = keypoints(120, 11)
    true = np.array([[1.0, 0.05, 5.0], [0.02, 0.95, 8.0], [4e-4, 2e-4, 1.0]])
    homogeneous = src.xy @ true[:, :2].T + true[:, 2]
    dst = Features((homogeneous[:, :2] / homogeneous[:, 2:]).astype(np.float32), src.scale, src.angle, src.descriptors)
    found = find_consensus(src, dst, mirrored=False, seed=4)
    assert found is not None
    projective = fit_homography(found)
    assert np.abs(projective / projective[2, 2] - true).max() < 0.05
    assert abs(projective[2, 0] / projective[2, 2] - 4e-4) < 5e-5


@pytest.mark.parametrize(
    ("linear", "plausible"),
    [([[1, 0], [0, 2.5]], True), ([[1, 0], [0, 4]], False), ([[1, 2], [0, 1]], False), ([[0.01, 0], [0, 0.01]], False)],
)
def test_extreme_maps_are_no_edits(linear, plausible):
    assert is_plausible(np.array(linear, float)) is plausible


def test_a_consensus_is_a_function_of_its_input():
    src = keypoints(200, 12)
    dst = moved(src, 50)
    first, second = (find_consensus(src, dst, mirrored=False, seed=77) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.transform == second.transform).all()
