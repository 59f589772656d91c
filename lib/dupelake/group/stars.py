"""Agreement of two pictures, and of a picture with its component."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dupelake.group.unionfind import smallest_labels

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Values of each measure after encoding alone, and the weight of a lower correlation relative to the other measures.
_ENCODED_NCC, _ENCODED_SHARE, _ENCODED_DIFFERENCE, _ENCODED_COLOUR, _OFF_NCC = 0.985, 0.97, 0.05, 0.04, 3.0
_UNALIGNED = 500


def agreement_of(ncc: Floats, share: Floats, difference: Floats, colour: Floats) -> Ints:
    """Agreement of two pictures apart from encoding, size and frame, int64 in thousandths; 500 if not aligned.

    Differences that encoding and resizing cause (on ImageNet photographs, JPEG 30 and better) do not reduce it.

    Args:
        ncc: float64 (E,), correlation of gradients over the overlap; NaN if not aligned.
        share: share of cells that agree.
        difference: difference of the cell that differs most.
        colour: difference of colours.
    """
    off = (
        _OFF_NCC * np.maximum(_ENCODED_NCC - ncc, 0.0)
        + np.maximum(_ENCODED_SHARE - share, 0.0)
        + np.clip(difference - _ENCODED_DIFFERENCE, 0.0, 0.5)
        + np.minimum(2.0 * np.maximum(colour - _ENCODED_COLOUR, 0.0), 0.5)
    )
    thousandths = np.floor(1000.0 * np.maximum(1.0 - off, 0.0) + 0.5)
    return np.where(np.isnan(off), _UNALIGNED, np.nan_to_num(thousandths)).astype(np.int64)


def component_disagreement(a: Ints, b: Ints, agreement: Ints, n: int) -> Ints:
    """Disagreement of each vertex with its component, in classes: 0 for the best (the medoid), 20 for no agreement.

    An edited copy differs from another edited copy by two edits, and from the plain picture by one. So the plain
    picture is the medoid. A picture with noise, a sticker or another light should not be the keeper, whatever its size.
    Also, a keeper must pass against its members directly, which the plain picture does most often.

    Args:
        a: one end of each edge, integers in [0, n); no loops, no repeats.
        b: the other end.
        agreement: int64 (E,), 0 or more; 0 for a picture and its mirrored or turned copy. Integers, so that their sums
            do not depend on the order of the edges.
        n: number of vertices.

    Returns:
        int64 (n,): difference between the largest sum of agreements in the component and the vertex's sum, in
        twentieths of the largest.
    """
    total = np.zeros(n, np.int64)
    np.add.at(total, a, agreement)
    np.add.at(total, b, agreement)
    label = smallest_labels(a, b, n)
    most = np.zeros(n, np.int64)
    np.maximum.at(most, label, total)
    return np.asarray(20 * (most[label] - total) // np.maximum(most[label], 1), np.int64)
