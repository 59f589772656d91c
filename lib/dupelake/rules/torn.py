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
        scratch: with the tables `judged`, `ruled_before` and those of PEOPLE.

    Returns:
        (low string, high string, verdict string).
    """
    new = scratch.query(
        "SELECT DISTINCT low, high, verdict FROM judged WHERE status = 'new' AND verdict <> 'keeper'"
    ).combine_chunks()
    others = scratch.query(
        "SELECT low, high, verdict FROM ruled_before r WHERE high IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM judged j WHERE j.low = r.low AND j.high = r.high AND j.status = 'new') "
        f"UNION ALL SELECT vertex, duplicate_set, '{DUPLICATE}' FROM {PEOPLE.sets} WHERE vertex <> duplicate_set "
        f"UNION ALL SELECT low, high, 'not_duplicate' FROM {PEOPLE.between} WHERE low <> high"
    )
    every = pa.concat_tables([new, others.cast(new.schema)])
    names = pa.chunked_array([*every["low"].chunks, *every["high"].chunks], pa.string()).combine_chunks()
    codes = names.dictionary_encode()
    ends = codes.indices.to_numpy(zero_copy_only=False).astype(np.int64).reshape(2, -1)
    joins = np.asarray(pc.equal(every["verdict"], DUPLICATE), np.bool_)
    labels = smallest_labels(ends[0][joins], ends[1][joins], len(codes.dictionary))
    low, high = labels[ends[0]], labels[ends[1]]
    torn = np.unique(low[~joins & (low == high)])
    is_torn = (low == high) & np.isin(low, torn)
    return new.filter(pa.array(is_torn[: len(new)]))
