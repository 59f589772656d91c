"""condition and encoding: each measure changes with the property of its name, and with no other."""

from __future__ import annotations

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pictures import photograph
from PIL import Image

from dupelake.config import DecodeConfig, HashConfig
from dupelake.fingerprint.condition import Condition, measure_condition
from dupelake.fingerprint.decode import Decoded, decode
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.fingerprint.slopes import magnitude


def file(rgb: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Decoded:
    found = decode(data, DecodeConfig())
    assert isinstance(found, Decoded)
    return found


def condition(rgb: np.ndarray, kind: str = "PNG", **options: object) -> Condition:
    return measured(decoded(file(rgb, kind, **options)).rgb)


def measured(rgb: np.ndarray, jpeg_quality: int | None = None) -> Condition:
    return measure_condition(rgb, np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)), jpeg_quality)


@pytest.fixture(scope="module", params=["chelsea.png", "coffee.png"])
def picture(request: pytest.FixtureRequest) -> np.ndarray:
    return np.asarray(photograph(request.param, 400))


def test_a_trace_of_jpeg_stays_in_a_png(picture):
    assert abs(condition(picture).jpeg_trace) < 0.03
    for quality in (95, 75, 50):
        jpeg = decoded(file(picture, "JPEG", quality=quality)).rgb
        assert condition(jpeg).jpeg_trace > 0.03
        assert condition(jpeg) == condition(picture, "JPEG", quality=quality)


def test_blockiness_grows_as_quality_falls(picture):
    found = [condition(picture, "JPEG", quality=quality).blockiness for quality in (95, 75, 50, 30)]
    assert found == sorted(found)
    assert found[-1] - found[0] > 1.0


@pytest.mark.parametrize("quality", [40, 60, 75, 85])
def test_pixels_tell_the_quality_of_an_earlier_jpeg(picture, quality):
    jpeg = decoded(file(picture, "JPEG", quality=quality)).rgb
    assert condition(jpeg).earlier_quality == pytest.approx(quality, abs=3)  # saved as PNG
    again = decoded(file(jpeg, "JPEG", quality=95)).rgb
    assert measured(again, jpeg_quality=95).earlier_quality == pytest.approx(quality, abs=3)


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_a_jpeg_shows_its_own_quality_and_no_earlier_one(picture, quality):
    jpeg = decoded(file(picture, "JPEG", quality=quality)).rgb
    assert measured(jpeg, jpeg_quality=quality).earlier_quality is None
    assert condition(picture).earlier_quality is None


def test_mirroring_moves_the_grid_and_hides_no_earlier_jpeg(picture):
    jpeg = decoded(file(picture[:, : picture.shape[1] // 8 * 8 - 3], "JPEG", quality=60)).rgb
    mirrored = np.ascontiguousarray(jpeg[:, ::-1])
    assert condition(mirrored).earlier_quality == pytest.approx(60, abs=3)
    assert measured(mirrored, jpeg_quality=95).earlier_quality == pytest.approx(60, abs=3)


def test_noise_is_measured_in_levels_and_is_no_sharpness(picture):
    plain = condition(picture)
    noise = np.random.default_rng(1).normal(0, 10, picture.shape)
    noisy = condition(np.clip(picture + noise + 0.5, 0, 255).astype(np.uint8))
    assert 4.0 < noisy.noise < 8.0  # three channels of 10 levels make a grey of 6.7, the calmest tenth less
    assert noisy.noise > plain.noise + 3
    assert noisy.sharpness == pytest.approx(plain.sharpness, rel=0.1)


def test_blur_lowers_and_sharpening_raises_sharpness(picture):
    plain = condition(picture).sharpness
    soft = cv2.GaussianBlur(picture, (0, 0), 1.0)
    assert condition(soft).sharpness < 0.8 * plain
    assert condition(cv2.addWeighted(picture, 2, cv2.GaussianBlur(picture, (0, 0), 1.5), -1, 0)).sharpness > 1.2 * plain
    assert condition(picture, "JPEG", quality=50).sharpness == pytest.approx(plain, rel=0.12)


def test_tone_edits_clip_comb_and_flatten(picture):
    plain = condition(picture)
    levels = np.arange(256)
    stretched = condition(np.clip((levels - 100) * 2.5, 0, 255).astype(np.uint8)[picture])
    assert stretched.clipped > plain.clipped + 0.03
    assert stretched.comb > plain.comb + 0.2
    pale = condition((levels * 0.5 + 64).astype(np.uint8)[picture])
    assert pale.contrast == pytest.approx(plain.contrast / 2, rel=0.05)
    assert condition(picture & 0xE0).comb > 1.0
    assert condition(picture, "JPEG", quality=80).comb < plain.comb + 0.1


def test_grey_and_tinted_pictures_have_no_colours(picture):
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)).astype(np.float32)
    assert condition(picture).colourfulness > 3
    assert condition(np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)).colourfulness < 0.1
    assert condition((grey[:, :, None] * [0.9, 0.7, 0.5]).astype(np.uint8)).colourfulness < 0.6


