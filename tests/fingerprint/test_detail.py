"""Measured resolution: enlarged pictures measure less, by every filter and after JPEG; sharp ones measure 1."""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from dupelake.fingerprint.detail import measure_spectrum

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def measure_detail(grey):
    return measure_spectrum(grey)[0]


def photograph():
    """A sharp photograph of 512 px that ships with scikit-image."""
    return Image.fromarray(data.astronaut()).convert("L")


def as_jpeg(image, quality):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(out.getvalue())).convert("L"))


def enlarged(image, factor, name):
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, FILTERS[name])


def test_a_sharp_photograph_has_detail_at_every_pixel():
    assert measure_detail(np.asarray(photograph())) == 1.0


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_saving_as_jpeg_changes_nothing(quality):
    assert measure_detail(as_jpeg(photograph(), quality)) == 1.0


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("factor", [1.5, 2, 3])
@pytest.mark.parametrize("quality", [60, 75, 95])
def test_an_enlarged_photograph_does_not_gain_detail(name, factor, quality):
    detail = measure_detail(as_jpeg(enlarged(photograph(), factor, name), quality))
    assert detail * factor <= 1.01
    assert detail * factor >= 0.49  # nor does it lose more than an octave


def test_twice_as_large_is_a_half_or_a_little_less():
    halves = [measure_detail(np.asarray(enlarged(photograph(), 2, name))) for name in FILTERS]
    assert all(0.25 <= half <= 0.5 for half in halves), halves


def test_noise_over_a_photograph_is_no_sign_of_enlargement():
    noise = np.random.default_rng(0).normal(0, 6, (512, 512))
    noisy = np.clip(np.asarray(photograph()) + noise, 0, 255).astype(np.uint8)
    assert measure_detail(noisy) == 1.0


def test_a_reduced_photograph_is_sharp():
    reduced = photograph().resize((256, 256), Image.Resampling.LANCZOS)
    assert measure_detail(as_jpeg(reduced, 75)) == 1.0


def test_the_measure_is_one_of_few_steps():
    picture = np.asarray(photograph())
    blurred = [measure_detail(cv2.GaussianBlur(picture, (0, 0), sigma)) for sigma in (0.6, 0.8, 1.0, 1.4, 2, 3, 6)]
    assert all((4 * math.log2(value)).is_integer() for value in blurred), blurred
    assert blurred == sorted(blurred, reverse=True)
    assert blurred[-1] == 2**-2.5
    assert len(set(blurred)) >= 4


def test_turning_and_mirroring_change_nothing():
    soft = np.asarray(enlarged(photograph(), 2, "bicubic"))[:700]
    assert measure_detail(soft) == measure_detail(soft.T) == measure_detail(np.rot90(soft, 2))


@pytest.mark.parametrize("shape", [(1, 1), (31, 4000), (32, 32), (33, 2000), (2000, 40)])
@pytest.mark.parametrize("picture", ["flat", "gradient", "noise", "stripes"])
def test_odd_shapes_and_empty_pictures(shape, picture):
    columns = np.arange(shape[1])
    grey = {
        "flat": np.full(shape, 200),
        "gradient": np.broadcast_to(columns * 255 // shape[1], shape),
        "noise": np.random.default_rng(1).integers(0, 256, shape),
        "stripes": np.broadcast_to(columns % 2 * 255, shape),
    }[picture].astype(np.uint8)
    detail = measure_detail(grey)
    assert 2**-2.5 <= detail <= 1.0
    if picture in ("flat", "noise") or min(shape) < 32:
        assert detail == 1.0


def test_memory_order_does_not_matter():
    soft = np.asarray(enlarged(photograph(), 1.5, "lanczos"))
    assert measure_detail(soft) == measure_detail(np.asfortranarray(soft)) == measure_detail(soft.copy())


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 3), np.uint8), np.zeros((40, 40)), np.zeros(40, np.uint8)])
def test_anything_but_a_grey_picture_is_refused(bad):
    with pytest.raises(ValueError, match="grey must be uint8"):
        measure_detail(bad)
