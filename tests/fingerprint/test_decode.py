"""decode: modes, orientation, profiles, limits, digests. All pictures are generated here."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageFile

from dupelake.config import DecodeConfig
from dupelake.fingerprint.decode import Decoded, decode
from dupelake.ingest.failure import Failure

CFG = DecodeConfig()


def scene(width: int = 120, height: int = 80, seed: int = 0) -> Image.Image:
    """Smooth colours with structure; different from its mirror and its rotations."""
    y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    shift = np.random.default_rng(seed).uniform(0, 3, 3)
    planes = [127 + 80 * np.sin(5 * x * x + s) + 47 * np.cos(7 * y * (1 + x) + s) for s in shift]
    return Image.fromarray(np.stack(planes, -1).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(data: bytes, cfg: DecodeConfig = CFG) -> Decoded:
    result = decode(data, cfg)
    assert isinstance(result, Decoded), result
    assert result.rgb.dtype == np.uint8
    assert result.rgb.ndim == 3
    assert result.rgb.flags.c_contiguous
    return result


def failed(data: bytes, cfg: DecodeConfig = CFG) -> str:
    result = decode(data, cfg)
    assert isinstance(result, Failure), result
    assert result.message
    return result.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "TGA"])
def test_formats_decode_to_about_the_same_pixels(kind):
    result = decoded(encoded(scene(), kind))
    assert result.format == kind
    assert (result.width_px, result.height_px, result.scale) == (120, 80, 1)
    assert np.abs(result.rgb.astype(int) - np.asarray(scene())).mean() < 8  # the palette of GIF is the coarsest


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The picture that a camera stores for `image` with an orientation: the inverse of the upright transform."""
    t = Image.Transpose
    inverse = {
        2: t.FLIP_LEFT_RIGHT,
        3: t.ROTATE_180,
        4: t.FLIP_TOP_BOTTOM,
        5: t.TRANSPOSE,
        6: t.ROTATE_90,
        7: t.TRANSVERSE,
        8: t.ROTATE_270,
    }
    return image.transpose(inverse[orientation]) if orientation in inverse else image


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_once(kind):
    digests = set()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if kind == "WEBP" else {}
        result = decoded(encoded(turned(scene(), orientation), kind, exif=exif, **options))
        assert (result.width_px, result.height_px) == (120, 80)
        digests.add(result.pixel_digest)
    assert digests == {decoded(encoded(scene())).pixel_digest}


def test_heif_is_not_turned_twice():
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    pillow_heif.from_pillow(turned(scene(), 6)).save(out, quality=-1, chroma=444, exif=exif.tobytes())
    result = decoded(out.getvalue())
    assert (result.width_px, result.height_px) == (120, 80)
    assert np.abs(result.rgb.astype(int) - np.asarray(scene())).mean() < 3


def test_real_orientations_agree(shared_data: Path):
    for name in ("Landscape", "Portrait"):
        pictures = [decoded(path.read_bytes()) for path in sorted((shared_data / "exif_orientation").glob(f"{name}_*"))]
        assert len(pictures) == 9
        assert len({(p.width_px, p.height_px) for p in pictures}) == 1
        first = pictures[0].rgb.astype(int)
        for picture in pictures[1:]:  # each was compressed by itself
            assert np.abs(picture.rgb - first).mean() < 6


@pytest.mark.parametrize("block", [b"Exif\0\0MM\0\x2a\xff\xff\xff\xff garbage", b"Exif\0\0XX\0\x2a\0\0\0\x08"])
def test_a_broken_exif_block_is_no_reason_to_refuse(block):
    assert decoded(encoded(scene(), "JPEG", exif=block)).width_px == 120


