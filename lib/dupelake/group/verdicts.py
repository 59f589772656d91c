"""People's verdicts: combine them, and find conflicts between them; cover.py has the star cover that obeys them.

The rules are those of hydrus. A *duplicate set* is the vertices that people confirmed to be one picture: `duplicate`
is transitive. `not_duplicate` and `alternate` between two members hold between all members of both sets. A *linked set*
must be in one group as a whole: it consists of the duplicate sets that `alternate` joins. People make few verdicts, so
all of them fit into one task, and plain Python is fast enough (a million a minute).

Reference:
    hydrus network, "duplicates" (duplicate groups, false positives, alternates): https://hydrusnetwork.github.io/hydrus
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dupelake.group.unionfind import smallest_labels

DUPLICATE, NOT_DUPLICATE, ALTERNATE, KEEPER, WITHDRAWN = (
    "duplicate",
    "not_duplicate",
    "alternate",
    "keeper",
    "withdrawn",
)
RULE = "rule:"  # the authors of verdicts that rules gave begin with it
UNKNOWN_IMAGE, DIFFERENT_SCOPES = "unknown_image", "different_scopes"  # values of Verdict.fault
SAME_TIME = "same_time"
NOT_DUPLICATE_OF_DUPLICATE, ALTERNATE_OF_DUPLICATE = "not_duplicate_of_duplicate", "alternate_of_duplicate"
NOT_DUPLICATE_OF_ALTERNATE = "not_duplicate_of_alternate"
_CAUTION = {NOT_DUPLICATE: 0, ALTERNATE: 1, DUPLICATE: 2, KEEPER: 3, WITHDRAWN: 4}  # of equal time, the lowest holds
_MAX_NAMES = 3  # people or images that a text names


@dataclass(frozen=True)
class Verdict:
    """One decision of a person or a rule, about contents.

    Attributes:
        vertex: vertex of the first image (a class of equal pixels within a scope); None if the image is unknown.
        other: the same for the second image; None for a verdict about one image.
        verdict: one of the five words above.
        author: person who made it, or `rule:NAME`.
        decided_at: microseconds since 1970, UTC.
        image_id: the first image, as the person named it.
        other_image_id: the second image, or None.
        fault: None, or UNKNOWN_IMAGE or DIFFERENT_SCOPES: then the verdict cannot be applied.
    """

    vertex: str | None
    other: str | None
    verdict: str
    author: str
    decided_at: int
    image_id: str
    other_image_id: str | None
    fault: str | None = None

    @property
    def is_rule(self) -> bool:
        """Whether a rule made it."""
        return self.author.startswith(RULE)

    def order(self) -> tuple[int, str, str, str]:
        """Sort key: time, then all else that differs, so that the order of the input has no effect."""
        return self.decided_at, self.image_id, self.other_image_id or "", self.author


@dataclass(frozen=True)
class Conflict:
    """Two decisions that cannot both hold; `against` is None if equal pixels or a missing image contradict it."""

    kind: str
    decision: Verdict
    against: Verdict | None = None


@dataclass
class VertexVerdicts:
    """The combined verdicts on one vertex.

    Attributes:
        vertex: the vertex.
        duplicate_set: its duplicate set, named by the smallest vertex of it.
        linked_set: its linked set, named by the smallest vertex of it; the vertex itself if its verdicts conflict.
        is_disputed: whether a conflict concerns it; then nothing in its group may be removed.
        apart: duplicate sets that its set is kept apart from; its own if members of it are kept apart from each other.
        alternates: duplicate sets that its set is an alternate of.
        confirmed_by: who confirmed its set, as text; None if nobody did.
        alternate_by: who called it an alternate.
        apart_text: from which images it is kept apart, and by whom.
        chosen_by: who chose it as a keeper.
        chosen_image: the chosen image.
        chosen_at: when, in microseconds.
    """

    vertex: str
    duplicate_set: str
    linked_set: str
    is_disputed: bool = False
    apart: list[str] = field(default_factory=list)
    alternates: list[str] = field(default_factory=list)
    confirmed_by: str | None = None
    alternate_by: str | None = None
    apart_text: str | None = None
    chosen_by: str | None = None
    chosen_image: str | None = None
    chosen_at: int | None = None


def current_verdicts(verdicts: Iterable[Verdict]) -> tuple[list[Verdict], list[Conflict]]:
    """The verdicts that hold: the latest on each pair of vertices, and the latest keeper verdict on each vertex.

    If several verdicts of the same microsecond differ, the most careful one holds (not_duplicate before alternate
    before duplicate), and they are a conflict. `withdrawn` cancels earlier ones (`with_older_contents`). Verdicts of
    rules count only where no person said anything. Verdicts that cannot be applied are compared by their image ids.

    Returns:
        (verdicts, conflicts), each sorted; `withdrawn` is in neither, except in a conflict of equal time.
    """
    by_key: dict[tuple[str, ...], list[Verdict]] = {}
    for verdict in with_older_contents(verdicts):
        by_key.setdefault(_key(verdict), []).append(verdict)
    found, conflicts = [], []
    for key in sorted(by_key):
        said = [v for v in by_key[key] if not v.is_rule] or by_key[key]
        latest = max(v.decided_at for v in said)
        tied = sorted((v for v in said if v.decided_at == latest), key=lambda v: (_CAUTION[v.verdict], *v.order()))
        first = tied[0]
        differing = [v for v in tied if _meaning(v) != _meaning(first)]
        if differing:
            conflicts.append(Conflict(SAME_TIME, first, differing[0]))
        if first.verdict != WITHDRAWN:
            found.append(first)
    return found, conflicts


def with_older_contents(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts, and people's withdrawals again for the older contents that they are about.

    A withdrawal is about what its images show. If no verdict on the same images stands there, it takes back those that
    stand on what these images showed before. It does not take back both, because undo of a verdict on the new content
    must leave the old one. Rules withdraw each content by itself.
    """
    given = list(verdicts)
    by_images: dict[tuple[str, str], set[Verdict]] = {_images(v): set() for v in given if _is_taking_back(v)}
    for verdict in given if by_images else ():
        if _images(verdict) in by_images:
            by_images[_images(verdict)].add(verdict)
    for named in by_images.values():
        standing: dict[tuple[str, ...], Verdict] = {}
        for verdict in sorted(named, key=lambda v: (v.decided_at, v.verdict == WITHDRAWN, v.order())):
            if verdict.verdict != WITHDRAWN:
                standing[_key(verdict)] = verdict
            elif _is_taking_back(verdict) and standing.pop(_key(verdict), None) is None:
                given += [replace(verdict, vertex=v.vertex, other=v.other, fault=v.fault) for v in standing.values()]
                standing = {}
    return given


