"""Keys of neighbouring words against plain loops over every pair of words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from word_oracle import copy_of, key_oracle, packed, random_picture

from dupelake.propose.word_neighbours import NEIGHBOURS, pair_keys
from dupelake.words.vocabulary import NO_WORD, mirrored_words, unpack_words
from dupelake.words.votes import unpack_block


def keys_of(*pictures):
    owner, keys = pair_keys(unpack_block(pictures))
    assert (np.diff(owner) >= 0).all()
    return [set(keys[owner == at].tolist()) for at in range(len(pictures))]


def corpus(seed=3, n=150):
    rng = np.random.default_rng(seed)
    pictures = [random_picture(rng, 60) for _ in range(n)]
    for at in range(0, n - 1, 2):
        pictures[at + 1] = copy_of(rng, pictures[at], 20 + at % 20, is_mirrored=bool(at % 4), noise=0.2)
    return pictures


def test_two_pictures_share_keys_exactly_where_the_loops_say():
    pictures = corpus()
    made, plain = keys_of(*pictures), [key_oracle(unpack_words(data)) for data in pictures]
    assert [len(keys) for keys in made] == [len(keys) for keys in plain]
    shared = 0
    for a in range(len(pictures)):
        for b in range(a):
            assert len(made[a] & made[b]) == len(plain[a] & plain[b])
            shared += bool(made[a] & made[b])
    assert 60 < shared < 2000  # copies, and not all


def test_keys_do_not_depend_on_the_other_pictures_of_the_block():
    pictures = corpus(5, 90)
    together = keys_of(*pictures)
    assert together == [keys_of(one)[0] for one in pictures]


def test_a_mirrored_picture_has_the_same_keys():
    rng = np.random.default_rng(1)
    n = 80
    stored = rng.integers(0, 2048 * 2048, n).astype(np.uint32)
    second = np.where(rng.random(n) < 0.2, np.uint32(NO_WORD), rng.integers(0, 2048 * 2048, n).astype(np.uint32))
    xy, scale, angle = rng.integers(0, 240, (n, 2)), 2.0 ** rng.uniform(1, 4, n), rng.uniform(0, 360, n)
    straight = packed(rng, stored, second, xy, scale, angle, width=241)
    flipped = np.stack([240 - xy[:, 0], xy[:, 1]], axis=1)
    mirror = packed(rng, mirrored_words(stored), mirrored_words(second), flipped, scale, 180.0 - angle, width=241)
    a, b = keys_of(straight, mirror)
    assert len(a) > 3 * n
    assert len(a & b) > 0.98 * len(a)  # angles are rounded when packed, and a few lie at the edge of a sector


@pytest.mark.parametrize("n", [0, 1, 2, NEIGHBOURS, NEIGHBOURS + 2])
def test_pictures_with_few_words(n):
    rng = np.random.default_rng(n)
    at = np.arange(n)
    picture = packed(rng, at * 7, at * 7 + 1, np.stack([at * 9, at * 5], axis=1), np.full(n, 4.0), at * 10.0)
    empty = packed(rng, at[:0], at[:0], np.empty((0, 2)), at[:0], at[:0])
    keys = keys_of(empty, picture, empty)
    assert not keys[0]
    assert not keys[2]
    assert len(keys[1]) == (3 * math.comb(n, 2) if n <= NEIGHBOURS + 1 else len(key_oracle(unpack_words(picture))))


def test_words_at_one_point_or_of_other_scales_are_no_neighbours():
    rng = np.random.default_rng(0)
    scale = np.array([4.0, 4.0, 9.0, 4.0])
    picture = packed(rng, [1, 2, 3, 4], [NO_WORD] * 4, [[10, 10], [11, 10], [20, 10], [60, 10]], scale, [0.0] * 4)
    assert len(keys_of(picture)[0]) == 2  # the first and the second with the last alone
