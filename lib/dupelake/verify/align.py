"""Align one picture with another: projective maps, the overlap, and refinement of the map on pixels.

Refinement is Gauss-Newton on a projective map (S. Baker, I. Matthews, "Lucas-Kanade 20 years on", IJCV 2004). It uses
locally normalised pixels and robust weights, so that a change of light or a sticker does not bias the map.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]  # float32; the stubs of OpenCV promise no type
Matrix = NDArray[Any]  # float64
Mask = NDArray[Any]  # uint8
Box = tuple[int, int, int, int]

_REFINE_SIDES_PX = (40, 80, 176)  # coarse to fine; a coarser start corrects a larger misalignment
_REFINE_SAMPLES = 5000  # pixels
_PERSPECTIVE = np.array([0, 0, 0, 0, 0, 0, 1, 1])  # terms of a projective map that few pixels determine
MIN_FRAME_PX = 128  # longer side of the overlap; a smaller overlap is enlarged to this
MIN_OVERLAP_PX = 24  # shorter side of the overlap; a smaller one shows too little to compare
_MIN_WHOLE_OVERLAP_PX = 12  # the same where the overlap is nearly the whole of a tiny picture


def corners(box: Box) -> Matrix:
    """Outer corners of a box of pixels, float64 (4, 2). Pixel centres are whole numbers."""
    x, y, w, h = box
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float64) - 0.5


def box_transform(src: Box, dst: Box, turn: Matrix) -> Matrix:
    """The map, float64 (3, 3), of box `src` to box `dst` with one of the eight symmetries of the square.

    Args:
        src: box of pixels.
        dst: box of pixels.
        turn: float64 (2, 2), one of the eight symmetries of the square.
    """
    to_unit = np.array(
        [[2 / src[2], 0, -(2 * src[0] - 1) / src[2] - 1], [0, 2 / src[3], -(2 * src[1] - 1) / src[3] - 1]]
    )
    to_unit = np.vstack([to_unit, [0, 0, 1]])
    turned = np.eye(3)
    turned[:2, :2] = turn
    back = np.array(
        [
            [dst[2] / 2, 0, dst[0] - 0.5 + dst[2] / 2],
            [0, dst[3] / 2, dst[1] - 0.5 + dst[3] / 2],
            [0, 0, 1],
        ]
    )
    return back @ turned @ to_unit


def linear_part(transform: Matrix, xy: Matrix) -> Matrix:
    """Derivative, float64 (2, 2), of a projective map at a point."""
    point = np.append(xy, 1.0)
    x, y, w = transform @ point
    return (transform[:2, :2] - np.outer([x / w, y / w], transform[2, :2])) / w


def transform_points(transform: Matrix, xy: Matrix) -> Matrix:
    """Apply a projective map to points, float64 (n, 2)."""
    homogeneous = xy @ transform[:, :2].T + transform[:, 2]
    return homogeneous[:, :2] / homogeneous[:, 2:]


class Overlap(NamedTuple):
    """The part that both pictures show, in pixels of the coarser picture.

    Attributes:
        src: float32 (h, w), grey of the source.
        dst: float32 (h, w), grey of the destination.
        mask: uint8 (h, w), 1 where both show content.
        src_view: float64 (3, 3), map of pixels of the overlap to pixels of the source.
        dst_view: the same for the destination.
        rate: factor by which the coarser picture was enlarged; 1 unless the overlap is tiny.
    """

    src: FloatArray
    dst: FloatArray
    mask: Mask
    src_view: Matrix
    dst_view: Matrix
    rate: float


def find_overlap(
    src: NDArray[np.uint8], dst: NDArray[np.uint8], src_box: Box, dst_box: Box, transform: Matrix
) -> Overlap | None:
    """Warp both pictures into the coordinates of the coarser one and cut them to the overlap.

    Returns None where the overlap is too small, or where the map has a strong perspective that no edit makes.

    Args:
        src: uint8 (h, w), grey.
        dst: uint8 (h, w), grey.
        src_box: content of the source.
        dst_box: content of the destination.
        transform: float64 (3, 3), pixels of the source to pixels of the destination.
    """
    inverse = np.linalg.inv(transform)
    src_corners = corners(src_box)
    ahead = (np.column_stack([src_corners, np.ones(4)]) @ transform[2]) / transform[2, 2]
    back = (np.column_stack([corners(dst_box), np.ones(4)]) @ inverse[2]) / inverse[2, 2]
    if min(ahead.min(), back.min()) < 0.2:  # the horizon of the map is near the picture: no edit makes that
        return None
    shared = _intersection(src_corners, transform_points(inverse, corners(dst_box)))
    if shared is None:
        return None
    area = _area(shared)
    shared_dst = transform_points(transform, shared)
    src_is_frame = _area(shared_dst) >= area
    outline = shared if src_is_frame else shared_dst
    low = np.maximum(np.floor(outline.min(axis=0) + 0.5), 0).astype(int)
    limit = np.array((src if src_is_frame else dst).shape[::-1])
    high = np.minimum(np.ceil(outline.max(axis=0) + 0.5), limit).astype(int)
    size = high - low
    if size.min() < min(MIN_OVERLAP_PX, max(_MIN_WHOLE_OVERLAP_PX, 0.9 * float(limit.min()))):
        return None
    rate = max(1.0, MIN_FRAME_PX / float(size.max()))
    shift = np.array(
        [[1 / rate, 0, low[0] + (1 / rate - 1) / 2], [0, 1 / rate, low[1] + (1 / rate - 1) / 2], [0, 0, 1]]
    )
    size = np.rint(size * rate).astype(int)
    frame, other, to_other = (src, dst, transform @ shift) if src_is_frame else (dst, src, inverse @ shift)
    mask: Mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(
        mask, np.round(transform_points(np.linalg.inv(shift), outline) * 16).astype(np.int32), 1, cv2.LINE_8, 4
    )
    own = frame[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    if rate > 1.0:
        own = warp(frame, shift, (int(size[0]), int(size[1])))
    warped = warp(other, to_other, (int(size[0]), int(size[1])))
    first, second = (own, warped) if src_is_frame else (warped, own)
    src_view, dst_view = (shift, to_other) if src_is_frame else (to_other, shift)
    return Overlap(first, second, mask, src_view, dst_view, rate)


def overlap_shares(src_box: Box, dst_box: Box, transform: Matrix) -> tuple[float, float]:
    """Share of each box, 0 to 1, that lies inside the other box after `transform` (source to destination)."""
    shared = _intersection(corners(src_box), transform_points(np.linalg.inv(transform), corners(dst_box)))
    if shared is None:
        return 0.0, 0.0
    of_dst = _area(transform_points(transform, shared)) / (dst_box[2] * dst_box[3])
    return min(1.0, _area(shared) / (src_box[2] * src_box[3])), min(1.0, of_dst)


def warp(picture: NDArray[Any], view: Matrix, size: tuple[int, int]) -> FloatArray:
    """Resample `picture` to float32 of `size` (width, height); `view` maps pixels of the result to those of `picture`.

    A picture that becomes smaller is first reduced by area means, which avoids aliasing.
    """
    height, width = picture.shape[:2]
    linear = linear_part(view, np.array([size[0] / 2, size[1] / 2]))
    rates = np.hypot(linear[:, 0], linear[:, 1])
    if rates.max() > 1.25:
        small = [max(1, round(side / max(1.0, rate))) for side, rate in zip((width, height), rates, strict=True)]
        picture = cv2.resize(picture, (small[0], small[1]), interpolation=cv2.INTER_AREA)
        fx, fy = small[0] / width, small[1] / height
        view = np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]]) @ view
    return _sample(picture, view, size).astype(np.float32)


def _sample(picture: NDArray[Any], view: Matrix, size: tuple[int, int]) -> NDArray[Any]:
    """Bilinear resampling of `picture` through `view`; pixels outside repeat the edge."""
    view = view / view[2, 2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    slant = max(abs(float(view[2, 0])), abs(float(view[2, 1])))
    if slant * max(size) < 1e-5:  # an affine warp takes a third of the time
        return cv2.warpAffine(picture, view[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.warpPerspective(picture, view, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _area(polygon: Matrix) -> float:
    x, y = polygon.T
    later = np.concatenate([polygon[1:], polygon[:1]])
    return float(abs(np.dot(x, later[:, 1]) - np.dot(y, later[:, 0])) / 2)


def _intersection(first: Matrix, second: Matrix) -> Matrix | None:
    area, polygon = cv2.intersectConvexConvex(first.astype(np.float32), second.astype(np.float32))
    if polygon is None or len(polygon) < 3 or area <= 0:
        return None
    return polygon[:, 0].astype(np.float64)


def normalised(grey: FloatArray) -> FloatArray:
    """`grey` minus its local mean, divided by its local deviation. A floor of the deviation keeps flat places flat."""
    side = max(5, (min(grey.shape) // 8) | 1)
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    mean = cv2.blur(smooth, (side, side))
    deviation = cv2.blur(smooth * smooth, (side, side)) - mean * mean
    return (smooth - mean) / np.sqrt(np.maximum(deviation, 0.0) + 36.0)


def refine(frame: FloatArray, other: FloatArray, mask: Mask, start: Matrix, iterations: int = 4) -> Matrix:
    """The best projective map, float64 (3, 3), near `start`, of pixels of `frame` to pixels of `other`."""
    height, width = frame.shape
    template, moving = normalised(frame), normalised(other)
    gx = cv2.Sobel(template, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    gy = cv2.Sobel(template, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    inside = cv2.erode(mask, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    places = np.flatnonzero(inside.ravel())
    if len(places) < 200:
        return start
    places = places[:: max(1, len(places) // _REFINE_SAMPLES)]
    ys, xs = places // width, places % width
    half = max(width, height) / 2
    x, y = ((xs - width / 2) / half).astype(np.float32), ((ys - height / 2) / half).astype(np.float32)
    gx, gy, values = gx.ravel()[places], gy.ravel()[places], template.ravel()[places]
    slope = gx * x + gy * y
    # products of rows take a seventh of the time of those of columns
    rows: FloatArray = np.stack([gx * x, gx * y, gx, gy * x, gy * y, gy, -slope * x, -slope * y])
    rows *= np.float32(half)
    jacobian, weighted_rows = cv2.transpose(rows), np.empty_like(rows)
    unit = np.array([[1 / half, 0, -width / 2 / half], [0, 1 / half, -height / 2 / half], [0, 0, 1]])
    unit_inverse = np.linalg.inv(unit)
    best, best_cost, current = start, np.inf, start
    for step in range(iterations + 1):
        residual = _sample(moving, current, (width, height)).ravel()[places] - values
        weight = 1.0 / (1.0 + np.square(residual / 0.7))
        cost = float((residual * residual * weight).mean())
        if cost > best_cost * 0.999:
            if cost < best_cost:
                best = current
            break
        best, best_cost = current, cost
        if step == iterations:
            break
        weighted = cv2.transpose(np.multiply(rows, weight, out=weighted_rows))
        normal = (weighted.T @ jacobian).astype(np.float64)
        diagonal = normal.ravel()[::9]
        diagonal += diagonal * 1e-3 + 1e-3 * diagonal.sum() / 8 * _PERSPECTIVE
        try:
            delta = np.linalg.solve(normal, (weighted.T @ residual).astype(np.float64))
        except np.linalg.LinAlgError:
            break
        increment = np.append(delta, 0.0).reshape(3, 3) + np.eye(3)
        try:
            current = current @ unit_inverse @ np.linalg.inv(increment) @ unit
        except np.linalg.LinAlgError:
            break
        current = current / current[2, 2]
    return best


def refine_transform(overlap: Overlap, slack_share: float | None = None) -> Matrix | None:
    """The map of src to dst, float64 (3, 3), refined on the overlap from coarse to fine resolution.

    Returns None where refinement would move a corner by more than a twelfth of the longer side of the overlap (or
    `slack_share` of it), because then the map was not near an alignment. The limit is smaller for tiny overlaps.
    """
    height, width = overlap.mask.shape
    # some map fits the few strokes of any tiny picture to those of another; a copy needs at most one source pixel
    share = 1 / 12 if slack_share is None or overlap.rate > 1.0 else slack_share
    slack = max(overlap.rate, (max(height, width) * share + 2) / overlap.rate)
    total = np.eye(3)
    for side in _REFINE_SIDES_PX:
        factor = min(1.0, side / max(height, width))
        size = max(8, round(width * factor)), max(8, round(height * factor))
        src = cv2.resize(overlap.src, size, interpolation=cv2.INTER_AREA)
        dst = cv2.resize(overlap.dst, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(overlap.mask, size, interpolation=cv2.INTER_NEAREST)
        fx, fy = size[0] / width, size[1] / height
        shrink = np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]])
        found = refine(src, dst, mask, shrink @ total @ np.linalg.inv(shrink))
        total = np.linalg.inv(shrink) @ found @ shrink
        if factor == 1.0:
            break
    edge = corners((0, 0, width, height))
    if not np.abs(transform_points(total, edge) - edge).max() < slack:
        return None
    transform = overlap.dst_view @ total @ np.linalg.inv(overlap.src_view)
    return transform / transform[2, 2]
