"""The order in which the images of a group become its keeper, from the judgements about its pairs.

Losses are integers, so that their sums depend on no order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dupelake.group.keeping import FINER, FULLER
from dupelake.group.stars import component_disagreement

Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]

# Thousandths for each class of disagreement, and the most classes that count. Without the bound, one of many crops is
# kept in place of the one edited picture that shows the whole (benchmarks/quality.md).
DISAGREEMENT_LOSS, MOST_CLASSES = 300, 6


class Order(NamedTuple):
    """Vertices in the order in which they become keepers, and the values it is based on; int64 (n,) each.

    Attributes:
        vertices: vertices, best first.
        n_fuller: for each vertex, number of neighbours that show more, or the shared part much finer.
        n_better: number of neighbours that are better by another rule.
        doubt: thousandths; mean over its edges of -ln(2 p), p the probability that it is the better one: 0 if all its
            pairs are level, and at least -693.
        disagreement: result of `group.stars.component_disagreement`, at most MOST_CLASSES.
    """

    vertices: Ints
    n_fuller: Ints
    n_better: Ints
    doubt: Ints
    disagreement: Ints


def order_of(a: Ints, b: Ints, margin: Ints, rule: Codes, agreement: Ints, chosen: Flags, n: int) -> Order:
    """The order in which vertices become keepers, best first; see `Order`.

    Vertices that people chose come first, then the vertex with the least loss, then the smaller number. The loss is the
    doubt plus DISAGREEMENT_LOSS for each class of disagreement: several weak judgements against an image weigh less
    than a clear one. The doubt is a mean, so that it weighs as much beside the disagreement in a group of three as in
    one of thirty. The result does not depend on the order of the edges.

    Args:
        a: one end of each edge, integers in [0, n); no loops, no repeats.
        b: the other end.
        margin: int64 (E,), as of `group.keeping.Judgement`, with `a` as the source.
        rule: int8 (E,), by which rule.
        agreement: int64 (E,), as for `group.stars.component_disagreement`.
        chosen: bool (n,), whether people chose the vertex as a keeper.
        n: number of vertices.
    """

    def n_beaten_by(which: Flags) -> Ints:
        beaten = np.concatenate([a[which & (margin < 0)], b[which & (margin > 0)]])
        return np.bincount(beaten, minlength=n).astype(np.int64)

    is_fuller = (rule == FULLER) | (rule == FINER)
    n_fuller, n_better = n_beaten_by(is_fuller), n_beaten_by(~is_fuller)
    doubt = np.zeros(n, np.int64)
    for end, against in ((a, -margin / 1000), (b, margin / 1000)):
        np.add.at(doubt, end, np.rint(1000 * np.log((1 + np.exp(against)) / 2)).astype(np.int64))
    n_edges = np.bincount(np.concatenate([a, b]), minlength=n)
    doubt = np.rint(doubt / np.maximum(n_edges, 1)).astype(np.int64)
    disagreement = np.minimum(component_disagreement(a, b, agreement, n), MOST_CLASSES)
    order = np.lexsort((np.arange(n), doubt + DISAGREEMENT_LOSS * disagreement, ~chosen))
    return Order(order.astype(np.int64), n_fuller, n_better, doubt, disagreement)
