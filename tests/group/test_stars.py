"""Star cover and disagreement: every member has an edge to its keeper, which has a better rank."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dupelake.group.stars import component_disagreement, star_cover

edge_lists = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=0, max_size=150)


def cover(edges):
    ends = np.array(edges, np.int64).reshape(-1, 2)
    vertices, centres = star_cover(ends[:, 0], ends[:, 1])
    return dict(zip(vertices.tolist(), centres.tolist(), strict=True))


def by_the_book(edges):
    """The rule of the design, vertex by vertex."""
    near: dict[int, set[int]] = {}
    for a, b in edges:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    free, centre = set(near), {}
    while free:
        best = min(free)
        for vertex in {best} | (near[best] & free):
            centre[vertex] = best
        free -= set(centre)
    return centre


@given(edge_lists)
def test_it_is_the_greedy_cover(edges):
    assert cover(edges) == by_the_book(edges)


@given(edge_lists)
def test_every_member_has_a_direct_edge_to_a_keeper_that_outranks_it(edges):
    linked = {frozenset(edge) for edge in edges}
    for vertex, centre in cover(edges).items():
        assert vertex == centre or (frozenset((vertex, centre)) in linked and centre < vertex)


@given(edge_lists)
def test_no_two_keepers_touch(edges):
    stars = cover(edges)
    centres = {vertex for vertex, centre in stars.items() if vertex == centre}
    assert not any(a != b and a in centres and b in centres for a, b in edges)


@given(edge_lists, st.randoms(use_true_random=False))
def test_order_direction_and_repeats_change_nothing(edges, random):
    mixed = [edge[::-1] if random.random() < 0.5 else edge for edge in edges for _ in range(random.choice((1, 2)))]
    random.shuffle(mixed)
    assert cover(mixed) == cover(edges)


@given(edge_lists, edge_lists)
def test_components_do_not_affect_each_other(left, right):
    evens, odds = [(2 * a, 2 * b) for a, b in left], [(2 * a + 1, 2 * b + 1) for a, b in right]
    assert cover(evens + odds) == cover(evens) | cover(odds)


def test_a_chain_is_cut_where_the_ends_do_not_pass():
    assert cover([(0, 1), (1, 2)]) == {0: 0, 1: 0, 2: 2}


def test_a_hub_that_ranks_last_joins_the_best_and_leaves_the_others_alone():
    assert cover([(3, 0), (3, 1), (3, 2)]) == {0: 0, 1: 1, 2: 2, 3: 0}


def test_a_sorted_chain_of_100000_is_quick():
    path = np.arange(100_000)
    started = time.perf_counter()
    _, centres = star_cover(path[:-1], path[1:])
    assert time.perf_counter() - started < 5  # 0.1 s here; a quadratic rule would take minutes
    assert np.array_equal(centres, path - path % 2)


def test_a_star_of_100000_is_quick():
    leaves = np.arange(1, 100_001)
    vertices, centres = star_cover(leaves, np.zeros_like(leaves))
    assert len(vertices) == 100_001
    assert centres.max() == 0


def test_the_medoid_has_the_least_disagreement():
    # 0 agrees with four; 1 with three of them, 4 with 0 alone; 5 is its mirror image; 6 and 7 are another component
    edges = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (0, 5), (6, 7)]
    agreement = np.array([1000] * 6 + [0, 900])
    a, b = np.array(edges).T
    wanted = [0, 5, 10, 10, 15, 20, 0, 0]
    assert component_disagreement(a, b, agreement, 8).tolist() == wanted
    shuffled = np.random.default_rng(3).permutation(len(edges))
    assert component_disagreement(b[shuffled], a[shuffled], agreement[shuffled], 8).tolist() == wanted


def test_a_plain_picture_disagrees_less_than_its_edited_copies():
    # each of three edits takes away 200; two of them, between edited copies, 400
    a, b = np.array([(1, 0), (1, 2), (1, 3), (0, 2), (0, 3), (2, 3)]).T
    assert component_disagreement(a, b, np.array([800] * 3 + [600] * 3), 4).tolist() == [3, 0, 3, 3]


def test_disagreement_without_vertices():
    assert component_disagreement(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), 2).tolist() == [
        0,
        0,
    ]