def test_first_frame_counts():
    frames = [scene(seed=1), scene(seed=2)]
    data = {
        kind: encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        for kind, options in {"GIF": {}, "PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "MPO": {}}.items()
    }
    for kind, both in data.items():
        alone = encoded(frames[0], "JPEG" if kind == "MPO" else kind, **({"lossless": True} if kind == "WEBP" else {}))
        assert np.array_equal(decoded(both).rgb, decoded(alone).rgb), kind


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_alpha_lies_on_white(mode):
    black = Image.new("RGBA", (40, 30), (0, 0, 0, 255))
    black.paste((0, 0, 0, 0), (0, 0, 20, 30))
    if mode in ("RGB", "L"):  # tRNS: one colour is the transparent one
        flat = Image.new(mode, (40, 30))
        flat.paste(10 if mode == "L" else (10, 10, 10), (0, 0, 20, 30))
        data = encoded(flat, transparency=10 if mode == "L" else (10, 10, 10))
    elif mode == "P":
        flat = Image.new("P", (40, 30), 1)
        flat.putpalette([10, 10, 10, 0, 0, 0])
        flat.paste(0, (0, 0, 20, 30))
        data = encoded(flat, "GIF", transparency=0)
    else:
        data = encoded(black.convert(mode), "PNG")
    rgb = decoded(data).rgb
    assert (rgb[:, :20] == 255).all()
    assert (rgb[:, 20:] == 0).all()


def test_half_transparent_is_mixed_and_opaque_alpha_changes_nothing():
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    assert decoded(encoded(half)).rgb[0, 0].tolist() == [255, 127, 127]
    opaque = scene().convert("RGBA")
    assert decoded(encoded(opaque)).pixel_digest == decoded(encoded(scene())).pixel_digest
    other = scene().convert("RGBA")
    other.putalpha(100)  # the same colours under another alpha are another picture
    assert decoded(encoded(other)).pixel_digest != decoded(encoded(scene())).pixel_digest


def test_deep_and_odd_modes():
    grey = np.asarray(scene().convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(decoded(encoded(deep)).rgb[:, :, 0], grey)
    assert np.array_equal(decoded(encoded(deep, "TIFF")).rgb[:, :, 2], grey)
    fractions = Image.fromarray((grey / 255).astype(np.float32))
    assert np.array_equal(decoded(encoded(fractions, "TIFF")).rgb[:, :, 1], grey)
    signed = decoded(encoded(Image.fromarray(grey.astype(np.int32) * 1000 - 5_000_000), "TIFF")).rgb[:, :, 0]
    assert (signed.min(), signed.max()) == (0, 255)
    not_a_number = np.full((10, 10), np.nan, np.float32)
    assert decoded(encoded(Image.fromarray(not_a_number), "TIFF")).rgb.max() == 0
    assert set(np.unique(decoded(encoded(scene().convert("1"))).rgb)) == {0, 255}
    cmyk = decoded(encoded(scene().convert("CMYK"), "TIFF")).rgb.astype(int)
    assert np.abs(cmyk - np.asarray(scene())).mean() < 3
    lab = decoded(encoded(Image.new("LAB", (8, 8), (255, 128, 128)), "TIFF")).rgb
    assert lab.min() > 250  # L* at its maximum is white
    red = decoded(encoded(Image.new("LAB", (8, 8), (136, 208, 195)), "TIFF")).rgb  # L* 53.2 a* 80 b* 67
    assert np.abs(red[0, 0] - np.array([255, 0, 0])).max() <= 12


def test_profiles_are_converted_to_srgb():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decoded(encoded(scene(), icc_profile=srgb)).pixel_digest == decoded(encoded(scene())).pixel_digest
    swapped = bytearray(srgb)  # primaries exchanged: a valid profile under which red is green
    at = {
        bytes(swapped[128 + 4 + 12 * i :][:4]): 128 + 4 + 12 * i for i in range(struct.unpack(">I", srgb[128:132])[0])
    }
    red, green = at[b"rXYZ"], at[b"gXYZ"]
    swapped[red + 4 : red + 12], swapped[green + 4 : green + 12] = (
        swapped[green + 4 : green + 12],
        swapped[red + 4 : red + 12],
    )
    description = swapped.find("sRGB".encode("utf-16-be"))
    assert description > 0
    swapped[description : description + 8] = "abcd".encode("utf-16-be")
    turned_colours = decoded(encoded(scene(), icc_profile=bytes(swapped))).rgb.astype(int)
    assert np.abs(turned_colours - np.asarray(scene())[:, :, [1, 0, 2]]).max() <= 3
    grey_under_rgb_profile = encoded(scene().convert("L"), icc_profile=bytes(swapped))
    grey = decoded(encoded(scene().convert("L")))
    assert np.array_equal(decoded(grey_under_rgb_profile).rgb, grey.rgb)
    assert decoded(grey_under_rgb_profile).pixel_digest != grey.pixel_digest  # libpng ignores it, other viewers do not


def test_a_broken_profile_is_ignored():
    for profile in (b"junk", b"\0" * 200):
        assert (
            decoded(encoded(scene(), "JPEG", icc_profile=profile)).pixel_digest
            == decoded(encoded(scene(), "JPEG")).pixel_digest
        )


def png_of(width: int, height: int) -> bytes:
    """A PNG with a valid header that declares more pixels than its few bytes hold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def test_limits():
    assert failed(b"") == "empty"
    for data, limit in ((png_of(60_000, 60_000), CFG.max_pixels), (encoded(scene()), 120 * 80 - 1)):
        result = decode(data, DecodeConfig(max_pixels=limit))
        assert isinstance(result, Failure)
        assert result.reason == "too_large"
        assert f"more than decode.max_pixels ({limit}); raise that" in result.message
        assert "attack" not in result.message
    assert decoded(encoded(scene()), DecodeConfig(max_pixels=120 * 80)).width_px == 120
    assert failed(encoded(scene()), DecodeConfig(max_bytes=100)) == "too_large"
    assert failed(b"not an image at all") == "undecodable"
    assert failed(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n") == "undecodable"
    large = decoded(encoded(Image.new("1", (15_000, 10_000))), DecodeConfig(max_pixels=150_000_000))
    assert large.width_px == 15_000  # above Pillow's own default limit, below ours


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"])
def test_truncated(kind):
    data = encoded(scene(300, 200), kind)
    cut = data[: len(data) * 2 // 3]
    assert failed(cut) in (("truncated",) if kind in ("JPEG", "PNG", "BMP", "GIF") else ("truncated", "undecodable"))
    if kind in ("JPEG", "PNG", "BMP"):
        accepted = decoded(cut, DecodeConfig(accept_truncated=True))
        assert (accepted.width_px, accepted.height_px) == (300, 200)
        assert failed(cut) == "truncated"  # the switch does not outlive the call


def test_pillow_is_left_as_it_was_found():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    decode(encoded(scene()), DecodeConfig(max_pixels=5, accept_truncated=True))
    decode(b"junk", DecodeConfig(max_pixels=5, accept_truncated=True))
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


def test_threads_do_not_share_limits():
    cut = encoded(scene(300, 200), "JPEG")[:-2000]
    wrong: list[object] = []

    def work(accept: bool) -> None:
        for _ in range(40):
            result = decode(cut, DecodeConfig(accept_truncated=accept))
            if isinstance(result, Decoded) != accept:
                wrong.append(result)

    threads = [threading.Thread(target=work, args=(accept,)) for accept in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_bytes_raise():
    rng = np.random.default_rng(5)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "AVIF", "HEIF", "ICO", "JPEG2000"):
        data = bytearray(encoded(scene(64, 64), kind))
        for _ in range(25):
            hostile = bytearray(data)
            for at in rng.integers(0, len(hostile), 6):
                hostile[at] = rng.integers(0, 256)
            assert isinstance(decode(bytes(hostile), DecodeConfig(max_pixels=10_000_000)), Decoded | Failure)


def test_digest_laws():
    assert (
        decoded(encoded(Image.new("RGB", (100, 500)))).pixel_digest
        != decoded(encoded(Image.new("RGB", (200, 250)))).pixel_digest
    )
    jpeg = encoded(scene(), "JPEG")
    pixels = decoded(jpeg)
    assert decoded(encoded(pixels.image, "PNG")).pixel_digest == pixels.pixel_digest
    exif = Image.Exif()
    exif[0x010E] = "a description"
    assert decoded(encoded(scene(), "JPEG", exif=exif, comment=b"hello")).pixel_digest == pixels.pixel_digest
    assert decoded(encoded(scene(seed=3), "JPEG")).pixel_digest != pixels.pixel_digest
    assert len(pixels.pixel_digest) == 32


def test_jpegs_are_reduced_as_far_as_the_short_side_allows():
    small = DecodeConfig(reduced_jpeg_min_side_px=64)
    for (width, height), scale in {(1000, 800): 8, (500, 511): 4, (127, 300): 2, (126, 300): 1, (512, 512): 8}.items():
        result = decoded(encoded(scene(width, height), "JPEG"), small)
        assert (result.scale, result.width_px, result.height_px) == (scale, width, height)
        assert result.rgb.shape[:2] == (-(-height // scale), -(-width // scale))
        assert min(result.rgb.shape[:2]) >= 64
    assert decoded(encoded(scene(1000, 800), "JPEG"), DecodeConfig(reduced_jpeg_min_side_px=0)).scale == 1
    assert decoded(encoded(scene(1000, 800), "PNG"), small).scale == 1
    exif = Image.Exif()
    exif[0x0112] = 6
    turned_picture = decoded(encoded(turned(scene(600, 400), 6), "JPEG", exif=exif), small)
    assert (turned_picture.width_px, turned_picture.height_px, turned_picture.scale) == (600, 400, 4)
    assert turned_picture.rgb.shape == (100, 150, 3)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_digest_of_reduced_jpegs_is_sound(options):
    small = DecodeConfig(reduced_jpeg_min_side_px=64)
    picture = scene(400, 300)
    plain = encoded(picture, "JPEG", **options)
    digest = decoded(plain, small).pixel_digest
    assert digest != decoded(plain, DecodeConfig(reduced_jpeg_min_side_px=0)).pixel_digest
    exif = Image.Exif()
    exif[0x010E] = "a description"
    same = encoded(picture, "JPEG", exif=exif, comment=b"hello", dpi=(72, 72), **options)
    assert decoded(same, small).pixel_digest == digest
    assert decoded(plain + b"trailing bytes", small).pixel_digest == digest
    exif[0x0112] = 3
    assert decoded(encoded(picture, "JPEG", exif=exif, **options), small).pixel_digest != digest


def test_reduced_jpegs_that_differ_in_dropped_coefficients_only_are_told_apart():
    small = DecodeConfig(reduced_jpeg_min_side_px=64)
    flat = np.full((304, 400), 128.0)
    wave = np.cos((2 * np.arange(8) + 1) * 6 * np.pi / 16)
    fine = flat.copy()
    fine[80:88, 80:88] += 80 * np.outer(wave, wave)  # libjpeg leaves out frequencies 2, 4, 6 at 1/4
    one, other = (
        decoded(encoded(Image.fromarray(p.round().astype(np.uint8)), "JPEG", quality=50), small) for p in (flat, fine)
    )
    assert one.scale == 4
    assert np.array_equal(one.rgb, other.rgb)
    assert one.pixel_digest != other.pixel_digest


def pillows(data: bytes, scale: int = 1) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, (image.width // scale, image.height // scale))
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 1},
        {"restart_marker_blocks": 3},
        {"quality": 5},
        {"keep_rgb": True},
    ],
)
@pytest.mark.parametrize("size", [(121, 83), (8, 8), (1, 300)])
def test_jpegs_have_pillows_pixels(options, size):
    data = encoded(scene(*size), "JPEG", **options)
    assert np.array_equal(decoded(data).rgb, pillows(data))
    assert np.array_equal(decoded(data + b"behind the end").rgb, pillows(data))


@pytest.mark.parametrize(("side", "scale"), [(0, 1), (150, 2), (75, 4), (38, 8)])
def test_real_jpegs_have_pillows_pixels_or_their_means(shared_data: Path, side, scale):
    paths = sorted((shared_data / "imagenet_sample").glob("*.JPEG"))[::8]
    paths += sorted((shared_data / "clothing_small").rglob("*.jpg"))[::20]
    used = 0
    for path in paths:
        data = path.read_bytes()
        result = decoded(data, DecodeConfig(reduced_jpeg_min_side_px=side))
        with Image.open(path) as image:
            plain = image.mode == "RGB" and not image.getexif() and not image.info.get("icc_profile")
        if plain and result.scale == scale:
            full = pillows(data)
            size = -(-full.shape[1] // scale), -(-full.shape[0] // scale)
            wanted = full if scale == 1 else cv2.resize(full, size, interpolation=cv2.INTER_AREA)
            assert np.array_equal(result.rgb, wanted), path
            assert result.full_grey is None if scale == 1 else result.full_grey.shape == full.shape[:2]
            used += 1
    assert used > 5


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_is_pillows_pixels_or_its_refusal(progressive):
    whole = encoded(scene(60, 40), "JPEG", progressive=progressive)
    for end in range(2, len(whole), 3):
        for tail in (b"", b"\xff\xd9", b"\xff\xe1\x40\x00\xff\xd9"):
            data = whole[:end] + tail
            result = decode(data, CFG)
            try:
                expected = pillows(
                    whole if end >= len(whole) - 2 and not tail else data
                )  # without its end marker it is whole
            except Exception:
                assert isinstance(result, Failure), (end, tail)
            else:
                assert isinstance(result, Decoded), (end, tail)
                assert np.array_equal(result.rgb, expected), (end, tail)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"quality": 5}]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(options, mode):
    picture = scene(150, 90).convert(mode)
    whole = encoded(picture, "JPEG", **options)
    expected = decoded(whole)
    for cut in (whole[:-2], whole[:-1], whole[:-2] + bytes(40)):
        result = decoded(cut)
        assert np.array_equal(result.rgb, expected.rgb)
        assert (result.pixel_digest, result.width_px) == (expected.pixel_digest, 150)
    for lost in (4, 20, len(whole) // 3):
        assert failed(whole[:-lost]) == "truncated"


def test_a_progressive_jpeg_without_its_last_scans_is_truncated():
    whole = encoded(scene(150, 90), "JPEG", progressive=True)
    for scan in [at for at in range(len(whole)) if whole[at : at + 2] == b"\xff\xda"][1:]:
        assert failed(whole[:scan]) == "truncated"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_texts_and_profiles_of_some_megabytes_are_no_bombs():
    png, expected = encoded(scene()), decoded(encoded(scene()))
    rng = np.random.default_rng(0)
    words = rng.integers(97, 122, 3_000_000, dtype=np.uint8).tobytes()
    for added in (
        chunk(b"tEXt", b"workflow\0" + words),
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(words)),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(words)),
        chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(200_000_000), 9)),
        chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(30_000_000), 9)) * 4,
    ):
        result = decoded(png[:33] + added + png[33:])
        assert np.array_equal(result.rgb, expected.rgb)
        assert result.pixel_digest == expected.pixel_digest
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    large = bytearray(srgb + bytes(3_000_000))
    large[:4] = struct.pack(">I", len(large))
    assert np.array_equal(decoded(encoded(scene(), icc_profile=bytes(large))).rgb, expected.rgb)


def test_a_wrong_checksum_is_forgiven_or_named():
    png = encoded(scene())
    for kind in (b"tEXt", b"pHYs", b"gAMA", b"prVt"):
        wrong = bytearray(chunk(kind, b"\0\0\x0b\x13\0\0\x0b\x13\1"))
        wrong[-1] ^= 1
        assert np.array_equal(decoded(png[:33] + bytes(wrong) + png[33:]).rgb, decoded(png).rgb)
    header = bytearray(png)
    header[29] ^= 1
    result = decode(bytes(header), CFG)
    assert isinstance(result, Failure)
    assert "checksum of its chunk IHDR" in result.message


@pytest.mark.parametrize("value", [0, 9, 255, 65_535])
def test_an_orientation_that_is_none_is_taken_as_none(value):
    exif = Image.Exif()
    exif[0x0112] = value
    for kind in ("JPEG", "PNG", "TIFF"):
        assert np.array_equal(decoded(encoded(scene(), kind, exif=exif)).rgb, decoded(encoded(scene(), kind)).rgb)
