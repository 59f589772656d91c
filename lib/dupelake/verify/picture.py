"""One side of a pair: its pixels and keypoints, and what of it is the picture and what was put around it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.verify.align import Box, FloatArray, Matrix
from dupelake.words.keypoints import Features

_EDGE_LINES = 3
_CLOSE_LEVELS = 14.0  # of the colour of a border, to what JPEG makes of it
_BEGINS_SHARE = 0.5  # of a side; of 1,608 borders laid around photographs 4 % begin along less


def _turns() -> list[Matrix]:
    quarters = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]
    plain = [np.array([[c, -s], [s, c]]) for c, s in quarters]
    return plain + [turn @ np.diag([-1.0, 1.0]) for turn in plain]


TURNS = _turns()
"""The eight symmetries of the square, each clockwise by quarters (y down), the last four mirrored first."""


@dataclass(frozen=True)
class Picture:
    """One side of a pair; what is derived from it is computed once and kept.

    Attributes:
        rgb: uint8 (h, w, 3), the decoded thumbnail.
        features: its keypoints, in pixels of `rgb`.
    """

    rgb: NDArray[np.uint8]
    features: Features

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
        """The box of pixels without what was put around the picture; its own margins belong to it."""
        return shown_box(self.rgb, self.content)

    def as_whole(self) -> Picture:
        """The same picture, its uniform borders taken for content."""
        other = Picture(self.rgb, self.features)
        known = self.__dict__ | {"content": self.whole, "shown": self.whole}
        other.__dict__.update(known)  # what was computed of it among that
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
        """float32 (32, 32): a box squashed to a square, without its mean, of unit length."""
        if box not in self._small:
            x, y, width, height = box
            square = cv2.resize(self.grey[y : y + height, x : x + width], (64, 64), interpolation=cv2.INTER_AREA)
            values = cv2.resize(square, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
            values -= values.mean()
            self._small[box] = values / max(float(np.linalg.norm(values)), 1e-6)
        return self._small[box]

    def turned(self, box: Box) -> FloatArray:
        """float32 (8, 1024): `small` in the eight ways of the square, in the order of `TURNS`."""
        if box not in self._turned:
            plain = self.small(box)
            ways = [np.rot90(plain if k < 4 else plain[:, ::-1], -(k % 4)).ravel() for k in range(8)]
            self._turned[box] = np.stack(ways)
        return self._turned[box]


def content_box(rgb: NDArray[np.uint8]) -> Box:
    """(x, y, width, height) of a picture without its uniform borders (frames, letterbox bars, paper).

    A line belongs to a border while its pixels keep to the colour of the border's outermost line. Where nothing, or
    less than a tenth of a side, would remain, the whole picture is its content.
    """
    height, width = rgb.shape[:2]
    top, bottom = _border(rgb), _border(rgb[::-1])
    turned = rgb.transpose(1, 0, 2)
    left, right = _border(turned), _border(turned[::-1])
    if width - left - right < max(16, 0.1 * width) or height - top - bottom < max(16, 0.1 * height):
        return 0, 0, width, height
    return left, top, width - left - right, height - top - bottom


def _border(lines: NDArray[np.uint8]) -> int:
    """How many of the first lines are one uniform colour, to what JPEG makes of it."""
    middle = np.partition(lines[0], len(lines[0]) // 2, axis=0)[len(lines[0]) // 2]
    colour = middle.astype(np.float32)
    if _breaks(lines[:1], colour)[0]:
        return 0
    for start in range(0, len(lines), 32):
        bad = _breaks(lines[start : start + 32], colour)
        if bad.any():
            return start + int(bad.argmax()) + 1  # the next line is half border
    return len(lines)


def shown_box(rgb: NDArray[np.uint8], content: Box) -> Box:
    """The content box, widened over margins that belong to the picture: paper, a studio's background, the sky.

    What was put around a picture ends where the picture begins, along a whole side; a thing before an empty background
    touches its box here and there.
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
    """Whether a picture begins after the margin, along at least half of its side."""
    colour = np.median(lines[0], axis=0)
    off = np.abs(lines[n_margin:].astype(np.float32) - colour).max(axis=(0, 2))
    return float((off > _CLOSE_LEVELS).mean()) >= _BEGINS_SHARE


def _breaks(lines: NDArray[np.uint8], colour: FloatArray) -> NDArray[np.bool_]:
    """Which lines are not of the colour: one pixel far from it, or more than one in 50 not close."""
    off = np.abs(lines.astype(np.float32) - colour).max(axis=2)
    return (off.max(axis=1) > 48.0) | ((off > _CLOSE_LEVELS).mean(axis=1) > 0.02)
