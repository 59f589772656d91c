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
