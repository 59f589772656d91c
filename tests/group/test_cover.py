"""Groups: the neighbours of a keeper, and those of its plain copies."""

from __future__ import annotations

import time

import numpy as np
from star_rule import star_cover

from dupelake.group.cover import comparison_partners, group_cover


def cover(edges: list[tuple[int, int, bool]], n: int) -> tuple[list[int], list[int]]:
    src, dst, tight = (np.array(column) for column in zip(*edges, strict=True))
    centre = group_cover(src, dst, tight.astype(bool), n)
    return centre.tolist(), comparison_partners(src, dst, tight.astype(bool), centre).tolist()


def test_a_copy_of_a_copy_is_in_the_group_with_the_vertex_it_was_compared_with() -> None:
    assert cover([(0, 1, True), (1, 2, True)], 3) == ([0, 0, 0], [-1, 0, 1])


def test_an_edit_of_a_copy_is_in_the_group() -> None:
    assert cover([(0, 1, True), (1, 2, False)], 3) == ([0, 0, 0], [-1, 0, 1])


def test_a_chain_of_edits_is_not_one_group() -> None:
    assert cover([(0, 1, False), (1, 2, False), (2, 3, False)], 4) == ([0, 0, 2, 2], [-1, 0, -1, 2])


def test_the_partner_is_the_keeper_else_a_tight_neighbour_else_the_best_one() -> None:
    edges = [(0, 1, True), (0, 2, True), (1, 3, False), (2, 3, True), (0, 4, False), (1, 4, True)]
    centre, kin = cover(edges, 5)
    assert centre == [0] * 5
    assert kin == [-1, 0, 0, 2, 0]


def test_without_tight_edges_it_is_the_star_cover() -> None:
    rng = np.random.default_rng(3)
    src, dst = rng.integers(0, 60, (2, 90))
    src, dst = src[src != dst], dst[src != dst]
    centre = group_cover(src, dst, np.zeros(len(src), bool), 60)
    vertices, centres = star_cover(src, dst)
    assert centre[vertices].tolist() == centres.tolist()


def test_a_sorted_chain_of_100000_is_quick() -> None:
    path = np.arange(100_000)
    started = time.perf_counter()
    centre = group_cover(path[:-1], path[1:], np.zeros(len(path) - 1, bool), len(path))
    assert time.perf_counter() - started < 5  # a quadratic rule would take minutes
    assert np.array_equal(centre, path - path % 2)


def test_a_film_of_tight_links_makes_groups_of_its_neighbours() -> None:
    centre, _ = cover([(i, i + 1, True) for i in range(99)], 100)
    assert centre == [i // 3 * 3 for i in range(100)]


def test_each_member_is_at_most_two_edges_from_its_keeper_in_any_order_of_edges() -> None:
    rng = np.random.default_rng(5)
    edges = np.unique(np.sort(rng.integers(0, 80, (160, 2)), axis=1), axis=0)
    edges = edges[edges[:, 0] != edges[:, 1]]
    tight = rng.random(len(edges)) < 0.5
    centre = group_cover(edges[:, 0], edges[:, 1], tight, 80)
    order = rng.permutation(len(edges))
    assert group_cover(edges[order, 1], edges[order, 0], tight[order], 80).tolist() == centre.tolist()
    links = {(a, b): t for (a, b), t in zip(edges.tolist(), tight.tolist(), strict=True)}
    links |= {(b, a): t for (a, b), t in links.items()}
    for vertex, keeper in enumerate(centre.tolist()):
        is_direct = vertex == keeper or (keeper, vertex) in links
        copies = [other for (a, other), t in links.items() if a == keeper and t]
        assert is_direct or any((copy, vertex) in links for copy in copies)
        assert centre[keeper] == keeper
