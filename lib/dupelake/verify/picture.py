"""One side of a pair: its pixels, its keypoints, and the boxes of its content without borders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.fingerprint.thumbnails import decode_thumbnail, profile_of
from dupelake.verify.align import Box, FloatArray, Matrix
from dupelake.words.keypoints import Features

_EDGE_LINES = 3
_MAX_BORDER_DEVIATION = 14.0  # levels by which JPEG changes the colour of a border
_MIN_BEGIN_SHARE = 0.5  # share of a side along which the content begins; 4 % of 1,608 borders measured have less


def _turns() -> list[Matrix]:
    quarters = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]
    plain = [np.array([[c, -s], [s, c]]) for c, s in quarters]
    return plain + [turn @ np.diag([-1.0, 1.0]) for turn in plain]


TURNS = _turns()
"""The eight symmetries of the square, each clockwise by quarters (y down), the last four mirrored first."""


@dataclass(frozen=True)
class Picture:
    """One side of a pair; derived values are computed once and cached.

    Attributes:
        rgb: uint8 (h, w, 3), the decoded thumbnail.
        features: its keypoints, in pixels of `rgb`.
        profile: the ICC profile that the colours were converted from, if there is one.
    """

    rgb: NDArray[np.uint8]
    features: Features
    profile: bytes | None = None

    @cached_property
    def grey(self) -> NDArray[Any]:
        """uint8 (h, w)."""
        return cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)

    @cached_property
    def content(self) -> Box:
        """The box of pixels without uniform borders."""
        return content_box(self.rgb)

    @cached_property
    def shown(self) -> Box:
        """The box of pixels without an added frame; the picture's own margins are inside."""
        return shown_box(self.rgb, self.content)

    def as_whole(self) -> Picture:
        """The same picture with its uniform borders counted as content."""
        other = Picture(self.rgb, self.features, self.profile)
        known = self.__dict__ | {"content": self.whole, "shown": self.whole}
        other.__dict__.update(known)  # includes the cached values
        return other

    @property
    def whole(self) -> Box:
        """The box of all pixels."""
        return 0, 0, self.rgb.shape[1], self.rgb.shape[0]

    @cached_property
    def _small(self) -> dict[Box, FloatArray]:
        return {}

    @cached_property
    def _turned(self) -> dict[Box, FloatArray]:
        return {}

    def small(self, box: Box) -> FloatArray:
        """float32 (32, 32): a box resized to a square, minus its mean, normalised to unit length."""
        if box not in self._small:
            x, y, width, height = box
            square = cv2.resize(self.grey[y : y + height, x : x + width], (64, 64), interpolation=cv2.INTER_AREA)
            values = cv2.resize(square, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
            values -= values.mean()
            self._small[box] = values / max(float(np.linalg.norm(values)), 1e-6)
        return self._small[box]

    def turned(self, box: Box) -> FloatArray:
        """float32 (8, 1024): `small` under the eight symmetries of the square, in the order of `TURNS`."""
        if box not in self._turned:
            plain = self.small(box)
            ways = [np.rot90(plain if k < 4 else plain[:, ::-1], -(k % 4)).ravel() for k in range(8)]
            self._turned[box] = np.stack(ways)
        return self._turned[box]


def stored_picture(thumbnail: bytes, features: Features) -> Picture:
    """The picture of a thumbnail as the hash stage encoded it.

    Raises:
        ValueError: the bytes are not a picture.
    """
    return Picture(decode_thumbnail(thumbnail), features, profile_of(thumbnail))


def content_box(rgb: NDArray[np.uint8]) -> Box:
    """(x, y, width, height) of a picture without its uniform borders (frames, letterbox bars, paper).

    A line belongs to a border while its pixels have the colour of the border's outermost line. If less than a tenth of
    a side would remain, the whole picture is content.
    """
    height, width = rgb.shape[:2]
    top, bottom = _border(rgb), _border(rgb[::-1])
    turned = rgb.transpose(1, 0, 2)
    left, right = _border(turned), _border(turned[::-1])
    if width - left - right < max(16, 0.1 * width) or height - top - bottom < max(16, 0.1 * height):
        return 0, 0, width, height
    return left, top, width - left - right, height - top - bottom


def _border(lines: NDArray[np.uint8]) -> int:
    """Number of leading lines of one uniform colour, up to JPEG errors."""
    middle = np.partition(lines[0], len(lines[0]) // 2, axis=0)[len(lines[0]) // 2]
    colour = middle.astype(np.float32)
    if _breaks(lines[:1], colour)[0]:
        return 0
    for start in range(0, len(lines), 32):
        bad = _breaks(lines[start : start + 32], colour)
        if bad.any():
            return start + int(bad.argmax()) + 1  # the next line is partly border
    return len(lines)


def shown_box(rgb: NDArray[np.uint8], content: Box) -> Box:
    """The content box, extended over margins that belong to the picture: paper, a studio background, the sky.

    The content next to an added frame begins along a whole side. An object in front of an empty background touches its
    box only at some points.
    """
    x, y, width, height = content
    low, high = [x, y], [x + width, y + height]
    for axis, lines in ((0, rgb[y : y + height].transpose(1, 0, 2)), (1, rgb[:, x : x + width])):
        if low[axis] and not _begins(lines[: low[axis] + _EDGE_LINES], low[axis]):
            low[axis] = 0
        n = len(lines) - high[axis]
        if n and not _begins(lines[::-1][: n + _EDGE_LINES], n):
            high[axis] = len(lines)
    return low[0], low[1], high[0] - low[0], high[1] - low[1]


def _begins(lines: NDArray[np.uint8], n_margin: int) -> bool:
    """Whether content begins after the margin along at least half of the side."""
    colour = np.median(lines[0], axis=0)
    off = _largest(np.abs(lines[n_margin:].astype(np.float32) - colour)).max(axis=0)
    return float((off > _MAX_BORDER_DEVIATION).mean()) >= _MIN_BEGIN_SHARE


def _breaks(lines: NDArray[np.uint8], colour: FloatArray) -> NDArray[np.bool_]:
    """Which lines do not have the colour: one pixel differs strongly, or more than one in 50 differs."""
    off = _largest(np.abs(lines.astype(np.float32) - colour))
    return (off.max(axis=1) > 48.0) | ((off > _MAX_BORDER_DEVIATION).mean(axis=1) > 0.02)


def _largest(off: FloatArray) -> FloatArray:
    """The largest of three channels; numpy's `max` over so short an axis takes 50 times as long."""
    return np.maximum(np.maximum(off[..., 0], off[..., 1]), off[..., 2])
