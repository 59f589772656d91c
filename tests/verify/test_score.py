"""Evidence of pairs: equal to numpy, refused for mixed versions, and stars of equal pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from dupelake.config import DecideConfig
from dupelake.verify.decide_stage import decide, decide_version
from dupelake.verify.score_stage import measure_pairs, pixel_pairs, with_alignment, without_alignment
from dupelake.verify.stage import ALIGNED
from dupelake.warehouse.schema import PAIRS

N, DIM = 60, 96
CFG = DecideConfig()


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


def test_evidence_against_numpy(spark):
    ids, codes, vectors, quality = corpus()
    pairs, hashes, embeddings = frames(spark)
    scored = measure_pairs(pairs, hashes, embeddings, "j1", "m1")
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
    assert rows[ids[0], ids[1]].cosine_similarity == 1.0


def test_without_embeddings(spark):
    pairs, hashes, _ = frames(spark)
    row = (
        measure_pairs(pairs, hashes, None, "j1", None)
        .agg(F.count("cosine_similarity").alias("c"), F.count("model_id").alias("m"), F.count("pdq_bits").alias("b"))
        .first()
    )
    assert (row.c, row.m, row.b) == (0, 0, pairs.count())


def test_alignment_joins_its_pairs_and_leaves_the_others_null(spark):
    pairs, hashes, embeddings = frames(spark)
    measured = measure_pairs(pairs, hashes, embeddings, "j1", "m1")
    first = pairs.orderBy("src_id", "dst_id").first()
    columns = without_alignment(measured).select("src_id", "dst_id", *ALIGNED.fieldNames()[2:])
    one = columns.where((F.col("src_id") == first.src_id) & (F.col("dst_id") == first.dst_id))
    aligned = one.withColumns({"aligned_ncc": F.lit(0.9), "n_inliers": F.lit(20), "is_mirrored": F.lit(True)})
    rows = with_alignment(measured, aligned, "w1")
    assert {f.name for f in PAIRS.schema} - set(rows.columns) == {"kind", "score", "is_duplicate", "decide_version"}
    found = {(row.src_id, row.dst_id): row for row in rows.collect()}
    assert len(found) == pairs.count()
    for key, row in found.items():
        hit = key == (first.src_id, first.dst_id)
        assert (row.aligned_ncc, row.n_inliers, row.verify_version) == ((0.9, 20, "w1") if hit else (None, None, None))


def test_mixed_hash_versions_are_refused(spark):
    pairs, hashes, embeddings = frames(spark, version=lambda i: "v2" if i == 7 else "v1")
    with pytest.raises(Exception, match=r"VersionMixError.*'v[12]'.*'v[12]'"):
        measure_pairs(pairs, hashes, embeddings, "j1", "m1").collect()


def test_mixed_preprocessing_is_refused(spark):
    pairs, hashes, embeddings = frames(spark, preprocess=lambda i: "p2" if i == 7 else "p1")
    with pytest.raises(Exception, match=r"VersionMixError.*'p[12]'.*'p[12]'"):
        measure_pairs(pairs, hashes, embeddings, "j1", "m1").collect()


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
    other = DecideConfig(min_score=0.9)
    again = decide(pixel_pairs(twins, CFG), other)
    assert {(row.kind, row.score, row.decide_version) for row in again.collect()} == {
        ("pixel", 1.0, decide_version(other))
    }
