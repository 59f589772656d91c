"""Alignment: pairs of contents verified on their thumbnails, by local features and pixels (kernels.verify).

Thumbnail and descriptors are some 70 KB a content. Pairs of pictures that are all alike lie in one task, a few hundred
at most, and each task is sent every picture that it needs once, with the pairs behind: a picture that is compared with
many moves, is decoded and prepared once for all of them.
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

_KEPT_PICTURES = 64  # prepared pictures a worker holds: some 2 MB each
_TOGETHER = 256  # pairs in one task for being alike; it holds what it is sent, at worst 36 MB for so many
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
"""What `align_pairs` gives: the alignment (all null where none was found), or why it could not be tried."""

Row = dict[str, Any]


def verify_version(feature_version: str) -> str:
    """Fingerprint of what aligns two pictures."""
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
        features: schema.FEATURES of one version; a picture without is aligned by pixels alone.
        sizes: (content_id, full_width_px), of the full-size pictures, for `scale`.
        n_tasks: pairs are spread over so many tasks.
        are_few: whether the pairs are few enough to be sent to every executor; then pictures move once, from the
            tables to the tasks, and else twice.

    Returns:
        ALIGNED, one row per pair, lazily.
    """
    placed = _placed(pairs, n_tasks)
    needed = placed.select("task", F.explode(F.array("src_id", "dst_id")).alias("content_id")).distinct()
    needed = F.broadcast(needed) if are_few else needed
    parts = [  # of a picture, a row each: what is known of it never meets before it is where it is needed
        thumbnails.select("content_id", F.col("bytes").alias("thumbnail"), "width_px"),
        sizes.select("content_id", "full_width_px"),
        features.select("content_id", "keypoints", "descriptors"),
    ]
    rows = placed.withColumnRenamed("src_id", "content_id")
    for part in parts:
        rows = rows.unionByName(part.join(needed, "content_id"), allowMissingColumns=True)
    # By number: each is one task's, whatever adaptive execution thinks of its size. Pictures come before pairs.
    spread = rows.repartitionById(n_tasks, "task").sortWithinPartitions("task", F.col("dst_id").isNotNull(), *_ORDER)
    return spread.select(*_ORDER, *_SENT).mapInArrow(_mapper(), ALIGNED)


def _placed(pairs: DataFrame, n_tasks: int) -> DataFrame:
    """(task, src_id, dst_id): pairs of pictures that are all alike together, but no more than _TOGETHER of them.

    Each pair goes with the smallest partner of its dst_id. Where every picture of a crowd is paired with every other,
    that is the smallest of the crowd for all its pairs, so that they share a task and each picture is sent once.
    """
    lowest = F.min("src_id").over(W.partitionBy("dst_id"))
    crowd = W.partitionBy("lowest").orderBy("src_id", "dst_id")
    chunk = F.floor((F.row_number().over(crowd) - 1) / _TOGETHER)
    crowds = pairs.select("src_id", "dst_id", lowest.alias("lowest")).withColumn("chunk", chunk)
    task = F.pmod(F.xxhash64("lowest", "chunk"), F.lit(n_tasks)).cast("int").alias("task")
    return crowds.select(task, "src_id", "dst_id")


def _mapper() -> Callable[[Batches], Batches]:
    def run(batches: Batches) -> Batches:
        pictures = _Pictures()
        for batch in batches:
            reached("worker:align")
            rows = [_align_row(row, pictures) for row in _rows(batch) if not pictures.take(row)]
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
    """What this task was sent, and the last pictures made of it."""

    def __init__(self) -> None:
        self.sent: dict[str, Row] = {}  # by content id: of _SENT what is known of it
        self._held: OrderedDict[str, Picture] = OrderedDict()

    def take(self, row: Row) -> bool:
        """Keep a row that is part of a picture; whether it was one."""
        if row["dst_id"] is not None:
            return False
        part = {name: row[name] for name in _SENT if row[name] is not None}
        self.sent.setdefault(row["content_id"], {}).update(part)
        return True

    def lacks(self, content_id: str) -> bool:
        """Whether there is no thumbnail of it."""
        return "thumbnail" not in self.sent.get(content_id, {})

    def get(self, content_id: str) -> Picture:
        """The picture of one side, decoded where it is not held."""
        picture = self._held.get(content_id)
        if picture is None:
            sent = self.sent[content_id]
            features = unpack_features(sent.get("keypoints", b""), sent.get("descriptors", b""))
            picture = self._held[content_id] = Picture(decode_thumbnail(sent["thumbnail"]), features)
            if len(self._held) > _KEPT_PICTURES:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(content_id)
        return picture


def _align_row(row: Row, pictures: _Pictures) -> Row:
    ids = src_id, dst_id = row["content_id"], row["dst_id"]
    out: Row = {"src_id": src_id, "dst_id": dst_id}
    for content_id in ids:
        if pictures.lacks(content_id):
            return out | {"error_message": f"no thumbnail of {content_id}"}
    try:
        found = verify_pair(pictures.get(src_id), pictures.get(dst_id), pair_seed(src_id, dst_id))
    except Exception as error:  # one pair's fault must not take the others with it
        return out | {"error_message": f"{type(error).__name__}: {error}"[:500]}
    return out if found is None else out | _values(found, _full_scale(*(pictures.sent[one] for one in ids)))


def _full_scale(src: Row, dst: Row) -> float:
    """Factor from the scale between thumbnails to that between the full-size pictures."""
    a, b = ((one.get("full_width_px") or one["width_px"]) / one["width_px"] for one in (src, dst))
    return float(b / a)


def _values(found: Alignment, full_scale: float) -> Row:
    values = {name: getattr(found, name) for name in _COLUMNS}
    box = dict(zip(("x", "y", "width", "height"), map(float, found.difference_box), strict=True))
    return values | {"difference_box": box, "scale": float(found.scale) * full_scale}
