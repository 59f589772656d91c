"""Crowded values of PDQ's slots."""

from __future__ import annotations

import numpy as np

from dupelake.propose.bursts import MAX_BITS, N_SLOTS, N_VALUES, crowded, slot_values
from dupelake.propose.mih import hamming_bits, words_of

RNG = np.random.default_rng(0)


def random_codes(n):
    return RNG.integers(0, 256, (n, 32), np.uint8)


def flipped(code, n_bits):
    bits = np.unpackbits(code)
    bits[RNG.choice(256, n_bits, replace=False)] ^= 1
    return np.packbits(bits)


def test_values_are_the_slots_in_order():
    codes = random_codes(20)
    values = slot_values(codes, np.zeros(20, np.int64))
    for row, code in zip(values, codes, strict=True):
        assert row.tolist() == [slot * N_VALUES + int.from_bytes(code[2 * slot : 2 * slot + 2]) for slot in range(16)]


def test_codes_that_are_near_share_a_value_and_those_of_other_scopes_do_not():
    for n_bits in range(MAX_BITS + 1):
        code = random_codes(1)[0]
        pair = np.stack([code, flipped(code, n_bits)])
        a, b = slot_values(pair, np.full(2, RNG.integers(-(2**63), 2**63)))
        assert (a == b).any()
        assert hamming_bits(*words_of(pair)) == n_bits
    a, b = slot_values(np.stack([code, code]), np.array([5, 6]))
    assert not (a == b).any()


def test_a_scope_keeps_its_values_apart():
    values = np.arange(N_VALUES, dtype=np.uint16).astype(">u2").view(np.uint8).reshape(-1, 2)
    codes = np.tile(values, (1, N_SLOTS))
    found = slot_values(codes, np.full(N_VALUES, -12345, np.int64))
    assert len(np.unique(found)) == N_SLOTS * N_VALUES


def test_crowded_is_what_neither_chance_nor_a_few_make():
    counts = np.zeros(N_SLOTS * N_VALUES, np.int64)
    counts[:3] = 99, 100, 101
    assert np.flatnonzero(crowded(counts, 100)).tolist() == [1, 2]
    counts += 1_000  # a large corpus: chance alone fills every value
    assert not crowded(counts, 100).any()
    counts[7] = 10_000
    assert np.flatnonzero(crowded(counts, 100)).tolist() == [7]
