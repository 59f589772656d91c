"""A copy that was saved without its colour profile shows other colours, but nothing of the picture was edited."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pictures import photograph
from PIL import Image, ImageEnhance
from profiles import srgb_profile, wide_profile
from shipped_rule import is_altered, is_same

from dupelake.config import DecodeConfig, HashConfig
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.fingerprint.thumbnails import decode_thumbnail, keep_profile, profile_of
from dupelake.verify.pair import Alignment, verify_pair
from dupelake.verify.picture import Picture, stored_picture
from dupelake.words.keypoints import unpack_features


def file(image: Image.Image, quality: int = 92, **how) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **how)
    return out.getvalue()


def fingerprint(data: bytes) -> Fingerprint:
    found = fingerprint_image(data, DecodeConfig(), HashConfig())
    assert isinstance(found, Fingerprint)
    return found


def picture(data: bytes) -> Picture:
    found = fingerprint(data)
    return stored_picture(found.thumbnail_bytes, unpack_features(found.keypoints, found.descriptors))


def found_between(one: bytes, other: bytes) -> Alignment:
    found = verify_pair(picture(one), picture(other), 1)
    assert found is not None
    assert is_same(found)
    return found


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "chelsea.png"])
def test_a_copy_without_the_profile_is_not_altered(name):
    image = photograph(name, 480)
    original = file(image, icc_profile=wide_profile())
    for copy in (file(image, 75), file(image.resize((240, 240 * image.height // image.width))), file(image)):
        for found in (found_between(original, copy), found_between(copy, original)):
            assert found.colour_difference < 0.02
            assert not is_altered(found)


def test_a_copy_that_was_converted_to_srgb_is_not_altered():
    original = file(photograph("coffee.png", 480), icc_profile=wide_profile())
    shown = Image.fromarray(picture(original).rgb)
    assert not is_altered(found_between(original, file(shown, 85)))
    assert not is_altered(found_between(original, file(shown, 85, icc_profile=srgb_profile())))


@pytest.mark.parametrize("edit", [ImageEnhance.Brightness, ImageEnhance.Color])
def test_an_edit_of_a_copy_without_the_profile_is_altered(edit):
    image = photograph("astronaut.png", 480)
    original = file(image, icc_profile=wide_profile())
    assert is_altered(found_between(original, file(edit(image).enhance(1.5))))


def test_colours_of_two_pictures_with_one_profile_are_compared_as_they_are():
    image = photograph("astronaut.png", 480)
    pair = [file(image, icc_profile=wide_profile()), file(image, 60, icc_profile=wide_profile())]
    bare = [Picture(one.rgb, one.features) for one in map(picture, pair)]
    assert found_between(*pair) == verify_pair(*bare, 1)


def test_a_thumbnail_keeps_a_profile_that_changes_colours():
    image = photograph("coffee.png", 480)
    found = fingerprint(file(image, icc_profile=wide_profile()))
    assert profile_of(found.thumbnail_bytes) == wide_profile()
    assert np.array_equal(
        decode_thumbnail(found.thumbnail_bytes), np.asarray(Image.open(io.BytesIO(found.thumbnail_bytes)))
    )
    assert profile_of(fingerprint(file(image)).thumbnail_bytes) is None
    assert profile_of(fingerprint(file(image, icc_profile=srgb_profile())).thumbnail_bytes) is None
    assert profile_of(fingerprint(file(image.convert("L"), icc_profile=wide_profile())).thumbnail_bytes) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_pictures_of_other_modes_whose_colours_are_converted_keep_it_too(mode):
    out = io.BytesIO()
    photograph("coffee.png", 300).convert(mode).save(out, "PNG", icc_profile=wide_profile())
    assert profile_of(fingerprint(out.getvalue()).thumbnail_bytes) == wide_profile()


def test_other_bytes_are_no_profile():
    plain = fingerprint(file(photograph("coffee.png", 200))).thumbnail_bytes
    assert keep_profile(plain, None) == plain
    assert keep_profile(plain, bytes(20_000)) == plain, "a table for a printer"
    assert profile_of(b"") is None
    assert profile_of(plain[:2] + b"\xff\xfe\x00\x06abcd" + plain[2:]) is None
