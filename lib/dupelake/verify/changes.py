"""What was changed between two aligned pictures: colours, at one place or everywhere, and overlays.

The contents of both are compared, without uniform margins. Where the whole pictures share more than their contents,
margins are compared as well: a caption or a mark may stand on paper, on a studio's background or on a black bar.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.fingerprint.colour import pixels_to_srgb
from dupelake.verify.align import Matrix, Overlap, find_overlap, overlap_shares, transform_points, warp
from dupelake.verify.cells import FloatArray, Mask
from dupelake.verify.colour_differences import FULL_LEVELS, Difference, difference
from dupelake.verify.decision import MIN_AGREEING
from dupelake.verify.overlays import MIN_DIFFERENCE, AddedShares, added_shares
from dupelake.verify.picture import Picture

_MORE_WITH_MARGINS = 1.02  # ratio of the overlap of whole pictures to that of contents: above it margins are compared
_DOUBLE = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])
"""Pixels of a picture of half the size to pixels of the picture."""

RGB = NDArray[np.uint8]
Fractions = tuple[float, float, float, float]
"""A box: x, y, width, height, as fractions of a picture."""


def find_changes(
    src: Picture, dst: Picture, overlap: Overlap, transform: Matrix, agreeing_share: float
) -> tuple[Difference, Fractions, AddedShares]:
    """What differs between two aligned pictures, the box of it in the source, and what is laid over each.

    If only one of them has a colour profile, the other may be a copy that lost it, so that its colours look changed. It
    is compared as it is and under that profile, and the smaller change of colours counts.

    Args:
        src: the source.
        dst: the destination.
        overlap: of their contents, by `transform`.
        transform: float64 (3, 3), pixels of the source to pixels of the destination.
        agreeing_share: of the overlap; below MIN_AGREEING nothing can be compared, and everything differs.
    """
    if agreeing_share < MIN_AGREEING:
        everywhere = 0.0, 0.0, overlap.mask.shape[1] / 2, overlap.mask.shape[0] / 2
        colours = Difference(1.0, everywhere, 0.0, FULL_LEVELS, 1.0)
        return colours, _box_in_src(everywhere, overlap, src), AddedShares(0.0, 0.0)
    margins = _with_margins(src, dst, transform)
    found = _changes(src, (src.rgb, dst.rgb), overlap, margins)
    if (src.profile is None) == (dst.profile is None):
        return found
    under = pixels_to_srgb(src.rgb, dst.profile), pixels_to_srgb(dst.rgb, src.profile)
    with_profile = _changes(src, under, overlap, margins)
    return min(found, with_profile, key=lambda one: one[0].colour)


def _changes(
    src: Picture, rgbs: tuple[RGB, RGB], overlap: Overlap, margins: Overlap | None
) -> tuple[Difference, Fractions, AddedShares]:
    """The changes between the colours `rgbs` of the two pictures."""
    shown = _colours_of(rgbs, overlap)
    colours = difference(*shown)
    box = _box_in_src(colours.box, overlap, src)
    if margins is not None:
        with_margins = _colours_of(rgbs, margins)
        there = difference(*with_margins)
        if there.largest > colours.largest:
            shown, box = with_margins, _box_in_src(there.box, margins, src)
            colours = colours._replace(largest=there.largest, coherence=there.coherence)
    additions = added_shares(*shown) if colours.largest >= MIN_DIFFERENCE else AddedShares(0.0, 0.0)
    return colours, box, additions


def _colours_of(rgbs: tuple[RGB, RGB], overlap: Overlap) -> tuple[FloatArray, FloatArray, Mask]:
    """Both pictures in colour over the overlap, and its mask, at half of its resolution."""
    half = max(1, overlap.mask.shape[1] // 2), max(1, overlap.mask.shape[0] // 2)
    return (
        warp(rgbs[0], overlap.src_view @ _DOUBLE, half),
        warp(rgbs[1], overlap.dst_view @ _DOUBLE, half),
        cv2.resize(overlap.mask, half, interpolation=cv2.INTER_NEAREST),
    )


def _with_margins(src: Picture, dst: Picture, transform: Matrix) -> Overlap | None:
    """The overlap of both whole pictures, where it is larger than that of their contents, else None.

    Something faint, or laid over a uniform margin, is outside of the overlap of the contents.
    """
    shared = [
        overlap_shares(a, b, transform)[0] * a[2] * a[3]
        for a, b in ((src.whole, dst.whole), (src.content, dst.content))
    ]
    if shared[0] <= _MORE_WITH_MARGINS * shared[1]:
        return None
    return find_overlap(src.grey, dst.grey, src.whole, dst.whole, transform)


def _box_in_src(box: Fractions | None, overlap: Overlap, src: Picture) -> Fractions:
    if box is None:
        return 0.0, 0.0, 0.0, 0.0
    x0, y0, x1, y1 = box
    edge = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - 0.5
    size = np.array(src.rgb.shape[1::-1], np.float64)
    outline = np.clip((transform_points(overlap.src_view @ _DOUBLE, edge) + 0.5) / size, 0.0, 1.0)
    low, high = outline.min(axis=0), outline.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
