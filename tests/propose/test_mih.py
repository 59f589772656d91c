"""Slot and probe keys: no pair within the radius is missed, equal keys mean equal slot and value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dupelake.propose.mih import (
    VALUE_BITS,
    SlotPlan,
    binary_rows,
    hamming_bits,
    meeting,
    plan_exact,
    probe_keys,
    slot_keys,
    words_of,
)

RADII = [(64, bits) for bits in (0, 1, 4, 7, 10, 16)] + [(256, bits) for bits in (0, 1, 15, 31, 32, 63)] + [(100, 9)]


def codes_of(bits):
    packed = np.packbits(bits, axis=1)
    return words_of(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))))


def plant(rng, n_bits, distance, n=200):
    a = rng.integers(0, 2, (n, n_bits), np.uint8)
    b = a.copy()
    for row in b:
        row[rng.choice(n_bits, distance, replace=False)] ^= 1
    return codes_of(a), codes_of(b)


def meet(stored, probing):
    """Per row, the slots in which a probe of one equals the key of the other."""
    return (probing[:, :, None] == stored[:, None, :]).any(axis=1)


@pytest.mark.parametrize(("n_bits", "max_bits"), RADII)
@pytest.mark.parametrize("n_items", [1e3, 1e6, 1e9])
def test_plan_is_exact_and_covers(n_bits, max_bits, n_items):
    plan = plan_exact(n_bits, max_bits, n_items)
    assert plan.is_exact
    assert plan.max_bits == max_bits
    ends = [start + width for start, width in plan.slots]
    assert all(start >= end for (start, _), end in zip(plan.slots[1:], ends, strict=False))
    assert all(width == VALUE_BITS for _, width in plan.slots) or sum(width for _, width in plan.slots) == n_bits


def test_pdq_and_phash_defaults():
    pdq = plan_exact(256, 31, 1e6)
    assert (pdq.n_slots, pdq.probe_bits, pdq.n_probes) == (16, 1, 272)
    assert {width for _, width in pdq.slots} == {16}
    assert plan_exact(256, 31, 2e4).n_slots == 32
    assert (plan_exact(64, 7, 1e6).n_slots, plan_exact(64, 7, 1e6).probe_bits) == (4, 1)


@pytest.mark.parametrize("case", [dict(n_bits=64, max_bits=64), dict(n_bits=64, max_bits=-1)])
def test_impossible_radius_is_refused(case):
    if case["max_bits"] == 64:  # 22 slots with two-bit probes would do even that
        assert plan_exact(**case, n_items=1e3).is_exact
    else:
        with pytest.raises(ValueError, match="no slots"):
            plan_exact(**case, n_items=1e3)


@pytest.mark.parametrize("slots", [((0, 49),), ((0, 8), (4, 8)), ((60, 8),), ()])
def test_bad_slots_are_refused(slots):
    with pytest.raises(ValueError, match="slots"):
        SlotPlan(64, slots, 0, 7)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RADII), st.sampled_from([1e3, 1e6, 1e9]), st.integers(0, 2**32), st.data())
def test_every_pair_within_the_radius_shares_a_key(case, n_items, seed, data):
    n_bits, max_bits = case
    plan = plan_exact(n_bits, max_bits, n_items)
    distance = data.draw(st.integers(0, max_bits))
    a, b = plant(np.random.default_rng(seed), n_bits, distance, n=30)
    assert (hamming_bits(a, b) == distance).all()
    there, back = (meet(slot_keys(x, plan), probe_keys(y, plan)) for x, y in ((a, b), (b, a)))
    assert there.any(axis=1).all()
    assert (there == back).all()  # symmetric, slot by slot


def test_worst_case_bits_spread_evenly_over_slots():
    plan = plan_exact(256, 31, 1e6)
    a, bits = np.zeros((1, 256), np.uint8), np.zeros((1, 256), np.uint8)
    for slot, (start, width) in enumerate(plan.slots):
        bits[0, start : start + width][: 1 if slot == 9 else 2] = 1  # 31 bits: one in slot 9, two in all others
    shared = meet(slot_keys(codes_of(a), plan), probe_keys(codes_of(bits), plan))
    assert np.flatnonzero(shared[0]).tolist() == [9]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 48), min_size=1, max_size=8), st.integers(0, 9), st.integers(0, 2), st.integers(0, 2**32)
)
def test_keys_say_slot_and_value(widths, gap, probe_bits, seed):
    starts = np.cumsum([gap, *widths[:-1]])
    n_bits = int(gap + sum(widths) + 3)
    plan = SlotPlan(n_bits, tuple(zip(starts.tolist(), widths, strict=True)), probe_bits, 0)
    bits = np.random.default_rng(seed).integers(0, 2, (3, n_bits), np.uint8)
    keys, probes = slot_keys(codes_of(bits), plan), probe_keys(codes_of(bits), plan)
    assert (keys.shape, keys.dtype, probes.shape) == ((3, plan.n_slots), np.int64, (3, plan.n_probes))
    for row in range(3):
        wanted = [
            slot << VALUE_BITS | int("".join(map(str, bits[row, start : start + width])), 2)
            for slot, (start, width) in enumerate(plan.slots)
        ]
        assert keys[row].tolist() == wanted
        assert len(set(probes[row].tolist())) == plan.n_probes
        for probe in probes[row].tolist():
            slot = probe >> VALUE_BITS
            assert ((probe ^ wanted[slot]) & ((1 << VALUE_BITS) - 1)).bit_count() <= probe_bits


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="uint64"):
        slot_keys(np.zeros((3, 1), np.uint64), plan_exact(256, 31, 1e6))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(4)])
def test_binary_rows(kind):
    values = [b"abcd", b"\0\1\2\3", b"\xff\xff\xff\xfe"]
    column = pa.array([b"zzzz", *values, b"zzzz"], kind).slice(1, 3)
    assert binary_rows(column, 4).tobytes() == b"".join(values)
    assert binary_rows(column.slice(0, 0), 4).shape == (0, 4)


@pytest.mark.parametrize("values", [[b"abcd", b"abc"], [b"abcd", None]])
def test_binary_rows_refuses_other_lengths_and_nulls(values):
    with pytest.raises(ValueError, match="value"):
        binary_rows(pa.array(values, pa.binary()), 4)


def test_words_first_bit_is_highest():
    assert words_of(np.frombuffer(bytes([0x80] + [0] * 14 + [1]), np.uint8)[None]).tolist() == [[1 << 63, 1]]


@pytest.mark.parametrize("probe_bits", [0, 1])
def test_meeting_finds_what_shares_a_key_within_the_radius(probe_bits):
    rng = np.random.default_rng(3)
    plan = SlotPlan(96, tuple((8 * slot, 8) for slot in range(12)), probe_bits, 30)
    code = np.array([rng.integers(0, 2**64, dtype=np.uint64), rng.integers(0, 2**32, dtype=np.uint64) << np.uint64(32)])
    flips = rng.random((4000, 96)) < rng.uniform(0.05, 0.5, (4000, 1))
    packed = np.packbits(np.pad(flips, ((0, 0), (0, 32))), axis=1)
    codes = words_of(packed) ^ code
    keys = [set(row.tolist()) for row in slot_keys(codes, plan)]
    probed = set(probe_keys(code[None], plan)[0].tolist())
    wanted = [at for at, mine in enumerate(keys) if mine & probed and hamming_bits(code, codes[at]) <= 30]
    found = meeting(code, codes, plan)
    assert found.tolist() == wanted
    assert 0 < len(wanted) < int((hamming_bits(code, codes) <= 30).sum())
