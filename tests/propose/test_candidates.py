"""Candidate pairs of all generators of codes together, what joins, and brute force as a run holds it against them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from code_corpus import Corpus, N
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.errors import ConfigError
from dupelake.propose.generator_stage import Actions, JoinInputs
from dupelake.propose.join_keys_stage import compute_keys
from dupelake.propose.srp import PLANNING_ITEMS, embedding_plan
from dupelake.propose.stage import candidate_pairs, generators_of, joinable_units, probed_keys, promises
from dupelake.recall.brute_force_stage import near_sample, proposed_of, sample_of, sampled

CFG = LshConfig(phash_max_bits=7, pdq_max_bits=31, embedding_min_cosine=0.9)


@pytest.fixture(scope="module")
def corpus():
    return Corpus(11)


@pytest.fixture(scope="module")
def hashes(spark, corpus):
    return spark.createDataFrame(corpus.table()).drop("embedding")


def inputs_of(spark, corpus, hashes, codes, cfg, *, is_new=None, n_items=PLANNING_ITEMS):
    """For the hashes' generators, and that of embeddings where there are codes."""
    is_new = [True] * N if is_new is None else is_new
    nothing = spark.createDataFrame([], "content_id string, words binary")
    keys = nothing.select("content_id", F.col("words").alias("embedding_code")) if codes is None else codes
    centre = None if codes is None else corpus.centre
    units = units_of(spark, corpus.ids, is_new)
    return JoinInputs(units, hashes, nothing, keys, keys, centre, replace(cfg, words=False), N, sum(is_new), n_items)


def generators(*args, **kwargs):
    return generators_of(inputs_of(*args, **kwargs), Actions(lambda rows, _: rows, DataFrame.collect, lambda *_: None))


def units_of(spark, ids, is_new, scopes=None):
    scopes = scopes or [""] * len(ids)
    return spark.createDataFrame(pa.table({"scope": scopes, "content_id": list(ids), "is_new": list(is_new)}))


def found(df):
    rows = [tuple(row) for row in df.collect()]
    assert len({row[:2] for row in rows}) == len(rows), "a pair came out twice"
    assert all(src < dst for src, dst, _ in rows)
    return {(src, dst): by for src, dst, by in rows}


def by_leg(pairs, leg):
    return {pair for pair, legs in pairs.items() if leg in legs.split("+")}


@pytest.fixture(scope="module")
def codes(spark, corpus):
    stored = spark.createDataFrame(corpus.table().select(["content_id", "embedding"]))
    none = stored.select("content_id", F.lit(0).alias("n_keypoints"), F.lit(None).cast("binary").alias("words"))
    keys = compute_keys(stored.select("content_id"), none, stored, corpus.centre, CFG, "v")
    return spark.createDataFrame(keys.toArrow())


@pytest.fixture(scope="module")
def batch(spark, corpus, hashes, codes):
    return found(candidate_pairs(generators(spark, corpus, hashes, codes, CFG)))


@pytest.mark.parametrize(("phash_bits", "pdq_bits", "n_items"), [(0, 0, 1e6), (4, 31, 2e4), (10, 40, 1e9)])
def test_other_radii_plans_and_no_mirror(spark, corpus, hashes, phash_bits, pdq_bits, n_items):
    cfg = LshConfig(phash_max_bits=phash_bits, pdq_max_bits=pdq_bits, mirrored=False)
    pairs = found(candidate_pairs(generators(spark, corpus, hashes, None, cfg, n_items=n_items)))
    assert by_leg(pairs, "phash") == corpus.near("phash", phash_bits, mirrored=False)
    assert by_leg(pairs, "pdq") == corpus.near("pdq", pdq_bits, mirrored=False)


def test_found_by_names_legs_in_fixed_order(batch):
    assert set(batch.values()) <= {
        "phash",
        "pdq",
        "embedding",
        "phash+pdq",
        "phash+embedding",
        "pdq+embedding",
        "phash+pdq+embedding",
    }
    assert "phash+pdq+embedding" in batch.values()


def test_each_generator_is_given_its_own_filter(spark, corpus, hashes, codes, batch):
    """With all filters and one generator after the other: the pairs of the batch that have a new end."""
    is_new = [at % 6 == 0 for at in range(N)]
    bound = generators(spark, corpus, hashes, codes, CFG, is_new=is_new)
    bitmaps = {}
    for row in probed_keys(bound).collect():
        held = np.frombuffer(row["bitmap"], np.uint8)
        bitmaps[row["generator"]] = held | bitmaps.get(row["generator"], held)
    assert bitmaps.keys() == {"phash", "pdq", "embedding"}
    filters = {name: spark.sparkContext.broadcast(held.tobytes()) for name, held in bitmaps.items()}
    saved = []

    def checkpoint(frame):
        saved.append(frame)
        return frame

    new = {i for i, flag in zip(corpus.ids, is_new, strict=True) if flag}
    pairs = found(candidate_pairs(bound, filters, checkpoint))
    assert pairs == {pair: by for pair, by in batch.items() if set(pair) & new}
    assert len(saved) == 3


