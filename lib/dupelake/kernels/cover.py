"""Which pictures stand in one group: tight links are transitive, other links are not.

A copy of a copy is a copy: equal pictures, re-encoded, resized, mirrored or cropped ones form a *cluster*, however they
are linked with each other. An edit is no such link: from edit to edit a chain would lead anywhere. So clusters, not
pictures, are covered by stars: the cluster of the best picture takes the clusters that it has any link with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dupelake.kernels.stars import star_cover
from dupelake.kernels.unionfind import smallest_labels

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def cluster_cover(src: Ints, dst: Ints, is_tight: Flags, n: int) -> Ints:
    """The star cover of the clusters that tight edges make.

    Args:
        src: rank of one end of each edge, in [0, n); smaller is better; loops and repeats are allowed.
        dst: rank of the other end.
        is_tight: bool (E,), the edge is transitive.
        n: number of ranks.

    Returns:
        int64 (n,): the best vertex of the group of each vertex; itself where no edge names it. O(E log E).
    """
    cluster = smallest_labels(src[is_tight], dst[is_tight], n)
    centre = np.arange(n)
    vertices, centres = star_cover(cluster[src], cluster[dst])
    centre[vertices] = centres
    return np.asarray(centre[cluster], np.int64)


def next_of_kin(src: Ints, dst: Ints, is_tight: Flags, centre: Ints) -> Ints:
    """With whom each vertex of a group was compared: its centre, else its best neighbour in the group.

    Args:
        src: rank of one end of each edge; no loops.
        dst: rank of the other end.
        is_tight: bool (E,); a tight neighbour is better than any other, and a smaller rank than a larger.
        centre: int64 (n,), as `cluster_cover` gives it.

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
