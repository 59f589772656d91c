"""Bridges: blocks compared with networkx, and graphs that must be cut or must stay whole."""

from __future__ import annotations

import itertools
import random

import networkx as nx
import numpy as np
import pytest

from dupelake.group.bridges import (
    COMPOSITE_DST,
    COMPOSITE_SRC,
    KEPT,
    SINGLE,
    cut_bridges,
    find_blocks,
    is_finer,
)


def random_edges(seed):
    rng = random.Random(seed)  # noqa: S311
    n = rng.randint(2, 40)
    return n, sorted({tuple(sorted(rng.sample(range(n), 2))) for _ in range(int(n * rng.choice((0.6, 1, 1.3, 3))))})


@pytest.mark.parametrize("seed", range(60))
def test_blocks_cut_vertices_and_sizes_of_sides_equal_networkx(seed):
    n, edges = random_edges(seed)
    random.Random(seed + 1).shuffle(edges)  # noqa: S311
    ends = np.array(edges, np.int64).reshape(-1, 2)
    weight = np.random.default_rng(seed).integers(1, 5, n)
    blocks = find_blocks(ends[:, 0], ends[:, 1], weight)
    graph = nx.Graph(edges)
    ours = {frozenset(frozenset(edges[e]) for e in np.nonzero(blocks.of_edge == k)[0]) for k in range(len(blocks.top))}
    theirs = {frozenset(frozenset(e) for e in block) for block in nx.biconnected_component_edges(graph)}
    assert ours == theirs
    cut = {v for v in range(n) if len(blocks.of_vertex[v]) > 1}
    assert cut == set(nx.articulation_points(graph))
    for v in cut:
        rest = graph.subgraph(set(graph) - {v})
        weights = {u: int(sum(weight[list(c)])) for c in nx.connected_components(rest) for u in c}
        for k in blocks.of_vertex[v]:
            near = next(u for e in np.nonzero(blocks.of_edge == k)[0] if v in edges[e] for u in edges[e] if u != v)
            assert blocks.size_beyond(v, k) == weights[near]


class Graph:
    """Edges by name, in order of quality; each says what its ends show of each other."""

    def __init__(self, names):
        self.place = {name: i for i, name in enumerate(names.split())}
        self.edges = {}

    def link(self, a, b, a_overlap=1.0, b_overlap=1.0, resolution=1.0):
        """`resolution`: of b for one of a."""
        self.edges[a, b] = (a_overlap, b_overlap, resolution)
        return self

    def clique(self, names):
        for a, b in itertools.combinations(names.split(), 2):
            self.link(a, b)
        return self

    def cut(self, seed=None):
        rows = [(self.place[a], self.place[b], *how) for (a, b), how in self.edges.items()]
        names, rng = list(self.edges), random.Random(seed)  # noqa: S311
        if seed is not None:
            order = rng.sample(range(len(rows)), len(rows))
            rows, names = [rows[i] for i in order], [names[i] for i in order]
            for i in range(len(rows)):
                if rng.random() < 0.5:
                    a, b, so, do, r = rows[i]
                    rows[i], names[i] = (b, a, do, so, 1 / r), names[i][::-1]
        s, d, so, do, r = (np.array(column) for column in zip(*rows, strict=True))
        codes = cut_bridges(s.astype(np.int64), d.astype(np.int64), so.astype(float), do.astype(float), r, r)
        out = {}
        for name, code in zip(names, codes.tolist(), strict=True):
            if code == SINGLE:
                out[frozenset(name)] = "single"
            elif code != KEPT:
                out[frozenset(name)] = name[0 if code == COMPOSITE_SRC else 1]
                assert code in (COMPOSITE_SRC, COMPOSITE_DST)
        return out


def collage(*, finer=2.0):
    """x shows two photographs, each of which has a copy; finer: by how much they are finer than what x shows."""
    g = Graph("p q x p2 q2").clique("p p2").clique("q q2")
    for part in ("p", "p2"):
        g.link("x", part, 0.4, 1.0, finer)
    for part in ("q", "q2"):
        g.link("x", part, 0.3, 1.0, finer)
    return g


def cut_names(*edges):
    return {frozenset(edge.split("-")) for edge in edges}


def test_a_collage_stays_with_the_family_that_shows_most_of_it():
    assert collage().cut() == dict.fromkeys(cut_names("x-q", "x-q2"), "x")


def test_a_collage_and_its_copy_are_one_composite():
    g = collage()
    g.place["y"] = 9
    g.link("x", "y")
    for part, share in (("p", 0.4), ("p2", 0.4), ("q", 0.3), ("q2", 0.3)):
        g.link("y", part, share, 1.0, 2.0)
    cut = g.cut()
    assert set(cut) == cut_names("x-q", "x-q2", "y-q", "y-q2")
    assert {cut[e] for e in cut} == {"x", "y"}


