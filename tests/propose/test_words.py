"""Words in blocks: scopes and blocks of all sizes, words over the cap; the rest is in test_generators.py."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from word_oracle import corpus_oracle, packed, random_corpus

from dupelake.config import LshConfig
from dupelake.propose.word_blocks_stage import MIN_POINTS, word_pairs
from dupelake.words.vocabulary import NO_WORD, unpack_words

N = 150
CFG = LshConfig()


@pytest.fixture(scope="module")
def corpus():
    return random_corpus(8, N)


@pytest.fixture(scope="module")
def features(spark, corpus):
    return features_of(spark, corpus)


@pytest.fixture(scope="module")
def oracle(corpus):
    return corpus_oracle(corpus)


@pytest.fixture(scope="module")
def wanted(oracle):
    return proposed(oracle)


def features_of(spark, corpus):
    rows = {**corpus, "f" * 32: b"\1\0\1\0", "e" * 32: None}  # a picture without words, and one without features
    return spark.createDataFrame(pa.table({"content_id": [*rows], "words": pa.array([*rows.values()], pa.binary())}))


def proposed(oracle, min_votes=CFG.word_min_votes):
    return {
        (a, b)
        for (a, b, _), (votes, points) in oracle.items()
        if votes >= min_votes and points >= min(MIN_POINTS, min_votes)
    }


def units_of(spark, rows):
    """rows: (scope, content id, is_new)."""
    scopes, ids, new = zip(*rows, strict=True)
    return spark.createDataFrame(pa.table({"scope": [*scopes], "content_id": [*ids], "is_new": [*map(bool, new)]}))


def found(result):
    rows = [(bytes(row["low"]).hex(), bytes(row["high"]).hex()) for row in result.pairs.collect()]
    assert all(low < high for low, high in rows)
    return set(rows)


@pytest.mark.parametrize(("partitions", "block_units"), [(1, 30), (7, 90)])
def test_scopes_of_all_sizes_are_never_compared(spark, corpus, features, wanted, partitions, block_units):
    """Two large scopes, which are cut into blocks or not, and many small ones that share tasks; some without news."""
    rng = np.random.default_rng(partitions)
    held = [(scope, i) for scope, share in (("a", 0.7), ("b", 0.5)) for i in corpus if rng.random() < share]
    copies = sorted(corpus)
    for pair in range(0, N - 1, 2):
        held += [(f"small {pair}", copies[pair]), (f"small {pair}", copies[pair + 1])]
    for number, (a, b) in enumerate(sorted(wanted)):
        held += [(f"pair {number}", a), (f"pair {number}", b)]
    is_new = {unit: rng.random() < 0.5 for unit in held}
    expected = {
        pair
        for pair in wanted
        for scope in {scope for scope, _ in held}
        if all((scope, i) in is_new for i in pair) and any(is_new[scope, i] for i in pair)
    }
    assert expected < wanted
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
    try:
        units = units_of(spark, [(*unit, new) for unit, new in is_new.items()]).repartition(partitions)
        assert found(word_pairs(units, features, CFG, block_units=block_units)) == expected
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)


def test_words_over_the_cap_are_left_out_and_counted(spark, corpus, oracle, tmp_path):
    """The cap holds for each scope, over all its units, and what is dropped is what brute force says."""
    ids = sorted(corpus)
    rng = np.random.default_rng(1)
    rows = [("a", i, rng.random() < 0.6) for i in ids] + [("b", i, True) for i in ids[::3]]
    cfg = LshConfig(word_max_images=7, word_min_votes=4)
    hot, pairs = {}, Counter()
    unpacked = {i: unpack_words(corpus[i]) for i in ids}
    for scope in "ab":
        mine = [(i, new) for s, i, new in rows if s == scope]
        holders = Counter(int(w) for i, _ in mine for w in unpacked[i].stored)
        hot[scope] = {w: n for w, n in holders.items() if n > 7}
        held = {i: hot[scope].keys() & set(unpacked[i].stored.tolist()) for i, _ in mine}
        for (i, i_new), (j, j_new) in combinations(mine, 2):
            if i_new or j_new:
                pairs.update((scope, word) for word in held[i] & held[j])
    assert len(hot["a"]) > 20
    assert len(hot["b"]) < len(hot["a"])
    staged = []

    def stage(df):
        staged.append(str(tmp_path / f"staged{len(staged)}"))
        df.write.parquet(staged[-1])
        return spark.read.parquet(staged[-1])

    result = word_pairs(units_of(spark, rows), features_of(spark, corpus), cfg, stage)
    dropped = {(r["scope"], r["word"]): (r["n_units"], r["n_pairs"]) for r in result.dropped}
    assert dropped == {
        (scope, word): (n, pairs[scope, word]) for scope, words in hot.items() for word, n in words.items()
    }
    assert len(result.dropped) == len(dropped)
    is_new = {(scope, i): new for scope, i, new in rows}
    expected = {
        pair
        for scope in "ab"
        for pair in proposed(corpus_oracle(corpus, frozenset(hot[scope])), 4)
        if all((scope, i) in is_new for i in pair) and any(is_new[scope, i] for i in pair)
    }
    assert found(result) == expected
    assert 0 < len(expected) < len(proposed(oracle, 4))
    assert len(staged) == 1


def test_a_word_that_all_share_finds_its_copies_below_the_cap(spark):
    """One word on every picture, in one scope in blocks: no pair of blocks gets more than its share of it."""
    rng = np.random.default_rng(3)
    none = np.full(12, NO_WORD, np.uint32)
    pictures = {}
    for number in range(120):
        cells = np.concatenate([[7], 100 + 50 * number + np.arange(11)]).astype(np.uint32)
        xy = rng.integers(0, 60, (12, 2)) * 4
        for _ in range(2):
            pictures[rng.bytes(16).hex()] = packed(rng, cells, none, xy, np.full(12, 5.0), np.full(12, 90.0))
    ids = [*pictures]
    units = units_of(spark, [("", i, True) for i in ids])
    result = word_pairs(units, features_of(spark, pictures), CFG, block_units=64)
    assert found(result) == {(min(pair), max(pair)) for pair in zip(ids[::2], ids[1::2], strict=True)}
    n_tasks = result.pairs.rdd.getNumPartitions()
    assert n_tasks == 10  # four blocks: every two, and each with itself


def test_fewer_votes_ask_for_fewer_points(spark, corpus, oracle, features):
    cfg = LshConfig(word_min_votes=3, mirrored=False)
    straight = {key: value for key, value in oracle.items() if not key[2]}
    result = word_pairs(units_of(spark, [("", i, True) for i in corpus]), features, cfg)
    assert found(result) == proposed(straight, 3)
    assert 3 in {points for votes, points in straight.values() if votes >= 3}