def test_joinable_units(spark):
    def content(n):
        return f"{n:032x}"

    hashes = spark.createDataFrame(
        [
            (content(1), "p", False),
            (content(2), "p", False),
            (content(3), "flat", True),
            (content(4), "q", False),
            (content(5), "r", False),
            (content(6), "s", False),
        ],
        "content_id string, pixel_digest string, is_low_information boolean",
    )
    images = spark.createDataFrame(
        [
            ("a", content(1), "ok", None),
            ("a", content(2), "ok", None),
            ("b", content(2), "ok", None),
            ("a", content(3), "ok", None),
            ("a", content(4), "ok", None),
            ("a", content(4), "ok", None),
            ("b", content(5), "ok", "2026-01-01"),
            ("b", None, "failed", None),
            ("b", content(6), "failed", None),
        ],
        "scope string, content_id string, status string, deleted_at string",
    )
    # b holds the twin of content 1 only; equal pixels stand for each other in every scope
    within = {("a", content(1)), ("b", content(1)), ("a", content(4))}
    rows = [tuple(row) for row in joinable_units(images, hashes, CFG).collect()]
    assert sorted(rows) == sorted(within)
    across = [tuple(row) for row in joinable_units(images, hashes, LshConfig(scope="across")).collect()]
    assert sorted(across) == [("", content(1)), ("", content(4))]


def test_hopeless_cosine_is_a_configuration_fault():
    centre = np.full(4, 0.45, np.float32)  # squared length 0.81
    with pytest.raises(ConfigError, match=r"lsh.embedding_min_cosine"):
        embedding_plan(centre, LshConfig(embedding_min_cosine=0.8))


@pytest.mark.parametrize(("mirrored", "every"), [(True, 9), (False, 3)])
def test_the_check_of_legs_knows_what_each_is_to_propose(spark, corpus, hashes, batch, mirrored, every):
    """Against the oracle of this file, for a sample, within scopes; and what was proposed is counted leg by leg."""
    cfg = LshConfig(phash_max_bits=7, pdq_max_bits=31, embedding_min_cosine=0.9, mirrored=mirrored)
    scopes = ["ab"[i % 2] for i in range(N)]
    units = units_of(spark, corpus.ids, [True] * N, scopes)
    embeddings = spark.createDataFrame(corpus.table().select(["content_id", "embedding"]))
    scope = dict(zip(corpus.ids, scopes, strict=True))
    picked = corpus.ids[::every]
    sample = units.where(F.col("content_id").isin(picked)).select("scope", "content_id")
    rows = sampled(sample, hashes, embeddings, promises(cfg)).collect()
    assert len(rows) == len(picked)
    few = spark.sparkContext.broadcast(sample_of(rows, promises(cfg)))
    near = near_sample(few, units, hashes, embeddings, promises(cfg)).cache()
    wanted = {
        "phash": corpus.near("phash", 7, mirrored=mirrored),
        "pdq": corpus.near("pdq", 31, mirrored=mirrored),
        "embedding": corpus.similar(0.9),
    }
    around = set(picked)
    wanted = {
        leg: {pair for pair in pairs if around & set(pair) and scope[pair[0]] == scope[pair[1]]}
        for leg, pairs in wanted.items()
    }
    found_near = [tuple(row) for row in near.collect()]
    assert len(set(found_near)) == len(found_near)
    assert {leg: {(a, b) for a, b, of in found_near if of == leg} for leg in wanted} == wanted
    assert all(len(pairs) > 20 for pairs in wanted.values())
    lost = sorted(wanted["pdq"])[:7]  # as if the leg had missed them
    given = [
        (a, b, "+".join(x for x in by.split("+") if x != "pdq" or (a, b) not in lost)) for (a, b), by in batch.items()
    ]
    candidates = spark.createDataFrame(given, "src_id string, dst_id string, found_by string")
    told = {row["leg"]: (row["n_true"], row["n_proposed"]) for row in proposed_of(near, candidates).collect()}
    n_pdq = len(wanted["pdq"])
    assert told["phash"] == (len(wanted["phash"]),) * 2
    assert told["pdq"] == (n_pdq, n_pdq - len(lost))
    assert told["embedding"] == (len(wanted["embedding"]), len(wanted["embedding"] & by_leg(batch, "embedding")))
    near.unpersist()


def test_a_sample_without_embeddings_is_checked_by_bits_alone(spark, corpus, hashes):
    units = units_of(spark, corpus.ids, [True] * N)
    promised = promises(CFG)
    rows = sampled(units.limit(20).select("scope", "content_id"), hashes, None, promised).collect()
    near = near_sample(spark.sparkContext.broadcast(sample_of(rows, promised)), units, hashes, None, promised)
    assert {row["leg"] for row in near.collect()} <= {"phash", "pdq"}
