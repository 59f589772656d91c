"""Local features of a thumbnail: SIFT keypoints with RootSIFT descriptors, as stored in the table `features`.

SIFT: D. Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004, as OpenCV implements it.
RootSIFT: R. Arandjelovic, A. Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

DESCRIPTOR_DIM = 128
_CONTRAST_THRESHOLD = 0.005  # OpenCV's default is .04
ROOT_SCALE = 512.0  # RootSIFT values are mostly below .5: one byte each, clipped
_POSITION_UNITS, _SCALE_UNITS, _ANGLE_UNITS = 32.0, 32.0, 65536.0 / 360.0
FEATURES_REVISION = 1
"""Part of `feature_version`. Raise it with every change of keypoints, descriptors, words or their bytes."""
KEYPOINT = np.dtype([("x", "<u2"), ("y", "<u2"), ("scale", "<u2"), ("angle", "<u2")])


@dataclass(frozen=True)
class Features:
    """Keypoints of one picture, strongest response first; derived values are computed once and cached.

    Attributes:
        xy: float32 (n, 2), pixels of the thumbnail, x to the right, y down.
        scale: float32 (n,), diameter of the neighbourhood in pixels of the thumbnail (OpenCV's `size`).
        angle: float32 (n,), degrees clockwise, 0 <= angle < 360 (OpenCV's `angle`).
        descriptors: uint8 (n, 128), RootSIFT times 512, clipped: 4 x 4 cells row by row, 8 orientations each.
    """

    xy: NDArray[np.float32]
    scale: NDArray[np.float32]
    angle: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.xy)

    @cached_property
    def floats(self) -> NDArray[np.float32]:
        """float32 (n, 128): the descriptors."""
        return self.descriptors.astype(np.float32)

    @cached_property
    def mirrored_floats(self) -> NDArray[np.float32]:
        """float32 (n, 128): the descriptors of the mirrored picture."""
        return self.descriptors[:, MIRROR_PERMUTATION].astype(np.float32)

    @cached_property
    def squares(self) -> NDArray[np.float32]:
        """float32 (n,): squared lengths of the descriptors, mirrored or not."""
        return np.einsum("ij,ij->i", self.floats, self.floats)


def extract_features(grey: NDArray[np.uint8], max_keypoints: int) -> Features:
    """The strongest keypoints of a grey picture; a flat picture has none.

    With OpenCV's default contrast threshold (.04) a dim, dark or blurred copy has few keypoints or none (measured at
    15 % of the brightness: words find 9 of 100 pictures; with the threshold used here 50 of 50). Only the strongest
    keypoints are kept, so a low threshold has no effect on pictures with high contrast. The upsampled octave is used,
    for small crops. Positions do not have the error of a quarter pixel of OpenCV's plain upsampling, which would double
    in a mirrored picture.

    Args:
        grey: uint8 (h, w).
        max_keypoints: the largest number, by response; ties by position, so that the result depends only on the pixels.
    """
    sift = cv2.SIFT.create(nfeatures=max_keypoints, contrastThreshold=_CONTRAST_THRESHOLD, enable_precise_upscale=True)
    found: Any
    raw: Any
    found, raw = sift.detectAndCompute(grey, None)
    if raw is None or not len(found):
        return no_features()
    rows = np.array([(*k.pt, k.size, k.angle, k.response) for k in found], np.float32)
    order = np.lexsort((rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0], -rows[:, 4]))[:max_keypoints]
    rows = rows[order]
    angle = np.mod(rows[:, 3], np.float32(360.0))
    return Features(rows[:, :2].copy(), rows[:, 2].copy(), angle, root_sift(raw[order]))


def root_sift(raw: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RootSIFT bytes of raw SIFT descriptors, float32 (n, 128)."""
    total = np.maximum(raw.sum(axis=1, keepdims=True), 1e-9)
    return np.minimum(np.sqrt(raw / total) * ROOT_SCALE + 0.5, 255.0).astype(np.uint8)


def pack_features(features: Features) -> tuple[bytes, bytes]:
    """(keypoints, descriptors) as stored in the table: 8 and 128 bytes a keypoint, little-endian."""
    return pack_keypoints(features).tobytes(), features.descriptors.tobytes()


def pack_keypoints(features: Features) -> NDArray[np.void]:
    """The keypoints as KEYPOINT records, (n,)."""
    packed = np.empty(len(features), KEYPOINT)
    packed["x"], packed["y"] = np.rint(np.clip(features.xy * _POSITION_UNITS, 0.0, 65535.0)).T
    packed["scale"] = np.rint(np.minimum(features.scale * _SCALE_UNITS, 65535.0))
    packed["angle"] = np.rint(features.angle * _ANGLE_UNITS).astype(np.int64) % 65536
    return packed


def unpack_keypoints(
    packed: NDArray[np.void],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """(xy, scale, angle) of KEYPOINT records, (n,); shapes and units as in Features."""
    xy = np.stack([packed["x"], packed["y"]], axis=1).astype(np.float32) / np.float32(_POSITION_UNITS)
    scale = packed["scale"].astype(np.float32) / np.float32(_SCALE_UNITS)
    return xy, scale, (packed["angle"] / _ANGLE_UNITS).astype(np.float32)


def unpack_features(keypoints: bytes, descriptors: bytes) -> Features:
    """The inverse of `pack_features`, with a precision of 1/32 pixel."""
    xy, scale, angle = unpack_keypoints(np.frombuffer(keypoints, KEYPOINT))
    return Features(xy, scale, angle, np.frombuffer(descriptors, np.uint8).reshape(-1, DESCRIPTOR_DIM))


def _mirror_permutation(n_rows: int) -> NDArray[np.intp]:
    """The bins of the descriptor of a mirrored keypoint, which needs no second detection.

    The rows of the grid are reversed (it is aligned with the orientation of the keypoint), and orientation o becomes
    -o mod 8. The keypoint itself lies at width - 1 - x, and its angle is 180 degrees minus the angle.
    """
    index = np.arange(n_rows * 32).reshape(n_rows, 4, 8)
    return index[::-1][:, :, (-np.arange(8)) % 8].ravel()


MIRROR_PERMUTATION = _mirror_permutation(4)
"""intp (128,): descriptors[:, MIRROR_PERMUTATION] are the descriptors of the mirrored picture."""
HALF_MIRROR_PERMUTATION = _mirror_permutation(2)
"""intp (64,): each half of a mirrored descriptor is the other half of the descriptor, permuted by this."""


def no_features() -> Features:
    """The features of a picture without keypoints."""
    return Features(
        np.empty((0, 2), np.float32),
        np.empty(0, np.float32),
        np.empty(0, np.float32),
        np.empty((0, DESCRIPTOR_DIM), np.uint8),
    )
