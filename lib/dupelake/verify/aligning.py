"""Aligns one pair of stored pictures: the columns of `pairs` that the alignment measures."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import cv2
import numpy as np

from dupelake.verify.align import Matrix
from dupelake.verify.differing import Box, differing_boxes, moved_box
from dupelake.verify.pair import Alignment, find_map, pair_seed, verify_pair
from dupelake.verify.picture import Picture, stored_picture
from dupelake.words.keypoints import unpack_features

cv2.setNumThreads(1)  # one task, one core: a process that only aligns does not import fingerprint/decode.py

_MAX_PREPARED = 64  # prepared pictures in the cache, about 2 MB each
PARTS = ("thumbnail", "width_px", "full_width_px", "keypoints", "descriptors")
"""What is known of a picture; all but the thumbnail may be missing."""
MEASURES = (
    "n_inliers",
    "inlier_spread",
    "aligned_ncc",
    "agreeing_share",
    "contradicting_share",
    "src_overlap",
    "dst_overlap",
    "src_beyond",
    "dst_beyond",
    "src_frame",
    "dst_frame",
    "src_added",
    "dst_added",
    "scale",
    "rotation_degrees",
    "is_mirrored",
    "largest_local_difference",
    "difference_box",
    "colour_difference",
    "cell_shift_px",
    "unexplained_colour",
    "difference_coherence",
)
"""Columns of schema.PAIRS that the alignment measures."""

Row = dict[str, Any]


class Laid(NamedTuple):
    """Two aligned pictures.

    Attributes:
        on_dst: float64 (3, 3), the homography from the source to the destination in fractions of width and height, so
            that it holds for pictures of any size.
        src_boxes: where they differ, in fractions of the source.
        dst_boxes: the same in fractions of the destination.
    """

    on_dst: Matrix
    src_boxes: list[Box]
    dst_boxes: list[Box]


class PictureCache:
    """The pictures that a task or a check received, and a cache of the last prepared ones."""

    def __init__(self) -> None:
        self.received: dict[str, Row] = {}  # by content id: the columns of PARTS that are known
        self._prepared: OrderedDict[str, Picture] = OrderedDict()

    def store(self, row: Row) -> bool:
        """Store a row that is part of a picture; returns False for a row that is a pair."""
        if row["dst_id"] is not None:
            return False
        part = {name: row[name] for name in PARTS if row[name] is not None}
        self.received.setdefault(row["content_id"], {}).update(part)
        return True

    def has_no_thumbnail(self, content_id: str) -> bool:
        """Whether the task received no thumbnail of this content."""
        return "thumbnail" not in self.received.get(content_id, {})

    def get(self, content_id: str) -> Picture:
        """The prepared picture of a content, from the cache or decoded."""
        picture = self._prepared.get(content_id)
        if picture is None:
            received = self.received[content_id]
            features = unpack_features(received.get("keypoints", b""), received.get("descriptors", b""))
            picture = self._prepared[content_id] = stored_picture(received["thumbnail"], features)
            if len(self._prepared) > _MAX_PREPARED:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(content_id)
        return picture


def align_row(row: Row, pictures: PictureCache) -> Row:
    """The alignment of one pair: src_id, dst_id, and MEASURES if one was found, or error_message.

    Args:
        row: content_id and dst_id, the ends of the pair, in their order.
        pictures: received both.
    """
    ids = src_id, dst_id = row["content_id"], row["dst_id"]
    out: Row = {"src_id": src_id, "dst_id": dst_id}
    for content_id in ids:
        if pictures.has_no_thumbnail(content_id):
            return out | {"error_message": f"no thumbnail of {content_id}"}
    try:
        found = verify_pair(pictures.get(src_id), pictures.get(dst_id), pair_seed(src_id, dst_id))
    except Exception as error:  # an error in one pair must not fail the others
        return out | {"error_message": f"{type(error).__name__}: {error}"[:500]}
    return out if found is None else out | _values(found, _full_scale(*(pictures.received[one] for one in ids)))


def laid_on(row: Row, pictures: PictureCache) -> Laid | None:
    """How the second picture of a pair lies on the first, for people to look at.

    Args:
        row: content_id and dst_id, the ends of the pair, in their order.
        pictures: received both.

    Returns:
        None without an alignment or a thumbnail.
    """
    ids = src_id, dst_id = row["content_id"], row["dst_id"]
    if any(map(pictures.has_no_thumbnail, ids)):
        return None
    src, dst = (pictures.get(one) for one in ids)
    found = find_map(src, dst, pair_seed(src_id, dst_id))
    if found is None:
        return None
    (height, width), (other_height, other_width) = src.rgb.shape[:2], dst.rgb.shape[:2]
    on_other = np.diag([1 / other_width, 1 / other_height, 1.0]) @ found @ np.diag([float(width), float(height), 1.0])
    boxes = differing_boxes(src.rgb, dst.rgb, found)
    moved = [box for one in boxes if (box := moved_box(one, on_other)) is not None]
    return Laid(on_other, boxes, moved)


def _full_scale(src: Row, dst: Row) -> float:
    """Factor that converts the scale between thumbnails into that between the full-size pictures."""
    a, b = ((one.get("full_width_px") or one["width_px"]) / one["width_px"] for one in (src, dst))
    return float(b / a)


def _values(found: Alignment, full_scale: float) -> Row:
    values = {name: getattr(found, name) for name in MEASURES}
    box = dict(zip(("x", "y", "width", "height"), map(float, found.difference_box), strict=True))
    return values | {"difference_box": box, "scale": float(found.scale) * full_scale}
