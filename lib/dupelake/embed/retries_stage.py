"""Which embeddings are tried again: failures that another night may find mended."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from dupelake.embed.embedding import UNDECODABLE


def embedding_may_mend(attempts: Column, max_attempts: int) -> Column:
    """Whether another night tries a row of EMBEDDINGS again: it failed, and not for what its thumbnail is.

    Args:
        attempts: nights that tried in vain, this one included; null in rows of before they were counted.
        max_attempts: nights in all.
    """
    may = F.col("error_message").isNotNull() & ~F.col("error_message").startswith(UNDECODABLE)
    return may & (F.coalesce(attempts, F.lit(1)) < max_attempts)


def tried_before(at: Column, last_run: int) -> Column:
    """Whether what was tried at `at` was tried on another night, not by a run that was killed and that this one ends.

    Args:
        at: when the run that tried started; null where nobody took it down.
        last_run: when the last run started that came to its end, in microseconds since 1970.
    """
    return F.coalesce(F.unix_micros(at) <= F.lit(last_run), F.lit(True))
