"""Files that Pillow reads otherwise than viewers show them, and pictures of which a later part is damaged."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dupelake.config import DecodeConfig, HashConfig
from dupelake.fingerprint.decode import Decoded, decode
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.group.keeping import ENLARGED, OF_PAIR, OWN, Side, by_content_and_size
from dupelake.group.traces import fits_of, levels_of

SIDE = 64


def decoded(data: bytes) -> Decoded:
    result = decode(data, DecodeConfig())
    assert isinstance(result, Decoded), result
    return result


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(depth: int, colours: int, rows: np.ndarray, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of packed rows, uint8 (SIDE, bytes a row)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colours, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in parts)


def smooth(width: int, height: int) -> np.ndarray:
    """uint8 (h, w, 3) with structure; different from its mirror image and its rotations."""
    y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    planes = [127 + 70 * np.sin(9 * x * x + s) + 50 * np.cos(11 * y * (1 + x) + s) for s in (0, 1, 2)]
    return np.stack(planes, -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("depth", "transparent"), [(4, 9), (4, 15), (2, 1), (2, 3)])
def test_grey_of_few_bits_with_a_transparent_level(depth: int, transparent: int) -> None:
    levels = np.add.outer(np.arange(SIDE), np.arange(SIDE)) // 8 % 2**depth
    a_byte = 8 // depth
    rows = sum(levels[:, k::a_byte] << (8 - depth * (k + 1)) for k in range(a_byte)).astype(np.uint8)
    opaque = decoded(png(depth, 0, rows))
    shown = decoded(png(depth, 0, rows, (b"tRNS", struct.pack(">H", transparent))))
    is_transparent = levels == transparent
    assert (shown.rgb[is_transparent] == 255).all()
    assert (shown.rgb[~is_transparent] == opaque.rgb[~is_transparent]).all()
    assert shown.pixel_digest != opaque.pixel_digest
    other = decoded(png(depth, 0, rows, (b"tRNS", struct.pack(">H", transparent - 1))))
    assert other.pixel_digest != shown.pixel_digest


def test_colours_of_16_bits_with_a_transparent_one() -> None:
    samples = np.zeros((SIDE, SIDE, 3), ">u2")
    samples[SIDE // 2 :] = 0x8000
    samples[:8] = 0xFFFF, 0, 0
    rows = samples.reshape(SIDE, -1)
    shown = decoded(png(16, 2, rows, (b"tRNS", struct.pack(">HHH", 0x8000, 0x8000, 0x8000)))).rgb
    assert shown[20, 5].tolist() == [0, 0, 0]
    assert shown[40, 5].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_dark_colours_of_16_bits_are_turned_once(orientation: int) -> None:
    picture = smooth(SIDE, SIDE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    dark = (picture.astype(int) * 4095 // 255).astype(">u2").reshape(SIDE, -1)  # 12 bits in 16
    shown = decoded(png(16, 2, dark, (b"eXIf", body))).rgb
    upright = np.rot90(picture, {1: 0, 3: 2, 6: -1, 8: 1}[orientation])
    assert np.abs(shown.astype(int) - upright).mean() < 2


def test_a_damaged_later_page_or_frame_does_not_spoil_the_first() -> None:
    picture = Image.fromarray(smooth(SIDE, SIDE))
    tiff = bytearray(saved(picture, "TIFF"))
    (first,) = struct.unpack("<I", tiff[4:8])
    (n,) = struct.unpack("<H", tiff[first : first + 2])
    after = first + 2 + 12 * n
    tiff[after : after + 4] = struct.pack("<I", 0xFFFFFF)
    assert (decoded(bytes(tiff)).rgb == np.asarray(picture)).all()
    gif = saved(picture.quantize(64), "GIF")
    cut = decoded(gif[:-1] + b"\x2c\0\0\0")
    assert (cut.rgb == decoded(gif).rgb).all()
    assert cut.pixel_digest != decoded(gif).pixel_digest  # what else it shows is not known


def grey_profile(gamma: float) -> bytes:
    """A minimal ICC profile of grey."""

    def tag(kind: bytes, body: bytes) -> bytes:
        return (kind + b"\0\0\0\0" + body).ljust(-(-(len(body) + 8) // 4) * 4, b"\0")

    white = struct.pack(">iii", *(round(v * 65536) for v in (0.9642, 1, 0.8249)))
    tags = {
        b"desc": tag(b"desc", struct.pack(">I", 5) + b"grey\0" + bytes(78)),
        b"wtpt": tag(b"XYZ ", white),
        b"kTRC": tag(b"curv", struct.pack(">IH", 1, int(gamma * 256))),
        b"cprt": tag(b"text", b"none\0"),
    }
    at, table = 132 + 12 * len(tags), struct.pack(">I", len(tags))
    for name, body in tags.items():
        table += name + struct.pack(">II", at, len(body))
        at += len(body)
    head = struct.pack(">I", at) + b"lcms" + struct.pack(">I", 0x02100000) + b"mntrGRAYXYZ "
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acspMSFT" + bytes(24) + white + bytes(48)
    assert len(head) == 128
    return head + table + b"".join(tags.values())


@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_a_profile_of_grey_counts_with_alpha_too(gamma: float) -> None:
    profile = grey_profile(gamma)
    ImageCms.ImageCmsProfile(io.BytesIO(profile))  # littlecms reads it
    grey = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (SIDE, 1)))
    opaque = Image.merge("LA", (grey, Image.new("L", grey.size, 255)))
    shown = decoded(saved(grey, icc_profile=profile)).rgb
    assert (decoded(saved(opaque, icc_profile=profile)).rgb == shown).all()
    assert (shown != decoded(saved(grey)).rgb).any()


def fingerprint(image: Image.Image, kind: str, **options: object) -> Fingerprint:
    found = fingerprint_image(saved(image, kind, **options), DecodeConfig(), HashConfig())
    assert isinstance(found, Fingerprint)
    return found


def sharp(width: int, height: int) -> Image.Image:
    """Disks of all sizes: edges everywhere, and a spectrum that falls as that of photographs."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    picture = np.full((height, width, 3), 120, np.uint8)
    for radius in (120 / np.arange(1, 60) ** 0.7).astype(int):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        picture[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = rng.integers(0, 255, 3)
    noise = rng.normal(0, 3, picture.shape[:2])[:, :, None]
    return Image.fromarray((picture + noise).clip(0, 255).astype(np.uint8))


def side_of(found: Fingerprint) -> Side:
    numbers = dict.fromkeys(OF_PAIR, 0.0) | {"overlap": 1.0, "richness": 0.0}
    numbers["area"] = float(found.width_px * found.height_px)
    for name in (*OF_PAIR, *OWN):
        numbers.setdefault(name, np.nan if (value := getattr(found, name, None)) is None else float(value))
    arrays = {name: np.array([value]) for name, value in numbers.items()}
    return Side(**arrays, fits=fits_of([found.quantiser_fits]), levels=levels_of([found.spectrum]))


def test_a_large_jpeg_is_measured_at_its_full_size() -> None:
    small = sharp(720, 700)
    large = small.resize((2160, 2100), Image.Resampling.BICUBIC)
    of_jpeg, of_png = fingerprint(large, "JPEG", quality=98, subsampling=0), fingerprint(large, "PNG", compress_level=1)
    assert of_jpeg.detail == of_png.detail < 0.5
    assert of_jpeg.noise == pytest.approx(of_png.noise, abs=0.3)
    assert of_jpeg.sharpness == pytest.approx(of_png.sharpness, rel=0.05)
    assert None not in (of_jpeg.spectrum, of_jpeg.jpeg_trace, of_jpeg.blockiness)
    original = fingerprint(small, "JPEG", quality=95)
    for enlarged in (of_jpeg, fingerprint(large, "JPEG", quality=85)):
        better, rule = by_content_and_size(side_of(original), side_of(enlarged), np.array([3.0]))
        assert (better.tolist(), rule.tolist()) == ([1], [ENLARGED])


@pytest.mark.parametrize("kind", ["grey", "MPO"])
def test_grey_jpegs_and_those_with_a_second_picture_are_measured_so_too(kind: str) -> None:
    large = sharp(720, 700).resize((2160, 2100), Image.Resampling.BICUBIC)
    if kind == "grey":
        found = fingerprint(large.convert("L"), "JPEG", quality=98)
    else:
        found = fingerprint(large, "MPO", quality=98, save_all=True, append_images=[large.resize((90, 90))])
    assert found.detail < 0.5
    assert None not in (found.spectrum, found.noise, found.jpeg_trace)


def test_a_jpeg_that_is_known_reduced_only_has_no_more_detail_than_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dupelake.fingerprint.decode._MEASURED_PIXELS", 0)
    soft = sharp(540, 525).resize((2160, 2100), Image.Resampling.BICUBIC)
    found = fingerprint(soft, "JPEG", quality=95)
    assert found.detail <= 0.3
    assert found.spectrum is found.noise is found.blockiness is None


def test_a_phone_photograph_of_12_megapixels_is_kept_before_its_smaller_copy(shared_data: Path) -> None:
    photo = (shared_data / "pdq/pdq/data/reg-test-input/exif-rotn/exif-rotn-1.jpg").read_bytes()
    own = fingerprint_image(photo, DecodeConfig(), HashConfig())
    assert isinstance(own, Fingerprint)
    with Image.open(io.BytesIO(photo)) as opened:
        whole = opened.convert("RGB")
    for factor in (0.75, 0.4):
        copy = whole.resize((round(own.width_px * factor), round(own.height_px * factor)), Image.Resampling.LANCZOS)
        found = fingerprint(copy, "JPEG", quality=85)
        assert by_content_and_size(side_of(own), side_of(found), np.array([factor]))[0].tolist() == [1]
