"""How good found pairs and groups are against truth. Linear in pairs and items: no non-pair is ever enumerated."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb

Pair = tuple[str, str]


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1; a ratio of nothing to nothing is 1.

    Attributes:
        n_found: pairs found, less the ignored.
        n_true: pairs of the truth, less the ignored.
        n_hit: pairs in both.
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
class BCubed:
    """Precision and recall averaged over items (Bagga and Baldwin 1998), so that no large group outvotes the rest."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return f1(self.precision, self.recall)


def f1(precision: float, recall: float) -> float:
    """Harmonic mean; 0 when both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def unordered(a: str, b: str) -> Pair:
    """A pair, smaller first."""
    return (a, b) if a <= b else (b, a)


def group_pairs(groups: Mapping[str, str]) -> Iterator[Pair]:
    """All pairs of items within one group, smaller first, each once.

    Args:
        groups: item to label. Cost is the number of pairs that come out.
    """
    members: defaultdict[str, list[str]] = defaultdict(list)
    for item, label in groups.items():
        members[label].append(item)
    for items in members.values():
        yield from combinations(sorted(items), 2)


def score_pair_sets(found: Iterable[Pair], truth: Iterable[Pair], ignore: Iterable[Pair] = ()) -> Scores:
    """Compare two sets of unordered pairs.

    Args:
        found: pairs in either order; repeats count once, an item with itself not at all.
        truth: the same of what is true; `group_pairs` makes it of groups.
        ignore: pairs that count neither for nor against, whichever side holds them.
    """
    out = _pair_set(ignore)
    hits, trues = _pair_set(found) - out, _pair_set(truth) - out
    return Scores(len(hits), len(trues), len(hits & trues))


def score_groups(found: Mapping[str, str], truth: Mapping[str, str]) -> Scores:
    """Compare the pairs that two groupings imply, by counting, linear in items however large the groups.

    Args:
        found: item to label; an item that is missing stands alone.
        truth: the same of what is true.
    """
    both = Counter((label, truth[item]) for item, label in found.items() if item in truth)
    return Scores(_n_pairs(Counter(found.values())), _n_pairs(Counter(truth.values())), _n_pairs(both))


def b_cubed(found: Mapping[str, str], truth: Mapping[str, str], items: Iterable[str] | None = None) -> BCubed:
    """B-cubed precision and recall of a grouping.

    Args:
        found: item to label; an item that is missing stands alone.
        truth: the same of what is true.
        items: over which to average; by default all that occur.
    """
    universe = set(items) if items is not None else {*found, *truth}
    if not universe:
        return BCubed(1.0, 1.0)
    # Labels of either side are kept apart from the items that stand alone.
    cells = {
        item: (
            (True, found[item]) if item in found else (False, item),
            (True, truth[item]) if item in truth else (False, item),
        )
        for item in universe
    }
    n_found, n_true = Counter(cell[0] for cell in cells.values()), Counter(cell[1] for cell in cells.values())
    n_both = Counter(cells.values())
    precision = sum(n * n / n_found[cell[0]] for cell, n in n_both.items()) / len(universe)
    recall = sum(n * n / n_true[cell[1]] for cell, n in n_both.items()) / len(universe)
    return BCubed(precision, recall)


def recall_by_relation(found: Iterable[Pair], truth: Mapping[Pair, str]) -> dict[str, Scores]:
    """Recall of each kind of true pair (crop, mirrored, ...), and of `all`; only recall and its counts say something.

    Args:
        found: pairs in either order.
        truth: pair, in either order, to its relation.

    Raises:
        ValueError: a pair is given twice, under two relations.
    """
    hits = _pair_set(found)
    relations: dict[Pair, str] = {}
    for (a, b), relation in truth.items():
        if relations.setdefault(unordered(a, b), relation) != relation:
            raise ValueError(f"the truth gives {unordered(a, b)} two relations")
    n_true = Counter(relations.values())
    n_hit = Counter(relation for pair, relation in relations.items() if pair in hits)
    rows = {name: Scores(n_hit[name], n, n_hit[name]) for name, n in sorted(n_true.items())}
    return {**rows, "all": Scores(n_hit.total(), n_true.total(), n_hit.total())}


def _pair_set(pairs: Iterable[Pair]) -> set[Pair]:
    return {unordered(a, b) for a, b in pairs if a != b}


def _n_pairs(sizes: Counter[object] | Counter[str] | Counter[tuple[str, str]]) -> int:
    return sum(comb(n, 2) for n in sizes.values())
