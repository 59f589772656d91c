"""Converts a Pillow picture of any mode, with or without a colour profile, to 8-bit sRGB on white, band by band."""

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
_NEARLY_WHITE = 224  # if no pixel on white is darker, the picture is made for a dark background
_PROFILE_MARK = b"acsp"  # bytes 36 to 39 of every ICC profile


@dataclass(frozen=True)
class Rendered:
    """A picture as a viewer shows it.

    Attributes:
        rgb: uint8 (height, width, 3).
        has_alpha: whether at least one pixel is not opaque.
    """

    rgb: NDArray[np.uint8]
    has_alpha: bool = False


def pixels_to_srgb(rgb: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """Applies the ICC profile to `rgb`, if it changes any colour."""
    if not profile or not changes_colours(profile, "RGB"):
        return rgb
    return render(Image.fromarray(rgb), profile).rgb


def changes_colours(profile: bytes | None, mode: str) -> bool:
    """Whether a viewer may show samples of `mode` in other colours because of `profile`.

    False for sRGB profiles and for bytes that are not an ICC profile. True for a profile of another colour space and
    for one that littlecms refuses: this module ignores them, but another viewer may apply them.
    """
    if not profile or profile[36:40] != _PROFILE_MARK:
        return False
    try:
        return _profile_to_srgb(profile, mode if mode in ("L", "CMYK") else "RGB") is not None
    except Exception:  # littlecms refuses many real profiles
        return True


def render(image: Image.Image, profile: bytes | None, reading: Reading | None = None) -> Rendered:
    """Converts a loaded picture of any mode to 8-bit RGB: alpha composited on white, ICC profile applied.

    If the whole result is nearly white, the picture is composited on black instead; otherwise icons for dark
    backgrounds would all be blank. Besides `image` and the result, only one band of rows is in memory.
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
    """A picture of any mode with alpha as RGBA, not composited."""
    return (band.convert("LA") if band.mode == "La" else band).convert("RGBA")


def _on(band: Image.Image, profile: bytes | None, level: int) -> tuple[Image.Image, bool]:
    """`band` composited on grey of `level`, and whether `band` is opaque."""
    full = rgba(band)
    alpha = full.getchannel("A")
    grey = band.mode in ("L", "LA", "La")  # has a profile of grey
    rgb = _apply_profile(full.getchannel("R") if grey else full.convert("RGB"), profile)
    if alpha.getextrema() == (255, 255):
        return rgb, True
    under = Image.new("RGB", rgb.size, (level, level, level))
    under.paste(rgb, mask=alpha)
    return under, False


def _opaque(band: Image.Image, profile: bytes | None) -> Image.Image:
    if band.mode == "LAB":
        return _cms(band, _lab_to_srgb())
    if band.mode not in ("RGB", "L", "CMYK"):  # only these modes have profiles
        band = band.convert("RGB")
    return _apply_profile(band, profile)


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`image` of mode RGB, L or CMYK as sRGB. A broken profile, or one of another colour space, is ignored."""
    if profile:
        try:
            transform = _profile_to_srgb(profile, image.mode)
            if isinstance(transform, ImageCms.ImageCmsTransform):
                return _cms(image, transform)
        except Exception:  # littlecms refuses many real profiles; then the unconverted values are the best guess
            return image.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _cms(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("no image came out of the colour transform")
    return converted


@lru_cache(maxsize=32)  # a camera writes the same profile into every file; building a transform takes milliseconds
def _profile_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | str | None:
    """The transform from `profile` to sRGB; None if its effect is negligible, a str if its colour space is another."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if source.profile.xcolor_space.strip() != {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}[mode]:
        return "other colour space"
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    # Names do not identify sRGB profiles: some have none, and other profiles use the name. So a grid of colours is
    # transformed. A difference of 2 of 255 is below the noise of JPEG.
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
