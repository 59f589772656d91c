"""Scores: evidence against numpy, decisions against plain Python, versions never mixed."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from dupelake.config import DecideConfig
from dupelake.schema import PAIRS
from dupelake.stages.score import decide, decide_version, pixel_pairs, score_pairs

N, DIM = 60, 96
CFG = DecideConfig()
EVIDENCE = ["phash_bits", "phash_mirrored_bits", "pdq_bits", "pdq_mirrored_bits", "pdq_quality", "cosine_similarity"]


def corpus():
    rng = np.random.default_rng(21)
    ids = sorted(rng.bytes(16).hex() for _ in range(N))
    codes = {
        name: rng.integers(0, 256, (N, n), np.uint8)
        for name, n in (("phash", 8), ("phash_mirrored", 8), ("pdq", 32), ("pdq_mirrored", 32))
    }
    vectors = rng.standard_normal((N, DIM))
    vectors[1] = vectors[0]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2")
    for code in codes.values():
        code[1] = code[0]
    return ids, codes, vectors, rng.integers(0, 101, N)


def frames(spark, *, version=lambda i: "v1", preprocess=lambda i: "p1"):
    ids, codes, vectors, quality = corpus()
    table = {
        "content_id": ids,
        "pixel_digest": ids,
        "is_low_information": [False] * N,
        "pdq_quality": pa.array(quality, pa.int32()),
        "hash_version": [version(i) for i in range(N)],
    }
    for name, code in codes.items():
        table[name] = code.view(">i8")[:, 0].astype(np.int64) if "phash" in name else [row.tobytes() for row in code]
    embedded = [i for i in range(N) if i != 5]
    embeddings = pa.table(
        {
            "content_id": [ids[i] for i in embedded] * 2,
            "model_id": ["m1"] * len(embedded) + ["other"] * len(embedded),
            "preprocess_id": [preprocess(i) for i in embedded] * 2,
            "embedding": [vectors[i].tobytes() for i in embedded] + [b"\0\0"] * len(embedded),
        }
    )
    pairs = [(ids[i], ids[j], "pdq") for i, j in itertools.combinations(range(N), 2) if (i + j) % 3 == 1]
    return (
        spark.createDataFrame(pairs, "src_id string, dst_id string, found_by string"),
        spark.createDataFrame(pa.table(table)),
        spark.createDataFrame(embeddings),
    )


def bits(a, b):
    return int(np.unpackbits(a ^ b).sum())


def value_of_bits(distance, threshold, random):
    if distance <= threshold:
        return 1 - 0.5 * distance / threshold if threshold else 1.0
    return max(0.0, 0.5 * (random - distance) / (random - threshold))


def decision(row, cfg):
    """(score, is_duplicate, is_mirrored, kind) as design and schema describe them, in plain Python."""
    straight = [value_of_bits(row["phash_bits"], cfg.phash_max_bits, 32)]
    mirrored = [value_of_bits(row["phash_mirrored_bits"], cfg.phash_max_bits, 32)]
    if row["pdq_quality"] >= cfg.pdq_min_quality:
        straight.append(value_of_bits(row["pdq_bits"], cfg.pdq_max_bits, 128))
        mirrored.append(value_of_bits(row["pdq_mirrored_bits"], cfg.pdq_max_bits, 128))
    cosine, t = row["cosine_similarity"], cfg.min_cosine
    edited = 0.0
    if cosine is not None:
        edited = max(0.0, 0.5 * cosine / t) if cosine < t else 1.0 if t == 1 else 0.5 + 0.5 * (cosine - t) / (1 - t)
    straight_best, mirrored_best = max(straight), max(mirrored)
    is_mirrored = mirrored_best > straight_best
    kind = (
        "mirrored"
        if is_mirrored and mirrored_best >= 0.5
        else "near"
        if straight_best >= 0.5
        else "edited"
        if edited >= 0.5
        else None
    )
    return max(straight_best, mirrored_best, edited), kind is not None, is_mirrored, kind


def test_evidence_against_numpy(spark):
    ids, codes, vectors, quality = corpus()
    pairs, hashes, embeddings = frames(spark)
    scored = score_pairs(pairs, hashes, embeddings, CFG, "j1", "m1")
    assert [(f.name, f.dataType) for f in scored.schema] == [(f.name, f.dataType) for f in PAIRS.schema]
    rows = {(row.src_id, row.dst_id): row for row in scored.collect()}
    assert set(rows) == {(row.src_id, row.dst_id) for row in pairs.collect()}
    place = {name: i for i, name in enumerate(ids)}
    for (a, b), row in rows.items():
        i, j = place[a], place[b]
        for name in ("phash", "pdq"):
            code, mirror = codes[name], codes[f"{name}_mirrored"]
            assert row[f"{name}_bits"] == bits(code[i], code[j])
            assert row[f"{name}_mirrored_bits"] == min(bits(mirror[i], code[j]), bits(code[i], mirror[j]))
        assert row.pdq_quality == min(quality[i], quality[j])
        if 5 in (i, j):
            assert (row.cosine_similarity, row.model_id) == (None, None)
        else:
            left, right = vectors[i].astype(float), vectors[j].astype(float)
            wanted = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
            assert row.cosine_similarity == pytest.approx(wanted, abs=1e-12)
            assert row.model_id == "m1"
        assert (row.found_by, row.hash_version, row.join_version) == ("pdq", "v1", "j1")
        score, is_duplicate, is_mirrored, kind = decision(row.asDict(), CFG)
        assert (row.score, row.is_duplicate, row.is_mirrored, row.kind) == (score, is_duplicate, is_mirrored, kind)
    assert rows[ids[0], ids[1]].cosine_similarity == 1.0
    assert rows[ids[0], ids[1]].score == 1.0


def test_without_embeddings(spark):
    pairs, hashes, _ = frames(spark)
    row = (
        score_pairs(pairs, hashes, None, CFG, "j1", None)
        .agg(F.count("cosine_similarity").alias("c"), F.count("model_id").alias("m"), F.count("score").alias("s"))
        .first()
    )
    assert (row.c, row.m, row.s) == (0, 0, pairs.count())


GRID = [
    (phash, phash_m, pdq, pdq_m, quality, cosine)
    for phash, phash_m in ((0, 30), (4, 5), (5, 4), (32, 64), (5, 6))
    for pdq, pdq_m in ((0, 128), (31, 32), (32, 31), (33, 140), (256, 120))
    for quality in (49, 50)
    for cosine in (None, -0.3, 0.0, float(np.nextafter(0.95, 0)), 0.95, float(np.nextafter(0.95, 1)), 1.0)
]
THRESHOLDS = [CFG, DecideConfig(0, 0, 50, 1.0), DecideConfig(16, 63, 0, 0.5), DecideConfig(5, 32, 50, 0.95)]


def evidence(spark, grid=GRID):
    rows = [(f"a{i:04d}", f"b{i:04d}", "pdq", *row, "v1", "m1", "j1") for i, row in enumerate(grid)]
    kinds = ["int"] * 5 + ["double"]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(EVIDENCE, kinds, strict=True))
    return spark.createDataFrame(
        rows,
        f"src_id string, dst_id string, found_by string, {columns}, "
        "hash_version string, model_id string, join_version string",
    )


@pytest.mark.parametrize("cfg", THRESHOLDS, ids=str)
def test_decisions_at_and_around_thresholds(spark, cfg):
    for row in decide(evidence(spark), cfg).collect():
        score, is_duplicate, is_mirrored, kind = decision(row.asDict(), cfg)
        assert (row.score, row.is_duplicate, row.is_mirrored, row.kind) == (score, is_duplicate, is_mirrored, kind), row
        assert row.is_duplicate == (row.score >= 0.5)
        assert 0 <= row.score <= 1
        passes = (
            min(row.phash_bits, row.phash_mirrored_bits) <= cfg.phash_max_bits
            or (row.pdq_quality >= cfg.pdq_min_quality and min(row.pdq_bits, row.pdq_mirrored_bits) <= cfg.pdq_max_bits)
            or (row.cosine_similarity is not None and row.cosine_similarity >= cfg.min_cosine)
        )
        assert row.is_duplicate == passes, row
        assert row.decide_version == decide_version(cfg)


@pytest.mark.parametrize("threshold", [0, 1, 3, 7, 10, 13, 16])
def test_every_signal_scores_exactly_half_at_its_threshold(spark, threshold):
    cfg = DecideConfig(threshold, 3 * threshold, 50, 0.5 + threshold / 37)
    far = {
        "phash_bits": 64,
        "phash_mirrored_bits": 64,
        "pdq_bits": 256,
        "pdq_mirrored_bits": 256,
        "pdq_quality": 50,
        "cosine_similarity": -1.0,
    }
    at = {
        "phash_bits": threshold,
        "phash_mirrored_bits": threshold,
        "pdq_bits": 3 * threshold,
        "pdq_mirrored_bits": 3 * threshold,
        "cosine_similarity": cfg.min_cosine,
    }
    rows = [(far | {name: value})[column] for name, value in at.items() for column in EVIDENCE]
    rows = [tuple(rows[i : i + len(EVIDENCE)]) for i in range(0, len(rows), len(EVIDENCE))]
    scores = [row.score for row in decide(evidence(spark, rows), cfg).orderBy("src_id").collect()]
    assert scores == [0.5 if threshold else 1.0] * 4 + [0.5]


def test_deciding_again_replaces_decisions_and_keeps_evidence(spark):
    strict, wide = THRESHOLDS[1], THRESHOLDS[2]
    once = decide(evidence(spark), wide)
    again = decide(decide(evidence(spark), strict), wide)
    assert sorted(map(str, again.collect())) == sorted(map(str, once.collect()))
    assert decide_version(strict) != decide_version(wide)
    assert decide_version(wide) == decide_version(dataclasses.replace(wide))


def test_mixed_hash_versions_are_refused(spark):
    pairs, hashes, embeddings = frames(spark, version=lambda i: "v2" if i == 7 else "v1")
    with pytest.raises(Exception, match=r"VersionMixError.*'v[12]'.*'v[12]'"):
        score_pairs(pairs, hashes, embeddings, CFG, "j1", "m1").collect()


def test_mixed_preprocessing_is_refused(spark):
    pairs, hashes, embeddings = frames(spark, preprocess=lambda i: "p2" if i == 7 else "p1")
    with pytest.raises(Exception, match=r"VersionMixError.*'p[12]'.*'p[12]'"):
        score_pairs(pairs, hashes, embeddings, CFG, "j1", "m1").collect()


def test_pixel_pairs_are_stars(spark):
    ids, codes, _, _ = corpus()
    _, hashes, _ = frames(spark)
    digest = F.when(F.col("content_id").isin(ids[3:6]), F.lit("same")).otherwise(F.col("pixel_digest"))
    twins = hashes.withColumn("pixel_digest", digest)
    for name in ("phash", "phash_mirrored", "pdq", "pdq_mirrored"):  # equal pixels, equal hashes
        value = twins.where(F.col("content_id") == ids[3]).first()[name]
        twins = twins.withColumn(name, F.when(F.col("content_id").isin(ids[3:6]), F.lit(value)).otherwise(F.col(name)))
    rows = pixel_pairs(twins, CFG).collect()
    assert sorted((row.src_id, row.dst_id) for row in rows) == [(ids[3], ids[4]), (ids[3], ids[5])]
    for row in rows:
        assert (row.kind, row.found_by) == ("pixel", "pixel")
        assert (row.score, row.is_duplicate, row.is_mirrored) == (1.0, True, False)
        assert (row.phash_bits, row.pdq_bits, row.cosine_similarity, row.model_id) == (0, 0, None, None)
        assert row.phash_mirrored_bits == bits(codes["phash"][3], codes["phash_mirrored"][3])
        assert (row.hash_version, row.join_version, row.decide_version) == ("v1", "pixel", decide_version(CFG))
    again = decide(pixel_pairs(twins, CFG), THRESHOLDS[1])
    assert {(row.kind, row.score, row.decide_version) for row in again.collect()} == {
        ("pixel", 1.0, decide_version(THRESHOLDS[1]))
    }
