"""Selects the contents that a run embeds."""

from __future__ import annotations

from pyspark.sql import DataFrame

from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import FEATURES, THUMBNAILS


def embeds_all(run: Run) -> bool:
    """Whether all contents are embedded. With embed.contents=auto this depends on the GPUs of the session."""
    from dupelake.embed.embedding import resolve_device
    from dupelake.embed.stage import embeds_all as wants_all

    amount = run.warehouse.spark.conf.get("spark.task.resource.gpu.amount", "0") or "0"
    return wants_all(run.config.embed, has_gpu=float(amount) > 0 or resolve_device("auto") == "cuda")


def contents_to_embed(run: Run) -> DataFrame:
    """(content_id) of all contents that get an embedding, whether they have one or not."""
    from dupelake.embed.stage import has_few_words

    if embeds_all(run):
        return run.warehouse.read(THUMBNAILS).select("content_id")
    return run.warehouse.read(FEATURES).where(has_few_words()).select("content_id")
