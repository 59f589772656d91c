"""pixel_digest: equal only for files that every viewer shows alike, and equal for plain pictures in any container."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms
from test_decode import decoded, encoded, scene

from dupelake.config import DecodeConfig, HashConfig
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image

SMALL = DecodeConfig(reduced_jpeg_min_side_px=64)


def digest(data: bytes, cfg: DecodeConfig | None = None) -> str:
    return decoded(data, cfg or DecodeConfig()).pixel_digest


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """`png` with a chunk after its header."""
    return png[:33] + chunk(kind, body) + png[33:]


def frames(kind: str, seeds: tuple[int, ...], **options: object) -> bytes:
    pictures = [scene(60, 40, seed) for seed in seeds]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], **options)


def test_plain_pictures_share_it_in_every_container_and_mode():
    picture = scene()
    tiff = {"compression": "tiff_lzw"}
    plain = [
        encoded(picture),
        encoded(picture, "BMP"),
        encoded(picture, "TIFF"),
        encoded(picture, "TIFF", **tiff),
        encoded(picture, "WEBP", lossless=True),
        encoded(picture, "TGA"),
        encoded(picture, "PPM"),
        encoded(picture.convert("RGBA")),
        encoded(picture.convert("RGBA"), "WEBP", lossless=True, exact=True),
        encoded(picture, dpi=(300, 300), pnginfo=None),
    ]
    assert len({digest(data) for data in plain}) == 1
    grey = picture.convert("L")
    assert digest(encoded(grey)) == digest(encoded(grey.convert("RGB"))) == digest(encoded(grey.convert("LA"), "TIFF"))
    few = picture.quantize(32)
    assert len({digest(encoded(p, k)) for p in (few, few.convert("RGB")) for k in ("PNG", "BMP", "TIFF")}) == 1
    assert digest(encoded(few, "GIF")) == digest(encoded(few))
    bits = picture.convert("1")
    assert digest(encoded(bits)) == digest(encoded(bits.convert("RGB"))) == digest(encoded(bits, "TIFF"))


def test_alpha_and_what_lies_under_it_count():
    colours = np.dstack([np.asarray(scene()), np.full((80, 120), 255, np.uint8)])
    shapes = []
    for at in range(3):
        cut = colours.copy()
        cut[10 * at : 10 * at + 20, :60, 3] = 0
        shapes.append(cut)
    hidden = shapes[0].copy()
    hidden[:20, :60, :3] ^= 255  # invisible, but stored: it shows if the mask is moved
    pictures = [Image.fromarray(p) for p in (colours, *shapes, hidden)]
    assert len({digest(encoded(p)) for p in pictures}) == 5
    for picture in pictures[1:]:
        options = {"lossless": True, "exact": True}
        assert (
            digest(encoded(picture)) == digest(encoded(picture, "WEBP", **options)) == digest(encoded(picture, "TIFF"))
        )
        flat = Image.new("RGB", picture.size, "white")
        flat.paste(picture, mask=picture.getchannel("A"))
        assert digest(encoded(flat)) != digest(encoded(picture))


def test_white_icons_for_dark_backgrounds_are_different_pictures():
    prints = []
    for at in range(4):
        alpha = np.zeros((200, 200), np.uint8)
        cv2.putText(alpha, "KGRP"[at], (40, 150), cv2.FONT_HERSHEY_SIMPLEX, 5, 255, 20, cv2.LINE_AA)
        icon = Image.fromarray(np.dstack([np.full((200, 200, 3), 255, np.uint8), alpha]))
        half = icon.resize((100, 100), Image.Resampling.LANCZOS)
        one, two = (fingerprint_image(encoded(p), DecodeConfig(), HashConfig()) for p in (icon, half))
        assert isinstance(one, Fingerprint)
        assert isinstance(two, Fingerprint)
        bits = (np.frombuffer(p.pdq, np.uint8) for p in (one, two))
        assert np.bitwise_count(np.bitwise_xor(*bits)).sum() <= 31  # itself at half its size
        prints.append(one)
    assert len({p.pixel_digest for p in prints}) == len({p.pdq for p in prints}) == 4
    assert not any(p.is_low_information for p in prints)
    dark = Image.new("RGBA", (40, 30), (200, 0, 0, 90))  # on white as ever
    assert decoded(encoded(dark)).rgb.min() > 100


@pytest.mark.parametrize("kind", ["I;16", "I", "F"])
def test_deep_samples_count_before_they_are_cut(kind):
    base = np.asarray(scene().convert("L")).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[kind]) * 200
    finer = base.copy()
    finer[3, 3] += 1
    one, other, twice = (Image.fromarray(a) for a in (base, finer, base * 2))
    assert len({digest(encoded(p, "TIFF")) for p in (one, other, twice)}) == 3
    assert digest(encoded(one, "TIFF")) == digest(encoded(one, "TIFF", compression="tiff_lzw"))
    shown = decoded(encoded(one, "TIFF")).image
    assert digest(encoded(shown)) != digest(encoded(one, "TIFF"))
    if kind == "I;16":
        assert digest(encoded(one)) == digest(encoded(one, "TIFF"))


def test_colours_of_16_bits_count():
    deep = np.asarray(scene()).astype(np.uint16) * 257
    finer = deep.copy()
    finer[3, 3] ^= 1
    for suffix in (".png", ".tiff"):
        one, other = (cv2.imencode(suffix, a)[1].tobytes() for a in (deep, finer))
        assert np.array_equal(decoded(one).rgb, decoded(other).rgb)
        assert len({digest(one), digest(other), digest(encoded(decoded(one).image))}) == 3
    png = cv2.imencode(".png", deep)[1].tobytes()
    assert digest(with_chunk(png, b"tEXt", b"Comment\0hello")) == digest(png)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("MPO", {}), ("AVIF", {})],
)
def test_every_frame_counts(kind, options):
    one = frames(kind, (1, 2, 3), **options)
    other = frames(kind, (1, 2, 4), **options)
    shorter = frames(kind, (1, 2), **options)
    first = decoded(one)
    assert np.abs(first.rgb.astype(int) - decoded(other).rgb).max() <= (0 if kind != "AVIF" else 20)  # rate control
    still = digest(encoded(first.image))
    assert len({digest(one), digest(other), digest(shorter), still}) == 4
    if kind in ("GIF", "PNG", "WEBP"):
        slow = frames(kind, (1, 2, 3), duration=900, **options)
        assert digest(slow) != digest(one)


def test_layers_sizes_and_unknown_chunks_count():
    icons = []
    for size in (32, 48):
        out = io.BytesIO()
        scene(64, 64).save(out, "ICO", sizes=[(16, 16), (size, size)])
        icons.append(out.getvalue())
    assert len({digest(icon) for icon in icons}) == 2
    png = encoded(scene())
    assert digest(with_chunk(png, b"mkBS", b"a layer of Fireworks")) != digest(png)
    assert digest(png + bytes(range(256))) != digest(png)
    assert digest(png + b"\n") == digest(png)
    assert digest(with_chunk(png, b"tIME", bytes(7))) == digest(png)


def test_heif_of_ten_bits_is_told_from_its_cut():
    deep = np.asarray(scene()).astype(np.uint16) * 257
    finer = deep ^ 64  # bit 0 of 10
    files = []
    for pixels in (deep, finer):
        out = io.BytesIO()
        pillow_heif.encode("RGB;16", (120, 80), pixels.tobytes(), out, quality=-1)
        files.append(out.getvalue())
    assert len({digest(f) for f in files} | {digest(encoded(decoded(files[0]).image))}) == 3


def profile_with(gamma: float) -> bytes:
    """sRGB's profile with other curves."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", made[128:132])[0]
    for at in range(132, 132 + 12 * count, 12):
        if made[at : at + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            start = struct.unpack(">I", made[at + 4 : at + 8])[0]
            made[start : start + 14] = b"curv" + bytes(4) + struct.pack(">IH", 1, int(gamma * 256))
    return bytes(made)


def test_profiles_count_also_where_rounding_hides_them():
    dark = Image.fromarray(np.repeat(np.arange(8, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(8, axis=0))
    other = Image.fromarray(np.asarray(dark) ^ 1)
    steep = profile_with(3.0)  # named sRGB, all the same
    one, two = encoded(dark, icc_profile=steep), encoded(other, icc_profile=steep)
    assert (
        len({digest(one), digest(two), digest(encoded(dark)), digest(encoded(dark, icc_profile=profile_with(2.9)))})
        == 4
    )
    assert digest(encoded(scene(), icc_profile=profile_with(3.0))) == digest(
        encoded(scene(), "TIFF", icc_profile=profile_with(3.0))
    )
    assert not np.array_equal(decoded(encoded(scene(), icc_profile=steep)).rgb, np.asarray(scene()))
    jpeg = encoded(scene(), "JPEG")
    assert digest(encoded(scene(), "JPEG", icc_profile=steep)) != digest(jpeg)
    assert digest(encoded(scene(), "JPEG", icc_profile=b"junk")) == digest(jpeg)
    png = encoded(scene())
    assert digest(with_chunk(png, b"gAMA", struct.pack(">I", 100_000))) != digest(png)
    assert digest(with_chunk(png, b"gAMA", struct.pack(">I", 45_455))) == digest(png)
    assert digest(with_chunk(png, b"cICP", bytes([9, 16, 0, 1]))) != digest(png)  # HDR


@pytest.mark.parametrize("cfg", [DecodeConfig(), SMALL])
def test_what_a_jpeg_carries_beside_its_picture_counts(cfg):
    picture, other = scene(400, 300), scene(200, 150, seed=5)
    plain = encoded(picture, "JPEG", progressive=True)
    gain_map, depth = encoded(other, "JPEG"), encoded(other.convert("L"), "JPEG")
    extended = b"http://ns.adobe.com/xmp/extension/\0" + b"G" * 300
    segment = b"\xff\xe1" + struct.pack(">H", len(extended) + 2) + extended
    film = b"\0\0\0\x18ftypmp42" + bytes(range(200))
    rich = [plain + gain_map, plain + depth, plain + film, plain[:2] + segment + plain[2:]]
    assert len({digest(data, cfg) for data in (plain, *rich)}) == 5
    assert digest(plain + bytes(5000), cfg) == digest(plain, cfg)  # padding
    assert digest(plain + b"trailing bytes", cfg) == digest(plain, cfg)


def test_real_animations_and_others_of_one_first_frame(shared_data: Path):
    reports = shared_data / "reports"
    folders = (
        "white-on-transparent",
        "masks-16bit",
        "animations",
        "multipage-tiff",
        "float-rasters",
        "alpha-and-depth",
    )
    paths = [path for folder in folders for path in sorted((reports / folder).iterdir())]
    prints = [fingerprint_image(path.read_bytes(), DecodeConfig(), HashConfig()) for path in paths]
    assert len(paths) == 19
    assert all(isinstance(p, Fingerprint) for p in prints), prints
    assert len({p.pixel_digest for p in prints}) == len(prints)
    for folder in ("white-on-transparent", "masks-16bit"):
        own = [p for p, path in zip(prints, paths, strict=True) if path.parent.name == folder]
        assert len({p.pdq for p in own}) == 4
        assert len({p.phash for p in own}) == 4
