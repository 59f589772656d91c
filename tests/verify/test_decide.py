"""Decisions against the model itself, and at and around every limit."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from pyspark.sql import types as T

from dupelake.config import DecideConfig
from dupelake.verify.decide_stage import (
    COVERED,
    CROP_OVERLAP,
    MAX_LOCAL_DIFFERENCE,
    TURN_DEGREES,
    decide,
    decide_version,
)
from dupelake.verify.decision import MIN_OVERLAP, aligned_model, altered_model
from dupelake.warehouse.schema import PAIRS

CFG, STRICT = DecideConfig(), DecideConfig(min_score=0.95)
BITS = ("phash_bits", "phash_mirrored_bits", "pdq_bits", "pdq_mirrored_bits", "pdq_quality")
FAR = dict(zip(BITS, (40, 40, 128, 128, 100), strict=True))
DECISION = ("kind", "score", "is_duplicate", "decide_version")
ALIGNED = {
    "n_inliers": 40,
    "inlier_spread": 0.9,
    "aligned_ncc": 0.99,
    "agreeing_share": 1.0,
    "contradicting_share": 0.0,
    "src_overlap": 1.0,
    "dst_overlap": 1.0,
    "scale": 1.0,
    "rotation_degrees": 0.0,
    "is_mirrored": False,
    "largest_local_difference": 0.0,
    "colour_difference": 0.0,
    "src_beyond": 0.0,
    "dst_beyond": 0.0,
    "src_frame": 0.0,
    "dst_frame": 0.0,
    "cell_shift_px": 0.05,
    "unexplained_colour": 0.5,
}
NOTHING = {"aligned_ncc": 0.0, "agreeing_share": 0.0}  # too little structure to be compared
ANOTHER_SHOT = {"cell_shift_px": 0.9, "unexplained_colour": 9.0, "agreeing_share": 0.8, "aligned_ncc": 0.9}


def by_bits(pdq, phash):
    return 1 / (1 + math.exp(-min((31.5 - pdq) / 4, (10.5 - phash) / 1.5)))


def decision(row, cfg):
    """(score, is_duplicate, is_mirrored, kind) as the docstrings describe them, in plain Python."""
    is_aligned = row["aligned_ncc"] is not None and (row["aligned_ncc"], row["agreeing_share"]) != (0, 0)
    straight, mirrored = 0.0, 0.0
    if row["pdq_quality"] >= 50:
        straight = by_bits(row["pdq_bits"], row["phash_bits"])
        mirrored = by_bits(row["pdq_mirrored_bits"], row["phash_mirrored_bits"])
    score = max(straight, mirrored)
    if is_aligned:
        is_refuted = max(row["src_overlap"], row["dst_overlap"]) < MIN_OVERLAP or row["agreeing_share"] < 0.3
        score = 0.0 if is_refuted else float(aligned_model().probability(row))
    score = round(score, 6)
    is_mirrored = mirrored > straight if row["aligned_ncc"] is None else row["is_mirrored"]
    is_covered = is_aligned and any(
        row[f"{one}_frame"] >= COVERED and abs(row[f"{one}_frame"] - row[f"{other}_beyond"]) <= COVERED
        for one, other in (("src", "dst"), ("dst", "src"))
    )
    is_altered = is_aligned and float(altered_model().probability(row)) >= 0.5
    kind = None
    if score >= cfg.min_score:
        kind = (
            ("mirrored" if is_mirrored else "edited")
            if not is_aligned
            else "edited"
            if (is_altered and row["largest_local_difference"] > MAX_LOCAL_DIFFERENCE) or is_covered
            else "recoloured"
            if is_altered
            else "mirrored"
            if row["is_mirrored"]
            else "rotated"
            if abs(row["rotation_degrees"]) > TURN_DEGREES
            else "crop"
            if min(row["src_overlap"], row["dst_overlap"]) < CROP_OVERLAP
            else "near"
        )
    elif is_aligned and (
        row["n_inliers"] >= 20
        and row["inlier_spread"] >= 0.25
        and row["aligned_ncc"] >= 0.75
        and row["agreeing_share"] >= 0.5
    ):
        kind = "similar"
    return score, score >= cfg.min_score, is_mirrored, kind


def around(value):
    return [float(np.nextafter(value, -1)), value, float(np.nextafter(value, 2))]


def grid():
    rows = [
        dict(zip(BITS, (*phash, *pdq, quality), strict=True))
        for phash, pdq, quality in itertools.product(
            ((0, 30), (2, 3), (10, 11), (32, 64)), ((0, 128), (31, 32), (32, 31), (33, 140)), (49, 50)
        )
    ]
    rows += [row | ALIGNED | NOTHING | {"is_mirrored": True} for row in rows[:8]]
    for name, limit in (
        ("largest_local_difference", MAX_LOCAL_DIFFERENCE),
        ("colour_difference", 0.08),
        ("src_overlap", CROP_OVERLAP),
        ("dst_overlap", CROP_OVERLAP),
    ):
        rows += [FAR | ALIGNED | {name: value} for value in (*around(limit), 0.0, 1.0)]
    rows += [FAR | ALIGNED | {"src_overlap": x, "dst_overlap": 0.1} for x in around(MIN_OVERLAP)]
    rows += [FAR | ALIGNED | {"src_frame": 0.06, "dst_beyond": x} for x in (0.0, 0.05, 0.06, 0.1)]
    rows += [FAR | ALIGNED | {"src_beyond": 0.3, "dst_frame": x} for x in (0.01, 0.1, 0.29, 0.6)]
    rows += [FAR | ALIGNED | {"rotation_degrees": turn} for turn in (-180.0, -3.1, -3.0, 3.0, 3.1, 90.0)]
    for factor in (*aligned_model().factors, *altered_model().factors):
        for term in factor.terms:
            steps = np.linspace(term.low, term.high, 7).tolist()
            rows += [FAR | ALIGNED | {term.column: value} for value in (*steps, 0.0, 1e-9, 60.0)]
    rows += [FAR | ALIGNED | ANOTHER_SHOT | {"n_inliers": n} for n in (19, 20)]
    rows += [FAR | ALIGNED | {"agreeing_share": x} for x in around(0.3)]
    for name, limit in (("inlier_spread", 0.25), ("aligned_ncc", 0.75), ("agreeing_share", 0.5)):
        rows += [FAR | ALIGNED | ANOTHER_SHOT | {name: value} for value in around(limit)]
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


@pytest.mark.parametrize("cfg", [CFG, STRICT], ids=["default", "strict"])
def test_decisions_at_and_around_limits(spark, cfg):
    rows = grid()
    found = decide(evidence(spark, rows), cfg).orderBy("src_id").collect()
    assert [f.name for f in decide(evidence(spark, rows[:1]), cfg).schema] == PAIRS.columns
    assert len(found) == len(rows)
    kinds = set()
    for given, row in zip(rows, found, strict=True):
        score, *wanted = decision({"aligned_ncc": None} | given, cfg)
        assert [row.is_duplicate, row.is_mirrored, row.kind] == wanted, given
        assert row.score == pytest.approx(score, abs=1.5e-6), given
        assert row.decide_version == decide_version(cfg)
        kinds.add(row.kind)
    assert kinds == {None, "near", "crop", "mirrored", "rotated", "edited", "recoloured", "similar"}


def test_no_signal_stands_alone_against_the_others(spark):
    """Equal pHash where PDQ says random; equal hashes where the alignment says another photograph; any cosine."""
    equal = dict(zip(BITS, (0, 40, 0, 128, 100), strict=True))
    rows = [
        FAR | {"phash_bits": 0},
        FAR | {"pdq_bits": 0},
        equal | ALIGNED | ANOTHER_SHOT,
        FAR | {"cosine_similarity": 1.0},
    ]
    found = decide(evidence(spark, rows), CFG).orderBy("src_id").collect()
    assert [(row.is_duplicate, row.kind) for row in found] == [
        (False, None), (False, None), (False, "similar"), (False, None)
    ]  # fmt: skip


def test_deciding_again_replaces_decisions_and_keeps_evidence(spark):
    rows = evidence(spark, grid())
    once = decide(rows, CFG)
    again = decide(decide(rows, STRICT), CFG)
    assert sorted(map(str, again.collect())) == sorted(map(str, once.collect()))
    assert decide_version(STRICT) != decide_version(CFG)
    assert decide_version(CFG) == decide_version(dataclasses.replace(CFG))
