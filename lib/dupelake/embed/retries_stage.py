"""Which failed embeddings are tried again in another night."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from dupelake.embed.embedding import UNDECODABLE


def is_embedding_retried(attempts: Column, max_attempts: int) -> Column:
    """Whether another night tries a row of EMBEDDINGS again: it failed, but not because of its thumbnail.

    Args:
        attempts: failed nights, including the last; null in rows of versions that did not count them.
        max_attempts: the largest number of nights.
    """
    may = F.col("error_message").isNotNull() & ~F.col("error_message").startswith(UNDECODABLE)
    return may & (F.coalesce(attempts, F.lit(1)) < max_attempts)


def is_of_completed_run(at: Column, last_run: int) -> Column:
    """Whether an attempt at `at` belongs to a completed run, not to a killed run that the present run completes.

    Args:
        at: start of the run that made the attempt; null if it was not recorded.
        last_run: start of the last completed run, in microseconds since 1970.
    """
    return F.coalesce(F.unix_micros(at) <= F.lit(last_run), F.lit(True))
