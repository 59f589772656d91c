"""Verdicts of rules that would contradict others over copies of copies, found by connected components."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupelake.group.unionfind import smallest_labels
from dupelake.group.verdicts import DUPLICATE
from dupelake.rules.tables import PEOPLE
from dupelake.warehouse.scratch import Scratch

# Names are of this room.
# ruff: noqa: S608


def torn_pairs(scratch: Scratch) -> pa.Table:
    """The new verdicts of rules in sets of copies within which a verdict keeps two pictures apart.

    `duplicate` is transitive. If rules call a and b copies, and b and c, but a rule or a person keeps a and c apart,
    then none of the rules' verdicts within that set may be written.

    Args:
        scratch: with the tables `judged_pairs`, `ruled_before` and those of PEOPLE.

    Returns:
        (low int64, high int64, verdict string).
    """
    is_new = "j.low = r.low AND j.high = r.high AND j.status = 'new'"
    new = scratch.query("SELECT low, high, verdict FROM judged_pairs WHERE status = 'new' AND is_first")
    others = scratch.query(
        f"""SELECT low, high, verdict FROM ruled_before r
        WHERE high IS NOT NULL AND NOT EXISTS (SELECT 1 FROM judged_pairs j WHERE {is_new})
        UNION ALL
        SELECT vertex, min(vertex) OVER (PARTITION BY duplicate_set), '{DUPLICATE}' FROM {PEOPLE.sets}
        UNION ALL
        SELECT a.vertex, b.vertex, 'not_duplicate' FROM {PEOPLE.between} k
        JOIN (SELECT duplicate_set, min(vertex) AS vertex FROM {PEOPLE.sets} GROUP BY 1) a ON a.duplicate_set = k.low
        JOIN (SELECT duplicate_set, min(vertex) AS vertex FROM {PEOPLE.sets} GROUP BY 1) b ON b.duplicate_set = k.high
        WHERE k.low <> k.high"""
    )
    every = pa.concat_tables([new, others.cast(new.schema)])
    ends = np.stack([every["low"].to_numpy(), every["high"].to_numpy()]).astype(np.int64)
    names, codes = np.unique(ends, return_inverse=True)
    codes = codes.reshape(ends.shape)
    joins = np.asarray(pc.equal(every["verdict"], DUPLICATE), np.bool_)
    labels = smallest_labels(codes[0][joins], codes[1][joins], len(names))
    low, high = labels[codes[0]], labels[codes[1]]
    torn = np.unique(low[~joins & (low == high)])
    is_torn = (low == high) & np.isin(low, torn)
    return new.filter(pa.array(is_torn[: len(new)]))
