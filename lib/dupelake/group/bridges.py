"""Find bridges: edges that connect pictures with nothing else in common.

A collage, a screenshot with two photographs in it or one false pair joins families of copies into one component. Two
patterns are cut. Both depend on the whole component and not on the order of its edges:

* a single edge between two dense clusters: if it were true, there would be more edges between them;
* a *composite*: a picture (with its plain copies) that alone connects several families, each of which has a higher
  resolution of the part that the composite shows. A full photograph with disjoint crops is not a composite, because
  its crops have no higher resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dupelake.group.unionfind import smallest_labels

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

KEPT, SINGLE, COMPOSITE_SRC, COMPOSITE_DST = 0, 1, 2, 3

WHOLE = 0.95  # share of a picture above which it counts as shown completely; alignment is exact to a few pixels
FINER = 1.25  # ratio of linear resolutions above which one picture shows the shared part clearly finer
FINER_DETAIL = 1.5  # the same without more pixels: measured detail alone may be wrong by two steps of 1.19
_DENSE_MIN_VERTICES = 3
_DENSE_SHARE = 0.5  # share of all possible edges
_FAMILY_MIN_VERTICES = 2


def is_finer(scale: Floats, resolution: Floats) -> Flags:
    """Whether the second of two pictures shows the shared part clearly finer than the first.

    Args:
        scale: pixels of the second for one pixel of the first.
        resolution: the same ratio of measured pixels (pixels times the share that carries detail).
    """
    return ((resolution > FINER) & (scale > FINER)) | (resolution > FINER_DETAIL)


def cut_bridges(
    src: Ints, dst: Ints, src_overlap: Floats, dst_overlap: Floats, scale: Floats, resolution: Floats
) -> npt.NDArray[np.int8]:
    """Code of each edge: KEPT, SINGLE, COMPOSITE_SRC (cut, the source is the composite) or COMPOSITE_DST.

    A composite keeps the families that show all of it. If there is none, it keeps the finer family that shows most of
    it (at a tie, the one with the lowest vertex). Its edges to the other finer families are cut. O(E log E).

    Args:
        src: one end of each edge, integers >= 0, lower is better; no loops, no repeats in either direction.
        dst: the other end.
        src_overlap: share of the source that the destination shows, 0 to 1.
        dst_overlap: share of the destination that the source shows.
        scale: pixels of the destination for one pixel of the source.
        resolution: the same ratio of measured pixels.

    Returns:
        int8[E]. Several components may be given at once; they do not affect each other.

    Reference:
        Hopcroft and Tarjan, Efficient algorithms for graph manipulation, CACM 1973 (blocks and cut vertices).
    """
    codes = np.zeros(len(src), np.int8)
    if len(src) == 0:
        return codes
    vertices, ends = np.unique(np.concatenate([src, dst]), return_inverse=True)
    a, b = ends[: len(src)].astype(np.int64), ends[len(src) :].astype(np.int64)
    codes[_single_bridges(a, b, len(vertices))] = SINGLE
    open_edges = np.nonzero(codes == KEPT)[0]
    a, b, so, do = a[open_edges], b[open_edges], src_overlap[open_edges], dst_overlap[open_edges]
    # Plain copies of one picture count as one vertex: a collage and its re-encoded copy are one composite.
    same = (so >= WHOLE) & (do >= WHOLE)
    label = smallest_labels(a[same], b[same], len(vertices))
    s, r = scale[open_edges], resolution[open_edges]
    links = _Links(a, b, label, so, do, is_finer(s, r), is_finer(1 / s, 1 / r))
    for edge, code in _composites(links, len(vertices)):
        codes[open_edges[edge]] = code
    return codes


def _single_bridges(a: Ints, b: Ints, n_vertices: int) -> Flags:
    """Edges that are the only connection between two dense clusters."""
    blocks = find_blocks(a, b, np.ones(n_vertices, np.int64))
    is_bridge = np.bincount(blocks.of_edge, minlength=1)[blocks.of_edge] == 1
    cluster = smallest_labels(a[~is_bridge], b[~is_bridge], n_vertices)
    size = np.bincount(cluster, minlength=n_vertices)
    inner = np.bincount(cluster[a[~is_bridge]], minlength=n_vertices)
    dense = (size >= _DENSE_MIN_VERTICES) & (inner >= _DENSE_SHARE * size * (size - 1) / 2)
    return np.asarray(is_bridge & dense[cluster[a]] & dense[cluster[b]])


@dataclass(frozen=True)
class _Links:
    """Edges between vertices, the picture label of each vertex, and what each end shows of the other."""

    a: Ints
    b: Ints
    label: Ints
    a_overlap: Floats
    b_overlap: Floats
    b_finer: Flags
    a_finer: Flags


@dataclass
class _Side:
    """The vertices connected to a cut vertex through one of its blocks."""

    size: int
    edges: list[int]
    is_complete: bool = False  # one of them shows all of the cut vertex
    is_finer: bool = False  # one of them is finer than each copy of the cut vertex it is linked with
    share: float = 0.0  # largest share of the cut vertex that one of them shows
    first: int = 0  # the best of them that has an edge to the cut vertex

    def order(self) -> tuple[float, int, int]:
        """Sort key: a composite without a complete side keeps the first side."""
        return -self.share, -self.size, self.first


def _composites(links: _Links, n_vertices: int) -> list[tuple[int, int]]:
    """(edge, code) of the edges of composites to cut."""
    between = np.nonzero(links.label[links.a] != links.label[links.b])[0]
    if len(between) == 0:
        return []
    p, q = links.label[links.a[between]], links.label[links.b[between]]
    low, high = np.minimum(p, q), np.maximum(p, q)
    pairs, which = np.unique(low * n_vertices + high, return_inverse=True)
    weight = np.bincount(links.label, minlength=n_vertices)
    blocks = find_blocks(pairs // n_vertices, pairs % n_vertices, weight)
    block = blocks.of_edge[which]
    edges: dict[tuple[int, int], list[int]] = {}
    for edge, x, y, k in zip(between.tolist(), p.tolist(), q.tolist(), block.tolist(), strict=True):
        for end in (x, y):
            if len(blocks.of_vertex[end]) > 1:
                edges.setdefault((end, k), []).append(edge)
    sides: dict[int, list[_Side]] = {}
    for (x, k), found in edges.items():
        sides.setdefault(x, []).append(_side(links, x, blocks.size_beyond(x, k), found))
    out = []
    for x, around in sides.items():
        for side in _sides_to_cut(around):
            out += [(e, COMPOSITE_SRC if links.label[links.a[e]] == x else COMPOSITE_DST) for e in side.edges]
    return out


def _side(links: _Links, x: int, size: int, edges: list[int]) -> _Side:
    side = _Side(size, edges)
    finer: dict[int, bool] = {}
    for e in edges:
        outward = links.label[links.a[e]] == x  # from the cut vertex (a) to the side (b)
        other = int(links.b[e] if outward else links.a[e])
        share = float(links.a_overlap[e] if outward else links.b_overlap[e])
        is_finer_here = bool(links.b_finer[e] if outward else links.a_finer[e])
        finer[other] = finer.get(other, True) and is_finer_here
        side.share = max(side.share, share)
    side.is_complete = side.share >= WHOLE
    side.is_finer = any(finer.values())
    side.first = min(finer)
    return side


def _sides_to_cut(sides: list[_Side]) -> list[_Side]:
    """The sides to cut off; none unless the cut vertex connects several families."""
    finer = [side for side in sides if side.is_finer and not side.is_complete]
    complete = [side for side in sides if side.is_complete]
    n_families = sum(side.size >= _FAMILY_MIN_VERTICES for side in finer)
    n_complete = sum(side.size >= _FAMILY_MIN_VERTICES for side in complete)
    if n_families >= 1 and n_complete >= 1:
        return finer
    if n_families >= 2:
        return finer if complete else sorted(finer, key=_Side.order)[1:]
    return []


@dataclass(frozen=True)
class Blocks:
    """Blocks (maximal subgraphs without a cut vertex) of a graph.

    Attributes:
        of_edge: int64[E], the block of each edge; a block of one edge is a bridge.
        of_vertex: the blocks of each vertex; a vertex of several blocks is a cut vertex.
        top: the first vertex of each block in the search.
        below: total weight of the vertices connected to `top` through the block.
        total: weight of each vertex's component.
        weight: weight of each vertex.
    """

    of_edge: Ints
    of_vertex: list[list[int]]
    top: list[int]
    below: list[int]
    total: list[int]
    weight: Ints

    def size_beyond(self, vertex: int, block: int) -> int:
        """Total weight of the vertices connected to `vertex` through `block`."""
        if self.top[block] == vertex:
            return self.below[block]
        hanging = sum(self.below[k] for k in self.of_vertex[vertex] if self.top[k] == vertex)
        return self.total[vertex] - int(self.weight[vertex]) - hanging


def find_blocks(a: Ints, b: Ints, weight: Ints) -> Blocks:
    """The blocks of a graph, by one depth-first search without recursion; O(V + E).

    Args:
        a: one end of each edge, in [0, len(weight)); no loops, no repeats.
        b: the other end.
        weight: weight of each vertex, for the sizes of the sides of a cut vertex.
    """
    n = len(weight)
    search = _Search(a, b, weight)
    for root in range(n):
        if not search.found[root] and search.at[root] < search.stop[root]:
            search.run(root)
    blocks, n_blocks = np.array(search.of_edge, np.int64), len(search.top)
    of_vertex: list[list[int]] = [[] for _ in range(n)]
    for code in np.unique(np.concatenate([a * n_blocks + blocks, b * n_blocks + blocks])).tolist():
        of_vertex[code // n_blocks].append(code % n_blocks)
    return Blocks(blocks, of_vertex, search.top, search.below, search.total, weight)


class _Search:
    """Depth-first search that completes blocks as it leaves them. It uses lists, because it visits single edges."""

    def __init__(self, a: Ints, b: Ints, weight: Ints):
        n, m = len(weight), len(a)
        ends = np.concatenate([a, b])
        order = np.argsort(ends, kind="stable")
        self.stop: list[int] = np.searchsorted(ends[order], np.arange(n), side="right").tolist()
        self.other: list[int] = np.concatenate([b, a])[order].tolist()
        self.edge: list[int] = (order % max(m, 1)).tolist()
        self.at = [0, *self.stop[:-1]]  # index of the next edge of each vertex
        self.found, self.low = [0] * n, [0] * n  # 0: not visited
        self.size: list[int] = weight.tolist()
        self.total = list(self.size)
        self.of_edge = [-1] * m
        self.top: list[int] = []
        self.below: list[int] = []
        self.open_edges: list[int] = []  # edges whose block is not complete
        self.clock = 0

    def run(self, root: int) -> None:
        """Search the component of `root`."""
        path, by, seen = [root], [-1], [root]
        self._find(root)
        while path:
            v = path[-1]
            if self.at[v] == self.stop[v]:
                path.pop()
                edge = by.pop()
                if path:
                    self._leave(v, path[-1], edge)
                continue
            w, edge = self.other[self.at[v]], self.edge[self.at[v]]
            self.at[v] += 1
            if edge == by[-1]:
                continue
            if not self.found[w]:
                self._find(w)
                self.open_edges.append(edge)
                path.append(w)
                by.append(edge)
                seen.append(w)
            elif self.found[w] < self.found[v]:
                self.open_edges.append(edge)
                self.low[v] = min(self.low[v], self.found[w])
        for v in seen:
            self.total[v] = self.size[root]

    def _find(self, vertex: int) -> None:
        self.clock += 1
        self.found[vertex] = self.low[vertex] = self.clock

    def _leave(self, child: int, parent: int, edge: int) -> None:
        """Return from `child`. If nothing below it reaches above `parent`, a block ends with `edge`."""
        self.size[parent] += self.size[child]
        self.low[parent] = min(self.low[parent], self.low[child])
        if self.low[child] < self.found[parent]:
            return
        block, last = len(self.top), -1
        self.top.append(parent)
        self.below.append(self.size[child])
        while last != edge:
            last = self.open_edges.pop()
            self.of_edge[last] = block