def _is_taking_back(verdict: Verdict) -> bool:
    return verdict.verdict == WITHDRAWN and not verdict.is_rule


def _images(verdict: Verdict) -> tuple[str, str]:
    """The ids of its images, in one order."""
    ends = verdict.image_id, verdict.other_image_id or ""
    return min(ends), max(ends)


def _key(verdict: Verdict) -> tuple[str, ...]:
    if verdict.fault == UNKNOWN_IMAGE or verdict.vertex is None:
        return "image", *_images(verdict)
    if verdict.other is None:
        return "keeper", verdict.vertex
    return "pair", min(verdict.vertex, verdict.other), max(verdict.vertex, verdict.other)


def _meaning(verdict: Verdict) -> tuple[str, str]:
    return verdict.verdict, verdict.image_id if verdict.verdict == KEEPER else ""


def combine(verdicts: Iterable[Verdict]) -> tuple[list[VertexVerdicts], list[Conflict]]:
    """Combine all verdicts for each vertex, and list their conflicts.

    In a conflict the careful side holds. A set with a `not_duplicate` inside joins nothing, and all its members are
    kept apart. A chain of alternates of which two are kept apart joins nothing. An alternate inside a set stays in it.
    All vertices of a conflict are disputed. Verdicts of rules change nothing that follows from what people said.

    Args:
        verdicts: the whole history, in any order.

    Returns:
        (verdicts by vertex, conflicts): one row per vertex that a verdict names, sorted by vertex; conflicts sorted by
        kind and decision.
    """
    current, conflicts = current_verdicts(verdicts)
    current, loose = _without_overruled(current)
    holding = set(current)
    conflicts = [c for c in conflicts if c.decision in holding]
    by_vertex = {
        name: VertexVerdicts(name, name, name)
        for name in sorted({n for v in current for n in (v.vertex, v.other) if n})
    }
    pairs = _on_pairs(current)
    sets = _join([_two(v) for v in pairs if v.verdict == DUPLICATE], by_vertex)
    for name, row in by_vertex.items():
        row.duplicate_set = sets[name]
    by_word = {word: _between(pairs, word, sets) for word in (DUPLICATE, NOT_DUPLICATE, ALTERNATE)}
    conflicts += _combine_pairs(by_vertex, by_word, loose)
    for verdict in current:
        if verdict.verdict == KEEPER and verdict.fault is None and verdict.vertex is not None:
            row = by_vertex[verdict.vertex]
            row.chosen_by, row.chosen_image, row.chosen_at = verdict.author, verdict.image_id, verdict.decided_at
        if verdict.fault is not None:
            conflicts.append(Conflict(verdict.fault, verdict))
    for conflict in conflicts:
        for decision in (conflict.decision, conflict.against):
            for end in (decision.vertex, decision.other) if decision is not None else ():
                if end is not None:
                    by_vertex[end].is_disputed = True
    return list(by_vertex.values()), sorted(conflicts, key=lambda c: (c.kind, *c.decision.order()))


