"""Versions of the join, pinned: another one makes every user join all contents anew."""

from __future__ import annotations

import pytest

from dupelake.config import load_config
from dupelake.pipeline.lsh_join import current_versions
from dupelake.runtime.run_record import Run
from dupelake.warehouse.tables import Warehouse

BY_KEYS, NO_WORDS = "lsh.word_join=keys", "lsh.words=false"
# options, and the versions (of the join, of stored keys) without a model
PINNED = [
    ((), "7243ecbefd07ba02", "7de7b80e264440ed"),
    ((BY_KEYS,), "e6eb0931b8cba5db", "0909a33f22b58ed8"),
    ((NO_WORDS,), "d6dbaa76c8340633", "7de7b80e264440ed"),
    ((NO_WORDS, BY_KEYS), "66f627db7d4499f7", "7de7b80e264440ed"),
    (("lsh.burst_min_images=20",), "7243ecbefd07ba02", "7de7b80e264440ed"),
    (("lsh.scope=across", "lsh.pdq_max_bits=20"), "e3a58dc789bb9d6a", "7de7b80e264440ed"),
]


@pytest.mark.parametrize(("sets", "join", "keys"), PINNED)
def test_versions_of_the_join_are_pinned(spark, tmp_path, sets, join, keys):
    config = load_config(None, ["embed.model=none", *sets])
    versions = current_versions(Run("lsh_join", config, Warehouse(spark, str(tmp_path))))
    assert (versions.join, versions.keys) == (join, keys)
