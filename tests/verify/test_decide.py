"""Decisions: kinds and scores written down by hand, at and around every limit; Spark against the models in Python."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pyspark.sql import types as T

from dupelake.config import DecideConfig
from dupelake.verify.decide_stage import decide, decide_version
from dupelake.verify.decision import aligned_model, altered_model, copy_probability
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
    "difference_coherence": 0.5,
}
NOTHING = {"aligned_ncc": 0.0, "agreeing_share": 0.0}  # too little structure to be compared
ANOTHER_SHOT = {"cell_shift_px": 0.9, "unexplained_colour": 9.0, "agreeing_share": 0.8, "aligned_ncc": 0.9}


BAR = {"largest_local_difference": 0.07, "difference_coherence": 0.3}
ALTERED = {"largest_local_difference": 0.9, "colour_difference": 0.9}
# Changes of ALIGNED, and the kind that a person gives such a pair; None: neither duplicate nor similar.
KINDS: list[tuple[dict[str, object], str | None]] = [
    ({}, "near"),
    ({"src_overlap": 0.97}, "crop"),
    ({"src_overlap": 0.98}, "near"),
    ({"dst_overlap": 0.97}, "crop"),
    ({"dst_overlap": 0.98}, "near"),
    ({"src_overlap": 0.31, "dst_overlap": 0.1}, "crop"),
    ({"src_overlap": 0.29, "dst_overlap": 0.1}, "similar"),  # only a logo in common
    ({"rotation_degrees": 3.0}, "near"),
    ({"rotation_degrees": 3.1}, "rotated"),
    ({"rotation_degrees": -3.1}, "rotated"),
    ({"rotation_degrees": -180.0}, "rotated"),
    ({"is_mirrored": True}, "mirrored"),
    ({"difference_coherence": None}, "recoloured"),  # not measured: nothing says that it is a plain copy
    # a picture was altered: at one place, or in its colours only
    ({"largest_local_difference": 0.9, "difference_coherence": 0.9}, "edited"),
    ({"colour_difference": 0.9}, "recoloured"),
    ({"colour_difference": 0.9, "largest_local_difference": 0.06}, "recoloured"),
    ({"colour_difference": 0.9, "largest_local_difference": 0.061}, "edited"),
    ({"largest_local_difference": 0.04}, "near"),  # so little without a change of colour is encoding
    # a bar over an edge differs from what it hides, as much of the picture as it covers; a frame hides nothing
    (BAR | {"src_frame": 0.06, "dst_beyond": 0.0}, "near"),
    (BAR | {"src_frame": 0.06, "dst_beyond": 0.05}, "edited"),
    (BAR | {"src_frame": 0.06, "dst_beyond": 0.1}, "near"),
    (BAR | {"src_frame": 0.01, "dst_beyond": 0.01}, "near"),
    (BAR | {"src_beyond": 0.3, "dst_frame": 0.29}, "edited"),
    (BAR | {"src_beyond": 0.3, "dst_frame": 0.1}, "near"),
    ({"src_beyond": 0.3, "dst_frame": 0.29}, "near"),  # the margin of a picture that the other cuts
    # of several differences, content counts before colour, colour before orientation, orientation before the cut
    (ALTERED | {"is_mirrored": True, "rotation_degrees": 90.0, "src_overlap": 0.4}, "edited"),
    ({"colour_difference": 0.9, "is_mirrored": True, "rotation_degrees": 90.0}, "recoloured"),
    ({"is_mirrored": True, "rotation_degrees": 90.0, "src_overlap": 0.4}, "mirrored"),
    ({"rotation_degrees": 90.0, "src_overlap": 0.4}, "rotated"),
    # less than 0.3 of the cells agree: not a duplicate; less than 0.5: not similar either
    ({"agreeing_share": 0.3}, "near"),
    ({"agreeing_share": 0.299}, None),
    (ANOTHER_SHOT, "similar"),
    (ANOTHER_SHOT | {"n_inliers": 20}, "similar"),
    (ANOTHER_SHOT | {"n_inliers": 19}, None),
    (ANOTHER_SHOT | {"inlier_spread": 0.25}, "similar"),
    (ANOTHER_SHOT | {"inlier_spread": 0.249}, None),
    (ANOTHER_SHOT | {"aligned_ncc": 0.75}, "similar"),
    (ANOTHER_SHOT | {"aligned_ncc": 0.749}, None),
    (ANOTHER_SHOT | {"agreeing_share": 0.5}, "similar"),
    (ANOTHER_SHOT | {"agreeing_share": 0.499}, None),
]
# (pHash, mirrored, PDQ, mirrored, PDQ quality) of pairs that could not be aligned, their score and kind.
BY_BITS: list[tuple[tuple[int, ...], float, str | None]] = [
    ((0, 30, 0, 128, 100), 0.999089, "edited"),  # 1 / (1 + exp(-7)): pHash is the less certain of both
    ((30, 0, 128, 0, 100), 0.999089, "mirrored"),
    ((2, 30, 31, 128, 50), 0.531209, "edited"),  # 1 / (1 + exp(-1/8))
    ((2, 30, 32, 128, 50), 0.468791, None),
    ((10, 30, 20, 128, 50), 0.582570, "edited"),  # 1 / (1 + exp(-1/3))
    ((11, 30, 20, 128, 50), 0.417430, None),
    ((0, 30, 0, 128, 49), 0.0, None),  # PDQ is unreliable
    ((0, 40, 128, 128, 100), 0.0, None),  # equal pHash, random PDQ
    ((40, 40, 0, 128, 100), 0.0, None),  # equal PDQ, random pHash
]


def model_grid():
    """Evidence at and around the limits of each term of the models."""
    rows = []
    for factor in (*aligned_model().factors, *altered_model().factors):
        for term in factor.terms:
            steps = np.linspace(term.low, term.high, 7).tolist()
            rows += [FAR | ALIGNED | {term.column: value} for value in (*steps, 0.0, 1e-9, 60.0)]
    return rows


def evidence(spark, rows):
    fields = [f for f in PAIRS.schema.fields if f.name not in DECISION]
    schema = T.StructType([T.StructField(f.name, f.dataType) for f in fields])
    fixed = {"found_by": "pdq", "hash_version": "v1", "join_version": "j1"}
    full = [fixed | row | {"src_id": f"a{i:04d}", "dst_id": f"b{i:04d}"} for i, row in enumerate(rows)]
    return spark.createDataFrame([tuple(row.get(f.name) for f in fields) for row in full], schema)


def decided(spark, rows, cfg=CFG):
    return decide(evidence(spark, rows), cfg).orderBy("src_id").collect()


def test_kinds_of_aligned_pairs(spark):
    found = decided(spark, [FAR | ALIGNED | changes for changes, _ in KINDS])
    for row, (changes, kind) in zip(found, KINDS, strict=True):
        assert row.kind == kind, changes
        assert row.is_duplicate == (kind not in ("similar", None)), changes
    assert {kind for _, kind in KINDS} == {
        None, "near", "crop", "mirrored", "rotated", "edited", "recoloured", "similar"
    }  # fmt: skip


def test_scores_of_aligned_pairs(spark):
    """By hand from assets/decision.json; change them with the model."""
    copy, shot, replaced, logo = decided(
        spark,
        [
            FAR | ALIGNED,
            FAR | ALIGNED | ANOTHER_SHOT,
            FAR | ALIGNED | {"contradicting_share": 0.3},
            FAR | ALIGNED | {"src_overlap": 0.29, "dst_overlap": 0.1},
        ],
    )
    assert copy.score == pytest.approx(0.999015, abs=2e-6)
    assert shot.score == pytest.approx(0.007159, abs=2e-6)
    assert replaced.score == pytest.approx(0.060376, abs=2e-6)
    assert logo.score == 0.0


def test_pairs_that_could_not_be_aligned_are_decided_by_bits(spark):
    found = decided(spark, [dict(zip(BITS, bits, strict=True)) for bits, _, _ in BY_BITS])
    for row, (bits, score, kind) in zip(found, BY_BITS, strict=True):
        assert row.score == pytest.approx(score, abs=1e-5), bits
        assert (row.kind, row.is_duplicate) == (kind, kind is not None), bits
        assert row.is_mirrored == (kind == "mirrored"), bits
        assert row.decide_version == decide_version(CFG)


def test_too_little_structure_counts_as_not_aligned(spark):
    bits = dict(zip(BITS, (2, 30, 31, 128, 50), strict=True))
    (row,) = decided(spark, [bits | ALIGNED | NOTHING | {"is_mirrored": True}])
    assert (row.score, row.kind, row.is_mirrored) == (pytest.approx(0.531209, abs=1e-6), "mirrored", True)


def test_a_stricter_minimum_accepts_less(spark):
    bits = [dict(zip(BITS, values, strict=True)) for values in ((0, 30, 0, 128, 100), (2, 30, 31, 128, 50))]
    found = decided(spark, bits, STRICT)
    assert [(row.is_duplicate, row.kind) for row in found] == [(True, "edited"), (False, None)]
    assert {row.decide_version for row in found} == {decide_version(STRICT)}


def test_spark_computes_the_models_as_python_does(spark):
    rows = model_grid()
    for given, row in zip(rows, decided(spark, rows), strict=True):
        assert row.score == pytest.approx(copy_probability(given), abs=1.5e-6), given
        if row.is_duplicate:
            is_altered = float(altered_model().probability(given)) >= 0.5
            assert (row.kind in ("edited", "recoloured")) == is_altered, given


def test_the_result_has_the_columns_of_pairs(spark):
    assert [f.name for f in decide(evidence(spark, [FAR | ALIGNED]), CFG).schema] == PAIRS.columns


def test_one_signal_does_not_decide_against_the_others(spark):
    """Equal pHash with random PDQ, equal hashes of another photograph by its alignment, any cosine: no duplicates."""
    equal = dict(zip(BITS, (0, 40, 0, 128, 100), strict=True))
    rows = [
        FAR | {"phash_bits": 0},
        FAR | {"pdq_bits": 0},
        equal | ALIGNED | ANOTHER_SHOT,
        FAR | {"cosine_similarity": 1.0},
    ]
    found = decided(spark, rows)
    assert [(row.is_duplicate, row.kind) for row in found] == [
        (False, None), (False, None), (False, "similar"), (False, None)
    ]  # fmt: skip


def test_deciding_again_replaces_decisions_and_keeps_evidence(spark):
    rows = evidence(spark, [FAR | ALIGNED | changes for changes, _ in KINDS] + model_grid())
    once = decide(rows, CFG)
    again = decide(decide(rows, STRICT), CFG)
    assert sorted(map(str, again.collect())) == sorted(map(str, once.collect()))
    assert decide_version(STRICT) != decide_version(CFG)
    assert decide_version(CFG) == decide_version(dataclasses.replace(CFG))
