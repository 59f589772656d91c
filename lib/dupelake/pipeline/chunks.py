"""Large nights in parts: each is committed before the next begins, so that a crash costs one part, not the night."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.warehouse.staging import Staging

log = logging.getLogger(__name__)

_ROWS = 20_000  # of a part: minutes of hashing on many cores, some 1.5 GB of staged thumbnails and features
_MAX_PARTS = 50  # each scans the ids of the tables once more; so the parts of a night of millions are larger
_CHUNK = "_chunk"


def n_parts(n_rows: int) -> int:
    """How many parts a night of `n_rows` has. DUPELAKE_CHUNK_ROWS, for tests, makes them small."""
    size = int(os.environ.get("DUPELAKE_CHUNK_ROWS", _ROWS))
    return max(1, min(_MAX_PARTS, math.ceil(n_rows / size)))


def in_parts(staging: Staging, rows: DataFrame, n_rows: int, what: str, *order: str) -> Iterator[DataFrame]:
    """`rows` in parts of about equal size, one after the other; `rows` itself where there is one part.

    Args:
        staging: where several parts are kept, each in files of its own, so that no part reads the others.
        rows: read twice where there are several parts, and at once when the first is asked for.
        n_rows: how many there are.
        what: what they are, for the log.
        order: columns by which they are cut: neighbours come into one part, so that a part writes to few partitions of
            a table.
    """
    n = n_parts(n_rows)
    if n == 1:
        yield rows
        return
    n_files = n * math.ceil(n_rows / n / _ROWS)  # several a part, where parts are large
    number = F.floor(F.spark_partition_id() * n / n_files).cast("int")
    cut = staging.save(rows.repartitionByRange(n_files, *order).withColumn(_CHUNK, number), "parts")
    for k in range(n):
        log.info("%s: part %d of %d", what, k + 1, n)
        yield cut.where(F.col(_CHUNK) == k).drop(_CHUNK)