def _without_overruled(current: Sequence[Verdict]) -> tuple[list[Verdict], set[Verdict]]:
    """The verdicts without those of rules that contradict what follows from people, and alternates that link nothing.

    A rule does not count between two sets that people joined, kept apart or called alternates. If a contradiction is
    left in a component in which people named a vertex, no `duplicate` of a rule counts in it. If one is left even then,
    alternates of rules no longer hold it together, but are alternates still.
    """
    pairs = _on_pairs(current)
    people = [v for v in pairs if not v.is_rule]
    if not people or len(people) == len(pairs):
        return list(current), set()
    named = {end for v in people for end in _two(v)}
    sets, linked = _join([_two(v) for v in people if v.verdict == DUPLICATE], named), _linked(people, named)
    said = {frozenset(sets[end] for end in _two(v)) for v in people if v.verdict != DUPLICATE}

    def is_settled(v: Verdict) -> bool:
        if not named.issuperset(_two(v)):
            return False
        is_parting = v.verdict == NOT_DUPLICATE and _is_inside(v, linked)
        return _is_inside(v, sets) or frozenset(sets[end] for end in _two(v)) in said or is_parting

    rules = [v for v in pairs if v.is_rule and not is_settled(v)]
    torn = _torn(people + rules, named)
    rules = [v for v in rules if v.verdict != DUPLICATE or v not in torn]
    out = set(pairs) - {*people, *rules}
    loose = {v for v in _torn(people + rules, named) if v.verdict == ALTERNATE and v.is_rule}
    return [v for v in current if v not in out], loose


def _torn(pairs: Sequence[Verdict], named: set[str]) -> set[Verdict]:
    """The verdicts in components that hold a contradiction and one of the `named` vertices."""
    names = {end for v in pairs for end in _two(v)}
    sets, linked = _join([_two(v) for v in pairs if v.verdict == DUPLICATE], names), _linked(pairs, names)
    inside = {NOT_DUPLICATE: linked, ALTERNATE: sets}
    torn = {linked[v.vertex or ""] for v in pairs if v.verdict in inside and _is_inside(v, inside[v.verdict])}
    torn &= {linked[name] for name in named}
    return {v for v in pairs if linked[_two(v)[0]] in torn}


def _linked(pairs: Sequence[Verdict], names: Iterable[str]) -> dict[str, str]:
    return _join([_two(v) for v in pairs if v.verdict in (DUPLICATE, ALTERNATE)], names)


def _is_inside(verdict: Verdict, labels: Mapping[str, str]) -> bool:
    return len({labels[end] for end in _two(verdict)}) == 1


def _on_pairs(verdicts: Iterable[Verdict]) -> list[Verdict]:
    return [v for v in verdicts if v.fault is None and v.vertex is not None and v.other is not None]


def _two(verdict: Verdict) -> tuple[str, str]:
    """The vertices of a verdict on two known images."""
    return verdict.vertex or "", verdict.other or ""


_Between = dict[tuple[str, str], list[Verdict]]  # (duplicate set, duplicate set), sorted: the verdicts between them


def _between(pairs: Sequence[Verdict], word: str, sets: Mapping[str, str]) -> _Between:
    out: _Between = {}
    for v in pairs:
        if v.verdict == word:
            a, b = (sets[end] for end in _two(v))
            out.setdefault((min(a, b), max(a, b)), []).append(v)
    return {key: sorted(out[key], key=Verdict.order) for key in sorted(out)}


