"""Versions of the join, pinned: another one makes every user join all contents anew."""

from __future__ import annotations

import pytest

from dupelake.config import load_config
from dupelake.propose.versions import key_version
from dupelake.stage_versions import StageVersions

BY_KEYS, NO_WORDS = "lsh.word_join=keys", "lsh.words=false"
# options, and the versions (of the join, of stored keys) without a model
PINNED = [
    ((), "1ad4b4e914bb6b7e", "7de7b80e264440ed"),
    ((BY_KEYS,), "13ea4fa24c3aef9d", "0909a33f22b58ed8"),
    ((NO_WORDS,), "be93fb68971ce300", "7de7b80e264440ed"),
    ((NO_WORDS, BY_KEYS), "37c9370328c2ce82", "7de7b80e264440ed"),
    (("lsh.burst_min_images=20",), "1ad4b4e914bb6b7e", "7de7b80e264440ed"),
    (("lsh.scope=across", "lsh.pdq_max_bits=20"), "eec4842c6524650d", "7de7b80e264440ed"),
]


@pytest.mark.parametrize(("sets", "join", "keys"), PINNED)
def test_versions_of_the_join_are_pinned(sets, join, keys):
    config = load_config(None, ["embed.model=none", *sets])
    stages = StageVersions(config)
    found = stages.join(None, None), key_version(stages.feature, None, None, config.lsh)
    assert found == (join, keys)
