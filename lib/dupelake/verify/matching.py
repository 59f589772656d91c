"""Find keypoints of two pictures that fit one map: descriptor matching, affine consensus, guided matching.

Ratio test: D. Lowe, IJCV 2004. One correspondence as a hypothesis (its scale and angle give a similarity) followed by a
local affine fit: J. Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007.
RANSAC: M. Fischler, R. Bolles, CACM 1981.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dupelake.verify.cells import median
from dupelake.words.keypoints import Features

Matches = tuple[NDArray[np.intp], NDArray[np.intp]]  # keypoint indices of the source, and of the destination
FloatArray = NDArray[Any]  # float32; the stubs of OpenCV promise no type
Matrix = NDArray[Any]  # float64

RATIO = 0.8  # of Lowe's ratio test, for distances; squared below
MIN_MATCHES = 4
_SAMPLES = 160  # affine hypotheses: at 40 % inliers one of them is clean with probability 1 - 3e-5
_MAX_ANISOTROPY = 3.0  # of the affine map; a squash from 16:9 to 9:16 has 3.2, wrong fits have far more
_MAX_SCALE = 20.0
_GUIDED_DISTANCE = 0.35 * 512**2  # squared distance of RootSIFT bytes, whose squared norm is 512**2


@dataclass(frozen=True)
class Consensus:
    """Keypoints that fit one map.

    Attributes:
        transform: float64 (3, 3), map of pixels of src to pixels of dst; it includes the mirror, if any.
        src_xy: float32 (n, 2), the inliers in src.
        dst_xy: float32 (n, 2), the same in dst.
        n_inliers: number of inliers at distinct points of both.
    """

    transform: Matrix
    src_xy: FloatArray
    dst_xy: FloatArray
    n_inliers: int


def descriptor_distances(src: Features, dst: Features, *, mirrored: bool = False) -> FloatArray:
    """Squared distances, float32 (n, m), between the descriptors of two pictures; those of src mirrored on request.

    The values are integers below 2**24, which float32 holds exactly. So the order in which BLAS sums has no effect.
    """
    distances = (src.mirrored_floats if mirrored else src.floats) @ dst.floats.T
    distances *= -2.0
    distances += src.squares[:, None]
    distances += dst.squares
    return distances


def match(distances: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs that pass the ratio test from at least one side: (rows, columns) of `distances`, sorted."""
    if min(distances.shape) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    square = RATIO * RATIO
    found = []
    for table in (distances.copy(), distances.T.copy()):
        rows = np.arange(len(table))
        nearest = table.argmin(axis=1)
        best = table[rows, nearest]
        table[rows, nearest] = np.inf
        good = best < square * table.min(axis=1)
        found.append((rows[good], nearest[good]))
    codes = np.unique(
        np.concatenate([found[0][0] * distances.shape[1] + found[0][1], found[1][1] * distances.shape[1] + found[1][0]])
    )
    return codes // distances.shape[1], codes % distances.shape[1]


def find_consensus(src: Features, dst: Features, mirrored: bool, seed: int) -> Consensus | None:
    """The affine map with the most matches, refined by guided matching; None where too few matches fit.

    Args:
        src: keypoints of the source.
        dst: keypoints of the destination.
        mirrored: match the mirror image of the source instead; the map then includes the mirror.
        seed: seed of the random samples.
    """
    if min(len(src), len(dst)) < MIN_MATCHES:
        return None
    distances, src_xy, src_angle = _oriented(src, dst, mirrored)
    rows, columns = match(distances)
    if len(rows) < MIN_MATCHES:
        return None
    loose = _loose_consensus(src_xy[rows], src.scale[rows], src_angle[rows], dst, columns)
    if loose.sum() < MIN_MATCHES:
        return None
    affine = _ransac(src_xy[rows], dst.xy[columns], loose, np.random.default_rng(seed))
    if affine is None:
        return None
    affine, rows, columns = _guided(affine, src_xy, src.scale, src_angle, dst, distances)
    if affine is None or len(rows) < MIN_MATCHES:
        return None
    transform = np.vstack([affine * np.array([-1.0 if mirrored else 1.0, 1.0, 1.0]), [0.0, 0.0, 1.0]])
    inliers, others = src.xy[rows], dst.xy[columns]
    return Consensus(transform, inliers, others, min(n_distinct(inliers), n_distinct(others)))


