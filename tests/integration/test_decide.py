"""Decisions against plain Python, at and around every threshold."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from pyspark.sql import types as T

from dupelake.config import DecideConfig
from dupelake.schema import PAIRS
from dupelake.stages.decide import CROP_OVERLAP, TURN_DEGREES, decide, decide_version

CFG = DecideConfig()
BITS = ("phash_bits", "phash_mirrored_bits", "pdq_bits", "pdq_mirrored_bits", "pdq_quality")
FAR = dict(zip(BITS, (40, 40, 128, 128, 100), strict=True))
DECISION = ("kind", "score", "is_duplicate", "decide_version")
ALIGNED = {
    "n_inliers": 40,
    "inlier_spread": 0.9,
    "aligned_ncc": 0.95,
    "agreeing_share": 0.95,
    "contradicting_share": 0.06,
    "src_overlap": 1.0,
    "dst_overlap": 1.0,
    "scale": 1.0,
    "rotation_degrees": 0.0,
    "is_mirrored": False,
    "largest_local_difference": 0.0,
    "colour_difference": 0.0,
}
STRICT = DecideConfig(
    phash_max_bits=0, pdq_max_bits=0, pdq_min_quality=50, min_inliers=400, min_overlaid_inliers=400, min_aligned_ncc=1.0
)
WIDE = DecideConfig(
    phash_max_bits=16, pdq_max_bits=63, pdq_min_quality=0, min_inliers=4, min_aligned_ncc=0.0, min_inlier_spread=0.0,
    min_agreeing_share=0.0, max_contradicting_share=1.0, min_overlap=0.0, bits_min_agreeing_share=0.0,
    min_direct_ncc=0.5,
)  # fmt: skip


def value_of_bits(distance, threshold, random):
    if distance <= threshold:
        return 1 - 0.5 * distance / threshold if threshold else 1.0
    return max(0.0, 0.5 * (random - distance) / (random - threshold))


def value_of_share(share, t):
    if share >= t:
        return 1.0 if t == 1 else 0.5 + 0.5 * (share - t) / (1 - t)
    return max(0.0, 0.5 * share / t)


def decision(row, cfg):
    """(score, is_duplicate, is_mirrored, kind) as design and schema describe them, in plain Python."""
    straight = [value_of_bits(row["phash_bits"], cfg.phash_max_bits, 32)]
    mirrored = [value_of_bits(row["phash_mirrored_bits"], cfg.phash_max_bits, 32)]
    if row["pdq_quality"] >= cfg.pdq_min_quality:
        straight.append(value_of_bits(row["pdq_bits"], cfg.pdq_max_bits, 128))
        mirrored.append(value_of_bits(row["pdq_mirrored_bits"], cfg.pdq_max_bits, 128))
    geometry = 0.0
    if row["aligned_ncc"] is not None:
        overlap = value_of_share(max(row["src_overlap"], row["dst_overlap"]), cfg.min_overlap)
        n, t = row["n_inliers"], cfg.min_inliers
        vouched = [
            overlap,
            1 - 0.5 * t / n if n >= t else 0.5 * n / t,
            value_of_share(row["inlier_spread"], cfg.min_inlier_spread),
            value_of_share(row["aligned_ncc"], cfg.min_aligned_ncc),
            value_of_share(row["agreeing_share"], cfg.min_agreeing_share),
            value_of_share(1.0 - row["contradicting_share"], 1.0 - cfg.max_contradicting_share),
        ]
        close = [
            overlap,
            value_of_share(row["aligned_ncc"], cfg.min_direct_ncc),
            value_of_share(row["agreeing_share"], cfg.min_direct_agreeing_share),
            value_of_share(1.0 - row["contradicting_share"], 1.0 - cfg.max_direct_contradicting_share),
        ]
        t = cfg.min_overlaid_inliers
        overlaid = [
            overlap,
            1 - 0.5 * t / n if n >= t else 0.5 * n / t,
            value_of_share(row["inlier_spread"], cfg.min_overlaid_inlier_spread),
            value_of_share(row["aligned_ncc"], cfg.min_aligned_ncc),
            value_of_share(row["agreeing_share"], cfg.min_overlaid_agreeing_share),
            value_of_share(1.0 - row["contradicting_share"], 1.0 - cfg.max_overlaid_contradicting_share),
        ]
        geometry = max(min(vouched), min(close), min(overlaid))
    straight, mirrored = [max(straight)], [max(mirrored)]
    if row["aligned_ncc"] is not None and row["agreeing_share"] < cfg.bits_min_agreeing_share:
        straight, mirrored = [min(0.49, *straight)], [min(0.49, *mirrored)]
    score = max(*straight, *mirrored, geometry)
    is_mirrored = row["is_mirrored"] if row["aligned_ncc"] is not None else max(mirrored) > max(straight)
    kind = None
    if geometry >= 0.5:
        kind = (
            "edited"
            if row["largest_local_difference"] > cfg.max_local_difference
            else "recoloured"
            if row["colour_difference"] > cfg.max_colour_difference
            else "mirrored"
            if row["is_mirrored"]
            else "rotated"
            if abs(row["rotation_degrees"]) > TURN_DEGREES
            else "crop"
            if min(row["src_overlap"], row["dst_overlap"]) < CROP_OVERLAP
            else "near"
        )
    elif score >= 0.5:
        kind = "mirrored" if is_mirrored else "edited"
    return score, score >= 0.5, is_mirrored, kind


def around(value):
    return [float(np.nextafter(value, -1)), value, float(np.nextafter(value, 2))]


def grid():
    rows = [
        dict(zip(BITS, (*phash, *pdq, quality), strict=True))
        for phash, pdq, quality in itertools.product(
            ((0, 30), (2, 3), (3, 2), (32, 64), (4, 5)), ((0, 128), (31, 32), (32, 31), (33, 140)), (49, 50)
        )
    ]
    wrong = {
        "n_inliers": 3,
        "agreeing_share": 0.6,
        "aligned_ncc": 0.7,
    }  # an alignment that proves nothing and refutes nothing
    rows += [row | ALIGNED | wrong | {"is_mirrored": True} for row in rows[:8]]
    for name, threshold in (
        ("inlier_spread", CFG.min_inlier_spread),
        ("aligned_ncc", CFG.min_aligned_ncc),
        ("agreeing_share", CFG.min_agreeing_share),
        ("largest_local_difference", CFG.max_local_difference),
        ("colour_difference", CFG.max_colour_difference),
        ("src_overlap", CROP_OVERLAP),
        ("dst_overlap", CROP_OVERLAP),
    ):
        rows += [FAR | ALIGNED | {name: value} for value in (*around(threshold), 0.0, 1.0)]
    rows += [FAR | ALIGNED | {"contradicting_share": x} for x in (0.0, 0.249, 0.25, 0.251, 1.0)]
    rows += [FAR | ALIGNED | {"src_overlap": x, "dst_overlap": 0.1} for x in around(CFG.min_overlap)]
    refutable = dict(zip(BITS, (0, 40, 0, 128, 100), strict=True)) | ALIGNED
    rows += [refutable | {"agreeing_share": x} for x in around(CFG.bits_min_agreeing_share)]
    rows += [FAR | ALIGNED | {"n_inliers": n} for n in (1, 19, 20, 21, 400)]
    rows += [FAR | ALIGNED | {"rotation_degrees": turn} for turn in (-180.0, -3.1, -3.0, 3.0, 3.1, 90.0)]
    rows += [
        FAR | ALIGNED | {"n_inliers": 0, "inlier_spread": 0.0, "aligned_ncc": x} for x in around(CFG.min_direct_ncc)
    ]
    overlaid = {"agreeing_share": 0.62, "contradicting_share": 0.02}
    rows += [FAR | ALIGNED | overlaid | {"n_inliers": n} for n in (39, 40, 41)]
    for name, threshold in (
        ("inlier_spread", CFG.min_overlaid_inlier_spread),
        ("agreeing_share", CFG.min_overlaid_agreeing_share),
        ("contradicting_share", CFG.max_overlaid_contradicting_share),
    ):
        rows += [FAR | ALIGNED | overlaid | {name: value} for value in around(threshold)]
    changes = {"largest_local_difference": 0.9, "colour_difference": 0.9, "is_mirrored": True, "rotation_degrees": 90.0}
    changes["src_overlap"] = 0.4
    for n in range(1, 6):  # the gravest of several names the kind
        rows.append(FAR | ALIGNED | dict(list(changes.items())[-n:]))
    return rows


def evidence(spark, rows):
    fields = [f for f in PAIRS.schema.fields if f.name not in DECISION]
    schema = T.StructType([T.StructField(f.name, f.dataType) for f in fields])
    fixed = {"found_by": "pdq", "hash_version": "v1", "join_version": "j1"}
    full = [fixed | row | {"src_id": f"a{i:04d}", "dst_id": f"b{i:04d}"} for i, row in enumerate(rows)]
    return spark.createDataFrame([tuple(row.get(f.name) for f in fields) for row in full], schema)


@pytest.mark.parametrize("cfg", [CFG, STRICT, WIDE], ids=["default", "strict", "wide"])
def test_decisions_at_and_around_thresholds(spark, cfg):
    rows = grid()
    found = decide(evidence(spark, rows), cfg).orderBy("src_id").collect()
    assert [f.name for f in decide(evidence(spark, rows[:1]), cfg).schema] == PAIRS.columns
    assert len(found) == len(rows)
    kinds = set()
    for given, row in zip(rows, found, strict=True):
        wanted = decision({"aligned_ncc": None} | given, cfg)
        assert (row.score, row.is_duplicate, row.is_mirrored, row.kind) == wanted, given
        assert 0 <= row.score <= 1
        assert row.decide_version == decide_version(cfg)
        kinds.add(row.kind)
    if cfg is CFG:
        assert kinds == {None, "near", "crop", "mirrored", "rotated", "edited", "recoloured"}


@pytest.mark.parametrize(
    ("name", "option", "threshold"),
    [
        ("phash_bits", "phash_max_bits", 7),
        ("pdq_mirrored_bits", "pdq_max_bits", 13),
        ("aligned_ncc", "min_aligned_ncc", 0.7331),
        ("agreeing_share", "min_agreeing_share", 0.377),
        ("inlier_spread", "min_inlier_spread", 1 / 3),
        ("n_inliers", "min_inliers", 17),
    ],
)
def test_every_signal_scores_exactly_half_at_its_threshold(spark, name, option, threshold):
    cfg = dataclasses.replace(CFG, **{option: threshold})
    row = FAR | {name: threshold} if name in BITS else FAR | ALIGNED | {name: threshold}
    assert [r.score for r in decide(evidence(spark, [row]), cfg).collect()] == [0.5]


def test_the_cosine_decides_nothing(spark):
    row = decide(evidence(spark, [FAR | {"cosine_similarity": 1.0}]), CFG).first()
    assert (row.is_duplicate, row.kind) == (False, None)


def test_deciding_again_replaces_decisions_and_keeps_evidence(spark):
    rows = evidence(spark, grid())
    once = decide(rows, WIDE)
    again = decide(decide(rows, STRICT), WIDE)
    assert sorted(map(str, again.collect())) == sorted(map(str, once.collect()))
    assert decide_version(STRICT) != decide_version(WIDE)
    assert decide_version(WIDE) == decide_version(dataclasses.replace(WIDE))
