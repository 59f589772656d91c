"""Which pictures stand in one group: the keeper's neighbours, and the neighbours of its plain copies.

A copy of a copy is a copy where the links are *tight*: re-encoded, resized, mirrored, cropped. An edit is no such link:
from edit to edit a chain leads anywhere. Nor does a chain of tight links end where it began: the frames of a slow film
are copies of their neighbours each. So a group reaches over one tight link beyond what passed against the keeper.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def group_cover(src: Ints, dst: Ints, is_tight: Flags, n: int) -> Ints:
    """Greedy cover in order of rank: the best free vertex takes its free neighbours, and those of its tight neighbours.

    Without tight edges it is `stars.star_cover`. The outcome depends on ranks and edges only, not on their order;
    several components may be given at once, none of them feels the others. O(E log E).

    Args:
        src: rank of one end of each edge, in [0, n); smaller is better; no loops, no repeats.
        dst: rank of the other end.
        is_tight: bool (E,).
        n: number of ranks.

    Returns:
        int64 (n,): the best vertex of the group of each vertex; itself where no edge names it.
    """
    one, other = np.concatenate([src, dst]).astype(np.int64), np.concatenate([dst, src]).astype(np.int64)
    tight = np.concatenate([is_tight, is_tight])
    order = np.argsort(one, kind="stable")
    other, tight = other[order], tight[order]
    ends = np.searchsorted(one[order], np.arange(n + 1)).tolist()
    centre = np.full(n, -1, np.int64)
    for vertex in range(n):
        if centre[vertex] >= 0:
            continue
        centre[vertex] = vertex
        here = slice(ends[vertex], ends[vertex + 1])
        near = other[here]
        free = centre[near] < 0
        centre[near[free]] = vertex
        for copy in near[free & tight[here]].tolist():
            beyond = other[ends[copy] : ends[copy + 1]]
            centre[beyond[centre[beyond] < 0]] = vertex
    return centre


def next_of_kin(src: Ints, dst: Ints, is_tight: Flags, centre: Ints) -> Ints:
    """With whom each vertex of a group was compared: its centre, else its best neighbour in the group.

    Args:
        src: rank of one end of each edge; no loops.
        dst: rank of the other end.
        is_tight: bool (E,); a tight neighbour is better than any other, and a smaller rank than a larger.
        centre: int64 (n,), as `group_cover` gives it.

    Returns:
        int64 (n,): the neighbour; -1 for centres and for vertices that have no neighbour in their group.
    """
    kin = np.full(len(centre), -1, np.int64)
    inside = centre[src] == centre[dst]
    one, other = np.concatenate([src[inside], dst[inside]]), np.concatenate([dst[inside], src[inside]])
    is_loose = ~np.concatenate([is_tight[inside], is_tight[inside]])
    order = np.lexsort((other, is_loose, other != centre[one], one))
    vertices, first = np.unique(one[order], return_index=True)
    kin[vertices] = other[order][first]
    kin[centre == np.arange(len(centre))] = -1
    return kin
