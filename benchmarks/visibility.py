"""Whether people can see an edit: the rule by which a bench leaves out edits that nobody sees.

An edit that nobody sees makes no alternate. So the truth leaves it out: neither answer is wrong. Examples are a turn of
the hue of a grey picture, and a white watermark on a white corner.

The rule is measured on the pixels before encoding, so that encoding neither hides an edit nor makes one. Both pictures
are reduced to a longest side of 320 px, converted to CIELAB (D65) and smoothed; the edit is seen if the colour
difference reaches the just noticeable difference at any place. The smoothing (a hundredth of the longest side, about
0.2 degrees for a picture that fills half of a screen) stands for the eye, which does not resolve the colours of
finer detail. The limit is the smallest that is published, so a doubtful edit counts as seen.

References:
    M. Mahy, L. Van Eycken, A. Oosterlinck, "Evaluation of uniform color spaces developed after the adoption of CIELAB
    and CIELUV", Color Research and Application 19(2), 1994: a difference of 2.3 is just noticeable.
    M. Stokes, M. Fairchild, R. Berns, "Precision requirements for digital color reproduction", ACM Transactions on
    Graphics 11(4), 1992: 2.15 on the average of photographs that are seen one beside the other.
    X. Zhang, B. Wandell, "A spatial extension of CIELAB for digital color image reproduction", SID 1996: smoothing
    before colours are compared.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from benchmarks.edits.registry import ALTERNATE, EDITS, edited_pixels
from numpy.typing import NDArray

NOTICEABLE = 2.3  # of CIE 1976 delta E
SIDE_PX, SIGMA_PX = 320, 3.2
_IN_PLACE = {"grey_crop": "grey"}  # an edit that changes and cuts: its change alone


def largest_difference(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Largest smoothed colour difference (delta E) of two pictures of equal size, uint8 (h, w, 3)."""
    off = _smoothed(before) - _smoothed(after)
    return float(np.sqrt(np.square(off).sum(axis=2)).max())


def _smoothed(rgb: NDArray[np.uint8]) -> NDArray[Any]:
    shrink = min(1.0, SIDE_PX / max(rgb.shape[:2]))
    size = max(1, round(rgb.shape[1] * shrink)), max(1, round(rgb.shape[0] * shrink))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if shrink < 1 else rgb
    lab = cv2.cvtColor(small.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    return cv2.GaussianBlur(lab, (0, 0), SIGMA_PX * max(size) / SIDE_PX)


def seen_difference(
    before: NDArray[np.uint8], edit: str, strength: float, seed: int, after: NDArray[np.uint8]
) -> float:
    """How much of an edit people can see: `largest_difference`, to compare with NOTICEABLE.

    Args:
        before: uint8 (h, w, 3), the original.
        edit: a name of EDITS; one that makes copies changes nothing that counts, and the result is 0.
        strength: of it.
        seed: of it.
        after: uint8, the result of `edited_pixels`. If it has another size, something was put around the picture,
            which is always seen: infinity.
    """
    if EDITS[edit].relation != ALTERNATE:
        return 0.0
    if edit in _IN_PLACE:
        after = edited_pixels(before, _IN_PLACE[edit], strength, seed).rgb
    return largest_difference(before, after) if after.shape == before.shape else math.inf
