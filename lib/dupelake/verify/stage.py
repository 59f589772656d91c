"""Align pairs of contents on their thumbnails, by local features and pixels (`verify/pair.py`).

Thumbnail and descriptors take about 70 KB a content. Pairs within a cluster of similar pictures go to one task, a few
hundred at most. Each task receives every picture that it needs once, followed by its pairs. So a picture with many
pairs is shuffled, decoded and prepared once for all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from dupelake.config import fingerprint
from dupelake.fingerprint.thumbnails import decode_thumbnail
from dupelake.runtime.batches import Batches
from dupelake.runtime.faults import reached
from dupelake.verify.pair import VERIFY_REVISION, Alignment, pair_seed, verify_pair
from dupelake.verify.picture import Picture
from dupelake.warehouse.schema import PAIRS
from dupelake.words.keypoints import unpack_features

_MAX_PREPARED = 64  # prepared pictures in the cache of a worker, about 2 MB each
_MAX_TASK_PAIRS = 256  # pairs of one cluster in one task; the task keeps their pictures in memory, at most 36 MB
_SENT = ("thumbnail", "width_px", "full_width_px", "keypoints", "descriptors")
_ORDER = ("content_id", "dst_id")
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
"""The result of `align_pairs`: the alignment (all null where none was found), or why it could not be tried."""

Row = dict[str, Any]


def verify_version(feature_version: str) -> str:
    """Fingerprint of the code and of the features that align two pictures."""
    return fingerprint({"revision": VERIFY_REVISION, "features": feature_version})


def align_pairs(
    pairs: DataFrame,
    thumbnails: DataFrame,
    features: DataFrame,
    sizes: DataFrame,
    n_tasks: int,
    *,
    are_few: bool = False,
) -> DataFrame:
    """Align each pair.

    Args:
        pairs: (src_id, dst_id), each once.
        thumbnails: schema.THUMBNAILS; a pair without both is a row with `error_message`.
        features: schema.FEATURES of one version; a picture without features is aligned by pixels only.
        sizes: (content_id, full_width_px), width of the full-size pictures, for `scale`.
        n_tasks: number of tasks for the pairs.
        are_few: whether the pairs are few enough to broadcast. Then pictures are shuffled once, else twice.

    Returns:
        ALIGNED, one row per pair, lazily.
    """
    assigned = _assign_tasks(pairs, n_tasks)
    needed = assigned.select("task", F.explode(F.array("src_id", "dst_id")).alias("content_id")).distinct()
    needed = F.broadcast(needed) if are_few else needed
    parts = [  # one row each; the task puts the parts of a picture together, which saves a join
        thumbnails.select("content_id", F.col("bytes").alias("thumbnail"), "width_px"),
        sizes.select("content_id", "full_width_px"),
        features.select("content_id", "keypoints", "descriptors"),
    ]
    rows = assigned.withColumnRenamed("src_id", "content_id")
    for part in parts:
        rows = rows.unionByName(part.join(needed, "content_id"), allowMissingColumns=True)
    # By id, so that adaptive execution does not merge or split tasks. Pictures are sorted before pairs.
    spread = rows.repartitionById(n_tasks, "task").sortWithinPartitions("task", F.col("dst_id").isNotNull(), *_ORDER)
    return spread.select(*_ORDER, *_SENT).mapInArrow(_mapper(), ALIGNED)


def _assign_tasks(pairs: DataFrame, n_tasks: int) -> DataFrame:
    """(task, src_id, dst_id): pairs of a cluster of similar pictures share a task, at most _MAX_TASK_PAIRS of them.

    Pairs are grouped by the smallest partner of their dst_id. In a cluster where every picture is paired with every
    other, that is the smallest picture of the cluster. So all its pairs share a task, and each picture is sent once.
    """
    lowest = F.min("src_id").over(W.partitionBy("dst_id"))
    cluster = W.partitionBy("lowest").orderBy("src_id", "dst_id")
    chunk = F.floor((F.row_number().over(cluster) - 1) / _MAX_TASK_PAIRS)
    chunks = pairs.select("src_id", "dst_id", lowest.alias("lowest")).withColumn("chunk", chunk)
    task = F.pmod(F.xxhash64("lowest", "chunk"), F.lit(n_tasks)).cast("int").alias("task")
    return chunks.select(task, "src_id", "dst_id")


def _mapper() -> Callable[[Batches], Batches]:
    def run(batches: Batches) -> Batches:
        pictures = _PictureCache()
        for batch in batches:
            reached("worker:align")
            rows = [_align_row(row, pictures) for row in _rows(batch) if not pictures.store(row)]
            arrow = to_arrow_schema(ALIGNED)
            yield pa.RecordBatch.from_arrays(
                [pa.array([row.get(field.name) for row in rows], field.type) for field in arrow], schema=arrow
            )

    return run


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """Yield one row at a time, to avoid a second copy of the whole batch."""
    for at in range(batch.num_rows):
        yield {name: batch.column(i)[at].as_py() for i, name in enumerate(batch.schema.names)}


class _PictureCache:
    """The pictures that a task received, and a cache of the last prepared ones."""

    def __init__(self) -> None:
        self.received: dict[str, Row] = {}  # by content id: the columns of _SENT that are known
        self._prepared: OrderedDict[str, Picture] = OrderedDict()

    def store(self, row: Row) -> bool:
        """Store a row that is part of a picture; returns False for a row that is a pair."""
        if row["dst_id"] is not None:
            return False
        part = {name: row[name] for name in _SENT if row[name] is not None}
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
            picture = self._prepared[content_id] = Picture(decode_thumbnail(received["thumbnail"]), features)
            if len(self._prepared) > _MAX_PREPARED:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(content_id)
        return picture


def _align_row(row: Row, pictures: _PictureCache) -> Row:
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


def _full_scale(src: Row, dst: Row) -> float:
    """Factor that converts the scale between thumbnails into that between the full-size pictures."""
    a, b = ((one.get("full_width_px") or one["width_px"]) / one["width_px"] for one in (src, dst))
    return float(b / a)


def _values(found: Alignment, full_scale: float) -> Row:
    values = {name: getattr(found, name) for name in _COLUMNS}
    box = dict(zip(("x", "y", "width", "height"), map(float, found.difference_box), strict=True))
    return values | {"difference_box": box, "scale": float(found.scale) * full_scale}
