"""Any Pillow picture, with or without a colour profile, to 8-bit sRGB on white."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms


def pixels_to_srgb(rgb: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """`rgb` through its ICC profile, if that changes anything."""
    if not profile:
        return rgb
    image = Image.fromarray(rgb)
    converted = _apply_profile(image, profile)
    return rgb if converted is image else np.asarray(converted)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`image` (loaded) of any mode as RGB: 8 bit, alpha on white, through its ICC profile."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return _apply_profile(image, profile)
    if image.mode.startswith(("I", "F")):
        return _apply_profile(_scale_to_8_bit(image), profile)
    if image.mode == "LAB":
        return _cms(image, _lab_to_srgb())
    alpha = None
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode not in ("L", "CMYK"):  # these two have profiles of their own kind
        image = image.convert("RGB")
    rgb = _apply_profile(image, profile)
    if alpha is None or alpha.getextrema() == (255, 255):
        return rgb
    white = Image.new("RGB", rgb.size, (255, 255, 255))
    white.paste(rgb, mask=alpha)
    return white


def _scale_to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or floating, as L.

    Integers within 0..65535 are read as 16 bit, floats within 0..1 as fractions and within 0..255 as 8 bit;
    any other range (elevation, signed data) is stretched from its minimum to its maximum.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        grey = values / 257.0
    elif low >= 0 and high <= 1:
        grey = values * 255.0
    elif low >= 0 and high <= 255:
        grey = values
    else:
        grey = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    key = image.info.get("transparency")
    if isinstance(key, int):  # PNG's tRNS of a 16-bit grey picture: this one value is transparent
        grey = np.where(values == key, 255.0, grey)
    return Image.fromarray((grey + 0.5).astype(np.uint8))


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`image` of mode RGB, L or CMYK as sRGB; a profile that is broken or of another colour space is ignored."""
    if profile:
        try:
            transform = _profile_to_srgb(profile, image.mode)
            if transform is not None:
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
def _profile_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Transform from `profile` to sRGB; None when it is of another colour space, or changes nothing to speak of."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if source.profile.xcolor_space.strip() != {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}[mode]:
        return None
    if "srgb" in (source.profile.profile_description or "").lower():
        return None
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode == "RGB":
        # Unnamed sRGB is common (Google, Facebook): compare on a grid of colours; 2 of 255 is below JPEG's own noise.
        steps = np.linspace(0, 255, 9).round().astype(np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(27, 27, 3)
        moved = np.asarray(_cms(Image.fromarray(grid), transform)).astype(np.int16) - grid
        if int(np.abs(moved).max()) <= 2:
            return None
    return transform


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
