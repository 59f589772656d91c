"""Large nights in parts. Each part is committed before the next begins, so a crash loses one part only."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.warehouse.staging import Staging

log = logging.getLogger(__name__)

_ROWS = 20_000  # rows of a part: minutes of hashing on many cores, some 1.5 GB of staged thumbnails and features
_MAX_PARTS = 50  # each part scans the ids of the tables again, so a night of millions has larger parts
_CHUNK = "_chunk"


def n_parts(n_rows: int) -> int:
    """Number of parts of a night of `n_rows`. Tests set DUPELAKE_CHUNK_ROWS to make parts small."""
    size = int(os.environ.get("DUPELAKE_CHUNK_ROWS", _ROWS))
    return max(1, min(_MAX_PARTS, math.ceil(n_rows / size)))


def in_parts(staging: Staging, rows: DataFrame, n_rows: int, what: str, *order: str) -> Iterator[DataFrame]:
    """Yield `rows` in parts of about equal size; `rows` itself if there is one part.

    Args:
        staging: stores the parts if there are several, each in its own files, so that no part reads the others.
        rows: if there are several parts, they are read twice, before the first part is yielded.
        n_rows: number of rows.
        what: a name of the rows for the log.
        order: columns that sort the rows before they are cut, so that a part writes to few partitions of a table.
    """
    n = n_parts(n_rows)
    if n == 1:
        yield rows
        return
    n_files = n * math.ceil(n_rows / n / _ROWS)  # large parts have several files
    number = F.floor(F.spark_partition_id() * n / n_files).cast("int")
    cut = staging.save(rows.repartitionByRange(n_files, *order).withColumn(_CHUNK, number), "parts")
    for k in range(n):
        log.info("%s: part %d of %d", what, k + 1, n)
        yield cut.where(F.col(_CHUNK) == k).drop(_CHUNK)
