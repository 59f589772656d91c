"""Which pictures form a group: the keeper's neighbours, and the neighbours of its plain copies.

A copy of a copy is a copy if both edges are *tight*: re-encoded, resized, mirrored or cropped. Edits are not tight: a
chain of edits may lead to any picture. Long chains of tight edges may also drift: each frame of a slow film is a copy
of the next. So a group contains the keeper's neighbours and, beyond them, the neighbours of its tight neighbours only.
In components with verdicts of people, `verdict_cover` takes whole sets of them.
"""

from __future__ import annotations

from collections.abc import Iterable

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


def verdict_cover(
    src: Ints,
    dst: Ints,
    vertices: Ints,
    linked_set: Ints,
    duplicate_set: Ints,
    chosen: Flags,
    apart: Iterable[tuple[int, int]],
) -> Ints:
    """Greedy star cover that obeys verdicts: the best free vertex takes its linked set and those of its neighbours.

    Without verdicts the best free vertex takes all its free neighbours. With them a linked set is taken as a whole or
    not at all; it is not taken if it must be kept apart from a member of the star, or if the star would get a second
    chosen keeper. A linked set with two chosen keepers is split into its vertices.

    Args:
        src: one end of each edge, out of `vertices`; smaller is better; loops and repeats are allowed.
        dst: the other end.
        vertices: int64 (n,), ascending, unique: all vertices.
        linked_set: int64 (n,), linked set of each vertex; all its vertices are in one component.
        duplicate_set: int64 (n,), duplicate set of each vertex.
        chosen: bool (n,), whether a verdict makes the vertex a keeper.
        apart: pairs of duplicate sets that may not be in one star; (s, s): no two vertices of s may be in one star.

    Returns:
        int64 (n,): the centre of each vertex; a centre names itself. O(E log E) plus the sizes of the linked sets.
    """
    n = len(vertices)
    linked_sets = np.unique(linked_set, return_inverse=True)[1].astype(np.int64)
    twice = np.bincount(linked_sets, weights=chosen, minlength=n)[linked_sets] > 1
    linked_sets[twice] = n + np.nonzero(twice)[0]
    members: dict[int, list[int]] = {}
    for v, u in enumerate(linked_sets.tolist()):
        members.setdefault(u, []).append(v)
    a, b = np.searchsorted(vertices, src), np.searchsorted(vertices, dst)
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((high, low))
    near, ends = high[order].tolist(), np.searchsorted(low[order], np.arange(n + 1)).tolist()
    kept_apart: dict[int, set[int]] = {}
    for x, y in apart:
        kept_apart.setdefault(x, set()).add(y)
        kept_apart.setdefault(y, set()).add(x)
    set_of, sets, is_chosen = linked_sets.tolist(), duplicate_set.tolist(), chosen.tolist()
    centre = np.full(n, -1, np.int64)
    for c in range(n):
        if centre[c] >= 0:
            continue
        star_sets: set[int] = set()
        has_chosen = False
        # The own linked set, then those of neighbours. Better vertices are in a star already: worse ones are enough.
        for w in (c, *near[ends[c] : ends[c + 1]]):
            new = members[set_of[w]]
            new_has_chosen = any(is_chosen[v] for v in new)
            is_separate = any(kept_apart.get(sets[v], set()) & star_sets for v in new)
            if centre[w] >= 0 or (has_chosen and new_has_chosen) or is_separate:
                continue
            centre[new] = c
            star_sets |= {sets[v] for v in new}
            has_chosen = has_chosen or new_has_chosen
    return np.asarray(vertices[centre], np.int64)
