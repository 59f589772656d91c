"""What a run says before it compares far more pictures word by word than a corpus without marks would ask for."""

from __future__ import annotations

import logging

import pytest

from dupelake.config import LshConfig
from dupelake.propose.words_stage import _warn_of_pairs


@pytest.mark.parametrize(("n_pairs", "is_told"), [(500_000, False), (36_000_000, True)])
def test_many_pairs_a_picture_are_told_with_their_cost_and_the_way_out(caplog, n_pairs, is_told):
    with caplog.at_level(logging.WARNING):
        _warn_of_pairs(n_pairs, 1_000, LshConfig(word_join="keys"))
    assert bool(caplog.records) == is_told
    if is_told:
        assert "36000 a picture" in caplog.text
        assert "1.3 core-hours" in caplog.text
        assert "lsh.word_key_max_images = 2000" in caplog.text
