"""Exact counts of shared pictures against Python's sets."""

from __future__ import annotations

import numpy as np
import pytest

from dupelake.overlap import counting


@pytest.mark.parametrize("elements", [50, 4_000_000])
@pytest.mark.parametrize("seed", range(8))
def test_counts_and_examples_equal_those_of_sets(monkeypatch, seed, elements):
    monkeypatch.setattr(counting, "_ELEMENTS", elements)  # several steps for one larger set
    rng = np.random.default_rng(seed)
    n_sets, universe = int(rng.integers(2, 40)), int(rng.integers(1, 300))
    members = [set(rng.integers(0, universe, rng.integers(0, 200)).tolist()) for _ in range(n_sets)]
    every = np.array([(a, b) for a in range(n_sets) for b in range(a + 1, n_sets)])
    pairs = rng.permuted(every[rng.random(len(every)) < 0.7], axis=1)
    sets = np.repeat(np.arange(n_sets), [len(one) for one in members])
    pictures = np.array([picture for one in members for picture in one], np.int64)
    order = rng.permutation(len(sets))
    counts, of_pair, example = counting.count_shared(sets[order], pictures[order], pairs)
    for i, (a, b) in enumerate(pairs):
        both = sorted(members[a] & members[b])
        assert counts[i] == len(both)
        assert example[of_pair == i].tolist() == both[: counting.EXAMPLES]


def test_sets_without_members_here_share_nothing():
    counts, of_pair, example = counting.count_shared(np.array([4]), np.array([0]), np.array([[1, 4], [2, 3]]))
    assert (counts.tolist(), len(of_pair), len(example)) == ([0, 0], 0, 0)
