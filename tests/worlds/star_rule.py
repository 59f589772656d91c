"""The greedy star cover by its rule, vertex by vertex: the best free vertex takes all its free neighbours."""

from __future__ import annotations

import numpy as np


def star_cover(src, dst):
    """(vertex, centre) of each vertex that occurs, ascending; smaller is better, a centre names itself."""
    near: dict[int, set[int]] = {}
    for a, b in zip(src.tolist(), dst.tolist(), strict=True):
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    free, centre = set(near), {}
    while free:
        best = min(free)
        for vertex in {best} | (near[best] & free):
            centre[vertex] = best
        free -= set(centre)
    vertices = sorted(centre)
    return np.array(vertices), np.array([centre[vertex] for vertex in vertices])
