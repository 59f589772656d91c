"""Shifts of cells: known shifts of real pictures are measured, independent of the contrast."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from dupelake.verify.cells import gradients
from dupelake.verify.shifts import cell_shifts

SIDE = 24


def picture() -> np.ndarray:
    grey = cv2.resize(skimage.data.camera(), (240, 240), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), 1.0)


def moved(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    matrix = np.float32([[1, 0, dx], [0, 1, dy]])
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def lengths(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    inside = np.ones_like(a)
    structured = cv2.resize(cv2.absdiff(a, cv2.blur(a, (9, 9))), (10, 10), interpolation=cv2.INTER_AREA) > 4
    return np.hypot(*cell_shifts(a, b, gradients(a), gradients(b), inside, SIDE))[structured]


@pytest.mark.parametrize(("dx", "dy"), [(0.3, 0.0), (0.0, -0.3), (0.4, 0.3)])
def test_a_known_shift_is_measured(dx: float, dy: float) -> None:
    a = picture()
    assert np.median(lengths(a, moved(a, dx, dy))) == pytest.approx(np.hypot(dx, dy), abs=0.1)


def test_equal_pictures_are_not_shifted_nor_is_one_of_another_contrast() -> None:
    a = picture()
    assert lengths(a, a).max() < 1e-3
    assert np.median(lengths(a, 0.5 * a + 60)) < 0.02


def test_noise_shifts_little_and_another_picture_much() -> None:
    a = picture()
    noisy = a + np.random.default_rng(1).normal(0, 4, a.shape).astype(np.float32)
    assert np.median(lengths(a, noisy)) < 0.15
    assert np.median(lengths(a, np.ascontiguousarray(a[::-1, ::-1]))) > 0.6
