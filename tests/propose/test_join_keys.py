"""What the join keeps of contents: as the kernels compute it, and computed anew where it must be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from word_oracle import random_corpus

from dupelake.config import LshConfig
from dupelake.propose.join_keys_stage import compute_keys, mended, standing
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


def test_rows_stand_by_versions_and_by_what_came_later(spark, corpus, features, embeddings, vectors):
    first, second, third, *_ = sorted(corpus)
    fewer = embeddings.where(f"content_id <> '{third}'")
    rows = compute_keys(
        features.select("content_id").where(f"content_id <> '{second}'"), features, fewer, CENTRE, KEYS, "v"
    )
    stored = spark.createDataFrame(rows.collect(), rows.schema)
    wordless = [key for key, words in corpus.items() if len(words) <= 4]
    assert wordless

    def states(version="v", vectors_now=embeddings, cfg=KEYS):
        contents = features.select("content_id").where(f"content_id <> '{third}'")
        rows = standing(stored, contents, vectors_now, cfg, version).collect()
        assert all((row["is_wanted"] is None) == (row["content_id"] == third) for row in rows)
        found = {row["content_id"]: row["state"] for row in rows}
        assert found.keys() == corpus.keys()
        return {key: state for key, state in found.items() if state}

    bare = {key: "bare" for key in (first, third, *wordless)}
    assert states() == bare | {second: "absent"}
    assert states("w") == {key: "absent" if key == second else "outdated" for key in corpus}
    assert states(vectors_now=None, cfg=LshConfig()) == {second: "absent"}

    def later(vectors_now=embeddings, features_now=features, cfg=KEYS):
        few = spark.createDataFrame([(key,) for key in bare], "content_id string")
        return sorted(row["content_id"] for row in mended(few, stored, features_now, vectors_now, cfg).collect())

    assert later(vectors_now=fewer) == []
    assert later() == [third]
    assert later(vectors_now=None) == []
    donor = max(corpus.values(), key=len)
    with_more = features_of(spark, dict.fromkeys(wordless, donor))
    assert later(vectors_now=fewer, features_now=with_more) == sorted(wordless)
    assert later(vectors_now=fewer, features_now=with_more, cfg=LshConfig()) == []


def test_rows_of_an_older_dupelake_are_outdated(spark):
    stored = spark.createDataFrame([("a", "v", None)], "content_id string, key_version string, made_of string")
    contents = stored.select("content_id")
    assert standing(stored, contents, None, LshConfig(), "v").collect()[0]["state"] == "outdated"


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
