"""Verdicts compared with brute force on small random histories: closures by repetition, covers by all pairs."""

from __future__ import annotations

import random
import time
from itertools import combinations, pairwise

import numpy as np
import pytest
from star_rule import star_cover

from dupelake.group.cover import verdict_cover
from dupelake.group.verdicts import Verdict, combine, current_verdicts

WORDS = ("duplicate", "not_duplicate", "alternate", "withdrawn")


def says(a, b, verdict, at, author="ann", fault=None):
    return Verdict(a, b, verdict, author, at, f"i{a}", None if b is None else f"i{b}", fault)


def history(rng, n):
    names = [f"v{i}" for i in range(n)]
    out = []
    for at in range(rng.randrange(1, 14)):
        a, b = rng.sample(names, 2) if rng.random() < 0.95 else [rng.choice(names)] * 2  # equal pixels
        out.append(says(a, b, rng.choices(WORDS, (5, 3, 3, 1))[0], at // rng.choice((1, 1, 1, 3)), rng.choice("xyz")))
        if rng.random() < 0.2:
            out.append(says(rng.choice(names), None, rng.choice(("keeper", "keeper", "withdrawn")), at))
    return names, out


def brute_pairs(verdicts):
    """{unordered pair: (word that holds, whether two of the latest time differ)}, from all verdicts on the pair."""
    out = {}
    for v in verdicts:
        if v.other is not None:
            same = [w for w in verdicts if w.other and {w.vertex, w.other} == {v.vertex, v.other}]
            last = [w.verdict for w in same if w.decided_at == max(u.decided_at for u in same)]
            word = min(last, key=("not_duplicate", "alternate", "duplicate", "withdrawn").index)
            out[frozenset((v.vertex, v.other))] = (word, len(set(last)) > 1)
    return out


def reachable(names, links):
    """{name: all names that links connect it with}, by repeating one step n times."""
    out = {a: {a} for a in names}
    for _ in names:
        for a in names:
            out[a] = out[a] | {c for b in out[a] for c in names if frozenset((b, c)) in links}
    return out


def brute_force(names, verdicts):
    """What `combine` must give: duplicate set, linked set, sets kept apart, alternates (as vertices), disputed ones."""
    pairs = brute_pairs(verdicts)
    word = {key: said for key, (said, _) in pairs.items()}
    copies = reachable(names, {key for key, said in word.items() if said == "duplicate"})

    def between(said):
        """Ordered pairs of vertices of which two confirmed copies carry the verdict."""
        found = set()
        for key, w in word.items():
            if w == said:
                a, b = min(key), max(key)
                found |= {(x, y) for x in copies[a] for y in copies[b]} | {(y, x) for x in copies[a] for y in copies[b]}
        return found

    apart, alternate = between("not_duplicate"), between("alternate")
    contradicting = {a for a in names if (a, a) in apart}
    links = {frozenset((a, b)) for a in names for b in copies[a] if not {a, b} & contradicting}
    ties = links | {frozenset(p) for p in alternate if not set(p) & contradicting and p[1] not in copies[p[0]]}
    block = reachable(names, ties)
    split = {a for a in names if any((b, c) in apart for b in block[a] for c in block[a] if c not in copies[b])}
    disputed = contradicting | split | {a for a in names if (a, a) in alternate}
    disputed |= {a for key, (_, tied) in pairs.items() if tied for a in key}
    unit = {a: {a} if a in contradicting else copies[a] if a in split else block[a] for a in names}
    return copies, unit, apart, alternate, disputed


@pytest.mark.parametrize("block", range(4))
def test_combined_verdicts_equal_brute_force(block):
    for seed in range(100 * block, 100 * block + 100):
        check_history(seed)


def check_history(seed):
    rng = random.Random(seed)  # noqa: S311
    _, verdicts = history(rng, rng.randrange(2, 8))
    by_vertex, conflicts = combine(verdicts)
    by_name = {row.vertex: row for row in by_vertex}
    named = sorted({n for v in verdicts for n in (v.vertex, v.other) if n})
    copies, unit, apart, alternate, disputed = brute_force(named, verdicts)
    silent = set(named) - set(by_name)  # all their verdicts were withdrawn
    assert all(copies[n] == {n} == unit[n] for n in silent)
    for name, row in by_name.items():
        assert row.duplicate_set == min(copies[name])
        assert row.linked_set == min(unit[name])
        assert row.is_disputed == (name in disputed)
        for other, theirs in by_name.items():
            assert (theirs.duplicate_set in row.apart) == ((name, other) in apart)
            assert (theirs.duplicate_set in row.alternates) == ((name, other) in alternate)
    assert {end for c in conflicts for end in (c.decision.vertex, c.decision.other)} <= disputed
    assert bool(conflicts) == bool(disputed & set(by_name) | (disputed & silent))
    shuffled = rng.sample(verdicts, len(verdicts))
    assert combine(shuffled) == (by_vertex, conflicts)


def brute_cover(n, edges, unit, label, chosen, kept_apart):
    """The cover by its rules: the best free vertex takes its linked set, then those of its neighbours one by one."""
    whole = {u: [v for v in range(n) if unit[v] == u] for u in set(unit)}
    for members in whole.values():
        if sum(chosen[v] for v in members) > 1:
            for v in members:
                unit[v] = ("alone", v)
    whole = {u: [v for v in range(n) if unit[v] == u] for u in set(unit)}
    centre = [None] * n
    for c in range(n):
        if centre[c] is not None:
            continue
        star = list(whole[unit[c]])
        for w in range(c + 1, n):
            if frozenset((c, w)) in edges and centre[w] is None and w not in star:
                more = whole[unit[w]]
                two_keepers = any(chosen[v] for v in star) and any(chosen[v] for v in more)
                hostile = any(frozenset((label[x], label[y])) in kept_apart for x in star for y in more)
                if not two_keepers and not hostile:
                    star += more
        for v in star:
            centre[v] = c
    return centre


@pytest.mark.parametrize("block", range(4))
def test_the_cover_with_verdicts_equals_brute_force(block):
    for seed in range(100 * block, 100 * block + 100):
        check_cover(seed)


def check_cover(seed):
    rng = random.Random(seed)  # noqa: S311
    n = rng.randrange(1, 13)
    edges = {frozenset(p) for p in combinations(range(n), 2) if rng.random() < rng.choice((0.15, 0.4, 0.8))}
    label = [rng.randrange(n) for _ in range(n)]
    unit = [label[v] // 2 for v in range(n)]
    in_unit = {u: {label[v] for v in range(n) if unit[v] == u} for u in unit}
    clean = [
        frozenset((a, b))
        for a in set(label)
        for b in set(label)
        if not any({a, b} <= labels for labels in in_unit.values()) and rng.random() < 0.3
    ]
    contradicting = {a for a in set(label) if rng.random() < 0.15}
    clean += [frozenset((a,)) for a in contradicting]
    unit = [("torn", v) if label[v] in contradicting else unit[v] for v in range(n)]
    chosen = [rng.random() < 0.15 for _ in range(n)]
    edges = {e for e in edges if frozenset(label[v] for v in e) not in clean}  # the stage removes them before
    expected = brute_cover(n, edges, list(unit), label, chosen, set(clean))
    order = [tuple(e) for e in sorted(edges, key=lambda _: rng.random())]
    src, dst = (np.array([e[end] for e in order], np.int64) for end in (0, 1))
    codes = {u: i for i, u in enumerate(dict.fromkeys(unit))}
    centre = verdict_cover(
        src * 3 + 5,
        dst * 3 + 5,
        np.arange(n, dtype=np.int64) * 3 + 5,
        np.array([codes[u] for u in unit], np.int64),
        np.array(label, np.int64),
        np.array(chosen, np.bool_),
        [tuple(pair) if len(pair) == 2 else tuple(pair) * 2 for pair in clean],
    )
    assert centre.tolist() == [c * 3 + 5 for c in expected]
    for a, b in combinations(range(n), 2):
        if centre[a] == centre[b]:
            assert frozenset((label[a], label[b])) not in clean
            assert not (chosen[a] and chosen[b])


def test_without_verdicts_the_cover_is_the_star_cover():
    rng = random.Random(7)  # noqa: S311
    n = 300
    pairs = [rng.sample(range(n), 2) for _ in range(700)]
    src, dst = np.array(pairs, np.int64).T
    vertices, centres = star_cover(src, dst)
    alone = np.arange(len(vertices), dtype=np.int64)
    nobody = np.zeros(len(vertices), np.bool_)
    assert verdict_cover(src, dst, vertices, alone, alone, nobody, []).tolist() == centres.tolist()


def test_a_later_verdict_on_the_same_contents_holds_and_a_withdrawal_takes_it_back():
    said = [says("a", "b", "duplicate", 1), says("b", "a", "not_duplicate", 3), says("a", "b", "alternate", 2)]
    assert [v.verdict for v in current_verdicts(said)[0]] == ["not_duplicate"]
    assert current_verdicts([*said, says("a", "b", "withdrawn", 4)]) == ([], [])
    keepers = [says("a", None, "keeper", 1), says("a", None, "keeper", 2, "bob"), says("b", None, "keeper", 1)]
    by_vertex, _ = combine([*keepers, says("b", None, "withdrawn", 5)])
    assert [(row.vertex, row.chosen_by) for row in by_vertex] == [("a", "bob")]


def named(one, other, a, b, verdict, at, author="ann"):
    """A verdict on the images `one` and `other`, which show `a` and `b`."""
    return Verdict(a, b, verdict, author, at, one, other)


def test_a_withdrawal_takes_back_what_was_said_of_the_same_images_when_they_showed_other_contents():
    copies = [named("a", "b", "old", "b", "duplicate", 1), named("b", "d", "b", "d", "duplicate", 2)]
    apart = named("a", "d", "old", "d", "not_duplicate", 3)
    assert [c.kind for c in combine([*copies, apart])[1]] == ["not_duplicate_of_duplicate"]
    back = named("d", "a", "d", "new", "withdrawn", 4, "bob")
    by_vertex, conflicts = combine([back, *copies, apart])
    assert conflicts == []
    assert {row.vertex: row.duplicate_set for row in by_vertex} == {"b": "b", "d": "b", "old": "b"}
    keeper = named("a", None, "old", None, "keeper", 5)
    assert combine([keeper, named("a", None, "new", None, "withdrawn", 6)]) == ([], [])
    both_gone = Verdict("x", None, "withdrawn", "bob", 7, "a", "d", "unknown_image")
    assert current_verdicts([apart, both_gone]) == ([], [])
    assert current_verdicts([apart, named("a", "e", "new", "e", "withdrawn", 8)])[0] == [apart], "other images"
    later = named("a", "d", "old", "d", "not_duplicate", 9)
    assert current_verdicts([apart, back, later])[0] == [later]
    assert current_verdicts([apart, named("a", "d", "new", "d", "withdrawn", 4, "rule:x")])[0] == [apart]


def test_a_withdrawal_of_a_verdict_on_the_new_content_leaves_the_one_on_the_old_content():
    """As undo of the review writes it. A second one takes back the old verdict."""
    old, new = named("a", "d", "old", "d", "not_duplicate", 1), named("a", "d", "new", "d", "duplicate", 2)
    undo, more = (named("a", "d", "new", "d", "withdrawn", at) for at in (3, 4))
    assert current_verdicts([old, new, undo])[0] == [old]
    assert current_verdicts([more, old, new, undo]) == ([], [])


def test_two_verdicts_of_one_time_are_a_conflict_and_the_careful_one_holds():
    by_vertex, (conflict,) = combine([says("a", "b", "duplicate", 1, "ann"), says("a", "b", "not_duplicate", 1, "bob")])
    assert (conflict.kind, conflict.decision.author, conflict.against.author) == ("same_time", "bob", "ann")
    assert [row.apart for row in by_vertex] == [["b"], ["a"]]
    assert all(row.is_disputed for row in by_vertex)
    agreed = [says("a", "b", "duplicate", 1, "bob"), says("a", "b", "duplicate", 1, "ann")]
    assert current_verdicts(agreed)[1] == []


@pytest.mark.parametrize(
    ("last", "kind", "units"),
    [
        (says("a", "c", "not_duplicate", 9, "bob"), "not_duplicate_of_duplicate", ["a", "b", "c"]),
        (says("a", "c", "alternate", 9, "bob"), "alternate_of_duplicate", ["a", "a", "a"]),
        (says("b", "b", "not_duplicate", 9, "bob"), "not_duplicate_of_duplicate", ["a", "b", "c"]),
    ],
)
def test_a_conflict_names_both_decisions_and_the_careful_side_holds(last, kind, units):
    by_vertex, (conflict,) = combine(
        [says(a, b, "duplicate", at) for at, (a, b) in enumerate(pairwise("abc"))] + [last]
    )
    assert (conflict.kind, conflict.decision, conflict.against.decided_at) == (kind, last, 1)
    assert [row.linked_set for row in by_vertex] == units
    assert all(row.is_disputed for row in by_vertex)


def test_alternates_do_not_pass_on_but_two_of_one_chain_cannot_be_kept_apart():
    chain = [says("a", "b", "alternate", 1), says("b", "c", "alternate", 2, "bob")]
    by_vertex, conflicts = combine(chain)
    assert ([row.alternates for row in by_vertex], conflicts) == ([["b"], ["a", "c"], ["b"]], [])
    by_vertex, (conflict,) = combine([*chain, says("a", "c", "not_duplicate", 3)])
    assert (conflict.kind, conflict.against.author) == ("not_duplicate_of_alternate", "bob")
    assert [row.linked_set for row in by_vertex] == ["a", "b", "c"]


def test_what_cannot_be_applied_is_a_conflict_until_it_is_withdrawn():
    ghost = Verdict("a", None, "duplicate", "ann", 1, "ia", "ghost", "unknown_image")
    by_vertex, (conflict,) = combine([ghost])
    assert (conflict.kind, conflict.decision, by_vertex[0].is_disputed) == ("unknown_image", ghost, True)
    assert by_vertex[0].linked_set == "a"
    taken_back = Verdict("a", None, "withdrawn", "bob", 2, "ghost", "ia", "unknown_image")
    assert combine([ghost, taken_back]) == ([], [])
    over = Verdict("a/x", "b/y", "duplicate", "ann", 1, "ia", "ib", "different_scopes")
    by_vertex, (conflict,) = combine([over])
    assert (conflict.kind, [row.duplicate_set for row in by_vertex]) == ("different_scopes", ["a/x", "b/y"])


def test_words_name_who_and_what():
    said = [says("a", "b", "duplicate", 1, name) for name in ("dan", "cid", "bob", "ann")]
    said += [says("b", x, "duplicate", 2, name) for x, name in zip("cdef", ("dan", "cid", "bob", "ann"), strict=True)]
    said += [says("z", "c", "not_duplicate", 3, "eve"), says("b", "y", "alternate", 3, "fay")]
    rows = {row.vertex: row for row in combine(said)[0]}
    assert rows["f"].confirmed_by == "ann, bob, cid and 1 more"
    assert (rows["f"].apart_text, rows["z"].apart_text) == ("iz by eve", "ic by eve")
    assert (rows["y"].alternate_by, rows["f"].alternate_by, rows["z"].alternate_by) == ("fay", "fay", None)


def test_the_time_grows_with_the_number_of_verdicts_and_not_faster():
    def seconds(n):
        given = [says(f"{2 * k:06}", f"{2 * k + 1:06}", WORDS[k % 3], k) for k in range(n)]
        start = time.process_time()
        combine(given)
        return time.process_time() - start

    seconds(500)
    assert seconds(16_000) < 100 * seconds(1000)  # by the square it would be 256 times; a busy machine doubles it
