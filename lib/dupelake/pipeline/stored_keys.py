"""The stored join keys of the units: deletes outdated keys and computes missing ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.propose.join_keys_stage import compute_keys, not_current
from dupelake.runtime.run_record import Run
from dupelake.warehouse.schema import JOIN_KEYS


def stored_keys(
    run: Run,
    units: DataFrame,
    features: DataFrame,
    embeddings: DataFrame | None,
    centre: npt.NDArray[np.float32] | None,
    version: str,
    n_few: int,
) -> tuple[DataFrame, DataFrame]:
    """Join keys of all contents; `new_keys` covers at least the new ones.

    Missing keys are computed and added in one commit. On a small night whose new units were all computed now, the
    second result has these keys only, so that the join need not search the whole table for them.

    Args:
        run: its table is read and added to.
        units: (scope, content_id, is_new).
        features: as for `compute_keys`.
        embeddings: as for `compute_keys`.
        centre: as for `compute_keys`.
        version: as for `compute_keys`.
        n_few: number of new units, if they are few and keys are large; else 0.
    """
    wh, lsh = run.warehouse, run.config.lsh
    stored, contents = wh.read(JOIN_KEYS), units.select("content_id").distinct()  # of the units of all scopes
    counts = {"lacking": F.count_if("is_wanted"), "outdated": F.count_if("is_stored")}
    found, seen = run.staging.counted(not_current(stored, contents, version), "keys", **counts)
    if seen["outdated"]:
        wh.merge(JOIN_KEYS, stored.limit(0), delete=found.where("is_stored"), is_change=True)
    n_lacking = seen["lacking"]
    if n_lacking:
        # append: a merge would compute all twice; what is lacking was compared with the committed table
        lacking = found.where("is_wanted").select("content_id")
        made = compute_keys(lacking, features, embeddings, centre, lsh, version)
        are_few = n_lacking <= 2 * n_few
        if are_few:
            made = run.staging.save(made, "new-keys")
        wh.append(JOIN_KEYS, made)
        if are_few and units.where("is_new").join(made, "content_id", "left_anti").isEmpty():
            return wh.read(JOIN_KEYS), made
    keys = wh.read(JOIN_KEYS)
    return keys, keys
