"""fingerprint: all columns of one picture; thumbnails; properties that hold after re-encoding."""

from __future__ import annotations

import dataclasses
import hashlib
import io

import cv2
import imagehash
import numpy as np
import pytest
from pictures import photograph
from PIL import Image
from test_decode import encoded, scene, turned

from dupelake.config import DecodeConfig, FeaturesConfig, HashConfig
from dupelake.errors import ModelError
from dupelake.fingerprint import fingerprint as module
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.ingest.failure import Failure
from dupelake.words.keypoints import MIRROR_PERMUTATION, unpack_features
from dupelake.words.vocabulary import unpack_words

DECODE, HASH = DecodeConfig(), HashConfig()


def fingerprint(data: bytes, hash_cfg: HashConfig = HASH) -> Fingerprint:
    result = fingerprint_image(data, DECODE, hash_cfg)
    assert isinstance(result, Fingerprint), result
    return result


def test_columns():
    data = encoded(scene(400, 300), "JPEG")
    result = fingerprint(data)
    assert result.content_id == hashlib.sha256(data).hexdigest()[:32]
    assert (result.byte_size, result.width_px, result.height_px, result.format) == (len(data), 400, 300, "JPEG")
    assert result.phash % 2**64 == int(str(imagehash.phash(Image.open(io.BytesIO(data)))), 16)
    assert -(1 << 63) <= result.phash_mirrored < 1 << 63
    assert (len(result.pdq), len(result.pdq_mirrored), len(result.pixel_digest)) == (32, 32, 32)
    assert not result.is_low_information
    assert fingerprint(data) == result


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_all_orientations_have_one_fingerprint(kind):
    prints = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        prints.append(fingerprint(encoded(turned(scene(200, 150), orientation), kind, exif=exif)))
    for name in (
        "pixel_digest",
        "phash",
        "phash_mirrored",
        "pdq",
        "pdq_mirrored",
        "width_px",
        "height_px",
        "thumbnail_bytes",
    ):
        assert len({getattr(p, name) for p in prints}) == 1, name
    assert len({p.content_id for p in prints}) == 8


def test_mirrored_files_swap_their_hashes():
    one = fingerprint(encoded(scene(301, 200)))
    other = fingerprint(encoded(scene(301, 200).transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert (one.pdq, one.pdq_mirrored) == (other.pdq_mirrored, other.pdq)
    assert ((one.phash ^ other.phash_mirrored) % 2**64).bit_count() <= 2


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 711), (180, 320)),
        ((320, 100), (320, 100)),
        ((100, 320), (100, 320)),
        ((321, 321), (320, 320)),
        ((5000, 3), (320, 1)),
        ((3, 5000), (1, 320)),
        ((50, 40), (50, 40)),
        ((1280, 960), (320, 240)),
    ],
)
def test_thumbnail_sizes(size, expected):
    result = fingerprint(encoded(scene(*size)))
    assert (result.thumbnail_width_px, result.thumbnail_height_px) == expected
    with Image.open(io.BytesIO(result.thumbnail_bytes)) as thumbnail:
        assert (thumbnail.size, thumbnail.format, thumbnail.mode) == (expected, "JPEG", "RGB")
        assert [layer[1:3] for layer in thumbnail.layer] == [(1, 1)] * 3  # 4:4:4
        assert not thumbnail.getexif()


@pytest.mark.parametrize("size", [(500, 375), (640, 640), (1500, 1000)])
def test_thumbnails_look_like_the_picture(size):
    noise = np.random.default_rng(1).normal(0, 25, (size[1], size[0], 3))
    picture = Image.fromarray((np.asarray(scene(*size)) + noise).clip(0, 255).astype(np.uint8))
    result = fingerprint(encoded(picture))
    thumbnail = np.asarray(Image.open(io.BytesIO(result.thumbnail_bytes))).astype(int)
    best = picture.resize((result.thumbnail_width_px, result.thumbnail_height_px), Image.Resampling.LANCZOS)
    difference = np.abs(thumbnail - np.asarray(best)).mean()
    assert difference < 10, "a filter that skips pixels is 15 away from Lanczos"


def test_options_reach_the_thumbnail_and_the_flag():
    data = encoded(scene(400, 300))
    assert fingerprint(data, HashConfig(thumbnail_side_px=64)).thumbnail_width_px == 64
    assert len(fingerprint(data, HashConfig(thumbnail_quality=50)).thumbnail_bytes) < len(
        fingerprint(data).thumbnail_bytes
    )
    assert fingerprint(data, HashConfig(low_information_max_quality=100)).is_low_information
    tiny = encoded(scene(15, 200))
    assert fingerprint(tiny).is_low_information
    assert not fingerprint(tiny, HashConfig(low_information_min_side_px=1)).is_low_information


