"""Selects the contents that a run embeds."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import EMBEDDINGS, FEATURES, THUMBNAILS


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


def contents_without_embedding(run: Run, model_id: str) -> DataFrame:
    """(content_id) of all contents that get an embedding by this model and have none, not even a failed one."""
    stored = run.warehouse.read(EMBEDDINGS).where(F.col("model_id") == model_id)
    return contents_to_embed(run).join(stored.select("content_id"), "content_id", "left_anti")
