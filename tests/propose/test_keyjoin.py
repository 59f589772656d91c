"""Joins of packed keys against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from dupelake.propose.keyjoin import UNIT_MASK, by_part, mixed, near_meetings, packed, unmixed, unpacked


def test_mixing_is_a_bijection_that_moves_every_bit():
    values = np.arange(100_000, dtype=np.uint64)
    made = mixed(values)
    assert len(np.unique(made)) == len(values)
    assert np.array_equal(unmixed(made), values)
    bits = (made[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert (abs(bits.mean(axis=0) - 0.5) < 0.01).all()


@pytest.mark.parametrize("n_parts", [1, 7, 70_000])
def test_each_key_comes_once_in_its_part_with_the_units_present(n_parts):
    rng = np.random.default_rng(n_parts)
    keys = mixed(rng.integers(0, 500, 4_000).astype(np.uint64))
    owner = rng.integers(3, 60, 4_000)
    part_of, seen = {}, []
    for part, present, mine, numbers in by_part(owner, keys, n_parts):
        assert present[unpacked(numbers)].tolist() == owner[mine].tolist()
        assert 0 <= part < n_parts
        assert (np.diff(mine) > 0).all(), "in the order given"
        assert present.tolist() == sorted(set(owner[mine].tolist()))
        for key in keys[mine].tolist():
            assert part_of.setdefault(key, part) == part, "equal keys meet in one part"
        seen += mine.tolist()
    assert sorted(seen) == list(range(4_000))
    assert len(set(part_of.values())) > 0.9 * min(n_parts, 7)


def test_a_batch_without_keys_has_nothing_for_any_part():
    assert list(by_part(np.empty(0, np.int64), np.empty(0, np.uint64), 5)) == []


def test_numbers_hold_the_place_of_their_unit():
    place = np.array([0, 1, 12_345, int(UNIT_MASK)])
    assert unpacked(packed(mixed(np.arange(4, dtype=np.uint64)), place)).tolist() == place.tolist()


@pytest.mark.parametrize("max_rows", [1, 50, 10**6])
@pytest.mark.parametrize("max_bits", [128, 3, 0])
def test_meetings_equal_a_loop_over_all(max_rows, max_bits):
    rng = np.random.default_rng(max_bits)
    codes = rng.integers(0, 4, (30, 2)).astype(np.uint64)
    sides = [(rng.integers(0, 40, n), rng.integers(0, 30, n)) for n in (300, 200)]
    wanted = sorted(
        (int(b), int(a))
        for key, a in zip(*sides[0], strict=True)
        for other, b in zip(*sides[1], strict=True)
        if key == other and sum(int(word).bit_count() for word in codes[a] ^ codes[b]) <= max_bits
    )
    assert len(wanted) > 50
    stored, probing = (packed(mixed(keys.astype(np.uint64)), place) for keys, place in sides)
    found, sizes = [], []
    for a, b in near_meetings(stored, probing, codes, max_bits, max_rows):
        sizes.append(len(a))
        found += zip(a.tolist(), b.tolist(), strict=True)
    assert sorted(found) == wanted
    assert max(sizes) <= max(max_rows, 300)
    none = np.empty(0, np.uint64)
    assert list(near_meetings(none.copy(), probing, codes, max_bits, max_rows)) == []
    assert list(near_meetings(stored, none.copy(), codes, max_bits, max_rows)) == []
