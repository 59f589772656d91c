"""Align pairs of contents on their thumbnails, by local features and pixels (`verify/pair.py`).

Thumbnail and descriptors take about 70 KB a content. Pairs within a cluster of similar pictures go to one task, a few
hundred at most. Each task receives every picture that it needs once, followed by its pairs. So a picture with many
pairs is shuffled, decoded and prepared once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from dupelake.config import fingerprint
from dupelake.runtime.batches import Batches
from dupelake.runtime.faults import reached
from dupelake.verify.aligning import MEASURES, PARTS, PictureCache, Row, align_row
from dupelake.verify.pair import VERIFY_REVISION
from dupelake.warehouse.schema import PAIRS

_MAX_TASK_PAIRS = 256  # pairs of one cluster in one task; the task keeps their pictures in memory, at most 36 MB
_ORDER = ("content_id", "dst_id")
_TYPES = {field.name: field.dataType for field in PAIRS.schema.fields}
ALIGNED = T.StructType(
    [
        T.StructField("src_id", T.StringType()),
        T.StructField("dst_id", T.StringType()),
        *[T.StructField(name, _TYPES[name]) for name in MEASURES],
        T.StructField("error_message", T.StringType()),
    ]
)
"""The result of `align_pairs`: the alignment (all null where none was found), or why it could not be tried."""


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
    return spread.select(*_ORDER, *PARTS).mapInArrow(_mapper(), ALIGNED)


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
    def align_rows(batches: Batches) -> Batches:
        pictures = PictureCache()
        for batch in batches:
            reached("worker:align")
            rows = [align_row(row, pictures) for row in _rows(batch) if not pictures.store(row)]
            arrow = to_arrow_schema(ALIGNED)
            yield pa.RecordBatch.from_arrays(
                [pa.array([row.get(field.name) for row in rows], field.type) for field in arrow], schema=arrow
            )

    return align_rows


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """Yield one row at a time, to avoid a second copy of the whole batch."""
    for at in range(batch.num_rows):
        yield {name: batch.column(i)[at].as_py() for i, name in enumerate(batch.schema.names)}
