"""Forecasts of a join, against the keys that the join makes and the pairs that meet."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dupelake.config import LshConfig
from dupelake.propose.code_join_stage import _emit_spread
from dupelake.propose.forecast import of_codes, of_word_blocks, of_word_keys
from dupelake.propose.generator_stage import JoinInputs
from dupelake.propose.pdq_stage import Pdq
from dupelake.propose.phash_stage import PHash

N, N_NEW = 400, 100


def coded_units(n_bytes, *, mirrored):
    """N units with random codes, N_NEW of them new, as the join reads them."""
    rng = np.random.default_rng(1)
    sides = ["code", "mirror"] if mirrored else ["code"]
    columns = {name: pa.array([rng.bytes(16) for _ in range(N)], pa.binary()) for name in ("id", "scope_digest")}
    columns |= {"scope_key": pa.array([7] * N), "is_new": pa.array([at < N_NEW for at in range(N)])}
    columns |= {side: pa.array([rng.bytes(n_bytes) for _ in range(N)], pa.binary()) for side in sides}
    return pa.RecordBatch.from_pydict(columns)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("generator", "n_bytes"), [(PHash, 8), (Pdq, 32)])
def test_a_join_makes_as_many_keys_as_forecast(generator, n_bytes, mirrored):
    cfg = LshConfig(mirrored=mirrored)
    one = generator(JoinInputs(None, None, None, None, None, None, cfg, N, N_NEW), None)
    parts = list(_emit_spread(iter([coded_units(n_bytes, mirrored=mirrored)]), one.plan(), 3, None))
    made = tuple(sum(len(part[side][0].as_py()) // 8 for part in parts) for side in ("stored", "probing"))
    assert one.n_keys(is_filtered=False) == made
    n_stored, n_probing = one.n_keys(is_filtered=True)
    assert n_probing == made[1]
    assert N_NEW * one.plan().n_slots < n_stored < made[0], "keys of new units pass the filter, few of old units do"
    assert of_codes(sum(made)).n_bytes == 8 * sum(made)


def test_words_by_blocks_are_sent_to_each_block_and_meet_once():
    one = of_word_blocks(1_000, 1_000, 100)
    assert one.n_meetings == 1_000 * 999 // 2
    assert one.n_bytes == pytest.approx(1_000 * 10 * 2_400, rel=0.11), "each to ten blocks"
    night = of_word_blocks(1_000, 10, 100)
    assert night.n_meetings == 10 * 990 + 45
    assert night.core_seconds == pytest.approx(one.core_seconds * night.n_meetings / one.n_meetings)


def test_words_by_keys_cost_keys_and_comparisons():
    keys, night = of_word_keys(1e6, 1, 1), of_word_keys(1e6, 100_000, 1_000)
    assert (keys.n_meetings, night.n_meetings) == (0, 2_686)  # a night of drawn contents: benchmarks/scale.md
    assert night.n_bytes - keys.n_bytes == pytest.approx(night.n_meetings * 4_800, abs=4_800)
    assert night.core_seconds > keys.core_seconds > 0
