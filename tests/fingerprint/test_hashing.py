"""hashing: equal to imagehash and pdqhash bit for bit, on real and on unusual pictures."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import imagehash
import numpy as np
import pdqhash
import pytest
from PIL import Image, ImageDraw, ImageFilter

from dupelake.config import Config, DecodeConfig, HashConfig
from dupelake.fingerprint import hashing
from dupelake.fingerprint.decode import Decoded, decode

FULL = DecodeConfig(reduced_jpeg_min_side_px=0)
RNG = np.random.default_rng(7)


def photo_like(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Noise of many scales, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for side in (3, 9, 27, 81):
        coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / 4
    return total.astype(np.uint8)


def drawing() -> np.ndarray:
    image = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(image).ellipse((60, 30, 240, 170), fill="red", outline="black", width=5)
    return np.asarray(image)


SHAPES = [
    (5, 5),
    (5, 900),
    (31, 40),
    (32, 32),
    (64, 64),
    (65, 63),
    (64, 65),
    (127, 128),
    (129, 200),
    (333, 500),
    (1200, 1000),
    (47, 2100),
    (2500, 90),
]
AWKWARD = {
    **{f"noise {w}x{h}": photo_like(w, h, w) for w, h in SHAPES},
    "black": np.zeros((200, 300, 3), np.uint8),
    "white": np.full((128, 128, 3), 255, np.uint8),
    "grey 77": np.full((90, 77, 3), 77, np.uint8),
    "drawing": drawing(),
    "horizontal ramp": np.repeat(np.tile(np.arange(256, dtype=np.uint8), (100, 1))[..., None], 3, 2),
    "vertical ramp": np.repeat(np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 100))[..., None], 3, 2),
    "checkers": np.repeat((np.indices((160, 160)).sum(0) // 8 % 2 * 255).astype(np.uint8)[..., None], 3, 2),
    "hard noise": RNG.integers(0, 256, (211, 313, 3), np.uint8),
}


def oracle(rgb: np.ndarray) -> tuple[bytes, int]:
    bits, quality = pdqhash.compute(np.ascontiguousarray(rgb))
    return np.packbits(bits.astype(np.uint8)).tobytes(), quality


def distance(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()


def real(shared_data: Path, pattern: str, about: int) -> list[tuple[Path, Decoded]]:
    """About so many pictures, evenly spread over the whole set."""
    paths = sorted(shared_data.glob(pattern))
    paths = paths[:: max(1, len(paths) // about)]
    pictures = [(path, decode(path.read_bytes(), FULL)) for path in paths]
    assert pictures
    return [(path, picture) for path, picture in pictures if isinstance(picture, Decoded)]


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_pictures_bit_for_bit(name):
    rgb = AWKWARD[name]
    image = Image.fromarray(rgb)
    assert f"{int(hashing.phash(rgb)):016x}" == str(imagehash.phash(image))
    assert f"{int(hashing.phash(rgb[:, ::-1])):016x}" == str(imagehash.phash(image.transpose(0)))
    assert (hashing.pdq(rgb).bits, hashing.pdq(rgb).quality) == oracle(rgb)


@pytest.mark.parametrize(
    "pattern",
    [
        "clothing_small/validation/*/*.jpg",
        "imagenet_sample/**/*.JPEG",
        "pdq/**/*.jpg",
        "images4/**/*.png",
        "hydrus/**/*.*",
        "polyu/**/*.JPG",
    ],
)
def test_real_pictures_bit_for_bit(shared_data, pattern):
    for path, picture in real(shared_data, pattern, 8 if pattern.startswith("pdq") else 25):
        assert f"{int(hashing.phash(picture.image)):016x}" == str(imagehash.phash(picture.image)), path
        assert (hashing.pdq(picture.rgb).bits, hashing.pdq(picture.rgb).quality) == oracle(picture.rgb), path


def test_published_pdq_hashes(shared_data):
    with (shared_data / "pdq" / "reference_hashes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 20
    pictures: dict[str, hashing.Pdq] = {}
    for row in rows:
        path = shared_data / "pdq" / "pdq" / row["file"]
        if row["file"] not in pictures:
            pictures[row["file"]] = hashing.pdq(decode(path.read_bytes(), FULL).rgb)
        ours = pictures[row["file"]]
        assert distance(ours.bits, bytes.fromhex(row["pdqhash_pypi_hex"])) <= 2, row["file"]  # another JPEG decoder
        assert ours.quality == int(row["pdqhash_quality"]), row["file"]
        assert distance(ours.bits, bytes.fromhex(row["pdq_hex"])) <= max(16, int(row["hamming"])), row["file"]


def test_mirrored_equals_the_hash_of_the_mirrored_picture():
    for seed in range(20):
        rgb = photo_like(301 + 13 * seed, 200 + 7 * seed, seed)
        grey = Image.fromarray(rgb).convert("L")
        flipped = Image.fromarray(rgb[:, ::-1]).convert("L")
        straight, mirrored = hashing.phash_pair(grey)
        assert (int(mirrored) ^ int(hashing.phash_pair(flipped)[0])).bit_count() <= 2
        assert (int(straight) ^ int(hashing.phash_pair(flipped)[1])).bit_count() <= 2
        ours, other = hashing.pdq(rgb), hashing.pdq(np.ascontiguousarray(rgb[:, ::-1]))
        assert (ours.mirrored, ours.bits) == (other.bits, other.mirrored)
        assert distance(ours.bits, other.bits) > 60
        # ThreatExchange's dihedral hash keeps the half pixel by which the sampling at 64 x 64 is off centre
        dihedral = [np.packbits(bits.astype(np.uint8)).tobytes() for bits in pdqhash.compute_dihedral(rgb)[0]]
        assert min(distance(ours.mirrored, other_way) for other_way in dihedral) <= 20


def flag(rgb: np.ndarray, cfg: HashConfig = HashConfig()) -> bool:  # noqa: B008 - frozen
    height, width = rgb.shape[:2]
    return hashing.is_low_information(width, height, int(hashing.phash(rgb)), hashing.pdq(rgb).quality, cfg)


def test_low_information_flags_flats_and_ramps():
    for name in ("black", "white", "grey 77"):
        assert flag(AWKWARD[name]), name
    for level in range(0, 256, 15):
        noisy = np.random.default_rng(level).normal(level, 1, (300, 400, 3)).clip(0, 255).astype(np.uint8)
        assert flag(noisy), f"flat {level} with the noise of a sensor"
    for name in ("horizontal ramp", "vertical ramp"):
        assert flag(AWKWARD[name]), name
    diagonal = np.add.outer(np.linspace(0, 120, 300), np.linspace(0, 120, 400))
    smooth = np.repeat(diagonal.astype(np.uint8)[..., None], 3, 2)
    assert flag(smooth)
    dot = np.full((400, 400, 3), 255, np.uint8)
    dot[200:206, 200:206] = 0
    assert flag(dot), "an empty page with one speck"
    assert not flag(drawing())


def test_low_information_edges():
    cfg = HashConfig()
    blank = 1 << 63
    assert hashing.is_low_information(400, 300, blank ^ 0b1111, 100, cfg)  # 4 bits from blank
    assert not hashing.is_low_information(400, 300, blank ^ 0b11111, 100, cfg)  # 5 bits
    assert hashing.is_low_information(400, 300, -(1 << 63), 100, cfg)  # as BIGINT
    assert hashing.is_low_information(400, 15, 0xF0F0F0F0, 100, cfg)
    assert not hashing.is_low_information(16, 400, 0xF0F0F0F0, 100, cfg)
    assert hashing.is_low_information(400, 300, 0xF0F0F0F0, cfg.low_information_max_quality, cfg)
    assert not hashing.is_low_information(400, 300, 0xF0F0F0F0, cfg.low_information_max_quality + 1, cfg)


@pytest.mark.parametrize("pattern", ["clothing_small/**/*.jpg", "imagenet_sample/**/*.JPEG", "polyu/**/*.JPG"])
def test_photographs_are_not_low_information(shared_data, pattern):
    for path, picture in real(shared_data, pattern, 50):
        assert not flag(picture.rgb), path


def test_reduced_decoding_moves_hashes_by_few_bits():
    import io

    for seed in range(2):
        large = Image.fromarray(photo_like(400, 300, seed)).resize((3200, 2400), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        large.filter(ImageFilter.UnsharpMask()).save(out, "JPEG", quality=90)
        full, reduced = decode(out.getvalue(), FULL), decode(out.getvalue(), DecodeConfig())
        assert (full.scale, reduced.scale) == (1, 2)
        assert (int(hashing.phash(full.image)) ^ int(hashing.phash(reduced.image))).bit_count() <= 2
        assert distance(hashing.pdq(full.rgb).bits, hashing.pdq(reduced.rgb).bits) <= 6


def test_a_signed_hash_has_the_same_bits():
    for value in (0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        assert hashing.to_signed(np.uint64(value)) % (1 << 64) == value
        assert -(1 << 63) <= hashing.to_signed(value) < 1 << 63


def test_hash_version_changes_with_what_changes_bits():
    base = Config()
    version = hashing.hash_version(base)
    assert version == hashing.hash_version(Config())
    assert len(version) <= 32
    for section, changes in {
        "decode": {"max_pixels": 1000, "accept_truncated": True, "reduced_jpeg_min_side_px": 512, "max_bytes": 99},
        "hash": {
            "thumbnail_side_px": 256,
            "thumbnail_quality": 80,
            "low_information_max_quality": 5,
            "low_information_min_side_px": 3,
        },
    }.items():
        for name, value in changes.items():
            other = dataclasses.replace(getattr(base, section), **{name: value})
            assert hashing.hash_version(dataclasses.replace(base, **{section: other})) != version, name
    same = dataclasses.replace(base.hash, batch_bytes=1 << 20, rows_per_task=7)
    assert hashing.hash_version(dataclasses.replace(base, hash=same)) == version
