"""Conflicts between two keepers of groups that a run does not make again."""

from __future__ import annotations

from pyspark.sql import DataFrame

from dupelake.frames.functions import F
from dupelake.group.decisions_stage import TWO_KEEPERS, shown_contents
from dupelake.ingest.live_stage import live_images


def conflicts_elsewhere(
    conflicts: DataFrame, decided: DataFrame, images: DataFrame, hashes: DataFrame, part: DataFrame
) -> DataFrame:
    """(conflict_id) of the conflicts of two keepers that hold still, because no part of their groups was made again.

    A keeper is the picture that was chosen, whatever its image shows now. So a conflict is elsewhere if a live image
    outside of `part` shows that picture; equal pixels are never in two parts.

    Args:
        conflicts: schema.DECISION_CONFLICTS.
        decided: schema.DECIDED.
        images: schema.IMAGES.
        hashes: schema.HASHES, all rows.
        part: (image_id) of the images whose groups were made again.
    """
    keepers = conflicts.where(F.col("kind") == TWO_KEEPERS)
    decisions = keepers.withColumn("note", F.lit(None).cast("string"))
    shown = keepers.select("conflict_id", "image_id", "decided_at").join(
        shown_contents(decisions, decided, images), ["image_id", "decided_at"]
    )
    digests = hashes.select("content_id", "pixel_digest")
    of_keepers = digests.join(F.broadcast(shown.select("conflict_id", "content_id")), "content_id")
    alike = digests.join(F.broadcast(of_keepers.select("conflict_id", "pixel_digest")), "pixel_digest")
    showing = live_images(images).join(F.broadcast(alike.select("conflict_id", "content_id")), "content_id")
    return showing.join(part.select("image_id"), "image_id", "left_anti").select("conflict_id").distinct()