def find_support(src: Features, dst: Features, transform: Matrix, at: tuple[float, float]) -> Consensus:
    """The keypoints that fit a map found without keypoints; there may be none.

    Args:
        src: keypoints of the source.
        dst: keypoints of the destination.
        transform: float64 (3, 3), map of pixels of src to pixels of dst; approximated by an affine map at `at`.
        at: a point of the source, x and y.
    """
    empty = np.empty((0, 2), np.float32)
    if not len(src) or not len(dst):
        return Consensus(transform, empty, empty, 0)
    row = transform @ (*at, 1.0)
    linear = (transform[:2, :2] - np.outer(row[:2] / row[2], transform[2, :2])) / row[2]
    affine = np.column_stack([linear, row[:2] / row[2] - linear @ at])
    mirrored = bool(np.linalg.det(linear) < 0)
    distances, src_xy, src_angle = _oriented(src, dst, mirrored)
    if mirrored:
        affine = affine * np.array([-1.0, 1.0, 1.0])
    rows, columns = _predicted(affine, src_xy, src.scale, src_angle, dst, distances, _close(distances))
    inliers, others = src.xy[rows], dst.xy[columns]
    return Consensus(transform, inliers, others, min(n_distinct(inliers), n_distinct(others)))


def _oriented(src: Features, dst: Features, mirrored: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(distances of descriptors, positions, angles) of src, mirrored about x = 0 if `mirrored`.

    Mirrored positions are negative; the callers accept that.
    """
    distances = descriptor_distances(src, dst, mirrored=mirrored)
    if not mirrored:
        return distances, src.xy, src.angle
    return distances, src.xy * np.array([-1.0, 1.0], np.float32), np.float32(180.0) - src.angle


def n_distinct(xy: FloatArray) -> int:
    """Number of 3 px cells that contain a point. Several keypoints at one point count once."""
    cells = np.floor(xy / 3.0).astype(np.int64)
    return len(np.unique(cells[:, 0] * 100_003 + cells[:, 1]))


def _loose_consensus(
    src_xy: FloatArray, src_scale: FloatArray, src_angle: FloatArray, dst: Features, columns: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Matches that roughly agree with one match's similarity; the match is the one that most others agree with."""
    dst_xy = dst.xy[columns]
    log_scale = np.log2(dst.scale[columns] / src_scale)
    turn = np.radians(dst.angle[columns] - src_angle)
    ratio = np.exp2(log_scale)
    cosine, sine = ratio * np.cos(turn), ratio * np.sin(turn)
    dx, dy = src_xy[None, :, 0] - src_xy[:, None, 0], src_xy[None, :, 1] - src_xy[:, None, 1]
    ex = dst_xy[None, :, 0] - dst_xy[:, None, 0] - (cosine[:, None] * dx - sine[:, None] * dy)
    ey = dst_xy[None, :, 1] - dst_xy[:, None, 1] - (sine[:, None] * dx + cosine[:, None] * dy)
    reach = ratio[:, None] * np.sqrt(dx * dx + dy * dy)
    # a keypoint's scale is exact to about 20 % and its angle to 10 degrees; squash and perspective add to that
    near = ex * ex + ey * ey < np.square(0.3 * reach + 6.0)
    near &= np.abs(log_scale[None] - log_scale[:, None]) < 0.8
    near &= np.cos(turn[None] - turn[:, None]) > 0.8
    return near[int(near.sum(axis=1).argmax())]


def _tolerance(affine: Matrix) -> float:
    """Largest error of an inlier, in pixels of dst; larger where dst has the higher resolution."""
    return 2.0 + 2.0 * max(1.0, float(np.sqrt(abs(np.linalg.det(affine[:, :2])))))


def is_plausible(linear: Matrix) -> bool:
    """Whether an edit could make this (2, 2) map: no collapse, no extreme squash or shear."""
    values = np.linalg.svd(linear, compute_uv=False)
    return bool(
        np.isfinite(values).all()
        and values[1] > 1.0 / _MAX_SCALE
        and values[0] < _MAX_SCALE
        and values[0] < _MAX_ANISOTROPY * values[1]
    )


def _ransac(
    src_xy: FloatArray, dst_xy: FloatArray, loose: NDArray[np.bool_], rng: np.random.Generator
) -> Matrix | None:
    """The affine map, float64 (2, 3), with the best truncated error over all matches."""
    pool = np.flatnonzero(loose)
    src, dst = src_xy.astype(np.float64), dst_xy.astype(np.float64)
    best, best_cost = None, np.inf
    start = fit_affine(src[pool], dst[pool])
    picks = pool[rng.integers(len(pool), size=(_SAMPLES, 3))]  # samples with repeated points fail the test of area
    p, q = src[picks], dst[picks]
    u, v = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    good = np.abs(area) > 60.0  # square pixels; collinear points do not determine a map
    p, q, u, v, area = p[good], q[good], u[good], v[good], area[good]
    inverse = np.stack([v[:, 1], -v[:, 0], -u[:, 1], u[:, 0]], axis=1).reshape(-1, 2, 2) / area[:, None, None]
    linear = np.stack([q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]], axis=2) @ inverse
    maps = np.concatenate([linear, (q[:, 0] - np.einsum("nij,nj->ni", linear, p[:, 0]))[:, :, None]], axis=2)
    if start is not None:
        maps = np.concatenate([start[None], maps])
    for affine in _best_maps(maps, src, dst)[:2]:
        refined, cost = _polish(affine, src, dst)
        if refined is not None and cost < best_cost:
            best, best_cost = refined, cost
    return best


