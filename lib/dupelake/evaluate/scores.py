"""Scores of found pairs and groups compared with a truth. Cost is linear in pairs and items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1; a ratio of 0 to 0 is 1.

    Attributes:
        n_found: number of found pairs without ignored ones.
        n_true: number of pairs of the truth without ignored ones.
        n_hit: number of pairs in both.
    """

    n_found: int
    n_true: int
    n_hit: int

    @property
    def precision(self) -> float:
        """Share of found pairs that are true."""
        return self.n_hit / self.n_found if self.n_found else 1.0

    @property
    def recall(self) -> float:
        """Share of true pairs that are found."""
        return self.n_hit / self.n_true if self.n_true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return f1(self.precision, self.recall)


@dataclass(frozen=True)
class Tally:
    """Counts of pairs within blocks (found groups, or the two ends of a found edge).

    A truth of groups judges every pair by the groups of its two items. A truth of pairs judges the pairs that it
    lists; other pairs between two of its groups are false. If a-b and b-c are listed, a-c is likely a copy, but the
    truth does not list it. Such a pair is not judged.

    Attributes:
        n_pairs: all found pairs.
        n_same: found pairs in one group of the truth.
        n_certain: found pairs in one group that are not ambiguous; 0 for a truth of pairs.
        n_listed_true: found pairs that the truth lists as duplicates.
        n_listed_same: found pairs in one group of the truth that it lists, without ambiguous ones.
        n_ambiguous: found pairs between two groups of the truth that it lists as ambiguous.
    """

    n_pairs: int = 0
    n_same: int = 0
    n_certain: int = 0
    n_listed_true: int = 0
    n_listed_same: int = 0
    n_ambiguous: int = 0

    @property
    def n_judged(self) -> int:
        """Number of found pairs that the truth judges."""
        return self.n_pairs - self.n_same + self.n_certain + self.n_listed_same - self.n_ambiguous

    @property
    def n_hit(self) -> int:
        """Number of found pairs that are true."""
        return self.n_certain + self.n_listed_true

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.n_pairs + other.n_pairs,
            self.n_same + other.n_same,
            self.n_certain + other.n_certain,
            self.n_listed_true + other.n_listed_true,
            self.n_listed_same + other.n_listed_same,
            self.n_ambiguous + other.n_ambiguous,
        )

    def scores(self, n_true: int) -> Scores:
        """Precision, recall and F1 for a truth of `n_true` pairs."""
        return Scores(self.n_judged, n_true, self.n_hit)


@dataclass(frozen=True)
class BCubed:
    """Precision and recall averaged over items (Bagga and Baldwin 1998), so that large groups do not dominate."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return f1(self.precision, self.recall)


def f1(precision: float, recall: float) -> float:
    """Harmonic mean; 0 when both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def wilson_interval(n_hit: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927), which is within [0, 1] and valid for few trials.

    Args:
        n_hit: successes, 0 to n.
        n: trials; 0 gives (0, 1).
        z: quantile of the normal distribution; the default gives 95 %.

    Raises:
        ValueError: n_hit is not in [0, n].
    """
    if not 0 <= n_hit <= n:
        raise ValueError(f"{n_hit} successes of {n} trials")
    if n == 0:
        return 0.0, 1.0
    share, z2 = n_hit / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (0.0 if n_hit == 0 else max(0.0, middle - half)), (1.0 if n_hit == n else min(1.0, middle + half))


def sweep(
    thresholds: Sequence[float], buckets: Mapping[int, tuple[int, int]], always: tuple[int, int], n_true: int
) -> list[tuple[float, Scores]]:
    """Scores at each threshold, from numbers of pairs by the number of thresholds that they pass.

    Args:
        thresholds: from the loosest to the strictest.
        buckets: number of thresholds passed (the loosest first) to (judged pairs, true pairs).
        always: numbers of judged and true pairs that pass every threshold.
        n_true: number of pairs of the truth, including those without a value.

    Returns:
        (threshold, Scores) in the order of `thresholds`.

    Raises:
        ValueError: a bucket is not in [0, len(thresholds)].
    """
    if buckets and not 0 <= min(buckets) <= max(buckets) <= len(thresholds):
        raise ValueError(f"buckets {min(buckets)} to {max(buckets)} of {len(thresholds)} thresholds")
    rows, (n_judged, n_hit) = [], always
    for place in range(len(thresholds), 0, -1):
        more = buckets.get(place, (0, 0))
        n_judged, n_hit = n_judged + more[0], n_hit + more[1]
        rows.append((thresholds[place - 1], Scores(n_judged, n_true, n_hit)))
    return rows[::-1]


def average_precision(curve: Sequence[Scores]) -> float:
    """Area under a precision-recall curve: the sum of precision times gain in recall, without interpolation.

    Args:
        curve: from the strictest threshold to the loosest, so that recall does not fall.

    Returns:
        0 to 1. Each step uses the precision at its looser threshold, so few thresholds do not overestimate the area.
    """
    area, before = 0.0, 0.0
    for point in curve:
        area += (point.recall - before) * point.precision
        before = point.recall
    return area
