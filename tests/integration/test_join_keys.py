"""What the join keeps of contents: as the kernels compute it, and computed anew where it must be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dupelake.config import LshConfig
from dupelake.kernels.srp import srp_codes
from dupelake.kernels.wordjoin import unpack_block
from dupelake.kernels.wordpairs import pair_keys
from dupelake.stages.candidates import embedding_plan
from dupelake.stages.join_keys import compute_keys, key_version, outdated
from word_oracle import random_corpus

KEYS = LshConfig(word_join="keys")
DIM = 64
CENTRE = np.full(DIM, 0.05, np.float32)


@pytest.fixture(scope="module")
def corpus():
    return random_corpus(4, 30) | {"8" * 32: b"@\1\xf0\0"}  # the last is a picture without words


@pytest.fixture(scope="module")
def vectors(corpus):
    """Of all contents but two: one is not embedded yet, of one it failed."""
    rng = np.random.default_rng(0)
    made = {key: rng.standard_normal(DIM).astype("<f2") for key in sorted(corpus)}
    first, second, *_ = sorted(corpus)
    del made[first]
    return made | {second: None}


@pytest.fixture(scope="module")
def features(spark, corpus):
    return spark.createDataFrame(
        pa.table({"content_id": [*corpus], "words": pa.array([*corpus.values()], pa.binary())})
    )


@pytest.fixture(scope="module")
def embeddings(spark, vectors):
    packed = [None if vector is None else vector.tobytes() for vector in vectors.values()]
    return spark.createDataFrame(pa.table({"content_id": [*vectors], "embedding": pa.array(packed, pa.binary())}))


def made(features, embeddings, centre, cfg, version="v"):
    rows = compute_keys(features.select("content_id"), features, embeddings, centre, cfg, version).collect()
    return {row["content_id"]: row for row in rows}


def test_keys_and_codes_are_those_of_the_kernels(corpus, vectors, features, embeddings):
    found = made(features, embeddings, CENTRE, KEYS)
    assert found.keys() == corpus.keys()
    n_bits = embedding_plan(CENTRE, KEYS).n_bits
    for key, row in found.items():
        keys = pair_keys(unpack_block([corpus[key]]))[1]
        assert row["word_keys"] == (keys.astype("<u8").tobytes() if len(corpus[key]) > 4 else None)
        vector = vectors.get(key)
        if vector is None:
            assert row["embedding_code"] is None
        else:
            code = srp_codes(vector.astype(np.float32)[None], CENTRE, n_bits).astype(">u8").tobytes()
            assert bytes(row["embedding_code"]) == code
    assert {row["key_version"] for row in found.values()} == {"v"}


def test_nothing_is_computed_that_is_not_wanted(features, embeddings):
    assert all(row["word_keys"] is None for row in made(features, embeddings, CENTRE, LshConfig()).values())
    without = made(features, None, None, LshConfig(word_join="keys", words=False)).values()
    assert all(row["word_keys"] is None and row["embedding_code"] is None for row in without)


def test_rows_are_outdated_by_versions_and_by_what_came_later(spark, corpus, features, embeddings, vectors):
    third = sorted(corpus)[2]
    fewer = embeddings.where(f"content_id <> '{third}'")
    rows = compute_keys(features.select("content_id"), features, fewer, CENTRE, KEYS, "v")
    stored = spark.createDataFrame(rows.collect(), rows.schema)

    def old(version="v", vectors_now=embeddings, cfg=KEYS, features_now=features):
        rows = outdated(stored, features_now, vectors_now, cfg, version).collect()
        return sorted(row["content_id"] for row in rows)

    assert old(vectors_now=fewer) == []
    assert old() == [third]
    assert old("w") == sorted(corpus)
    assert old(vectors_now=None) == []
    wordless = [row["content_id"] for row in stored.where("word_keys IS NULL").collect()]
    assert wordless
    donor = max(corpus.values(), key=len)
    mended = spark.createDataFrame(pa.table({"content_id": wordless, "words": pa.array([donor] * len(wordless))}))
    assert old(vectors_now=fewer, features_now=mended) == sorted(wordless)
    assert old(vectors_now=fewer, features_now=mended, cfg=LshConfig()) == []


def test_the_version_tells_what_matters_and_nothing_else():
    model = ("m", "p")
    base = key_version("f1", model, CENTRE, KEYS)
    assert key_version("f2", model, CENTRE, KEYS) != base
    assert key_version("f1", ("n", "p"), CENTRE, KEYS) != base
    assert key_version("f1", model, CENTRE * 2, KEYS) != base
    assert key_version("f1", model, CENTRE, LshConfig(word_join="keys", embedding_recall=0.99)) != base
    assert key_version("f1", model, CENTRE, LshConfig(word_join="keys", pdq_max_bits=20)) == base
    blocks = key_version("f1", model, CENTRE, LshConfig())
    assert blocks != base
    assert key_version("f2", model, CENTRE, LshConfig()) == blocks
