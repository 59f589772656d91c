"""Evidence kernels: distances against Python integers, cosines exact."""

from __future__ import annotations

import numpy as np
import pytest

from dupelake.errors import VersionMixError
from dupelake.propose.distances import cosines, refuse_mixed, straight_and_mirrored_bits
from dupelake.propose.mih import words_of


def unit(rng, n, dim):
    vectors = rng.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("n_bytes", [8, 32])
def test_bits_against_python(n_bytes):
    rng = np.random.default_rng(n_bytes)
    raw = rng.integers(0, 256, (4, 60, n_bytes), np.uint8)
    whole = [[int.from_bytes(row.tobytes()) for row in side] for side in raw]
    straight, mirrored = straight_and_mirrored_bits(*[words_of(side) for side in raw])
    assert straight.tolist() == [(a ^ b).bit_count() for a, b in zip(whole[0], whole[2], strict=True)]
    assert mirrored.tolist() == [
        min((ma ^ b).bit_count(), (a ^ mb).bit_count()) for a, ma, b, mb in zip(*whole, strict=True)
    ]


@pytest.mark.parametrize("dim", [3, 64, 1280])
def test_cosines_against_numpy(dim):
    rng = np.random.default_rng(dim)
    a, b = unit(rng, 80, dim), unit(rng, 80, dim)
    left, right = a.astype(np.longdouble), b.astype(np.longdouble)
    wanted = (left * right).sum(1) / np.sqrt((left**2).sum(1) * (right**2).sum(1))
    assert cosines(a, b) == pytest.approx(wanted.astype(float), abs=1e-14)
    assert (cosines(a, b) == cosines(b, a)).all()


def test_equal_vectors_are_exactly_one_and_opposite_minus_one():
    a = unit(np.random.default_rng(0), 500, 1280)
    assert (cosines(a, a.copy()) == 1.0).all()
    assert (cosines(a, -a) == -1.0).all()


def test_cosine_depends_on_no_batch_and_no_order_of_summation():
    rng = np.random.default_rng(1)
    a, b = unit(rng, 97, 1280), unit(rng, 97, 1280)
    whole = cosines(a, b)
    assert [float(cosines(a[i : i + 1], b[i : i + 1])[0]) for i in range(97)] == whole.tolist()
    order = rng.permutation(1280)
    assert (cosines(a[:, order], b[:, order]) == whole).all()


def test_zero_vector_has_cosine_zero():
    assert cosines(np.zeros((1, 4), np.float16), np.ones((1, 4), np.float16)).tolist() == [0.0]


def test_mixed_versions_name_both():
    refuse_mixed("hashes of version", ["v1", "v2"], ["v1", "v2"])
    with pytest.raises(VersionMixError, match=r"'v1'.*'v3'"):
        refuse_mixed("hashes of version", ["v2", "v1"], ["v2", "v3"])
