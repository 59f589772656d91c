"""Agreement of pictures with their component."""

from __future__ import annotations

import numpy as np

from dupelake.group.stars import component_disagreement


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