def test_a_collage_that_is_as_fine_as_its_parts_is_their_fuller_picture():
    assert collage(finer=1.0).cut() == {}


def test_a_collage_whose_finer_copy_is_as_fine_as_its_parts_is_their_fuller_picture_too():
    g = collage()
    g.place["y"] = 9
    g.link("x", "y", 1.0, 1.0, 2.0)
    for part, share in (("p", 0.4), ("p2", 0.4), ("q", 0.3), ("q2", 0.3)):
        g.link("y", part, share, 1.0, 1.0)
    assert all(g.cut(seed) == {} for seed in range(10))


def test_a_full_photograph_keeps_two_disjoint_families_of_crops():
    g = Graph("f a b a2 b2").clique("a a2").clique("b b2")
    for crop in ("a", "a2", "b", "b2"):
        g.link("f", crop, 0.3, 1.0, 0.9)
    assert g.cut() == {}


def test_a_photograph_keeps_two_families_that_add_a_caption_to_a_crop():
    g = Graph("f a b a2 b2").clique("a a2").clique("b b2")
    for crop in ("a", "a2", "b", "b2"):
        g.link("f", crop, 0.4, 0.8, 1.0)
    assert g.cut() == {}


def test_a_picture_with_a_sticker_stays_with_its_own_and_leaves_the_family_of_the_sticker():
    g = Graph("p q x p2 q2").clique("p p2").clique("q q2")
    for name in ("p", "p2"):
        g.link("x", name, 1.0, 0.9)
    for name in ("q", "q2"):
        g.link("x", name, 0.1, 1.0, 4.0)
    assert g.cut() == dict.fromkeys(cut_names("x-q", "x-q2"), "x")


def test_single_photographs_under_a_collage_are_for_the_star_cover():
    g = Graph("p q r x")
    for name in ("p", "q", "r"):
        g.link("x", name, 0.3, 1.0, 2.0)
    assert g.cut() == {}


@pytest.mark.parametrize(
    ("left", "right", "single"),
    [("a b c", "d e f", True), ("a b c", "d e", False), ("a b c", "d", False), ("a b c g", "d e f", True)],
)
def test_one_edge_between_two_dense_clusters_is_cut(left, right, single):
    g = Graph("a b c d e f g").clique(left).clique(right).link("c", "d", 0.6, 0.6)
    assert g.cut() == ({frozenset("cd"): "single"} if single else {})


def test_two_edges_between_two_clusters_stay():
    assert Graph("a b c d e f").clique("a b c").clique("d e f").link("c", "d").link("b", "e").cut() == {}


def test_a_thin_cluster_is_not_dense():
    ring = ["a", "b", "c", "d", "e", "f", "g", "h"]
    g = Graph("a b c d e f g h x y z").clique("x y z").link("a", "x")
    for i, name in enumerate(ring):
        g.link(name, ring[(i + 1) % 8])
    assert g.cut() == {}


def everything():
    """All shapes above in one graph, as components of their own."""
    parts = [collage(), collage(finer=1.0)]
    parts.append(Graph("a b c d e f").clique("a b c").clique("d e f").link("c", "d"))
    whole = Graph("")
    for number, part in enumerate(parts):
        for name, place in part.place.items():
            whole.place[f"{number}{name}"] = 10 * place + number
        for (a, b), how in part.edges.items():
            whole.edges[f"{number}{a}", f"{number}{b}"] = how
    return whole, parts


def test_components_do_not_feel_each_other_and_order_changes_nothing():
    whole, parts = everything()
    expected = {frozenset(f"{n}{v}" for v in edge) for n, part in enumerate(parts) for edge in part.cut()}
    assert set(whole.cut()) == expected
    assert len(expected) == 3
    for seed in range(20):
        assert whole.cut(seed) == whole.cut()


def test_finer_needs_more_pixels_or_much_more_detail():
    scale, resolution = np.array([1.3, 1.0, 1.0, 1.3, 0.5]), np.array([1.3, 1.41, 1.6, 1.2, 1.6])
    assert is_finer(scale, resolution).tolist() == [True, False, True, False, True]


def test_a_path_a_star_and_a_long_cycle_of_100000_need_no_recursion():
    n = 100_000
    path, hub = np.arange(n), np.zeros(n - 1, np.int64)
    ones = np.ones(n)
    for a, b in ((path[:-1], path[1:]), (hub, path[1:]), (path, np.roll(path, 1))):
        half = np.full(len(a), 0.5)
        assert not cut_bridges(a, b, half, half, ones[: len(a)], ones[: len(a)]).any()


def test_nothing_gives_nothing():
    empty, none = np.empty(0, np.int64), np.empty(0)
    assert cut_bridges(empty, empty, none, none, none, none).tolist() == []
