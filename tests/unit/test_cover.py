"""Groups as clusters of tight links, covered by stars."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from dupelake.kernels.cover import cluster_cover, next_of_kin
from dupelake.kernels.stars import star_cover


def cover(edges: list[tuple[int, int, bool]], n: int) -> tuple[list[int], list[int]]:
    src, dst, tight = (np.array(column) for column in zip(*edges, strict=True))
    centre = cluster_cover(src, dst, tight.astype(bool), n)
    return centre.tolist(), next_of_kin(src, dst, tight.astype(bool), centre).tolist()


def test_a_copy_of_a_copy_stands_in_the_group_and_names_whom_it_was_compared_with() -> None:
    assert cover([(0, 1, True), (1, 2, True), (2, 3, True)], 4) == ([0, 0, 0, 0], [-1, 0, 1, 2])


def test_an_edit_of_a_copy_stands_in_the_group() -> None:
    assert cover([(0, 1, True), (1, 2, False)], 3) == ([0, 0, 0], [-1, 0, 1])


def test_a_chain_of_edits_makes_no_group() -> None:
    assert cover([(0, 1, False), (1, 2, False), (2, 3, False)], 4) == ([0, 0, 2, 2], [-1, 0, -1, 2])


def test_the_keeper_speaks_before_a_tight_neighbour_and_that_before_a_better_loose_one() -> None:
    edges = [(0, 1, True), (0, 2, True), (1, 3, False), (2, 3, True), (0, 4, False), (1, 4, True)]
    centre, kin = cover(edges, 5)
    assert centre == [0] * 5
    assert kin == [-1, 0, 0, 2, 0]


def test_without_tight_edges_it_is_the_star_cover() -> None:
    rng = np.random.default_rng(3)
    src, dst = rng.integers(0, 60, (2, 90))
    src, dst = src[src != dst], dst[src != dst]
    centre = cluster_cover(src, dst, np.zeros(len(src), bool), 60)
    vertices, centres = star_cover(src, dst)
    assert centre[vertices].tolist() == centres.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_of_tight_edges_alone_it_is_the_components_of_networkx_in_any_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, 80, (2, 70))
    src, dst = src[src != dst], dst[src != dst]
    tight = np.ones(len(src), bool)
    graph = nx.Graph(zip(src.tolist(), dst.tolist(), strict=True))
    graph.add_nodes_from(range(80))
    expected = np.empty(80, np.int64)
    for part in nx.connected_components(graph):
        expected[list(part)] = min(part)
    order = rng.permutation(len(src))
    assert cluster_cover(src, dst, tight, 80).tolist() == expected.tolist()
    assert cluster_cover(dst[order], src[order], tight, 80).tolist() == expected.tolist()
