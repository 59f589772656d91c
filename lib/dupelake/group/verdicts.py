"""People's verdicts: what they mean together, where they contradict each other, and the star cover that obeys them.

The algebra is hydrus's. A *set* is what people confirmed to be one picture: `duplicate` is transitive. `not_duplicate`
and `alternate` between two members hold between all members of both sets. A *unit* is what one group must hold as a
whole: sets that `alternate` joins. Verdicts are made by people, so all of them fit into one task, and plain Python is
fast enough (a million a minute).

Reference:
    hydrus network, "duplicates" (duplicate groups, false positives, alternates): https://hydrusnetwork.github.io/hydrus
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dupelake.group.unionfind import smallest_labels

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

DUPLICATE, NOT_DUPLICATE, ALTERNATE, KEEPER, WITHDRAWN = (
    "duplicate",
    "not_duplicate",
    "alternate",
    "keeper",
    "withdrawn",
)
UNKNOWN_IMAGE, DIFFERENT_SCOPES = "unknown_image", "different_scopes"  # faults that a verdict comes with
SAME_TIME = "same_time"
NOT_DUPLICATE_OF_DUPLICATE, ALTERNATE_OF_DUPLICATE = "not_duplicate_of_duplicate", "alternate_of_duplicate"
NOT_DUPLICATE_OF_ALTERNATE = "not_duplicate_of_alternate"
_CAREFUL = {NOT_DUPLICATE: 0, ALTERNATE: 1, DUPLICATE: 2, KEEPER: 3, WITHDRAWN: 4}  # of one time, the first speaks
_NAMED = 3  # people or images that a sentence names


@dataclass(frozen=True)
class Verdict:
    """One decision of a person, about contents.

    Attributes:
        vertex: what the first image shows (a class of equal pixels within a scope); None where nobody knows.
        other: the same of the second image; None for a verdict about one image.
        verdict: one of the five words above.
        author: who said it.
        decided_at: microseconds since 1970, UTC.
        image_id: the first image, as the person named it.
        other_image_id: the second, or None.
        fault: None, or UNKNOWN_IMAGE or DIFFERENT_SCOPES: it cannot be applied.
    """

    vertex: str | None
    other: str | None
    verdict: str
    author: str
    decided_at: int
    image_id: str
    other_image_id: str | None
    fault: str | None = None

    def order(self) -> tuple[int, str, str, str]:
        """By time, then by what else differs, so that no order of input matters."""
        return self.decided_at, self.image_id, self.other_image_id or "", self.author


@dataclass(frozen=True)
class Conflict:
    """Two decisions that cannot both hold; `against` is None where equal pixels or a missing image contradict it."""

    kind: str
    decision: Verdict
    against: Verdict | None = None


@dataclass
class Held:
    """What people hold of one vertex.

    Attributes:
        vertex: the vertex.
        label: its set, named by the smallest vertex of it.
        unit: its unit, named by the smallest vertex of it; itself where its verdicts are in conflict.
        is_disputed: a conflict concerns it: whatever it stands with, nothing there may be removed.
        apart: labels that its set is kept apart from; its own where members of the set are kept apart from each other.
        alternates: labels that its set is an alternate of.
        confirmed_by: who confirmed its set, as text; None where nobody did.
        alternate_by: who called it an alternate.
        apart_words: from which images it is kept apart, and by whom.
        chosen_by: who chose it as a keeper.
        chosen_image: the image that was chosen.
        chosen_at: when, in microseconds.
    """

    vertex: str
    label: str
    unit: str
    is_disputed: bool = False
    apart: list[str] = field(default_factory=list)
    alternates: list[str] = field(default_factory=list)
    confirmed_by: str | None = None
    alternate_by: str | None = None
    apart_words: str | None = None
    chosen_by: str | None = None
    chosen_image: str | None = None
    chosen_at: int | None = None


def newest(verdicts: Iterable[Verdict]) -> tuple[list[Verdict], list[Conflict]]:
    """The verdicts that hold: the latest on the same two contents, or of a keeper on the same content.

    Of several that were made in the same microsecond and differ, the most careful speaks (kept apart before alternate
    before duplicate) and they are a conflict. `withdrawn` takes the earlier one back. A verdict that cannot be applied
    is one of its own for each two image ids.

    Returns:
        (verdicts, conflicts), each sorted; `withdrawn` is in neither, except in a conflict of one time.
    """
    by_key: dict[tuple[str, ...], list[Verdict]] = {}
    for verdict in verdicts:
        by_key.setdefault(_key(verdict), []).append(verdict)
    found, conflicts = [], []
    for key in sorted(by_key):
        latest = max(v.decided_at for v in by_key[key])
        tied = sorted(
            (v for v in by_key[key] if v.decided_at == latest), key=lambda v: (_CAREFUL[v.verdict], *v.order())
        )
        first = tied[0]
        differing = [v for v in tied if _says(v) != _says(first)]
        if differing:
            conflicts.append(Conflict(SAME_TIME, first, differing[0]))
        if first.verdict != WITHDRAWN:
            found.append(first)
    return found, conflicts


def _key(verdict: Verdict) -> tuple[str, ...]:
    if verdict.fault == UNKNOWN_IMAGE or verdict.vertex is None:
        ends = verdict.image_id, verdict.other_image_id or ""
        return "image", min(ends), max(ends)
    if verdict.other is None:
        return "keeper", verdict.vertex
    return "pair", min(verdict.vertex, verdict.other), max(verdict.vertex, verdict.other)


def _says(verdict: Verdict) -> tuple[str, str]:
    return verdict.verdict, verdict.image_id if verdict.verdict == KEEPER else ""


def weigh(verdicts: Iterable[Verdict]) -> tuple[list[Held], list[Conflict]]:
    """What all verdicts say together, and where they contradict each other.

    In a conflict the careful side holds: a set with a `not_duplicate` inside joins nothing and all its members are
    kept apart; alternates of which two are kept apart join nothing; an alternate inside a set stays with it. All of
    them are disputed.

    Args:
        verdicts: the whole history, in any order.

    Returns:
        (held, conflicts): one row per vertex that a verdict names, sorted; conflicts sorted by their kind and decision.
    """
    current, conflicts = newest(verdicts)
    held = {name: Held(name, name, name) for name in sorted({n for v in current for n in (v.vertex, v.other) if n})}
    pairs = [v for v in current if v.fault is None and v.vertex is not None and v.other is not None]
    labels = _join([(v.vertex or "", v.other or "") for v in pairs if v.verdict == DUPLICATE], held)
    for name, row in held.items():
        row.label = labels[name]
    said = {word: _between(pairs, word, labels) for word in (DUPLICATE, NOT_DUPLICATE, ALTERNATE)}
    conflicts += _weigh_pairs(held, said)
    for verdict in current:
        if verdict.verdict == KEEPER and verdict.fault is None and verdict.vertex is not None:
            row = held[verdict.vertex]
            row.chosen_by, row.chosen_image, row.chosen_at = verdict.author, verdict.image_id, verdict.decided_at
        if verdict.fault is not None:
            conflicts.append(Conflict(verdict.fault, verdict))
    for conflict in conflicts:
        for decision in (conflict.decision, conflict.against):
            for end in (decision.vertex, decision.other) if decision is not None else ():
                if end is not None:
                    held[end].is_disputed = True
    return list(held.values()), sorted(conflicts, key=lambda c: (c.kind, *c.decision.order()))


_Between = dict[tuple[str, str], list[Verdict]]  # (label, label) in order: the verdicts between these two sets


def _between(pairs: Sequence[Verdict], word: str, labels: Mapping[str, str]) -> _Between:
    out: _Between = {}
    for v in pairs:
        if v.verdict == word:
            a, b = labels[v.vertex or ""], labels[v.other or ""]
            out.setdefault((min(a, b), max(a, b)), []).append(v)
    return {key: sorted(out[key], key=Verdict.order) for key in sorted(out)}


def _join(edges: Sequence[tuple[str, str]], names: Iterable[str]) -> dict[str, str]:
    """{name: the smallest name that edges join it with}."""
    ordered = sorted(names)
    at = {name: i for i, name in enumerate(ordered)}
    src, dst = (np.array([at[edge[end]] for edge in edges], np.int64) for end in (0, 1))
    return dict(zip(ordered, (ordered[i] for i in smallest_labels(src, dst, len(ordered)).tolist()), strict=True))


def _weigh_pairs(held: Mapping[str, Held], said: Mapping[str, _Between]) -> list[Conflict]:
    """Fill in what verdicts on pairs say of each vertex; returns the conflicts between them."""
    same, apart, alternate = said[DUPLICATE], said[NOT_DUPLICATE], said[ALTERNATE]
    torn = {a for a, b in apart if a == b}  # sets with a not_duplicate inside
    whole = [(a, b) for a, b in alternate if a != b and not {a, b} & torn]
    block = _join(whole, {row.label for row in held.values()})
    split = {block[a] for a, b in apart if a != b and block[a] == block[b]}  # alternates of which two are kept apart
    disputed = torn | {a for a, b in alternate if a == b} | {label for label in block if block[label] in split}
    of_label = {
        word: {label: [v for key, found in between.items() if label in key for v in found] for label in _ends(between)}
        for word, between in said.items()
    }
    for row in held.values():
        row.is_disputed = row.label in disputed
        row.unit = row.vertex if row.label in torn else row.label if block[row.label] in split else block[row.label]
        row.apart = _others(row.label, apart)
        row.alternates = _others(row.label, alternate)
        if row.label not in torn:
            row.confirmed_by = _people(of_label[DUPLICATE].get(row.label, ()))
        row.alternate_by = _people(of_label[ALTERNATE].get(row.label, ()))
        row.apart_words = _apart_words(of_label[NOT_DUPLICATE].get(row.label, ()), row.label, held)
    last = {label: max(found, key=Verdict.order) for (label, _), found in same.items()}
    in_block: dict[str, Verdict] = {}
    for a, b in whole:
        found = alternate[a, b] + ([in_block[block[a]]] if block[a] in in_block else [])
        in_block[block[a]] = max(found, key=Verdict.order)
    conflicts = []
    for (a, b), found in apart.items():
        if a == b:
            conflicts += [Conflict(NOT_DUPLICATE_OF_DUPLICATE, v, last.get(a)) for v in found]
        elif block[a] == block[b]:
            conflicts += [Conflict(NOT_DUPLICATE_OF_ALTERNATE, v, in_block[block[a]]) for v in found]
    for (a, b), found in alternate.items():
        if a == b:
            conflicts += [Conflict(ALTERNATE_OF_DUPLICATE, v, last.get(a)) for v in found]
    return conflicts


def _ends(between: _Between) -> set[str]:
    return {label for key in between for label in key}


def _others(label: str, between: _Between) -> list[str]:
    return sorted({b if a == label else a for a, b in between if label in (a, b)})


def _people(verdicts: Iterable[Verdict]) -> str | None:
    return _listed({v.author for v in verdicts}) or None


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:_NAMED]
    return ", ".join(shown) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _apart_words(verdicts: Sequence[Verdict], label: str, held: Mapping[str, Held]) -> str | None:
    """From whom a set is kept apart, and by whom, as text."""
    if not verdicts:
        return None
    names = set()
    for v in verdicts:
        for end, opposite in ((v.vertex, v.other_image_id), (v.other, v.image_id)):
            if end is not None and held[end].label == label and opposite is not None:
                names.add(opposite)
    return f"{_listed(names)} by {_people(verdicts)}"


def verdict_cover(
    src: Ints, dst: Ints, vertices: Ints, unit: Ints, label: Ints, chosen: Flags, apart: Iterable[tuple[int, int]]
) -> Ints:
    """Greedy star cover that obeys verdicts: the best vertex that is still free takes its unit and its neighbours'.

    As `stars.star_cover`, with three changes: a unit is taken whole or not at all; one that must be kept apart from
    what the star already holds is refused, and stands or joins elsewhere later; a star holds one chosen keeper at
    most. A unit with two chosen keepers falls apart into its vertices.

    Args:
        src: one end of each edge, out of `vertices`; smaller is better; loops and repeats are allowed.
        dst: the other end.
        vertices: int64 (n,), ascending, unique: all vertices.
        unit: int64 (n,), of each vertex; all of one component.
        label: int64 (n,), of each vertex: the set that verdicts are about.
        chosen: bool (n,), the vertex is a keeper by verdict.
        apart: pairs of labels that may not meet in one star; (l, l): no two vertices of l may meet.

    Returns:
        int64 (n,): the centre of each vertex, which names itself where it is one. O(E log E) and the units' sizes.
    """
    n = len(vertices)
    _, units = np.unique(unit, return_inverse=True)
    units = units.astype(np.int64)
    twice = np.bincount(units, weights=chosen, minlength=n)[units] > 1
    units[twice] = n + np.nonzero(twice)[0]
    members: dict[int, list[int]] = {}
    for v, u in enumerate(units.tolist()):
        members.setdefault(u, []).append(v)
    a, b = np.searchsorted(vertices, src), np.searchsorted(vertices, dst)
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((high, low))
    near, ends = high[order].tolist(), np.searchsorted(low[order], np.arange(n + 1)).tolist()
    foes: dict[int, set[int]] = {}
    for x, y in apart:
        foes.setdefault(x, set()).add(y)
        foes.setdefault(y, set()).add(x)
    of, labels, is_chosen = units.tolist(), label.tolist(), chosen.tolist()
    centre = np.full(n, -1, np.int64)
    for c in range(n):
        if centre[c] >= 0:
            continue
        own = members[of[c]]
        centre[own] = c
        held = {labels[v] for v in own}
        has_chosen = any(is_chosen[v] for v in own)
        # Units of better vertices were taken before, so edges towards worse ones are enough.
        for w in near[ends[c] : ends[c + 1]]:
            if centre[w] >= 0:
                continue
            other = members[of[w]]
            if has_chosen and any(is_chosen[v] for v in other):
                continue
            if any(foes.get(labels[v], set()) & held for v in other):
                continue
            centre[other] = c
            held |= {labels[v] for v in other}
            has_chosen = has_chosen or any(is_chosen[v] for v in other)
    return np.asarray(vertices[centre], np.int64)
