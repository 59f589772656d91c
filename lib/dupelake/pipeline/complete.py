"""Checks whether all tables are up to date with each other. After a night they are; after a single job perhaps not."""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.errors import ModelError
from dupelake.ingest.live_stage import contents_of_pairs, live_images
from dupelake.pipeline.contents import Versions
from dupelake.pipeline.embedded import contents_to_embed
from dupelake.pipeline.lsh_join import current_versions, pixel_changes
from dupelake.pipeline.versions import is_other
from dupelake.propose.stage import joinable_units
from dupelake.runtime.run_record import Run
from dupelake.stage_versions import StageVersions
from dupelake.warehouse.schema import EMBEDDINGS, HASHES, IMAGES, JOINED, PAIRS

log = logging.getLogger(__name__)

_KEY = ["scope", "content_id"]


def is_up_to_date(run: Run) -> bool:
    """Whether pairs and embeddings match the images and this configuration. If not, the log names the jobs to run.

    Steps that this run did itself are not checked.
    """
    lacks: list[str] = []
    if not (run.is_embedded and run.is_joined):
        try:
            lacks = _lacks(run, current_versions(run))
        except ModelError as error:
            lacks = [str(error)]
    if lacks:
        log.warning(
            "the groups are built from an older join, so this run is not complete: %s; then cluster.py again",
            "; ".join(lacks),
        )
    return not lacks


def _lacks(run: Run, versions: Versions) -> list[str]:
    """The work that is not done yet, each with the job that does it."""
    wh, lacks = run.warehouse, []
    hashes = wh.read(HASHES).where(F.col("hash_version") == versions.hash)
    contents = live_images(wh.read(IMAGES)).select("content_id").distinct()
    n_other = contents.join(hashes, "content_id", "left_anti").count()
    if n_other:
        lacks.append(
            f"{n_other} contents have no hashes of version {versions.hash}: give the configuration that the warehouse "
            "was made with, or run hash.py --full with all manifests"
        )
    if not run.is_embedded and versions.model is not None:
        made = wh.read(EMBEDDINGS).where(F.col("model_id") == versions.model).select("content_id")
        wanted = contents.join(contents_to_embed(run), "content_id", "left_semi")
        n = wanted.join(made, "content_id", "left_anti").count()
        if n:
            lacks.append(f"{n} contents have no embedding of {versions.model}: run embed.py, then lsh_join.py")
    if not run.is_joined and not n_other:
        n = _not_joined(run, hashes, versions)
        if n:
            lacks.append(f"{n} contents or pairs are not as the join would leave them: run lsh_join.py")
    return lacks


def _not_joined(run: Run, hashes: DataFrame, versions: Versions) -> int:
    """Number of contents that have not met the others or are no longer joined, and of pairs with another decision."""
    wh, lsh = run.warehouse, run.config.lsh
    joined = wh.read(JOINED)
    units = joinable_units(wh.read(IMAGES), hashes, lsh)
    both = units.withColumn("is_unit", F.lit(True)).join(joined, _KEY, "full")
    differing = run.staging.save(
        both.where(F.col("is_unit").isNull() | ~F.col("join_version").eqNullSafe(versions.join)), "not-joined"
    )
    n = differing.count()
    if n and units.count() >= lsh.burst_min_images:
        # Followers of a burst never count as joined. They have a pair with a leader.
        near = contents_of_pairs(wh.read(PAIRS).where(F.col("found_by") != "pixel"))
        follows = differing.where("is_unit AND join_version IS NULL").join(near, "content_id", "left_semi")
        n -= follows.count()
    others = wh.read(PAIRS).where(is_other("decide_version", StageVersions(run.config).decide))
    return n + pixel_changes(run, hashes)[1] + others.count()
