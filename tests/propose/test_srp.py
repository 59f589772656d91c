"""Sign random projections: law of collisions, planned recall, codes that are equal everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.stats import binom

from dupelake.propose.mih import SlotPlan, hamming_bits, probe_keys, slot_keys
from dupelake.propose.srp import (
    centred_cosine,
    disagreement,
    plan_srp,
    projections,
    srp_codes,
)

DIM = 96


def collision_probability(plan: SlotPlan, cosine: float) -> float:
    """Probability that a pair is proposed: a band within `probe_bits` and the whole code within `max_bits`.

    It is P(total <= T) - P(total <= T and every band > r), exactly. The second term convolves, for each band, the
    distribution of differing bits above r.

    Args:
        plan: bands of any width that cover the whole code.
        cosine: after centring.
    """
    p = disagreement(cosine)
    missed = np.ones(1)
    for _, width in plan.slots:
        band = binom.pmf(np.arange(width + 1), width, p)
        band[: plan.probe_bits + 1] = 0
        missed = np.convolve(missed, band)[: plan.max_bits + 1]
    return float(binom.cdf(plan.max_bits, plan.n_bits, p) - missed.sum())


def planted(rng, cosine, n, dim=DIM, centre_norm2=0.0):
    """Unit vectors with a common centre, in pairs at a raw cosine; float32 (n, dim) twice, and the centre."""
    centre = np.zeros(dim)
    centre[0] = np.sqrt(centre_norm2)
    inner = (cosine - centre_norm2) / (1 - centre_norm2)
    a = rng.standard_normal((n, dim - 1))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = rng.standard_normal((n, dim - 1))
    b -= (a * b).sum(axis=1, keepdims=True) * a
    b = inner * a + np.sqrt(1 - inner**2) * b / np.linalg.norm(b, axis=1, keepdims=True)
    sides = [np.concatenate([np.full((n, 1), centre[0]), np.sqrt(1 - centre_norm2) * x], axis=1) for x in (a, b)]
    return sides[0].astype(np.float32), sides[1].astype(np.float32), centre.astype(np.float32)


def proposed(a, b, centre, plan):
    left, right = srp_codes(a, centre, plan.n_bits), srp_codes(b, centre, plan.n_bits)
    met = (probe_keys(left, plan)[:, :, None] == slot_keys(right, plan)[:, None, :]).any(axis=(1, 2))
    return met & (hamming_bits(left, right) <= plan.max_bits)


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.3, 0.8, 0.95])
def test_bits_disagree_by_the_angle(cosine):
    a, b, centre = planted(np.random.default_rng(3), cosine, 2000)
    rate = hamming_bits(srp_codes(a, centre, 512), srp_codes(b, centre, 512)).mean() / 512
    assert rate == pytest.approx(disagreement(cosine), abs=0.012)  # one set of planes for all pairs: 4 sigma


@pytest.mark.parametrize("probe_bits", [0, 1, 2])
@pytest.mark.parametrize("cosine", [0.5, 0.7, 0.85, 0.95])
def test_collision_probability_is_what_happens(cosine, probe_bits):
    plan = SlotPlan(120, tuple((12 * i, 12) for i in range(10)), probe_bits, 24)
    rng = np.random.default_rng(5)
    p, n = disagreement(cosine), 40_000  # of the law itself: independent bits
    flips = rng.random((n, 10, 12)) < p
    hits = ((flips.sum(axis=2).min(axis=1) <= probe_bits) & (flips.sum(axis=(1, 2)) <= 24)).mean()
    assert hits == pytest.approx(collision_probability(plan, cosine), abs=0.012)  # 5 sigma at most


def test_collision_probability_rises_and_ends_at_one():
    plan = plan_srp(0.92, 0.95, 0.3)
    curve = [collision_probability(plan, cosine) for cosine in (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 1.0)]
    assert curve == sorted(curve)
    assert curve[0] < 1e-9
    assert curve[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("centre_norm2", [0.0, 0.3, 0.5])
@pytest.mark.parametrize(("cosine", "recall"), [(0.92, 0.95), (0.95, 0.95), (0.92, 0.99), (0.85, 0.9), (0.7, 0.9)])
def test_plan_reaches_its_recall(cosine, recall, centre_norm2):
    plan = plan_srp(cosine, recall, centre_norm2)
    law = collision_probability(plan, centred_cosine(cosine, centre_norm2))
    assert recall <= law < recall + 0.6 * (1 - recall)  # reached, and not by waste
    # One draw of planes serves all pairs; over pairs its share varies little in high dimension.
    found = proposed(*planted(np.random.default_rng(7), cosine, 1500, 400, centre_norm2), plan)
    assert found.mean() >= recall - 0.03
    above = proposed(*planted(np.random.default_rng(8), cosine + 0.7 * (1 - cosine), 500, 400, centre_norm2), plan)
    assert above.mean() >= 0.99


def test_equal_vectors_always_meet():
    a, _, centre = planted(np.random.default_rng(1), 0.9, 300)
    for cosine in (0.9, 1.0):
        plan = plan_srp(cosine, 0.95, 0.2)
        assert proposed(a, a.copy(), centre, plan).all()


def test_plan_does_not_depend_on_anything_but_its_arguments():
    assert plan_srp(0.92, 0.95, 0.31) == plan_srp(0.92, 0.95, 0.31)


@pytest.mark.parametrize(("cosine", "norm2"), [(0.5, 0.6), (0.5, 1.0), (0.5, 0.5)])
def test_hopeless_cosine_is_refused(cosine, norm2):
    with pytest.raises(ValueError, match="no code"):
        plan_srp(cosine, 0.999, norm2)


def test_codes_are_equal_in_every_batch_and_order():
    a, _, _ = planted(np.random.default_rng(2), 0.9, 257, 1280)
    centre = a.mean(axis=0)
    whole = srp_codes(a, centre, 300)
    assert (np.concatenate([srp_codes(a[i : i + 1], centre, 300) for i in range(len(a))]) == whole).all()
    assert (srp_codes(np.asfortranarray(a[::-1]), centre, 300)[::-1] == whole).all()


def test_codes_are_signs_of_sums_of_whole_numbers():
    """Against Python integers, on vectors so near the centre that rounding to the grid decides."""
    vectors = (np.random.default_rng(9).standard_normal((40, 24)) * 2.0**-16).astype(np.float32)
    planes = projections(24, 64).astype(int).T.tolist()
    codes = srp_codes(vectors, np.zeros(24, np.float32), 64)
    for vector, code in zip(vectors.tolist(), codes[:, 0].tolist(), strict=True):
        grid = [round(x * 2**16) for x in vector]
        bits = "".join("1" if sum(a * b for a, b in zip(grid, plane, strict=True)) >= 0 else "0" for plane in planes)
        assert code == int(bits, 2)


def test_shorter_codes_are_prefixes_and_padding_is_zero():
    a, _, centre = planted(np.random.default_rng(2), 0.9, 50)
    long, short = srp_codes(a, centre, 192), srp_codes(a, centre, 100)
    assert short.shape == (50, 2)
    assert (short[:, 0] == long[:, 0]).all()
    assert (short[:, 1] == long[:, 1] & ~np.uint64((1 << 28) - 1)).all()


def test_projections_are_frozen():
    """The planes are part of stored results: a change needs another JOIN_REVISION."""
    planes = projections(64, 128)
    assert (planes == np.rint(planes)).all()
    assert hashlib.sha256(planes.astype("<i8").tobytes()).hexdigest()[:16] == "3fc4b6953ead39dd"
    assert planes.std() == pytest.approx(65536, rel=0.02)
    assert abs(planes.mean()) < 65536 * 0.04


def test_partial_sums_stay_exact():
    """The promise in srp_codes: whole numbers below 2^53, whatever the order."""
    assert 12 * 0xFFFF / 2 * 2**16 * np.sqrt(8192) * 2 < 2**53


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_refused(bad):
    vectors = np.ones((2, 8), np.float32)
    vectors[1, 3] = bad
    with pytest.raises(ValueError, match="finite"):
        srp_codes(vectors, np.zeros(8, np.float32), 16)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="do not fit"):
        srp_codes(np.ones((2, 8), np.float32), np.zeros(9, np.float32), 16)
