"""Edits of pixel values: blur, noise, light and colour. Nothing moves, and all of the picture stays. See `registry`."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.recall.edits import RGB, Shown, whole

# Luminance to brown, the matrix that image editors and the W3C Filter Effects draft (sepia(1)) share; rows: R, G, B.
_SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)


def _clipped(values: NDArray[Any]) -> RGB:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def _mapped(rgb: RGB, curve: NDArray[np.floating]) -> Shown:
    """Apply a curve of 256 entries to every value."""
    return whole(_clipped(curve)[rgb])


_LEVELS = np.arange(256, dtype=np.float64)


def blur(rgb: RGB, percent: float, rng: np.random.Generator) -> Shown:
    """Gaussian, sigma in percent of the long side."""
    return whole(np.asarray(cv2.GaussianBlur(rgb, (0, 0), max(0.3, max(rgb.shape[:2]) * percent / 100)), np.uint8))


def sharpen(rgb: RGB, percent: float, rng: np.random.Generator) -> Shown:
    """Unsharp mask of sigma 1.5 px."""
    soft = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 1.5), np.uint8)
    gain = percent / 100
    return whole(np.asarray(cv2.addWeighted(rgb, 1 + gain, soft, -gain, 0), np.uint8))


def noise(rgb: RGB, sigma: float, rng: np.random.Generator) -> Shown:
    """Gaussian noise, each value its own."""
    return whole(_clipped(rgb + rng.standard_normal(rgb.shape, np.float32) * np.float32(sigma)))


def salt_pepper(rgb: RGB, share: float, rng: np.random.Generator) -> Shown:
    """Make a share of the pixels black or white."""
    draw = rng.random(rgb.shape[:2], np.float32)
    out = rgb.copy()
    out[draw < share / 2] = 0
    out[draw > 1 - share / 2] = 255
    return whole(out)


def gamma(rgb: RGB, exponent: float, rng: np.random.Generator) -> Shown:
    """Values, 0 to 1, to the power `exponent`: above 1 darkens."""
    return _mapped(rgb, 255 * (_LEVELS / 255) ** exponent)


def brightness(rgb: RGB, factor: float, rng: np.random.Generator) -> Shown:
    """Values times `factor`, clipped."""
    return _mapped(rgb, _LEVELS * factor)


def contrast(rgb: RGB, factor: float, rng: np.random.Generator) -> Shown:
    """Distance from the mean times `factor`, clipped."""
    mean = float(rgb.mean())
    return _mapped(rgb, mean + (_LEVELS - mean) * factor)


def grey(rgb: RGB, strength: float, rng: np.random.Generator) -> Shown:
    """No colour."""
    return whole(np.repeat(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None], 3, axis=2))


def sepia(rgb: RGB, strength: float, rng: np.random.Generator) -> Shown:
    """Brown, as an old print."""
    return whole(_clipped(rgb.astype(np.float32) @ _SEPIA.T))


def colour_cast(rgb: RGB, gain: float, rng: np.random.Generator) -> Shown:
    """Multiply one channel by 1 + gain and another by 1 - gain; the seed selects them."""
    factors = rng.permutation(np.array([1 + gain, 1.0, 1 - gain]))
    return whole(_clipped(rgb * factors.astype(np.float32)))


def hue(rgb: RGB, degrees: float, rng: np.random.Generator) -> Shown:
    """Rotate the hue in either direction."""
    hsv = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV), np.uint8)
    turn = round(degrees / 2) * (1 if rng.integers(2) else -1)  # OpenCV keeps hue in units of 2 degrees
    hsv[:, :, 0] = (hsv[:, :, 0].astype(np.int16) + turn) % 180
    return whole(np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8))


def saturation(rgb: RGB, factor: float, rng: np.random.Generator) -> Shown:
    """Distance from grey times `factor`, clipped."""
    luma = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)[:, :, None]
    return whole(_clipped(luma + (rgb - luma) * np.float32(factor)))


def posterise(rgb: RGB, bits: float, rng: np.random.Generator) -> Shown:
    """Keep the highest bits of each value."""
    return whole(rgb & np.uint8(0xFF << (8 - round(bits)) & 0xFF))
