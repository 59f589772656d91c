"""Words by keys: which pictures meet, and crowds of them; nights and scopes are in test_generators.py."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F
from word_oracle import corpus_oracle, key_oracle, packed, random_corpus, random_picture

from dupelake.config import LshConfig
from dupelake.propose import frequent_words_stage as hot_words
from dupelake.propose.frequent_words_stage import _emit_frequent, by_scope, count_frequent_words, sampled
from dupelake.propose.join_keys_stage import compute_keys
from dupelake.propose.keyfilter import make_bitmap
from dupelake.propose.word_blocks_stage import MIN_POINTS
from dupelake.propose.word_keys_stage import check_words, meet_by_keys
from dupelake.words.vocabulary import NO_WORD, mirrored_words, unpack_words

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


def test_a_filter_without_the_keys_lets_nothing_through(spark, corpus, keys):
    units = units_of(spark, [("", i, True) for i in corpus])
    nothing = spark.sparkContext.broadcast(make_bitmap(np.empty(0, np.int64), 16).tobytes())
    assert meet_by_keys(units, keys, CFG, N, N, nothing).met.collect() == []


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


def rule_of(corpus, left_out):
    return {
        (a, b)
        for (a, b, _), (votes, points) in corpus_oracle(corpus, left_out).items()
        if votes >= CFG.word_min_votes and points >= min(MIN_POINTS, CFG.word_min_votes)
    }


@pytest.fixture(scope="module")
def marked():
    """A corpus of which two thirds bear one mark: words of no other picture, where they are and as they lie."""
    corpus, rng = random_corpus(21, N), np.random.default_rng(5)
    cells = (rng.choice(2048 * 2048 - 10**6, 16, replace=False) + 10**6).astype(np.uint32)
    xy, scale, angle = rng.integers(300, 420, (8, 2)), 2.0 ** rng.uniform(2, 3, 8), rng.uniform(0, 360, 8)
    mark = packed(rng, cells[:8], cells[8:], xy, scale, angle)
    bears = [key for at, key in enumerate(corpus) if at % 3]
    return {key: data + mark[4:] if key in bears else data for key, data in corpus.items()}, bears, set(cells.tolist())


def test_words_of_a_mark_are_hot_and_bring_no_two_pictures_together(spark, marked):
    corpus, bears, cells = marked
    cfg = LshConfig(word_join="keys", word_key_max_images=60)
    features, units = features_of(spark, corpus), units_of(spark, [("s", i, True) for i in corpus])
    rows = count_frequent_words(sampled(units, features, N), cfg).collect()
    assert {row["word"]: row["n_units"] for row in rows} == dict.fromkeys(cells, len(bears))
    frequent = by_scope(rows)
    own = cells | set(mirrored_words(np.array(sorted(cells), np.uint32)).tolist())
    keys = {key: key_oracle(unpack_words(data)) for key, data in corpus.items()}
    plain = {key: {k for k in held if not own & set(k[:2])} for key, held in keys.items()}
    pairs = {tuple(sorted(pair)) for pair in combinations(corpus, 2)}
    sharing = {(a, b) for a, b in pairs if len(plain[a] & plain[b]) >= cfg.word_min_keys}
    by_mark = {(a, b) for a, b in pairs if len(keys[a] & keys[b]) >= cfg.word_min_keys} - sharing
    assert len(by_mark) > 3_000, "without frequent words nearly all marked pictures meet"
    found = meet_by_keys(units, keys_of(features), cfg, N, N, frequent=frequent)
    assert pairs_of(found.pairs()) == sharing
    wanted = sharing & rule_of(corpus, cells)
    assert len(wanted) > 15
    assert pairs_of(check_words(found.pairs(), features, cfg, frequent=frequent)) == wanted
    everyone = meet_by_keys(units, keys_of(features), CFG, N, N).pairs()
    assert pairs_of(everyone) == sharing | by_mark
    agree = pairs_of(check_words(everyone, features, cfg, frequent=frequent))
    assert agree == (sharing | by_mark) & rule_of(corpus, cells), "pictures that agree by the mark alone do not agree"
    left_out = found.left_out().first()
    holders = Counter(k for held in keys.values() for k in held if own & set(k[:2]))
    several = [n for n in holders.values() if n > 1]
    assert tuple(left_out) == (len(several), sum(n * (n - 1) // 2 for n in several), len(bears))


def test_a_mark_of_another_scope_is_left_alone(spark, marked):
    corpus, bears, _ = marked
    cfg = LshConfig(word_join="keys", word_key_max_images=60)
    few = bears[:20]
    units = units_of(spark, [("a", i, True) for i in corpus] + [("b", i, True) for i in few])
    features = features_of(spark, corpus)
    rows = count_frequent_words(sampled(units, features, N + 20), cfg).collect()
    frequent = by_scope(rows)
    assert len(frequent) == 1
    found = meet_by_keys(units, keys_of(features), cfg, N + 20, N + 20, frequent=frequent).pairs()
    met = pairs_of(check_words(found, features, cfg, frequent=frequent))
    assert {tuple(sorted(pair)) for pair in combinations(few, 2)} <= met, "twenty pictures are no crowd"
    assert len(met & {tuple(sorted(pair)) for pair in combinations(bears[20:], 2)}) < 100


def test_old_units_that_bear_a_mark_are_not_counted_with_one_another(spark, marked):
    corpus, _, _ = marked
    cfg = LshConfig(word_join="keys", word_key_max_images=60)
    features, new = features_of(spark, corpus), set([*corpus][:30])
    units = units_of(spark, [("s", i, i in new) for i in corpus])
    rows = count_frequent_words(sampled(units, features, N), cfg).collect()
    frequent = by_scope(rows)
    whole = meet_by_keys(units, keys_of(features), cfg, N, 30, frequent=frequent)
    assert all({low, high} & new for low, high in pairs_of(whole.pairs()))
    everyone = meet_by_keys(units.withColumn("is_new", F.lit(True)), keys_of(features), cfg, N, N, frequent=frequent)
    alone = meet_by_keys(
        units.where("NOT is_new").withColumn("is_new", F.lit(True)), keys_of(features), cfg, N, N, frequent=frequent
    )
    assert whole.left_out().first()["pairs"] == everyone.left_out().first()["pairs"] - alone.left_out().first()["pairs"]


def test_keys_of_old_units_alone_are_not_told(spark, marked):
    corpus, _, _ = marked
    features = features_of(spark, corpus)
    cfg = LshConfig(word_join="keys", word_key_max_images=60)
    units = units_of(spark, [("s", i, False) for i in corpus])
    rows = count_frequent_words(sampled(units, features, N), cfg).collect()
    found = meet_by_keys(units, keys_of(features), cfg, N, 1, frequent=by_scope(rows))
    assert found.met.collect() == []


def test_a_thin_sample_makes_no_word_hot():
    """One sampled picture of a scope stands for 2,048 others, and says nothing of a crowd."""
    rng = np.random.default_rng(1)
    pictures = [random_picture(rng) for _ in range(40)]
    digests = [bytes([at]) * 16 for at in range(40)]

    def frequent(words, scopes, one_in):
        columns = [pa.array(scopes, pa.binary()), pa.array(words, pa.binary())]
        batch = pa.RecordBatch.from_arrays(columns, names=["scope_digest", "words"])
        return sum(found.num_rows for found in _emit_frequent(iter((batch,)), one_in, 2000))

    assert frequent(pictures, digests, 2048) == 0
    one = max(pictures, key=len)
    cells = set(unpack_words(one).probes.ravel().tolist()) - {NO_WORD}
    assert len(cells) > 20
    assert frequent([one] * 40, digests[:1] * 40, 2048) == len(cells)
    assert frequent([one] * 31, digests[:1] * 31, 2048) == 0


def test_a_large_corpus_is_sampled_by_content_id(spark, marked, monkeypatch):
    monkeypatch.setattr(hot_words, "MIN_SAMPLED", 31)
    corpus, bears, cells = marked
    cfg = LshConfig(word_join="keys", word_key_max_images=60)
    sample = sampled(units_of(spark, [("s", i, True) for i in corpus]), features_of(spark, corpus), N, N // 2)
    held = {key for key, data in corpus.items() if len(data) > 4}
    assert {row["content_id"] for row in sample.rows.collect()} == {key for key in held if key < "8"}
    n = sum(key < "8" for key in bears)
    assert n * 2 > 60
    found = {row["word"]: row["n_units"] for row in count_frequent_words(sample, cfg).collect()}
    assert found == dict.fromkeys(cells, 2 * n)
