"""TIFF and deep samples: files that Pillow decodes wrongly are decoded correctly, or fail with a reason."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from test_decode import CFG, decoded, encoded, scene

from dupelake.config import DecodeConfig, HashConfig
from dupelake.fingerprint import rasters
from dupelake.fingerprint.decode import decode
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.ingest.failure import Failure

ORDERS = ["<", ">"]
STORED = [None, "zlib"]
DEEP = np.stack([np.add.outer(np.arange(90) * 10, np.arange(120) * 500)] * 3, -1).astype(np.uint16)
DEEP[..., 1] = 65_535 - DEEP[..., 1]
DEEP[..., 2] //= 2
GREY = np.asarray(scene().convert("L"))


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, **options)
    return out.getvalue()


def refused(data: bytes) -> str:
    result = decode(data, CFG)
    assert isinstance(result, Failure)
    assert result.reason == "undecodable"
    return result.message


def shown(data: bytes) -> np.ndarray:
    rgb = decoded(data).rgb
    assert np.array_equal(rgb[..., 0], rgb[..., 1])
    return rgb[..., 0].astype(int)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compression", STORED)
@pytest.mark.parametrize("plane", ["contig", "separate"])
@pytest.mark.parametrize("bits", [8, 16])
def test_colours_in_planes(order, compression, plane, bits):
    pixels = DEEP if bits == 16 else (DEEP >> 8).astype(np.uint8)
    stored = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if plane == "separate" else pixels
    data = tiff(stored, photometric="rgb", planarconfig=plane, byteorder=order, compression=compression)
    assert np.array_equal(decoded(data).rgb, (DEEP >> 8).astype(np.uint8))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compression", STORED)
def test_samples_are_the_numbers_of_the_file(order, compression):
    options = {"byteorder": order, "compression": compression}
    signed = GREY.astype(np.int32) - 128
    stretched = (GREY.astype(float) - GREY.min()) * 255 / (int(GREY.max()) - int(GREY.min()))
    for kind, factor in ((np.int8, 1), (np.int16, 200), (np.int32, 1_000_000)):
        got = shown(tiff((signed * factor).astype(kind), **options))
        assert np.abs(got - stretched).max() <= 1, kind
    for pixels in (GREY.astype(np.float32) * 3 - 9, GREY.astype(np.float32) / 255):
        expected = stretched if pixels.max() > 1 else GREY
        assert np.abs(shown(tiff(pixels, **options)) - expected).max() <= 1
    if order == "<":  # Pillow knows no other
        large = GREY.astype(np.uint32) * 16_000_000
        assert np.abs(shown(tiff(large, **options)) - stretched).max() <= 1
    else:
        refused(tiff(GREY.astype(np.uint32) * 16_000_000, **options))
    refused(tiff(GREY.astype(np.float64), **options))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compression", STORED)
def test_min_is_white_is_no_negative(order, compression):
    options = {"photometric": "miniswhite", "byteorder": order, "compression": compression}
    for pixels in (255 - GREY, (255 - GREY.astype(np.uint16)) * 257, (255 - GREY).astype(np.float32) / 255):
        assert np.abs(shown(tiff(pixels, **options)) - GREY).max() <= 1, pixels.dtype


@pytest.mark.parametrize(
    ("bits", "kind"), [(10, "PNG"), (12, "PNG"), (12, "TIFF"), (14, "PNG"), (16, "TIFF"), (8, "PNG")]
)
def test_fewer_bits_in_16_show_what_their_export_shows(bits, kind):
    deep = np.asarray(scene(200, 150).convert("L")).astype(np.float64)
    deep *= (2**bits - 1) / 255
    deep = Image.fromarray(deep.round().astype(np.uint16))
    assert np.abs(shown(encoded(deep, kind)) - np.asarray(scene(200, 150).convert("L"))).max() <= 1
    half = deep.resize((100, 75))
    expected = scene(200, 150).convert("L").resize((100, 75))
    assert np.abs(shown(encoded(half, kind)) - np.asarray(expected)).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_colours_of_12_bits_in_16_are_not_black(suffix):
    pixels = np.asarray(scene()).astype(np.uint16) * 16
    data = cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()
    assert np.abs(decoded(data).rgb.astype(int) - np.asarray(scene())).max() <= 1


def test_alpha_of_12_bits_in_16_is_refused():
    pixels = np.dstack([np.asarray(scene()).astype(np.uint16) * 16, np.full((80, 120), 4095, np.uint16)])
    assert "alpha" in refused(cv2.imencode(".png", pixels)[1].tobytes())
    pixels[..., 3] = 65_535
    assert decoded(cv2.imencode(".png", pixels)[1].tobytes()).rgb.max() <= 16  # truly dark


def test_masks_are_neither_black_nor_alike():
    rng = np.random.default_rng(3)
    seen = set()
    for labels in (2, 6, 21, 150):
        cells = rng.integers(0, labels, (6, 8)).astype(np.uint16)
        cells[0, 0] = labels - 1
        result = fingerprint_image(
            encoded(Image.fromarray(cells.repeat(40, 0).repeat(40, 1))), DecodeConfig(), HashConfig()
        )
        assert isinstance(result, Fingerprint)
        assert not result.is_low_information
        seen.add((result.pixel_digest, result.phash, result.pdq))
        assert decoded(encoded(Image.fromarray(cells))).rgb.max() >= 128
    assert len(seen) == 4


def test_not_a_number_leaves_the_rest():
    holes = GREY.astype(np.float32) * 7
    holes[:5] = np.nan
    holes[5:6] = np.inf
    whole = shown(tiff(GREY.astype(np.float32) * 7))
    got = shown(tiff(holes))
    assert (got[:5] == 0).all()
    assert (got[5] == 255).all()
    assert np.abs(got[6:] - whole[6:]).max() <= 8


def ifd(entries: dict[int, tuple[int, int, int]], after: int) -> bytes:
    rows = b"".join(struct.pack("<HHII", tag, *entries[tag]) for tag in sorted(entries))
    return struct.pack("<H", len(entries)) + rows + struct.pack("<I", after)


def raw_file(extra: dict[int, tuple[int, int, int]], mark: bytes = b"", sub: bool = True) -> bytes:
    """A TIFF with a 16 x 8 preview, and a raw picture of 64 x 32 in a SubIFD."""
    head = b"II*\0" + struct.pack("<I", 16) + mark.ljust(8, b"\0")
    entries = {
        256: (3, 1, 16), 257: (3, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 1000),
        277: (3, 1, 1), 278: (3, 1, 8), 279: (4, 1, 128), **extra,
    }  # fmt: skip
    if sub:
        entries[330] = (4, 1, 600)
    inner = ifd({254: (4, 1, 0), 256: (3, 1, 64), 257: (3, 1, 32), 262: (3, 1, 32803)}, 0)
    return (head + ifd(entries, 0)).ljust(600, b"\0") + inner.ljust(400, b"\0") + bytes(range(128))


@pytest.mark.parametrize(
    "data",
    [
        raw_file({254: (4, 1, 1), 50706: (1, 4, 0x0401)}, sub=False),  # DNG
        raw_file({254: (4, 1, 1)}),  # NEF, ARW
        raw_file({}),  # a preview that does not say so
        raw_file({}, mark=b"\0\0CR\2\0"[2:], sub=False).replace(b"II*\0\x10\0\0\0CR", b"II*\0\x10\0\0\0CR"),  # CR2
    ],
    ids=["dng", "nef", "unmarked", "cr2"],
)
def test_raw_camera_files_are_not_their_preview(data):
    assert "raw camera files are not decoded" in refused(data)


def test_the_preview_of_another_page_is_not_the_picture():
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(GREY[::4, ::4].copy(), subfiletype=1, metadata=None)
        writer.write(GREY, metadata=None)
    result = decoded(out.getvalue())
    assert (result.width_px, result.height_px) == (120, 80)
    assert decoded(tiff(GREY, subfiletype=1)).width_px == 120  # there is no other


def test_inks_and_palettes():
    cmyk = np.asarray(scene().convert("CMYK"))
    assert np.abs(decoded(tiff(cmyk, photometric="separated")).rgb.astype(int) - np.asarray(scene())).mean() < 3
    assert "inks" in refused(tiff(cmyk, photometric="separated", extratags=[(332, 3, 1, 2, True)]))
    few = scene().quantize(16)
    palette = np.asarray(few.convert("RGB").quantize(16).getpalette()[:48]).reshape(16, 3)
    full = np.zeros((3, 256), np.uint16)
    full[:, :16] = palette.T
    indices = np.asarray(few.convert("RGB").quantize(16))
    expected = palette[indices]
    for factor in (257, 256, 1):
        data = tiff(indices, photometric="palette", colormap=full * factor)
        assert np.array_equal(decoded(data).rgb, expected), factor


def test_subsampled_ycbcr_without_compression():
    luma = np.asarray(scene().convert("YCbCr"))
    blocks = np.concatenate(
        [
            np.stack([luma[0::2, 0::2, 0], luma[0::2, 1::2, 0], luma[1::2, 0::2, 0], luma[1::2, 1::2, 0]], -1),
            luma[0::2, 0::2, 1:],
        ],
        axis=-1,
    ).tobytes()
    head = b"II*\0" + struct.pack("<I", 8)
    entries = {
        256: (3, 1, 120), 257: (3, 1, 80), 258: (3, 3, 300), 259: (3, 1, 1), 262: (3, 1, 6), 273: (4, 1, 400),
        277: (3, 1, 3), 278: (3, 1, 80), 279: (4, 1, len(blocks)), 530: (3, 2, 2 | 2 << 16),
    }  # fmt: skip
    data = (head + ifd(entries, 0)).ljust(300, b"\0") + struct.pack("<HHH", 8, 8, 8)
    assert np.abs(decoded(data.ljust(400, b"\0") + blocks).rgb.astype(int) - np.asarray(scene())).mean() < 6


def test_real_reports(shared_data: Path):
    reports = shared_data / "reports"
    prints = {}
    for name in ("patient40-12in16.png", "patient40-export.jpg", "patient40-half-12in16.png", "patient41-12in16.png"):
        result = fingerprint_image((reports / "radiograph-12in16" / name).read_bytes(), DecodeConfig(), HashConfig())
        assert isinstance(result, Fingerprint)
        prints[name] = np.frombuffer(result.pdq, np.uint8), result.phash
    first = prints.pop("patient40-12in16.png")
    other = prints.pop("patient41-12in16.png")
    for pdq, phash in prints.values():
        assert np.bitwise_count(first[0] ^ pdq).sum() <= 31
        assert (first[1] ^ phash).bit_count() <= 4
    assert np.bitwise_count(first[0] ^ other[0]).sum() > 31
    odd = reports / "odd-tiff-png"
    for path in [*odd.iterdir(), *(reports / "png-text-chunk").iterdir(), *(reports / "png-big-icc").iterdir()]:
        assert decoded(path.read_bytes()).rgb.max() > 200, path
    upright = decoded((odd / "bad-crc-ancillary.png").read_bytes()).rgb
    assert np.abs(upright.astype(int) - decoded((odd / "orient-9.jpg").read_bytes()).rgb).mean() < 8
    grey = decoded((odd / "grey16-miniswhite.tif").read_bytes()).image.convert("L")
    assert np.corrcoef(np.asarray(grey).ravel(), np.asarray(Image.fromarray(upright).convert("L")).ravel())[0, 1] > 0.5


def test_bands_change_nothing(monkeypatch):
    """Pictures larger than a band give the same pixels as in one band."""
    steep = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = steep.find(b"para")
    steep[at + 12 : at + 16] = struct.pack(">i", 3 << 16)  # another gamma
    colours = scene().convert("RGBA")
    colours.putalpha(Image.fromarray(GREY))
    white = Image.new("RGBA", (120, 80), "white")
    white.putalpha(Image.fromarray(GREY))
    files = [
        encoded(scene()),
        encoded(scene(), icc_profile=bytes(steep)),
        encoded(scene(), "JPEG", icc_profile=bytes(steep)),
        encoded(colours),
        encoded(white),
        encoded(colours.convert("LA")),
        encoded(scene().quantize(9), transparency=3),
        encoded(scene(), transparency=(1, 2, 3)),
        encoded(Image.fromarray(GREY.astype(np.uint16) * 16), transparency=GREY[0, 0].item() * 16),
        encoded(scene().convert("CMYK"), "TIFF"),
        tiff(GREY.astype(np.float32) * 5),
        tiff(GREY.view(np.int8)),
        encoded(scene().convert("1")),
        cv2.imencode(".png", np.asarray(scene()).astype(np.uint16) * 16)[1].tobytes(),
    ]
    whole = [decoded(data) for data in files]
    monkeypatch.setattr(rasters, "_BAND_PIXELS", 7 * 120)
    for before, data in zip(whole, files, strict=True):
        after = decoded(data)
        assert np.array_equal(before.rgb, after.rgb)
        assert before.pixel_digest == after.pixel_digest
