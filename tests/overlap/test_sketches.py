"""Sketches against datasketch itself, and the proposals of LSH Ensemble against its own index."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSHEnsemble

from dupelake.errors import ConfigError
from dupelake.overlap import sketches
from dupelake.overlap.sketches import (
    NUM_PERM,
    SAMPLED,
    Sketches,
    ensemble_answers,
    ensemble_pairs,
    merged,
    needed_hits,
    sketch,
)


def drawn(seed: int, n_sets: int = 120) -> tuple[list[np.ndarray], Sketches]:
    """Sets of 1 to 3,000 hashes out of a small universe, so that many share some."""
    rng = np.random.default_rng(seed)
    universe = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    sizes = np.exp(rng.uniform(0, 8, n_sets)).astype(int)
    sets = [rng.choice(universe[rng.integers(0, 10_000) :], size, replace=False) for size in sizes]
    return sets, Sketches.of([len(one) for one in sets], [sketch(one) for one in sets])


def test_the_minhash_is_that_of_datasketch_and_the_sample_the_smallest_hashes():
    sets, given = drawn(0)
    for i, hashes in enumerate(sets):
        own = MinHash(num_perm=NUM_PERM, hashfunc=int)
        own.update_batch(hashes >> np.uint64(32))
        assert (given.minhashes[i] == own.hashvalues).all()
        assert (given.samples[given.owners == i] == np.sort(hashes)[:SAMPLED]).all()


class BySize(MinHashLSHEnsemble):
    """The index of datasketch with a partition for each power of two."""

    def index(self, entries):
        for key, minhash, size in entries:
            part = int(size - 1).bit_length()
            self.lowers[part], self.uppers[part] = 1, 1 << part
            for lsh in self.indexes[part].values():
                lsh.insert(key, minhash)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_answers_are_those_of_datasketchs_index(share):
    sets, given = drawn(1)
    a, b = sketches._permutations()
    minhashes = [MinHash(hashvalues=v, permutations=(a, b), scheme="affine32") for v in given.minhashes]
    ensemble = BySize(share, NUM_PERM, 14, sketches._LONGEST_BAND, sketches._WEIGHTS)
    ensemble.index((i, minhash, len(sets[i])) for i, minhash in enumerate(minhashes))
    expected = {
        (min(i, j), max(i, j))
        for i, minhash in enumerate(minhashes)
        for j in ensemble.query(minhash, len(sets[i]))
        if i != j and len(sets[i]) <= len(sets[j])
    }
    found = ensemble_answers(given, np.ones(len(sets), bool), share)
    assert {tuple(pair) for pair in found.tolist()} == expected
    assert len(expected) == len(found) > 20


def test_a_proposal_depends_on_the_two_sets_alone():
    _, given = drawn(2)
    is_changed = np.zeros(len(given.sizes), bool)
    is_changed[::7] = True
    every = ensemble_pairs(given, np.ones(len(is_changed), bool), 0.1)
    part = ensemble_pairs(given, is_changed, 0.1)
    assert part.tolist() == [pair for pair in every.tolist() if is_changed[pair].any()]
    assert 0 < len(part) < len(every)


def test_pairs_that_agree_too_little_are_left_out():
    sets, given = drawn(4)
    every = np.ones(len(sets), bool)
    answers, pairs = (f(given, every, 0.3) for f in (ensemble_answers, ensemble_pairs))
    kept = {tuple(pair) for pair in pairs.tolist()}
    assert kept < {tuple(pair) for pair in answers.tolist()}
    for a, b in answers:
        shared = len(np.intersect1d(sets[a], sets[b])) / min(len(sets[a]), len(sets[b]))
        assert (a, b) in kept or shared < 0.6


def test_sets_of_one_partition_that_share_a_tenth_are_proposed():
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(100):
        a, b = rng.integers(0, 2**64, (2, 1000), dtype=np.uint64)
        b[:100] = a[:100]
        given = Sketches.of([1000, 1000], [sketch(a), sketch(b)])
        found += len(ensemble_pairs(given, np.ones(2, bool), 0.1))
    assert found >= 93


def test_frequent_pictures_propose_nothing_by_sample(monkeypatch):
    monkeypatch.setattr(sketches, "FREQUENT_SETS", 3)
    packed = [sketch(np.array([7, 100 + i], np.uint64)) for i in range(4)]
    owners, hashes, n_frequent = Sketches.of([2] * 4, packed).rare_samples()
    assert (owners.tolist(), hashes.tolist(), n_frequent) == ([0, 1, 2, 3], [100, 101, 102, 103], 1)
    assert needed_hits(owners, 4, 0.1).tolist() == [1, 1, 1, 1]
    assert needed_hits(np.zeros(100, np.int64), 1, 0.5).tolist() == [20]


def test_a_picture_that_very_many_sets_have_does_not_end_the_run(monkeypatch):
    monkeypatch.setattr(sketches, "FREQUENT_SETS", 30)
    monkeypatch.setattr(sketches, "MAX_PROPOSALS", 100)
    rng = np.random.default_rng(5)
    own = rng.integers(1 << 40, 2**64, (60, 19), dtype=np.uint64)
    own[1] = own[0]  # these two share all
    packed = [sketch(np.append(one, np.uint64(7))) for one in own]  # one picture in all sets
    pairs = ensemble_pairs(Sketches.of([20] * 60, packed), np.ones(60, bool), 0.3)
    assert [0, 1] in pairs.tolist()


def test_too_many_pairs_are_refused_with_the_fix(monkeypatch):
    monkeypatch.setattr(sketches, "MAX_PROPOSALS", 5)
    one = sketch(np.arange(50, dtype=np.uint64) << np.uint64(32))
    with pytest.raises(ConfigError, match=r"--min-share 0.1: more than 5 pairs .* give a larger share"):
        ensemble_pairs(Sketches.of([50] * 4, [one] * 4), np.ones(4, bool), 0.1)


def test_pairs_of_several_ways_are_distinct_and_ordered():
    pairs = merged([np.array([[2, 1], [0, 3]]), np.array([[1, 2]]), np.empty((0, 2), np.int64)], 0.1)
    assert pairs.tolist() == [[0, 3], [1, 2]]
    assert merged([np.empty((0, 2), np.int64)], 0.1).shape == (0, 2)
