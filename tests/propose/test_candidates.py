"""Candidate pairs against brute force: hash legs exactly, embedding leg by recall; nights, scopes, partitions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from dupelake.config import LshConfig
from dupelake.errors import ConfigError
from dupelake.propose.join_keys_stage import compute_keys
from dupelake.propose.mih import hamming_bits, words_of
from dupelake.propose.stage import candidate_pairs, embedding_plan, joinable_units, probed_keys
from dupelake.recall.brute_force_stage import near_sample, proposed_of, sample_of, sampled

N, DIM = 1500, 128
CFG = LshConfig(phash_max_bits=7, pdq_max_bits=31, embedding_min_cosine=0.9)


def flip(rng, code, n_bits):
    out = np.unpackbits(code)
    out[rng.choice(len(out), n_bits, replace=False)] ^= 1
    return np.packbits(out)


class Corpus:
    """Random codes with planted copies at and around each radius; arrays in order of ids."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.ids = sorted(rng.bytes(16).hex() for _ in range(N))
        self.phash, self.phash_mirrored = (rng.integers(0, 256, (N, 8), np.uint8) for _ in range(2))
        self.pdq, self.pdq_mirrored = (rng.integers(0, 256, (N, 32), np.uint8) for _ in range(2))
        spread = rng.standard_normal((N, DIM))
        order = rng.permutation(N)
        copies = order[:1200].reshape(-1, 2)
        for a, b in order[1200:1300].reshape(-1, 2):  # near in their mirrored codes alone: no pair
            self.phash_mirrored[b] = flip(rng, self.phash_mirrored[a], 2)
            self.pdq_mirrored[b] = flip(rng, self.pdq_mirrored[a], 2)
        for step, (a, b) in enumerate(copies):
            phash_bits, pdq_bits = (0, 5, 6, 7, 7, 8, 9)[step % 7], (0, 12, 25, 30, 31, 31, 32, 33)[step % 8]
            # straight; mirrored one way, the other way, or both, by differing bits
            for name, bits in (("phash", phash_bits), ("pdq", pdq_bits)):
                plain, mirror = getattr(self, name), getattr(self, f"{name}_mirrored")
                if step % 4 == 0:
                    plain[b] = flip(rng, plain[a], bits)
                if step % 4 in (1, 3):
                    plain[b] = flip(rng, mirror[a], bits)
                if step % 4 in (2, 3):
                    mirror[b] = flip(rng, plain[a], bits)
            if step % 3 == 0:
                spread[b] = spread[a] + spread[b] * 0.5 * rng.random()
        for i in copies[:40, 0]:
            self.phash_mirrored[i] = self.phash[i]  # a symmetric picture is no copy of itself
        clones = order[1300:1325]
        self.pdq[clones] = self.pdq[clones[0]]  # equal codes of different pixels are all pairs
        spread[clones] = spread[clones[0]]
        vectors = spread / np.linalg.norm(spread, axis=1, keepdims=True)
        vectors[:, 0] += 0.5
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2")
        self.centre = self.vectors.astype(np.float32).mean(axis=0)

    def table(self):
        def rows(array):
            return [row.tobytes() for row in array]

        return pa.table(
            {
                "content_id": self.ids,
                "phash": self.phash.view(">i8")[:, 0].astype(np.int64),
                "phash_mirrored": self.phash_mirrored.view(">i8")[:, 0].astype(np.int64),
                "pdq": rows(self.pdq),
                "pdq_mirrored": rows(self.pdq_mirrored),
                "embedding": [None if i == 0 else row.tobytes() for i, row in enumerate(self.vectors)],
            }
        )

    def near(self, name, max_bits, *, mirrored):
        """All pairs (i, j), i < j, within the radius, by brute force."""
        plain, mirror = words_of(getattr(self, name)), words_of(getattr(self, f"{name}_mirrored"))
        found = set()
        for i in range(N):
            distance = hamming_bits(plain, plain[i])
            if mirrored:
                for turned in (hamming_bits(mirror, plain[i]), hamming_bits(plain, mirror[i])):
                    distance = np.minimum(distance, turned)
            found |= {(i, int(j)) for j in np.flatnonzero(distance <= max_bits) if i < j}
        return {(self.ids[i], self.ids[j]) for i, j in found}

    def cosines(self):
        wide = self.vectors.astype(np.float64)
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
        return wide @ wide.T


