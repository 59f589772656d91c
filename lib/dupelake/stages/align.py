"""Alignment: pairs of contents verified on their thumbnails, by local features and pixels (kernels.verify).

The heavy columns (thumbnail and descriptors, some 80 KB a content) move once for each pair and side, so what comes
here has passed every cheap test. Pairs lie by src_id in their tasks, so that a picture that is compared with many is
decoded and prepared once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from dupelake.config import fingerprint
from dupelake.kernels.faults import reached
from dupelake.kernels.features import unpack_features
from dupelake.kernels.thumbnails import decode_thumbnail
from dupelake.kernels.verify import VERIFY_REVISION, Alignment, Picture, pair_seed, verify_pair
from dupelake.schema import PAIRS

_KEPT_PICTURES = 64  # prepared pictures a worker holds: some 2 MB each
_COLUMNS = (
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
    "scale",
    "rotation_degrees",
    "is_mirrored",
    "largest_local_difference",
    "difference_box",
    "colour_difference",
)
_TYPES = {field.name: field.dataType for field in PAIRS.schema.fields}
ALIGNED = T.StructType(
    [
        T.StructField("src_id", T.StringType()),
        T.StructField("dst_id", T.StringType()),
        *[T.StructField(name, _TYPES[name]) for name in _COLUMNS],
        T.StructField("error_message", T.StringType()),
    ]
)
"""What `align_pairs` gives: the alignment (all null where none was found), or why it could not be tried."""

Batches = Iterator[pa.RecordBatch]
Row = dict[str, Any]


def verify_version(feature_version: str) -> str:
    """Fingerprint of what aligns two pictures."""
    return fingerprint({"revision": VERIFY_REVISION, "features": feature_version})


def align_pairs(
    pairs: DataFrame, thumbnails: DataFrame, features: DataFrame, sizes: DataFrame, n_tasks: int
) -> DataFrame:
    """Align each pair.

    Args:
        pairs: (src_id, dst_id), each once.
        thumbnails: schema.THUMBNAILS; a pair without both is a row with `error_message`.
        features: schema.FEATURES of one version; a picture without is aligned by pixels alone.
        sizes: (content_id, full_width_px), of the full-size pictures, for `scale`.
        n_tasks: pairs are spread over so many tasks.

    Returns:
        ALIGNED, one row per pair, lazily.
    """
    heavy = (
        thumbnails.select("content_id", "bytes", "width_px")
        .join(sizes, "content_id", "left")
        .join(features.select("content_id", "keypoints", "descriptors"), "content_id", "left")
    )
    wide = pairs.select("src_id", "dst_id")
    for side, key in (("b", "dst_id"), ("a", "src_id")):
        columns = [F.col(name).alias(f"{side}_{name}") for name in heavy.columns if name != "content_id"]
        wide = wide.join(heavy.select(F.col("content_id").alias(key), *columns), key, "left")
    spread = wide.repartition(n_tasks, "src_id").sortWithinPartitions("src_id", "dst_id")
    return spread.mapInArrow(_mapper(), ALIGNED)


def _mapper() -> Callable[[Batches], Batches]:
    def run(batches: Batches) -> Batches:
        pictures = _Pictures()
        for batch in batches:
            reached("worker:align")
            rows = [_align_row(row, pictures) for row in _rows(batch)]
            arrow = to_arrow_schema(ALIGNED)
            yield pa.RecordBatch.from_arrays(
                [pa.array([row.get(field.name) for row in rows], field.type) for field in arrow], schema=arrow
            )

    return run


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """One row at a time, so that no second copy of the whole batch is made."""
    for at in range(batch.num_rows):
        yield {name: batch.column(i)[at].as_py() for i, name in enumerate(batch.schema.names)}


class _Pictures:
    """The last prepared pictures of this task."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Picture] = OrderedDict()

    def get(self, content_id: str, data: bytes, keypoints: bytes | None, descriptors: bytes | None) -> Picture:
        """The picture of one side, decoded where it is not held."""
        picture = self._held.get(content_id)
        if picture is None:
            picture = Picture(decode_thumbnail(data), unpack_features(keypoints or b"", descriptors or b""))
            self._held[content_id] = picture
            if len(self._held) > _KEPT_PICTURES:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(content_id)
        return picture


def _align_row(row: Row, pictures: _Pictures) -> Row:
    out = {"src_id": row["src_id"], "dst_id": row["dst_id"]}
    for side, key in (("a", "src_id"), ("b", "dst_id")):
        if row[f"{side}_bytes"] is None:
            return out | {"error_message": f"no thumbnail of {row[key]}"}
    try:
        src, dst = (
            pictures.get(row[key], row[f"{side}_bytes"], row[f"{side}_keypoints"], row[f"{side}_descriptors"])
            for side, key in (("a", "src_id"), ("b", "dst_id"))
        )
        found = verify_pair(src, dst, pair_seed(row["src_id"], row["dst_id"]))
    except Exception as error:  # one pair's fault must not take the others with it
        return out | {"error_message": f"{type(error).__name__}: {error}"[:500]}
    return out if found is None else out | _values(found, _full_scale(row))


def _full_scale(row: Row) -> float:
    """Factor from the scale between thumbnails to that between the full-size pictures."""
    a, b = ((row[f"{side}_full_width_px"] or row[f"{side}_width_px"]) / row[f"{side}_width_px"] for side in "ab")
    return float(b / a)


def _values(found: Alignment, full_scale: float) -> Row:
    values = {name: getattr(found, name) for name in _COLUMNS}
    box = dict(zip(("x", "y", "width", "height"), map(float, found.difference_box), strict=True))
    return values | {"difference_box": box, "scale": float(found.scale) * full_scale}