def test_smallest_pictures_are_hashed():
    for size in ((1, 1), (1, 300), (4, 4), (5, 5)):
        result = fingerprint(encoded(Image.new("RGB", size, "red")))
        assert result.is_low_information
        assert (result.width_px, result.height_px) == size
        assert (result.n_keypoints, result.keypoints, result.descriptors) == (0, b"", b"")
        assert (result.features_error, result.detail) == (None, 1.0)
        words = unpack_words(result.words)
        assert (len(words), words.width_px, words.height_px) == (0, *size)


def detailed(width: int, height: int) -> Image.Image:
    """Blobs of several sizes: a picture with many keypoints."""
    rng = np.random.default_rng(5)
    layers = [
        Image.fromarray(rng.integers(0, 256, (height // step, width // step, 3), np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for step in (5, 11, 23)
    ]
    return Image.fromarray(np.mean([np.asarray(layer) for layer in layers], axis=0).astype(np.uint8))


def test_features_are_those_of_the_thumbnail():
    picture = detailed(640, 480)
    result = fingerprint(encoded(picture))
    features, words = unpack_features(result.keypoints, result.descriptors), unpack_words(result.words)
    assert result.n_keypoints == len(features) > 200
    assert len(result.keypoints) + len(result.descriptors) + len(result.words) <= 65_536
    assert (words.width_px, words.height_px) == (result.thumbnail_width_px, result.thumbnail_height_px) == (320, 240)
    assert features.xy[:, 0].max() < 320
    assert 60 < features.xy[:, 1].max() < 240
    assert len(words) >= 30
    at = [np.flatnonzero((features.xy == xy).all(axis=1)) for xy in words.xy]
    assert all(len(found) for found in at), "each word stands at one of the keypoints"
    mirrored = fingerprint(encoded(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert np.isin(words.mirrored[:, 0], unpack_words(mirrored.words).probes).mean() > 0.5
    few = fingerprint_image(encoded(picture), DECODE, HASH, FeaturesConfig(max_keypoints=50, max_words=20))
    assert isinstance(few, Fingerprint)
    assert (few.n_keypoints, len(unpack_words(few.words))) == (50, 20)
    assert few.descriptors == result.descriptors[: 50 * len(MIRROR_PERMUTATION)]


def test_the_largest_features_fit_the_table():
    words = next(one for one in dataclasses.fields(FeaturesConfig) if one.name == "max_words")
    most = FeaturesConfig(max_keypoints=450, max_words=words.metadata["high"])
    result = fingerprint_image(encoded(detailed(1200, 900)), DECODE, HASH, most)
    assert isinstance(result, Fingerprint)
    assert result.n_keypoints == most.max_keypoints
    assert len(unpack_words(result.words)) >= 0.8 * most.max_words
    assert len(result.keypoints) + len(result.descriptors) + len(result.words) <= 65_536


@pytest.mark.parametrize("fault", [RuntimeError("broken"), cv2.error("odd")])
def test_failed_features_leave_the_rest(monkeypatch, fault):
    data = encoded(detailed(400, 300))
    whole = fingerprint(data)

    def fail(*_args):
        raise fault

    monkeypatch.setattr(module, "extract_features", fail)
    result = fingerprint(data)
    assert result.features_error
    assert type(fault).__name__ in result.features_error
    assert (result.n_keypoints, result.keypoints, result.descriptors, len(unpack_words(result.words))) == (
        0,
        b"",
        b"",
        0,
    )
    lost = {"n_keypoints", "keypoints", "descriptors", "words", "features_error"}
    assert {k: x for k, x in vars(result).items() if k not in lost} == {
        k: x for k, x in vars(whole).items() if k not in lost
    }


def test_detail_tells_an_enlarged_picture():
    small = photograph("coffee.png", 300)
    assert fingerprint(encoded(small)).detail == 1.0
    assert fingerprint(encoded(small.resize((1200, 800), Image.Resampling.BICUBIC))).detail < 0.6


def test_an_unreadable_vocabulary_is_no_fault_of_the_image(tmp_path):
    (tmp_path / "broken.npz").write_text("no archive")
    with pytest.raises(ModelError, match="broken"):
        fingerprint_image(encoded(scene()), DECODE, HASH, FeaturesConfig(vocabulary=str(tmp_path / "broken.npz")))


def test_failures_know_their_content():
    data = encoded(scene(), "JPEG")[:700]
    result = fingerprint_image(data, DECODE, HASH)
    assert isinstance(result, Failure)
    assert (result.reason, result.byte_size) == ("truncated", 700)
    assert result.content_id == hashlib.sha256(data).hexdigest()[:32]
    empty = fingerprint_image(b"", DECODE, HASH)
    assert isinstance(empty, Failure)
    assert (empty.reason, empty.content_id, empty.byte_size) == ("empty", None, 0)
