"""Evidence of pairs: Hamming distances, straight and mirrored, and the cosine of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dupelake.errors import VersionMixError
from dupelake.propose.mih import Codes, hamming_bits

Bits = npt.NDArray[np.int32]


def straight_and_mirrored_bits(a: Codes, a_mirrored: Codes, b: Codes, b_mirrored: Codes) -> tuple[Bits, Bits]:
    """Hamming distances of each pair, straight and with one picture mirrored.

    The hash of a mirrored picture is not an exact permutation of the hash of the picture. So the two directions differ
    by a few bits. The smaller one counts, which makes the distance symmetric.

    Args:
        a: uint64 (n, words), codes of one side.
        a_mirrored: codes of the same pictures mirrored left to right.
        b: codes of the other side.
        b_mirrored: codes of the mirrored pictures of the other side.

    Returns:
        int32 (n,) each: d(a, b), and min(d(m(a), b), d(a, m(b))).
    """
    return hamming_bits(a, b), np.minimum(hamming_bits(a_mirrored, b), hamming_bits(a, b_mirrored))


def cosines(a: npt.NDArray[np.float16], b: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Cosine of each pair of rows, in [-1, 1]; the rows are normalised first.

    Every float16 is a multiple of 2^-24, so a product of two is a multiple of 2^-48. A sum of products of unit vectors
    stays below 2, so it fits the 53 bits of a float64. So the sums are exact in any order. A cosine does not depend on
    the batch, the machine or the order of the two vectors. Equal vectors give exactly 1.0.

    Args:
        a: float16 (n, dim), of about unit length.
        b: float16 (n, dim).

    Returns:
        float64 (n,); 0 where a vector is zero.
    """
    left, right = a.astype(np.float64), b.astype(np.float64)
    dot = np.einsum("ij,ij->i", left, right)
    # One square root of the product, because the root of x * x is exactly x.
    length = np.sqrt(np.einsum("ij,ij->i", left, left) * np.einsum("ij,ij->i", right, right))
    return np.clip(np.divide(dot, length, out=np.zeros_like(dot), where=length > 0), -1.0, 1.0)


def refuse_mixed(what: str, a: Sequence[str | None], b: Sequence[str | None]) -> None:
    """Refuse pairs whose two sides have different versions.

    Raises:
        VersionMixError: names the first two that differ.
    """
    mixed = next(((left, right) for left, right in zip(a, b, strict=True) if left != right), None)
    if mixed is not None:
        raise VersionMixError(
            f"a pair holds {what} {mixed[0]!r} on one side and {mixed[1]!r} on the other; "
            "versions are never compared: compute the older rows again (--full)"
        )