def test_what_is_tiny_or_flat_is_not_measured():
    assert measure_condition(np.zeros((20, 90, 3), np.uint8), np.zeros((20, 90), np.uint8)) == Condition()
    flat = measure_condition(np.full((200, 200, 3), 90, np.uint8), np.full((200, 200), 90, np.uint8))
    assert (flat.jpeg_trace, flat.sharpness, flat.contrast) == (None, None, 0.0)
    assert flat.noise == pytest.approx(0.0, abs=1e-3)
    with pytest.raises(ValueError, match="not smaller"):
        measure_condition(np.zeros((40, 40, 3), np.uint8), np.zeros((40, 39), np.uint8))


@pytest.mark.parametrize("quality", [5, 30, 60, 75, 90, 100])
def test_jpeg_quality_is_the_one_that_it_was_saved_with(picture, quality):
    found = decoded(file(picture, "JPEG", quality=quality, subsampling="4:2:0")).encoding
    assert abs(found.jpeg_quality - quality) <= 1
    assert (found.chroma_subsampling, found.bit_depth, found.is_web_lossy, found.has_exif) == ("4:2:0", 8, False, False)


def test_other_formats_have_no_quality_and_tell_whether_they_lose(picture):
    lossy, lossless = (decoded(file(picture, "WEBP", lossless=on)).encoding for on in (False, True))
    assert (lossy.jpeg_quality, lossy.is_web_lossy, lossless.is_web_lossy) == (None, True, False)
    assert not decoded(file(picture)).encoding.is_web_lossy
    assert decoded(file(picture[:, :, 0].astype(np.uint16) * 256)).encoding.bit_depth == 16


def test_camera_data_and_profiles(picture):
    exif = Image.Exif()
    exif[0x010F] = "Camera works"
    only_orientation = Image.Exif()
    only_orientation[0x0112] = 6
    assert decoded(file(picture, "JPEG", exif=exif)).encoding.has_exif
    assert not decoded(file(picture, "JPEG", exif=only_orientation)).encoding.has_exif
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decoded(file(picture, "JPEG", icc_profile=profile)).encoding.has_icc


def test_a_fingerprint_carries_them_of_the_full_size(picture, monkeypatch):
    mark = fingerprint_image(file(picture, "JPEG", quality=75), DecodeConfig(), HashConfig())
    assert isinstance(mark, Fingerprint)
    assert (mark.jpeg_quality, mark.jpeg_trace > 0.03, mark.contrast > 0) == (75, True, True)
    cfg = replace(DecodeConfig(), reduced_jpeg_min_side_px=100)
    reduced = fingerprint_image(file(picture, "JPEG", quality=75), cfg, HashConfig())
    assert isinstance(reduced, Fingerprint)
    for name in ("jpeg_trace", "blockiness", "noise", "sharpness"):
        assert getattr(reduced, name) == pytest.approx(getattr(mark, name), rel=0.02, abs=0.01), name
    assert (reduced.detail, reduced.quantiser_fits) == (mark.detail, mark.quantiser_fits)
    monkeypatch.setattr("dupelake.fingerprint.decode._MEASURED_PIXELS", 0)  # as of the largest
    unknown = fingerprint_image(file(picture, "JPEG", quality=75), cfg, HashConfig())
    assert isinstance(unknown, Fingerprint)
    assert (unknown.jpeg_quality, unknown.jpeg_trace, unknown.noise, unknown.sharpness) == (75, None, None, None)
    assert unknown.contrast > 0


def test_measures_have_the_same_bits_wherever_their_arrays_lie(picture):
    """OpenCV's lengths of vectors depend on the address of the result, in the last bit."""
    drawing = np.where(picture > 120, np.uint8(255), np.uint8(0))
    wanted, held = measured(drawing), []
    for n in range(40):
        held.append(np.empty(500 + 4 * n, np.uint8))  # moves what is allocated next
        assert measured(drawing) == wanted
    x, y = np.random.default_rng(1).normal(0, 9, (2, 120, 161)).astype(np.float32)
    first = magnitude(x, y)
    room = np.empty(x.size + 16, np.float32)
    for at in range(16):
        moved = room[at : at + x.size].reshape(x.shape)
        moved[...] = x
        assert (magnitude(moved, y) == first).all()
