"""Contents that got an embedding or features after they were joined: the next join compares them with all others.

Their stored join keys are outdated, so they are deleted, and the next join makes new ones. Both happen before the row
with the embedding or the features is written. After a kill in between these contents are joined again without need,
but none is missed.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.ingest.live_stage import rows_of_contents
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import EMBEDDINGS, JOIN_KEYS, JOINED, Table


def leave_joined(run: Run, contents: DataFrame, join_version: str | None = None) -> None:
    """Remove contents from `joined`, so that they are new to the next join.

    Args:
        run: its table is changed.
        contents: (content_id), few, staged.
        join_version: only rows of this version are removed. Other rows wait for a run with --full, which joins all.
    """
    joined = run.warehouse.read(JOINED)
    if join_version is not None:
        joined = joined.where(F.col("join_version") == join_version)
    gone = run.staging.save(rows_of_contents(joined, contents).select(*JOINED.key), "to-join-again")
    run.warehouse.merge(JOINED, joined.limit(0), delete=gone)
    _drop(run, JOIN_KEYS, contents)


def drop_derived(run: Run, contents: DataFrame) -> None:
    """Delete data made from the replaced thumbnails of `contents` (content_id)."""
    for table in (EMBEDDINGS, JOIN_KEYS):
        _drop(run, table, contents)


def _drop(run: Run, table: Table, contents: DataFrame) -> None:
    """Delete the rows of `contents` in a table."""
    stored = run.warehouse.read(table)
    gone = run.staging.save(rows_of_contents(stored.select(*table.key), contents), "derived")
    run.warehouse.merge(table, stored.limit(0), delete=gone)
