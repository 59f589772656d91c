"""Every candidate generator by itself: brute force within its promise, nights, scopes, filters, partitions.

A new generator gets a line in CASES; what is special about one is tested in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from code_corpus import Corpus
from pyspark.sql import functions as F
from word_oracle import corpus_oracle, key_oracle, random_corpus

from dupelake.config import LshConfig
from dupelake.propose import words_stage
from dupelake.propose.embedding_stage import Embedding
from dupelake.propose.generator_stage import Actions, JoinInputs
from dupelake.propose.join_keys_stage import compute_keys
from dupelake.propose.pdq_stage import Pdq
from dupelake.propose.phash_stage import PHash
from dupelake.propose.promises import WithinCosine
from dupelake.propose.stage import NAMES
from dupelake.propose.word_blocks_stage import MIN_POINTS
from dupelake.propose.words_stage import Words
from dupelake.words.vocabulary import unpack_words

N_WORDS = 150
_DEFAULT, _NEAR = LshConfig(), LshConfig(embedding_min_cosine=0.9)
_WITHOUT = ("f" * 32, "e" * 32, "d" * 32)  # pictures without words, without keypoints and without features


class CodeWorld:
    """Contents with hashes and embeddings, and no words."""

    def __init__(self, spark):
        self.corpus = Corpus(11)
        self.ids = self.corpus.ids
        table = spark.createDataFrame(self.corpus.table())
        hashes, embeddings = table.drop("embedding"), table.select("content_id", "embedding")
        features = table.select("content_id", F.lit(0).alias("n_keypoints"), F.lit(None).cast("binary").alias("words"))
        keys = compute_keys(table.select("content_id"), features, embeddings, self.corpus.centre, _NEAR, "v")
        self.inputs = hashes, features, spark.createDataFrame(keys.toArrow()), self.corpus.centre


class WordWorld:
    """Contents with visual words, and no hashes."""

    def __init__(self, spark):
        self.corpus = random_corpus(8, N_WORDS)
        self.ids = [*sorted(self.corpus), *_WITHOUT]
        rows = {**self.corpus, _WITHOUT[0]: b"\1\0\1\0", _WITHOUT[1]: None}
        n_keypoints = [0 if value is None else len(unpack_words(value)) for value in rows.values()]
        columns = {"content_id": [*rows], "n_keypoints": n_keypoints, "words": pa.array([*rows.values()], pa.binary())}
        features = spark.createDataFrame(pa.table(columns))
        keys = compute_keys(features.select("content_id"), features, None, None, LshConfig(word_join="keys"), "v")
        self.inputs = features.select("content_id"), features, spark.createDataFrame(keys.toArrow()), None

    @cached_property
    def agreeing(self):
        """All pairs whose words agree by the rule, by brute force."""
        return {
            (a, b)
            for (a, b, _), (votes, points) in corpus_oracle(self.corpus).items()
            if votes >= LshConfig().word_min_votes and points >= MIN_POINTS
        }

    @cached_property
    def meeting(self):
        """Those of them that share as many keys as meet."""
        keys = {key: key_oracle(unpack_words(data)) for key, data in self.corpus.items()}
        return {(a, b) for a, b in self.agreeing if len(keys[a] & keys[b]) >= LshConfig().word_min_keys}


@dataclass(frozen=True)
class Case:
    """A generator as it is configured, the contents it is tried on, and what it is to find there by brute force."""

    name: str
    generator: Any
    world: Any
    truth: Callable[[Any], set[tuple[str, str]]]
    cfg: LshConfig = _DEFAULT
    units_per_block: int | None = None


CASES = [
    Case("phash", PHash, CodeWorld, lambda world: world.corpus.near("phash", 7, mirrored=True)),
    Case("pdq", Pdq, CodeWorld, lambda world: world.corpus.near("pdq", 31, mirrored=True)),
    Case("embedding", Embedding, CodeWorld, lambda world: world.corpus.similar(0.9), _NEAR),
    Case("words in blocks", Words, WordWorld, lambda world: world.agreeing),
    Case("words in small blocks", Words, WordWorld, lambda world: world.agreeing, units_per_block=25),
    Case("words by keys", Words, WordWorld, lambda world: world.meeting, LshConfig(word_join="keys")),
]


@pytest.fixture(scope="module")
def worlds(spark):
    return {world: world(spark) for world in (CodeWorld, WordWorld)}


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request, monkeypatch):
    if request.param.units_per_block:
        monkeypatch.setattr(words_stage, "units_per_block", lambda *_: request.param.units_per_block)
    return request.param


@pytest.fixture
def world(case, worlds):
    return worlds[case.world]


@pytest.fixture(scope="module")
def batches():
    """Pairs of one batch by case, computed once."""
    return {}


@pytest.fixture
def batch(spark, case, world, batches):
    if case.name not in batches:
        batches[case.name] = pairs_of(bound(spark, case, world, [("", i, True) for i in world.ids]))
    return batches[case.name]


def bound(spark, case, world, rows):
    """The generator bound to units (scope, content id, is_new)."""
    scopes, ids, new = zip(*rows, strict=True)
    units = pa.table({"scope": [*scopes], "content_id": [*ids], "is_new": [*map(bool, new)]})
    hashes, features, keys, centre = world.inputs
    n_new = sum(map(bool, new))
    inputs = JoinInputs(
        spark.createDataFrame(units), hashes, features, keys, keys, centre, case.cfg, len(rows), max(n_new, 1)
    )
    assert case.generator.is_wanted(inputs)
    return case.generator(inputs, Actions(lambda rows, _: rows, lambda rows: rows.collect(), lambda *_: None))


def pairs_of(generator, probed=None):
    rows = [(bytes(low).hex(), bytes(high).hex()) for low, high in generator.pairs(probed).collect()]
    assert all(low < high for low, high in rows)
    return set(rows)


def filter_of(spark, generator):
    """(the joined filter, the share of its bits that are set), or (None, 0) without one."""
    rows = generator.filters()
    if rows is None:
        return None, 0.0
    whole = np.bitwise_or.reduce([np.frombuffer(row["bitmap"], np.uint8) for row in rows.collect()])
    return spark.sparkContext.broadcast(whole.tobytes()), np.unpackbits(whole).mean()


def test_every_listed_generator_has_a_case():
    assert {case.generator.name for case in CASES} == set(NAMES)


def test_a_batch_equals_brute_force_within_the_promise(case, world, batch):
    truth = case.truth(world)
    assert len(truth) > 15
    promise = case.generator.promise(case.cfg)
    if isinstance(promise, WithinCosine):
        equal = case.world is CodeWorld and world.corpus.similar(1 - 1e-9)
        assert len(equal) >= 250
        assert equal <= batch
        hard = truth - equal
        assert len(hard & batch) >= promise.share * len(hard)
        assert len(batch - truth) < len(truth)
    else:
        assert batch == truth


@pytest.mark.parametrize(("n_nights", "with_filter"), [(2, False), (3, True)])
def test_nights_equal_one_batch(spark, case, world, batch, n_nights, with_filter):
    night = np.random.default_rng(n_nights).integers(0, n_nights, len(world.ids))
    pairs = set()
    for now in range(n_nights):
        rows = [("", i, n == now) for i, n in zip(world.ids, night, strict=True) if n <= now]
        generator = bound(spark, case, world, rows)
        tonight = pairs_of(generator, filter_of(spark, generator)[0] if with_filter else None)
        assert not pairs & tonight, "old units met again"
        pairs |= tonight
    assert pairs == batch


def test_a_filter_keeps_much_out_and_loses_no_pair(spark, case, world, batch):
    new = set(world.ids[::6])
    generator = bound(spark, case, world, [("", i, i in new) for i in world.ids])
    probed, filled = filter_of(spark, generator)
    assert filled < 0.2, "nothing is kept out"
    assert pairs_of(generator, probed) == {pair for pair in batch if set(pair) & new}


@pytest.mark.parametrize("hashes_collide", [False, True])
def test_scopes_never_meet(spark, case, world, batch, monkeypatch, hashes_collide):
    if hashes_collide:  # hashes of scopes only spare work; what decides is the scope itself
        monkeypatch.setattr("dupelake.propose.packed_stage.F.xxhash64", lambda *_: F.lit(7).cast("bigint"))
    rng = np.random.default_rng(4)
    held = [(scope, i) for i in world.ids for scope in ("a", "b") if rng.random() < 0.7]
    is_new = {unit: bool(rng.random() < 0.5) for unit in held}
    wanted = {
        pair
        for pair in batch
        for scope in ("a", "b")
        if all((scope, i) in is_new for i in pair) and any(is_new[scope, i] for i in pair)
    }
    assert 0 < len(wanted) < len(batch)
    assert pairs_of(bound(spark, case, world, [(*unit, new) for unit, new in is_new.items()])) == wanted


def test_partitions_change_nothing(spark, case, world, batch):
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    try:
        generator = bound(spark, case, world, [("", i, True) for i in reversed(world.ids)])
        generator.inputs = replace(generator.inputs, units=generator.inputs.units.repartition(7))
        assert pairs_of(generator) == batch
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)


def test_no_new_unit_proposes_nothing(spark, case, world):
    assert pairs_of(bound(spark, case, world, [("", i, False) for i in world.ids])) == set()
