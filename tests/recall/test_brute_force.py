"""The check of candidate generators by brute force in a run: its figures in `runs`, and the error for a missed pair."""

from __future__ import annotations

import json
import logging

import numpy as np
import pyarrow as pa
import pytest

from dupelake.config import Config, LshConfig, RunConfig
from dupelake.pipeline.recall import check_generators
from dupelake.runtime.run_record import Run
from dupelake.warehouse.tables import Warehouse

IDS = [f"{i:032x}" for i in range(1, 7)]
PAIR = (IDS[0], IDS[1])  # equal hashes and near embeddings; all others are far from each other
DIM = 64


@pytest.fixture
def corpus(spark):
    rng = np.random.default_rng(4)
    phash, mirrored = (rng.integers(-(2**62), 2**62, len(IDS)) for _ in range(2))
    pdq, pdq_mirrored = (rng.integers(0, 256, (len(IDS), 32), np.uint8) for _ in range(2))
    phash[1], pdq[1] = phash[0], pdq[0]
    vectors = rng.standard_normal((len(IDS), DIM))
    vectors[1] = vectors[0] + 0.05 * vectors[1]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hashes = {
        "content_id": IDS,
        "phash": phash,
        "phash_mirrored": mirrored,
        "pdq": [row.tobytes() for row in pdq],
        "pdq_mirrored": [row.tobytes() for row in pdq_mirrored],
    }
    embeddings = {"content_id": IDS, "embedding": [row.astype("<f2").tobytes() for row in vectors]}
    units = {"scope": [""] * len(IDS), "content_id": IDS, "is_new": [True] * len(IDS)}
    return [spark.createDataFrame(pa.table(columns)) for columns in (units, hashes, embeddings)]


def checked(spark, tmp_path, corpus, found_by, n_checked=64):
    cfg = Config(lsh=LshConfig(embedding_min_cosine=0.9), run=RunConfig(checked_images=n_checked))
    run = Run("nightly", cfg, Warehouse(spark, str(tmp_path)))
    rows = [(*PAIR, found_by)] if found_by else []
    candidates = spark.createDataFrame(rows, "src_id string, dst_id string, found_by string")
    check_generators(run, *corpus, candidates)
    return run


def test_legs_that_found_all_are_told_and_quiet(spark, tmp_path, corpus, caplog):
    with caplog.at_level(logging.WARNING):
        run = checked(spark, tmp_path, corpus, "phash+pdq+embedding")
    told = json.loads(run.recall)
    assert {leg: (share["found"], share["true"]) for leg, share in told["legs"].items()} == {
        "phash": (1, 1),
        "pdq": (1, 1),
        "embedding": (1, 1),
    }
    assert told["checked"] == len(IDS)
    assert run.counts["exact_pairs_missed"] == 0
    assert "brute force" not in caplog.text


@pytest.mark.parametrize(("found_by", "missed"), [("pdq+embedding", 1), ("embedding", 2), ("", 2)])
def test_a_pair_that_an_exact_leg_missed_is_an_error(spark, tmp_path, corpus, caplog, found_by, missed):
    with caplog.at_level(logging.WARNING):
        run = checked(spark, tmp_path, corpus, found_by)
    assert run.counts["exact_pairs_missed"] == missed
    assert "the phash generator proposed 0 of 1 pairs that brute force finds" in caplog.text
    assert ("the pdq generator proposed 0 of 1" in caplog.text) == (missed == 2)
    assert "the embedding generator" not in caplog.text, "one miss says little about a generator that may miss some"


def test_nothing_is_checked_where_nothing_is_wanted(spark, tmp_path, corpus):
    run = checked(spark, tmp_path, corpus, "", n_checked=0)
    assert run.recall is None
    assert "exact_pairs_missed" not in run.counts
