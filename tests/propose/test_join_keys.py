"""What the join keeps of contents: as the kernels compute it, and computed anew where it must be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from word_oracle import random_corpus

from dupelake.config import LshConfig
from dupelake.propose.join_keys_stage import compute_keys, not_current
from dupelake.propose.srp import embedding_plan, srp_codes
from dupelake.propose.versions import key_version
from dupelake.propose.word_neighbours import pair_keys
from dupelake.words.votes import unpack_block

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
    return features_of(spark, corpus)


def features_of(spark, words):
    n_keypoints = [int(len(value) > 4) for value in words.values()]  # a packed block of none is its header
    columns = {"content_id": [*words], "n_keypoints": n_keypoints, "words": pa.array([*words.values()], pa.binary())}
    return spark.createDataFrame(pa.table(columns))


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
        parts = [vector is not None and "embedding", len(corpus[key]) > 4 and "words"]
        assert row["made_of"] == "+".join(filter(None, parts))
    assert {row["key_version"] for row in found.values()} == {"v"}


def test_nothing_is_computed_that_is_not_wanted(features, embeddings):
    assert all(row["word_keys"] is None for row in made(features, embeddings, CENTRE, LshConfig()).values())
    without = made(features, None, None, LshConfig(word_join="keys", words=False)).values()
    assert all(row["word_keys"] is None and row["embedding_code"] is None for row in without)


def test_keys_are_made_anew_where_there_are_none_or_those_of_another_version(spark, corpus, features, embeddings):
    _, second, third, *_ = sorted(corpus)
    some = features.select("content_id").where(f"content_id <> '{second}'")
    rows = compute_keys(some, features, embeddings, CENTRE, KEYS, "v")
    stored = spark.createDataFrame(rows.collect(), rows.schema)

    def found(version):
        contents = features.select("content_id").where(f"content_id <> '{third}'")
        return {row["content_id"]: tuple(row)[1:] for row in not_current(stored, contents, version).collect()}

    assert found("v") == {second: (True, False)}, "keys of this version stay, of contents that are not joined too"
    assert found("w") == {key: (key != third, key != second) for key in corpus}


def test_rows_of_an_older_dupelake_are_outdated(spark):
    stored = spark.createDataFrame([("a", "v", None)], "content_id string, key_version string, made_of string")
    found = not_current(stored, stored.select("content_id"), "v").collect()
    assert [tuple(row) for row in found] == [("a", True, True)]


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