@pytest.fixture(scope="module")
def corpus():
    return Corpus(11)


@pytest.fixture(scope="module")
def hashes(spark, corpus):
    return spark.createDataFrame(corpus.table()).drop("embedding")


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
    return keys.select("content_id", F.col("embedding_code").alias("code"))


@pytest.fixture(scope="module")
def batch(spark, corpus, hashes, codes):
    units = units_of(spark, corpus.ids, [True] * N)
    return found(candidate_pairs(units, hashes, codes, corpus.centre, CFG))


def test_hash_legs_equal_brute_force(corpus, batch):
    wanted = corpus.near("phash", 7, mirrored=True), corpus.near("pdq", 31, mirrored=True)
    assert by_leg(batch, "phash") == wanted[0]
    assert by_leg(batch, "pdq") == wanted[1]
    assert len(wanted[0]) > 300
    assert len(wanted[1] - corpus.near("pdq", 31, mirrored=False)) > 200


@pytest.mark.parametrize(("phash_bits", "pdq_bits", "n_items"), [(0, 0, 1e6), (4, 31, 2e4), (10, 40, 1e9)])
def test_other_radii_plans_and_no_mirror(spark, corpus, hashes, phash_bits, pdq_bits, n_items):
    cfg = LshConfig(phash_max_bits=phash_bits, pdq_max_bits=pdq_bits, mirrored=False)
    units = units_of(spark, corpus.ids, [True] * N)
    pairs = found(candidate_pairs(units, hashes, None, None, cfg, n_items=n_items))
    assert by_leg(pairs, "phash") == corpus.near("phash", phash_bits, mirrored=False)
    assert by_leg(pairs, "pdq") == corpus.near("pdq", pdq_bits, mirrored=False)


def test_embedding_leg_reaches_its_recall(corpus, batch):
    cosines = corpus.cosines()
    cosines[0] = cosines[:, 0] = 0  # has no embedding
    near = {(corpus.ids[i], corpus.ids[j]) for i, j in np.argwhere(np.triu(cosines, 1) >= 0.9)}
    equal = {(corpus.ids[i], corpus.ids[j]) for i, j in np.argwhere(np.triu(cosines, 1) >= 1 - 1e-9)}
    proposed = by_leg(batch, "embedding")
    assert len(near) > 300
    assert len(equal) >= 250
    assert equal <= proposed
    hard = near - equal
    assert len(hard & proposed) / len(hard) >= CFG.embedding_recall
    assert len(proposed - near) < len(near)


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


@pytest.mark.parametrize("n_nights", [2, 3])
def test_nights_equal_one_batch(spark, corpus, hashes, codes, batch, n_nights):
    night = np.random.default_rng(n_nights).integers(0, n_nights, N)
    ids, pairs = np.array(corpus.ids), {}
    for now in range(n_nights):
        units = units_of(spark, ids[night <= now].tolist(), (night[night <= now] == now).tolist())
        tonight = found(candidate_pairs(units, hashes, codes, corpus.centre, CFG))
        assert not pairs.keys() & tonight.keys(), "old units met again"
        pairs |= tonight
    assert pairs == batch