def _join(edges: Sequence[tuple[str, str]], names: Iterable[str]) -> dict[str, str]:
    """{name: the smallest name of its connected component}."""
    ordered = sorted(names)
    at = {name: i for i, name in enumerate(ordered)}
    src, dst = (np.array([at[edge[end]] for edge in edges], np.int64) for end in (0, 1))
    return dict(zip(ordered, (ordered[i] for i in smallest_labels(src, dst, len(ordered)).tolist()), strict=True))


def _combine_pairs(
    by_vertex: Mapping[str, VertexVerdicts], by_word: Mapping[str, _Between], loose: set[Verdict]
) -> list[Conflict]:
    """Fill in the rows of `by_vertex` from verdicts on pairs (`loose` ones link nothing); returns their conflicts."""
    same, apart, alternate = by_word[DUPLICATE], by_word[NOT_DUPLICATE], by_word[ALTERNATE]
    contradictory = {a for a, b in apart if a == b}  # sets with a not_duplicate inside
    linking = [key for key, found in alternate.items() if not loose.issuperset(found)]
    joining = [(a, b) for a, b in linking if a != b and not {a, b} & contradictory]
    chain = _join(joining, {row.duplicate_set for row in by_vertex.values()})
    broken = {chain[a] for a, b in apart if a != b and chain[a] == chain[b]}  # chains of which two sets are kept apart
    disputed = contradictory | {a for a, b in alternate if a == b} | {name for name in chain if chain[name] in broken}
    by_set = {word: _by_set(between) for word, between in by_word.items()}
    for row in by_vertex.values():
        own = row.duplicate_set
        row.is_disputed = own in disputed
        row.linked_set = row.vertex if own in contradictory else own if chain[own] in broken else chain[own]
        row.apart, row.alternates = (sorted(by_set[word].get(own, ())) for word in (NOT_DUPLICATE, ALTERNATE))
        said = {word: [v for found in by_set[word].get(own, {}).values() for v in found] for word in by_set}
        if own not in contradictory:
            row.confirmed_by = _authors(said[DUPLICATE])
        row.alternate_by = _authors(said[ALTERNATE])
        row.apart_text = _apart_text(said[NOT_DUPLICATE], own, by_vertex)
    last = {name: max(found, key=Verdict.order) for (name, _), found in same.items()}
    latest_in_chain: dict[str, Verdict] = {}
    for a, b in joining:
        found = alternate[a, b] + ([latest_in_chain[chain[a]]] if chain[a] in latest_in_chain else [])
        latest_in_chain[chain[a]] = max(found, key=Verdict.order)
    conflicts = []
    for (a, b), found in apart.items():
        if a == b:
            conflicts += [Conflict(NOT_DUPLICATE_OF_DUPLICATE, v, last.get(a)) for v in found]
        elif chain[a] == chain[b]:
            conflicts += [Conflict(NOT_DUPLICATE_OF_ALTERNATE, v, latest_in_chain[chain[a]]) for v in found]
    for (a, b), found in alternate.items():
        if a == b:
            conflicts += [Conflict(ALTERNATE_OF_DUPLICATE, v, last.get(a)) for v in found]
    return conflicts


def _by_set(between: _Between) -> dict[str, dict[str, list[Verdict]]]:
    """{duplicate set: {the other set: the verdicts between them}}."""
    out: dict[str, dict[str, list[Verdict]]] = {}
    for (a, b), found in between.items():
        out.setdefault(a, {})[b] = out.setdefault(b, {})[a] = found
    return out


def _authors(verdicts: Iterable[Verdict]) -> str | None:
    return _name_list({v.author for v in verdicts}) or None


def _name_list(names: set[str]) -> str:
    shown = sorted(names)[:_MAX_NAMES]
    return ", ".join(shown) + (f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else "")


def _apart_text(verdicts: Sequence[Verdict], duplicate_set: str, by_vertex: Mapping[str, VertexVerdicts]) -> str | None:
    """Text that names the images a set is kept apart from, and the people who decided that."""
    if not verdicts:
        return None
    names = set()
    for v in verdicts:
        for end, opposite in ((v.vertex, v.other_image_id), (v.other, v.image_id)):
            if end is not None and by_vertex[end].duplicate_set == duplicate_set and opposite is not None:
                names.add(opposite)
    return f"{_name_list(names)} by {_authors(verdicts)}"
