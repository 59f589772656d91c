"""The bursts of a night: finds the followers, which are compared only with their leaders."""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame

from dupelake.propose.bursts_stage import LEADERS, crowded_values, followers, members
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import IMAGES
from dupelake.warehouse.tables import single_row

log = logging.getLogger(__name__)


def find_followers(run: Run, units: DataFrame, hashes: DataFrame, n_units: int) -> DataFrame | None:
    """(scope, content_id, leaders) of all followers, staged; None if there are none.

    Args:
        run: its count `burst_followers` is set.
        units: (scope, content_id, is_new).
        hashes: HASHES of the present version.
        n_units: number of units.
    """
    lsh, context = run.config.lsh, run.warehouse.spark.sparkContext
    run.count("burst_followers", 0)
    if n_units < lsh.burst_min_images:
        return None
    with run.step("bursts"):
        values = single_row(crowded_values(units, hashes, lsh))
        if not values["n_crowded"]:
            return None
        held = run.staging.save(members(units, hashes, context.broadcast(bytes(values["flags"]))), "crowds")
        found, seen = run.staging.counted(followers(held, run.warehouse.read(IMAGES), hashes, lsh), "followers")
        run.counts.burst_followers = seen["n"]
    if not run.counts["burst_followers"]:
        return None
    log.warning(
        "%d contents belong to bursts (a fixed camera, one picture many times): they differ by at most %d bits of PDQ "
        "from the best content of a burst of at least lsh.burst_min_images = %d contents. Each is compared with up to "
        "%d of the best contents only. Other pictures are compared with the best contents only",
        *(run.counts["burst_followers"], lsh.burst_max_bits, lsh.burst_min_images, LEADERS),
    )
    return found
