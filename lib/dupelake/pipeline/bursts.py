"""The bursts of a night: which units follow the best of a crowd and meet nobody else."""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame

from dupelake.propose.bursts_stage import LEADERS, crowded_values, followers, members
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import IMAGES
from dupelake.warehouse.tables import single_row

log = logging.getLogger(__name__)


def find_followers(run: Run, units: DataFrame, hashes: DataFrame, n_units: int) -> DataFrame | None:
    """(scope, content_id, leaders) of units that are paired with the best of their burst alone, staged; or None.

    Args:
        run: its count is filled.
        units: (scope, content_id, is_new).
        hashes: HASHES of the present version.
        n_units: how many units there are.
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
        found = run.staging.save(followers(held, run.warehouse.read(IMAGES), hashes, lsh), "followers")
        run.count("burst_followers", found.count())
    if not run.counts["burst_followers"]:
        return None
    log.warning(
        "%d contents lie within %d bits of PDQ of the best of at least lsh.burst_min_images = %d such (a fixed camera, "
        "one picture again and again): each is compared with up to %d of the best, no two of them with each other, and "
        "other pictures with the best alone",
        *(run.counts["burst_followers"], lsh.burst_max_bits, lsh.burst_min_images, LEADERS),
    )
    return found
