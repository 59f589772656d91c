"""The words leg by keys of neighbouring words, against brute force over keys and the leg's own rule."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from dupelake.config import LshConfig
from dupelake.kernels.keyfilter import make_bitmap
from dupelake.kernels.vocabulary import unpack_words
from dupelake.stages.join_keys import compute_keys
from dupelake.stages.word_keys import check_words, meet_by_keys, probed_word_keys
from dupelake.stages.words import MIN_POINTS
from word_oracle import corpus_oracle, key_oracle, random_corpus

N = 150
CFG, CFG_1 = LshConfig(word_join="keys"), LshConfig(word_join="keys", word_min_keys=1)


@pytest.fixture(scope="module")
def corpus():
    return random_corpus(8, N)


@pytest.fixture(scope="module")
def features(spark, corpus):
    rows = {**corpus, "f" * 32: b"\1\0\1\0", "e" * 32: None}  # a picture without words, and one without features
    return features_of(spark, rows)


def features_of(spark, words):
    n_keypoints = [0 if value is None else len(unpack_words(value)) for value in words.values()]
    columns = {"content_id": [*words], "n_keypoints": n_keypoints, "words": pa.array([*words.values()], pa.binary())}
    return spark.createDataFrame(pa.table(columns))


@pytest.fixture(scope="module")
def keys(features):
    return keys_of(features)


def keys_of(features):
    return compute_keys(features.select("content_id"), features, None, None, CFG, "v")


@pytest.fixture(scope="module")
def shared(corpus):
    """How many keys the pairs share, of those that share any."""
    keys = {key: key_oracle(unpack_words(data)) for key, data in corpus.items()}
    found = {tuple(sorted((a, b))): len(keys[a] & keys[b]) for a, b in combinations(corpus, 2)}
    return {pair: n for pair, n in found.items() if n}


@pytest.fixture(scope="module")
def sharing(shared):
    """Pairs that share so many keys that they are compared."""
    enough = {pair for pair, n in shared.items() if n >= CFG.word_min_keys}
    assert len(enough) < len(shared)
    return enough


@pytest.fixture(scope="module")
def wanted(corpus, sharing):
    found = corpus_oracle(corpus)
    good = {
        (a, b)
        for (a, b, _), (votes, points) in found.items()
        if votes >= CFG.word_min_votes and points >= min(MIN_POINTS, CFG.word_min_votes)
    }
    assert 15 < len(good & sharing) < len(sharing)
    return good & sharing


def units_of(spark, rows):
    """rows: (scope, content id, is_new)."""
    scopes, ids, new = zip(*rows, strict=True)
    return spark.createDataFrame(pa.table({"scope": [*scopes], "content_id": [*ids], "is_new": [*map(bool, new)]}))


def pairs_of(frame):
    rows = [(bytes(row["low"]).hex(), bytes(row["high"]).hex()) for row in frame.collect()]
    assert all(low < high for low, high in rows)
    return set(rows)


@pytest.mark.parametrize("keys_per_partition", [10**9, 2_000])
def test_those_meet_that_share_a_key(spark, corpus, features, keys, sharing, wanted, keys_per_partition):
    units = units_of(spark, [("", i, True) for i in [*corpus, "f" * 32, "e" * 32, "d" * 32]])
    found = meet_by_keys(units, keys, CFG, N, N, keys_per_partition=keys_per_partition)
    met = pairs_of(found.pairs())
    assert met >= sharing
    assert met == sharing  # a key is compared by 36 bits: chance would have it once in some thousand such corpora
    assert found.left_out().first()["keys"] is None
    assert pairs_of(check_words(found.pairs(), features, CFG)) == wanted


def test_one_key_may_be_enough(spark, corpus, keys, shared):
    units = units_of(spark, [("", i, True) for i in corpus])
    found = meet_by_keys(units, keys, CFG_1, N, N)
    assert pairs_of(found.pairs()) == set(shared)
    summed = found.met.groupBy("low", "high").agg({"n_keys": "sum"}).collect()
    assert {(bytes(low).hex(), bytes(high).hex()): n for low, high, n in summed} == shared


@pytest.mark.parametrize("with_filter", [False, True])
def test_nights_equal_one_batch(spark, corpus, features, keys, wanted, with_filter):
    night = np.random.default_rng(2).integers(0, 3, N)
    pairs = set()
    for now in range(3):
        units = units_of(spark, [("", i, n == now) for i, n in zip(corpus, night, strict=True) if n <= now])
        probed = _filter(spark, units, keys) if with_filter else None
        met = meet_by_keys(units, keys, CFG, N, N // 3, probed).pairs()
        tonight = pairs_of(check_words(met, features, CFG, are_few=with_filter))
        assert not pairs & tonight, "old units met again"
        pairs |= tonight
    assert pairs == wanted


def _filter(spark, units, keys):
    rows = probed_word_keys(units, keys, N).collect()
    assert rows
    whole = rows[0]["bitmap"]
    for row in rows[1:]:
        whole = bytes(a | b for a, b in zip(whole, row["bitmap"], strict=True))
    return spark.sparkContext.broadcast(bytes(whole))


def test_a_filter_without_the_keys_lets_nothing_through(spark, corpus, keys):
    units = units_of(spark, [("", i, True) for i in corpus])
    nothing = spark.sparkContext.broadcast(make_bitmap(np.empty(0, np.int64), 16).tobytes())
    assert meet_by_keys(units, keys, CFG, N, N, nothing).met.collect() == []


def test_scopes_are_never_compared(spark, corpus, features, keys, wanted):
    rng = np.random.default_rng(5)
    held = {(scope, i) for scope in ("a", "b", "c") for i in corpus if rng.random() < 0.6}
    units = units_of(spark, [(*unit, True) for unit in sorted(held)])
    expected = {(x, y) for x, y in wanted for scope in "abc" if {(scope, x), (scope, y)} <= held}
    assert expected < wanted
    met = meet_by_keys(units, keys, CFG, len(held), len(held)).pairs()
    assert pairs_of(check_words(met, features, CFG)) == expected


def test_keys_of_two_scopes_are_not_added_up(spark, corpus, keys, shared):
    once = {pair for pair, n in shared.items() if n == 1}
    assert once
    units = units_of(spark, [(scope, i, True) for scope in ("a", "b") for i in corpus])
    assert not pairs_of(meet_by_keys(units, keys, CFG, 2 * N, 2 * N).pairs()) & once


def test_keys_over_the_cap_make_no_pairs_and_are_counted(spark, corpus):
    """One picture as 40 contents: every key of it has 40 holders."""
    data = next(d for d in corpus.values() if len(unpack_words(d)) > 20)
    rows = {f"{at:032x}": data for at in range(40)}
    same = features_of(spark, rows)
    units = units_of(spark, [("", i, at < 10) for at, i in enumerate(rows)])
    n_keys = len(key_oracle(unpack_words(data)))
    found = meet_by_keys(units, keys_of(same), LshConfig(word_join="keys", word_key_max_images=39), 40, 10)
    assert pairs_of(found.pairs()) == set()
    n_pairs = 40 * 39 // 2 - 30 * 29 // 2
    assert tuple(found.left_out().first()) == (n_keys, n_keys * n_pairs, 40)
    assert all(tuple(row)[:2] == (None, None) for row in found.met.collect())
    whole = meet_by_keys(units, keys_of(same), LshConfig(word_join="keys", word_key_max_images=40), 40, 10)
    assert len(pairs_of(whole.pairs())) == n_pairs