def _best_maps(maps: Matrix, src: Matrix, dst: Matrix) -> Matrix:
    """The plausible maps, lowest truncated error first."""
    det = maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0]
    square = np.square(maps[:, :, :2]).sum(axis=(1, 2))
    # singular values s >= t: s*t = det, s*s + t*t = square, so s/t <= k is square <= (k + 1/k) det
    keep = (det > _MAX_SCALE**-2) & (det < _MAX_SCALE**2) & (square < (_MAX_ANISOTROPY + 1 / _MAX_ANISOTROPY) * det)
    maps, det = maps[keep].astype(np.float32), det[keep]
    if not len(maps):
        return maps.astype(np.float64)
    moved = maps[:, :, :2] @ src.T.astype(np.float32) + maps[:, :, 2:]
    error = np.square(moved - dst.T.astype(np.float32)).sum(axis=1)
    limit = np.square(2.0 + 2.0 * np.sqrt(np.maximum(det, 1.0))).astype(np.float32)[:, None]
    cost = np.minimum(error / limit, 1.0).sum(axis=1)
    return maps[np.argsort(cost, kind="stable")].astype(np.float64)


def _polish(affine: Matrix, src: Matrix, dst: Matrix) -> tuple[Matrix | None, float]:
    """Three rounds of least squares over the inliers; returns the map and its truncated error."""
    cost = float(len(src))
    for _ in range(3):
        limit = _tolerance(affine)
        error = np.hypot(*(src @ affine[:, :2].T + affine[:, 2] - dst).T) / limit
        cost = float(np.minimum(np.square(error), 1.0).sum())
        fitted = fit_affine(src[error < 1.0], dst[error < 1.0])
        if fitted is None or not is_plausible(fitted[:, :2]):
            return None, cost
        affine = fitted
    return affine, cost


