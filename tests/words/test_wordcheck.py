"""Votes and the check of positions compared with brute force; slices and sides do not change the result."""

from __future__ import annotations

import numpy as np
import pytest
from word_oracle import corpus_oracle, packed, random_corpus

from dupelake.words import positions as wordcheck
from dupelake.words.positions import consistent_points
from dupelake.words.vocabulary import NO_WORD, unpack_words
from dupelake.words.votes import LEFT, RIGHT, shared_words, unpack_block

N = 120


def found(corpus, min_votes, sides=None, scopes=None, **options):
    ids = sorted(corpus)
    block = unpack_block([corpus[i] for i in ids])
    scopes = np.zeros(len(ids), np.int64) if scopes is None else scopes
    sides = np.full(len(ids), LEFT | RIGHT, np.uint8) if sides is None else sides
    out = {}
    for matches in shared_words(block, scopes, sides, min_votes, **options):
        points = consistent_points(block, matches)
        for row in range(len(matches)):
            key = ids[matches.low[row]], ids[matches.high[row]], bool(matches.is_mirrored[row])
            assert key not in out, "a pair came out twice"
            out[key] = int(matches.votes[row]), int(points[row])
    return out


@pytest.fixture(scope="module")
def corpus():
    return random_corpus(5, N)


@pytest.fixture(scope="module")
def wanted(corpus):
    return corpus_oracle(corpus)


def test_votes_and_points_equal_brute_force(corpus, wanted):
    assert found(corpus, 3) == wanted
    assert {mirrored for _, _, mirrored in wanted} == {False, True}
    votes = [v for v, _ in wanted.values()]
    assert votes.count(3) > 10, "strangers with three votes are wanted in this test"
    assert sum(v >= 8 for v in votes) > 10
    assert {p for _, p in wanted.values()} >= {1, 3, 4, 5, 6}
    assert found(corpus, 5) == {key: value for key, value in wanted.items() if value[0] >= 5}
    straight = {key: value for key, value in wanted.items() if not key[2]}
    assert found(corpus, 3, mirrored=False) == straight


def test_slices_change_nothing(corpus, wanted, monkeypatch):
    assert found(corpus, 3, max_rows=1) == wanted
    monkeypatch.setattr(wordcheck, "_MAX_ROWS", 50)
    assert found(corpus, 3) == wanted


def test_hypotheses_are_the_first_distinct_matches_of_the_window(corpus, wanted, monkeypatch):
    monkeypatch.setattr(wordcheck, "MAX_HYPOTHESES", 2)
    fewer = corpus_oracle(corpus, hypotheses=2)
    assert fewer != wanted
    assert found(corpus, 3) == fewer


def test_sides_and_scopes_bound_the_pairs(corpus, wanted):
    rng = np.random.default_rng(2)
    sides, scopes = rng.integers(0, 4, N).astype(np.uint8), rng.integers(0, 2, N)
    place = {key: row for row, key in enumerate(sorted(corpus))}

    def meet(a, b):
        a, b = place[a], place[b]
        opposite = (sides[a] & LEFT and sides[b] & RIGHT) or (sides[a] & RIGHT and sides[b] & LEFT)
        return opposite and scopes[a] == scopes[b]

    bounded = {key: value for key, value in wanted.items() if meet(key[0], key[1])}
    assert 0 < len(bounded) < len(wanted)
    assert found(corpus, 3, sides, scopes) == bounded


def test_one_point_many_times_is_one_point():
    n = 12
    cells, none = np.arange(n, dtype=np.uint32), np.full(n, NO_WORD, np.uint32)
    scale, angle = np.full(n, 4.0), np.full(n, 30.0)
    spread = np.stack([np.arange(n) * 20, np.arange(n) % 5 * 30], axis=1)
    corner = np.full((n, 2), 40.0)
    pictures = {
        name: packed(None, cells, none, xy, scale, angle) for name, xy in (("a", spread), ("b", corner), ("c", spread))
    }
    assert found(pictures, 5) == {("a", "c", False): (n, n), ("a", "b", False): (n, 1), ("b", "c", False): (n, 1)}


@pytest.mark.parametrize("around_first", [True, False])
def test_points_count_by_the_picture_that_has_fewer(around_first):
    """Many matches at one point of a picture and near one point of the other count as one point."""
    n = 12
    cells, none = np.arange(n, dtype=np.uint32), np.full(n, NO_WORD, np.uint32)
    corner = np.full((n, 2), 40.0)
    around = corner + np.stack([np.arange(n) % 2, np.arange(n) // 2 % 2], axis=1) * 2.5
    first, second = (around, corner) if around_first else (corner, around)
    pictures = {
        name: packed(None, cells, none, xy, np.full(n, 4.0), np.full(n, 30.0))
        for name, xy in (("a", first), ("b", second))
    }
    assert found(pictures, 5) == {("a", "b", False): (n, 1)}


def test_a_cluster_across_the_edge_of_bins_keeps_its_votes():
    n = 10
    cells, none = np.arange(n, dtype=np.uint32), np.full(n, NO_WORD, np.uint32)
    xy = np.stack([np.arange(n) * 20, np.arange(n) % 5 * 30], axis=1)
    wobble = np.linspace(-9.0, 9.0, n)
    for turn in (0.0, 22.5, 45.0, 359.0):
        for octaves in (0.0, 0.5, 1.0):
            pictures = {
                "a": packed(None, cells, none, xy, np.full(n, 4.0), np.full(n, 30.0)),
                "b": packed(None, cells, none, xy, 4.0 * 2.0 ** (octaves + wobble / 50), 30.0 + turn + wobble),
            }
            assert found(pictures, 1)["a", "b", False][0] == n


def test_unpacking_at_once_equals_one_by_one(corpus):
    data = [*corpus.values(), packed(None, *np.zeros((2, 0), np.uint32), np.zeros((0, 2)), [], [])]
    block = unpack_block(data)
    for row, one in enumerate(map(unpack_words, data)):
        words = slice(block.start[row], block.start[row + 1])
        assert block.width_px[row] == one.width_px
        for name in ("stored", "xy", "scale", "angle"):
            np.testing.assert_array_equal(getattr(block, name)[words], getattr(one, name))
        np.testing.assert_array_equal(block.second[words], one.probes[:, 1])
    assert len(unpack_block([])) == 0
    with pytest.raises(ValueError, match="bytes"):
        unpack_block([data[0] + b"\0"])
