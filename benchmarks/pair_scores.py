"""Scores of sets of pairs in memory, for benchmarks, and for tests of the scores that `dupelake evaluate` counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from dupelake.evaluate.scores import BCubed, Scores

Pair = tuple[str, str]


def unordered(a: str, b: str) -> Pair:
    """The pair with the smaller item first."""
    return (a, b) if a <= b else (b, a)


def group_pairs(groups: Mapping[str, str]) -> Iterator[Pair]:
    """All pairs of items within one group, smaller first, each once.

    Args:
        groups: item to label. Cost is linear in the number of pairs.
    """
    members: defaultdict[str, list[str]] = defaultdict(list)
    for item, label in groups.items():
        members[label].append(item)
    for items in members.values():
        yield from combinations(sorted(items), 2)


def score_pair_sets(found: Iterable[Pair], truth: Iterable[Pair], ignore: Iterable[Pair] = ()) -> Scores:
    """Compare two sets of unordered pairs.

    Args:
        found: pairs in either order; repeats count once, and a pair of an item with itself does not count.
        truth: the true pairs; `group_pairs` makes them from groups.
        ignore: pairs that are not scored.
    """
    out = _pair_set(ignore)
    hits, trues = _pair_set(found) - out, _pair_set(truth) - out
    return Scores(len(hits), len(trues), len(hits & trues))


def b_cubed(found: Mapping[str, str], truth: Mapping[str, str], items: Iterable[str] | None = None) -> BCubed:
    """B-cubed precision and recall of a grouping.

    Args:
        found: item to label; a missing item is its own group.
        truth: the true groups, in the same form.
        items: items to average over; by default all that occur.
    """
    universe = set(items) if items is not None else {*found, *truth}
    if not universe:
        return BCubed(1.0, 1.0)
    # The flag distinguishes labels from items that are their own group.
    n_both = Counter(
        (
            (True, found[item]) if item in found else (False, item),
            (True, truth[item]) if item in truth else (False, item),
        )
        for item in universe
    )
    n_found: Counter[tuple[bool, str]] = Counter()
    n_true: Counter[tuple[bool, str]] = Counter()
    for (mine, right), n in n_both.items():
        n_found[mine] += n
        n_true[right] += n
    precision = sum(n * n / n_found[cell[0]] for cell, n in n_both.items()) / len(universe)
    recall = sum(n * n / n_true[cell[1]] for cell, n in n_both.items()) / len(universe)
    return BCubed(precision, recall)


def recall_by_relation(found: Iterable[Pair], truth: Mapping[Pair, str]) -> dict[str, Scores]:
    """Recall of each kind of true pair (crop, mirrored, ...), and of `all`; only recall and its counts are meaningful.

    Args:
        found: pairs in either order.
        truth: pair, in either order, to its relation.

    Raises:
        ValueError: a pair is given twice, with two relations.
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