def fit_affine(src: Matrix, dst: Matrix) -> Matrix | None:
    """The least-squares affine map, float64 (2, 3), from (n, 2) to (n, 2); None if the points do not determine one."""
    if len(src) < 3:
        return None
    centre = src.mean(axis=0)
    local = src - centre
    normal = local.T @ local
    if np.linalg.det(normal) < 1e-3 * max(1.0, float(np.trace(normal))) ** 1.0:
        return None
    linear = np.linalg.solve(normal, local.T @ (dst - dst.mean(axis=0))).T
    return np.column_stack([linear, dst.mean(axis=0) - linear @ centre])


def _guided(
    affine: Matrix,
    src_xy: FloatArray,
    src_scale: FloatArray,
    src_angle: FloatArray,
    dst: Features,
    distances: FloatArray,
) -> tuple[Matrix | None, NDArray[np.intp], NDArray[np.intp]]:
    """Refit the map to all matches that it predicts; returns it with the matches that the new map predicts."""
    close = _close(distances)
    rows, columns = _predicted(affine, src_xy, src_scale, src_angle, dst, distances, close)
    fitted = fit_affine(src_xy[rows].astype(np.float64), dst.xy[columns].astype(np.float64))
    if fitted is None or not is_plausible(fitted[:, :2]):
        return None, rows, columns
    return fitted, *_predicted(fitted, src_xy, src_scale, src_angle, dst, distances, close)


def _close(distances: FloatArray) -> Matches:
    """Pairs of keypoints with descriptors close enough for guided matching: few, so they are selected first."""
    places = np.flatnonzero(distances < _GUIDED_DISTANCE)  # of a matrix `nonzero` takes five times as long
    return places // distances.shape[1], places % distances.shape[1]


def _predicted(
    affine: Matrix,
    src_xy: FloatArray,
    src_scale: FloatArray,
    src_angle: FloatArray,
    dst: Features,
    distances: FloatArray,
    close: Matches,
) -> Matches:
    """The pairs of `close` that the map predicts in position, scale and angle, without the ratio test.

    Each keypoint is used at most once. This recovers matches that fail the ratio test because of a repeated texture or
    a weak descriptor.
    """
    linear, limit = affine[:, :2], _tolerance(affine)
    moved = (src_xy @ linear.T + affine[:, 2]).astype(np.float32)
    rate = float(np.sqrt(abs(np.linalg.det(linear))))
    radians = np.radians(src_angle)
    heading = np.stack([np.cos(radians), np.sin(radians)], axis=1) @ linear.T
    turned = np.arctan2(heading[:, 1], heading[:, 0])
    rows, columns = close
    dx, dy = moved[rows, 0] - dst.xy[columns, 0], moved[rows, 1] - dst.xy[columns, 1]
    near = dx * dx + dy * dy < limit * limit
    rows, columns = rows[near], columns[near]
    off = np.abs(np.log2(dst.scale[columns] / (src_scale[rows] * rate)))
    good = (off < 0.9) & (np.cos(np.radians(dst.angle[columns]) - turned[rows]) > 0.75)
    rows, columns = rows[good], columns[good]
    order = np.lexsort((columns, rows, distances[rows, columns]))
    rows, columns = rows[order], columns[order]
    first = _first_of_each(rows) & _first_of_each(columns)
    return rows[first], columns[first]


def _first_of_each(values: NDArray[np.intp]) -> NDArray[np.bool_]:
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def fit_homography(consensus: Consensus) -> Matrix:
    """The projective map of the inliers if there are enough and it fits clearly better, else the affine map."""
    if consensus.n_inliers < 16:
        return consensus.transform
    found, _ = cv2.findHomography(consensus.src_xy.astype(np.float64), consensus.dst_xy.astype(np.float64), 0)
    if found is None or not np.isfinite(found).all():
        return consensus.transform
    before, after = (_median_error(t, consensus) for t in (consensus.transform, found))
    return found if after < 0.8 * before else consensus.transform


def _median_error(transform: Matrix, consensus: Consensus) -> float:
    moved = cv2.perspectiveTransform(consensus.src_xy.astype(np.float64)[None], transform)[0]
    return float(median(np.hypot(*(moved - consensus.dst_xy).T)))
