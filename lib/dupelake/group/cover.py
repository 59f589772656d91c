"""Which pictures form a group: the keeper's neighbours, and the neighbours of its plain copies.

A copy of a copy is a copy if both edges are *tight*: re-encoded, resized, mirrored or cropped. Edits are not tight: a
chain of edits may lead to any picture. Long chains of tight edges may also drift: each frame of a slow film is a copy
of the next. So a group contains the keeper's neighbours and, beyond them, the neighbours of its tight neighbours only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def group_cover(src: Ints, dst: Ints, is_tight: Flags, n: int) -> Ints:
    """Greedy cover by rank: the best free vertex takes its free neighbours, and those of its tight neighbours.

    Without tight edges each group is a star: the best free vertex takes all its free neighbours. The result depends on
    ranks and edges, not on the order of edges. Several components may be given at once; they do not affect each other.
    O(E log E).

    Args:
        src: rank of one end of each edge, in [0, n); smaller is better; no loops, no repeats.
        dst: rank of the other end.
        is_tight: bool (E,).
        n: number of ranks.

    Returns:
        int64 (n,): the best vertex of the group of each vertex; a vertex without an edge names itself.
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


def comparison_partners(src: Ints, dst: Ints, is_tight: Flags, centre: Ints) -> Ints:
    """The vertex with which each vertex of a group was compared: its centre, else its best neighbour in the group.

    Args:
        src: rank of one end of each edge; no loops.
        dst: rank of the other end.
        is_tight: bool (E,); tight neighbours are better than others, then smaller ranks are better.
        centre: int64 (n,), result of `group_cover`.

    Returns:
        int64 (n,): the neighbour; -1 for centres and for vertices that have no neighbour in their group.
    """
    partner = np.full(len(centre), -1, np.int64)
    inside = centre[src] == centre[dst]
    one, other = np.concatenate([src[inside], dst[inside]]), np.concatenate([dst[inside], src[inside]])
    is_loose = ~np.concatenate([is_tight[inside], is_tight[inside]])
    order = np.lexsort((other, is_loose, other != centre[one], one))
    vertices, first = np.unique(one[order], return_index=True)
    partner[vertices] = other[order][first]
    partner[centre == np.arange(len(centre))] = -1
    return partner
