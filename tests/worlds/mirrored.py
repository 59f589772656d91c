"""Features of a mirrored picture, by the permutation that the product applies to words."""

from __future__ import annotations

import numpy as np

from dupelake.words.keypoints import MIRROR_PERMUTATION, Features


def mirrored_features(features: Features, width_px: int) -> Features:
    """The features of the picture mirrored left to right, without a second detection."""
    xy = features.xy.copy()
    xy[:, 0] = width_px - 1 - xy[:, 0]
    angle = np.mod(180.0 - features.angle, np.float32(360.0)).astype(np.float32)
    return Features(xy, features.scale, angle, features.descriptors[:, MIRROR_PERMUTATION])