@pytest.mark.parametrize("every", [6, 40])
def test_filtered_keys_lose_no_pair(spark, corpus, hashes, codes, batch, every):
    is_new = np.arange(N) % every == 0
    units = units_of(spark, corpus.ids, is_new.tolist())
    rows = probed_keys(units, hashes, codes, corpus.centre, CFG, int(is_new.sum())).collect()
    assert {row["leg"] for row in rows} == {0, 1, 2}
    bitmaps = {}
    for row in rows:
        held = np.frombuffer(row["bitmap"], np.uint8)
        bitmaps[row["leg"]] = held | bitmaps.get(row["leg"], held)
    assert all(np.unpackbits(held).mean() < 0.2 for held in bitmaps.values()), "nothing is kept out"
    filters = {leg: spark.sparkContext.broadcast(held.tobytes()) for leg, held in bitmaps.items()}
    new = {i for i, flag in zip(corpus.ids, is_new, strict=True) if flag}
    pairs = found(candidate_pairs(units, hashes, codes, corpus.centre, CFG, filters=filters))
    assert pairs == {pair: by for pair, by in batch.items() if set(pair) & new}


@pytest.mark.parametrize("partitions", [1, 8])
def test_partitions_change_nothing(spark, corpus, hashes, batch, partitions):
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
    try:
        units = units_of(spark, corpus.ids[::-1], [True] * N).repartition(partitions)
        pairs = found(candidate_pairs(units, hashes.repartition(partitions), None, None, CFG))
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    legs = {pair: "+".join(leg for leg in by.split("+") if leg != "embedding") for pair, by in batch.items()}
    assert pairs == {pair: by for pair, by in legs.items() if by}


@pytest.mark.parametrize("hashes_collide", [False, True])
def test_scopes_are_never_compared(spark, corpus, hashes, monkeypatch, hashes_collide):
    if hashes_collide:  # the hash of the scope in the key only spares work; what decides is the scope itself
        monkeypatch.setattr("dupelake.propose.packed_stage.F.xxhash64", lambda *_: F.lit(7))
    rng = np.random.default_rng(4)
    held = [(scope, i) for i in range(N) for scope in ("a", "b") if rng.random() < 0.7]
    new = rng.random(len(held)) < 0.5
    units = units_of(spark, [corpus.ids[i] for _, i in held], new.tolist(), [scope for scope, _ in held])
    pairs = found(candidate_pairs(units, hashes, None, None, CFG))
    is_new = {(scope, corpus.ids[i]): bool(flag) for (scope, i), flag in zip(held, new, strict=True)}

    def wanted(name, bits):
        return {
            (a, b)
            for a, b in corpus.near(name, bits, mirrored=True)
            for scope in ("a", "b")
            if (scope, a) in is_new and (scope, b) in is_new and (is_new[scope, a] or is_new[scope, b])
        }

    assert by_leg(pairs, "phash") == wanted("phash", 7)
    assert by_leg(pairs, "pdq") == wanted("pdq", 31)


def test_no_new_unit_proposes_nothing(spark, corpus, hashes):
    units = units_of(spark, corpus.ids, [False] * N)
    assert found(candidate_pairs(units, hashes, None, None, CFG)) == {}


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
    rows = sampled(sample, hashes, embeddings).collect()
    assert len(rows) == len(picked)
    few = spark.sparkContext.broadcast(sample_of(rows))
    near = near_sample(few, units, hashes, embeddings, cfg).cache()
    cosines = corpus.cosines()
    cosines[0] = cosines[:, 0] = 0  # has no embedding
    wanted = {
        "phash": corpus.near("phash", 7, mirrored=mirrored),
        "pdq": corpus.near("pdq", 31, mirrored=mirrored),
        "embedding": {(corpus.ids[i], corpus.ids[j]) for i, j in np.argwhere(np.triu(cosines, 1) >= 0.9)},
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
    rows = sampled(units.limit(20).select("scope", "content_id"), hashes, None).collect()
    near = near_sample(spark.sparkContext.broadcast(sample_of(rows)), units, hashes, None, CFG)
    assert {row["leg"] for row in near.collect()} <= {"phash", "pdq"}
