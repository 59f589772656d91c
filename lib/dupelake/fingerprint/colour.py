"""Any Pillow picture, with or without a colour profile, to 8-bit sRGB on white, a band of rows at a time."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dupelake.fingerprint.rasters import bands, find_levels, is_deep, samples
from dupelake.fingerprint.tiffs import Reading

_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_NEARLY_WHITE = 224  # where nothing on white is darker than that, what is drawn is drawn for a dark background
_PROFILE_MARK = b"acsp"  # bytes 36 to 39 of every ICC profile


@dataclass(frozen=True)
class Rendered:
    """A picture as it is shown.

    Attributes:
        rgb: uint8 (height, width, 3).
        has_alpha: whether any pixel is not opaque.
    """

    rgb: NDArray[np.uint8]
    has_alpha: bool = False


def pixels_to_srgb(rgb: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """`rgb` through its ICC profile, if that changes anything."""
    if not profile or not changes_colours(profile, "RGB"):
        return rgb
    return render(Image.fromarray(rgb), profile).rgb


def changes_colours(profile: bytes | None, mode: str) -> bool:
    """Whether somebody's viewer may show samples of `mode` in other colours on account of `profile`.

    Not so of what is no ICC profile at all, or is sRGB's. A profile of another colour space, or one that littlecms
    refuses, changes nothing here; other viewers may do otherwise.
    """
    if not profile or profile[36:40] != _PROFILE_MARK:
        return False
    try:
        return _profile_to_srgb(profile, mode if mode in ("L", "CMYK") else "RGB") is not None
    except Exception:  # littlecms refuses many real profiles
        return True


def render(image: Image.Image, profile: bytes | None, reading: Reading | None = None) -> Rendered:
    """`image` (loaded) of any mode as RGB: 8 bit, alpha on white, through its ICC profile.

    What is nearly white on white, all of it, is laid on black instead: icons for dark backgrounds would be one
    blank picture otherwise. Beside `image` and the result only a band of rows is at work.
    """
    reading = reading or Reading()
    levels = find_levels(image, reading) if is_deep(image, reading) else None
    has_alpha = levels is None and (image.mode in _ALPHA_MODES or "transparency" in image.info)
    out = np.empty((image.height, image.width, 3), np.uint8)
    found_alpha = False
    for top, band in bands(image):
        if levels is not None:
            shown = _apply_profile(Image.fromarray(levels(samples(band, reading))), profile)
        elif has_alpha:
            shown, opaque = _on(band, profile, 255)
            found_alpha = found_alpha or not opaque
        else:
            shown = _opaque(band, profile)
        out[top : top + band.height] = np.asarray(shown)
    if found_alpha and int(out.min()) >= _NEARLY_WHITE:
        for top, band in bands(image):
            out[top : top + band.height] = np.asarray(_on(band, profile, 0)[0])
    return Rendered(out, found_alpha)


def rgba(band: Image.Image) -> Image.Image:
    """A picture of any mode with alpha as RGBA, nothing composited."""
    return (band.convert("LA") if band.mode == "La" else band).convert("RGBA")


def _on(band: Image.Image, profile: bytes | None, level: int) -> tuple[Image.Image, bool]:
    """`band` over grey of `level`, and whether it is opaque."""
    full = rgba(band)
    alpha = full.getchannel("A")
    rgb = _apply_profile(full.convert("RGB"), profile)
    if alpha.getextrema() == (255, 255):
        return rgb, True
    under = Image.new("RGB", rgb.size, (level, level, level))
    under.paste(rgb, mask=alpha)
    return under, False


def _opaque(band: Image.Image, profile: bytes | None) -> Image.Image:
    if band.mode == "LAB":
        return _cms(band, _lab_to_srgb())
    if band.mode not in ("RGB", "L", "CMYK"):  # these have profiles of their own kind
        band = band.convert("RGB")
    return _apply_profile(band, profile)


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`image` of mode RGB, L or CMYK as sRGB; a profile that is broken or of another colour space is ignored."""
    if profile:
        try:
            transform = _profile_to_srgb(profile, image.mode)
            if isinstance(transform, ImageCms.ImageCmsTransform):
                return _cms(image, transform)
        except Exception:  # littlecms refuses many real profiles; the numbers themselves are the best guess left
            return image.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _cms(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("no image came out of the colour transform")
    return converted


@lru_cache(maxsize=32)  # a camera writes the same profile into every file; building a transform takes milliseconds
def _profile_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | str | None:
    """Transform from `profile` to sRGB; None when it changes nothing to speak of, a word when of another space."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if source.profile.xcolor_space.strip() != {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}[mode]:
        return "other colour space"
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    # sRGB has many names and none (Google, Facebook), and other profiles bear its name: a grid of colours tells.
    # 2 of 255 is below JPEG's own noise.
    if mode == "RGB":
        steps = np.linspace(0, 255, 9).round().astype(np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(27, 27, 3)
        before = grid
    elif mode == "L":
        grid = np.arange(256, dtype=np.uint8)[None]
        before = np.repeat(grid[:, :, None], 3, axis=2)
    else:
        return transform
    moved = np.asarray(_cms(Image.fromarray(grid), transform)).astype(np.int16) - before
    return None if int(np.abs(moved).max()) <= 2 else transform


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
