"""Markdown of what the edits bench says about decisions: copy or alternate, keepers, tiers of removal, the score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from benchmarks.edits import reliability, words
from benchmarks.edits import tiers as removal
from benchmarks.edits.keepers import KeeperScore
from benchmarks.edits.registry import EDITS
from benchmarks.edits.score import Result, Score, Share

GOAL_KEEPER, GOAL_KEEPER_IN_GROUPS, GOAL_RELATION = 0.97, 0.95, 0.01


def table(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    out = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    out += ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
    return "\n".join(out) + "\n"


def sections(result: Result, one: Score, keeper: KeeperScore | None) -> list[str]:
    """All of them, of one result."""
    return [relations(one), keepers(one, keeper), tiers(result, one), reasons(one), scores(one)]


def relations(one: Score) -> str:
    truths, said = ("copy", "alternate"), sorted({said for _, said in one.relation})
    lines = []
    for truth in truths:
        n = sum(one.relation[(truth, word)] for word in said)
        wrong = Share(n - one.relation[(truth, truth)], n)
        lines.append((truth, *(one.relation[(truth, word)] for word in said), wrong.text(), f"at most {GOAL_RELATION}"))
    cells = defaultdict(list)
    for (edit, strength), share in one.relation_cells.items():
        if share.hits:
            cells[edit].append(f"{strength:g}: {share.hits} of {share.n}")
    by_edit = "; ".join(f"{edit} ({EDITS[edit].relation}) {', '.join(some)}" for edit, some in sorted(cells.items()))
    return (
        f"### Copy or alternate: {one.label}\n\nOf copies whose group is kept by their original.\n\n"
        + table(("is", *(f"said to be {word}" for word in said), "wrong", "goal"), lines)
        + f"\nAlternates marked removable: {one.wrongly_removable}. Wrong by edit and strength: {by_edit or 'none'}.\n"
    )


def keepers(one: Score, keeper: KeeperScore | None) -> str:
    lines = [("groups of the bench that hold an original", one.kept.text(), GOAL_KEEPER_IN_GROUPS)]
    by_edit: list[tuple[object, ...]] = []
    if keeper is not None:
        lines.append(("an original and one copy", keeper.all_pairs.text(), GOAL_KEEPER))
        lines.append(("of them, whose copy was saved again as PNG", keeper.resaved.text(), GOAL_KEEPER))
        lines.append(("an original and five copies", keeper.sixes.text(), GOAL_KEEPER))
    for edit in EDITS:
        pair, others = (keeper.pairs.get(edit) if keeper else None), one.not_beaten.get(edit)
        if pair or others:
            in_pairs = f"{pair.hits} of {pair.n}" if pair else "-"
            n_beaten = others.n - others.hits if others else 0
            sixes = keeper.beaten[edit] if keeper else "-"
            by_edit.append((edit.replace("_", " "), in_pairs, sixes, f"{n_beaten} of {others.n if others else 0}"))
    alone = f" Cases whose original stands in no group: {keeper.alone}." if keeper else " Step `keepers` was not run."
    others_kept = {edit: n for edit, n in one.keepers.most_common() if edit != "original"}
    kept = ", ".join(f"{edit} {n}" for edit, n in others_kept.items()) or "none"
    return (
        f"### Keepers: {one.label}\n\nShare of groups whose keeper is the original, or equal to it. Cases of two and of"
        f" six are scopes of their own, of copies that keep half of the picture and 100 px.{alone}\n\n"
        + table(("", "the original is kept", "goal"), lines)
        + f"\nKept in groups of photographs in place of originals, those without their original included: {kept}.\n\n"
        + table(
            ("edit", "pairs: original kept", "sixes: kept instead", "groups: kept instead, of copies with original"),
            by_edit,
        )
    )


def tiers(result: Result, one: Score) -> str:
    title = f"### Tiers of removal: {one.label}\n\n"
    if not result.says_tier:
        return title + "The tables have no column `tier`: nothing to measure.\n"
    examples = [f"- {image} against {kept}: {fault}" for image, kept, fault in one.tiers["copies"].examples[:20]]
    return (
        title
        + "Members that go under each tier (a tier holds those before it); wrong: another picture than the kept one, an"
        " alternate, or what shows more than the kept one. No fault found: rule of three.\n\n"
        + table(removal.HEADER, removal.lines(one.tiers))
        + ("\nWrong ones:\n\n" + "\n".join(examples) + "\n" if examples else "")
    )


def reasons(one: Score) -> str:
    """Whether what reasons say is true."""
    return (
        f"### What reasons say: {one.label}\n\nOf copies whose group is kept by their original, and were compared with"
        " it. Whether a statement is true is known from the edit. Of some other edits it is true all the same:"
        " sharpening brings noise.\n\n" + table(words.HEADER, words.lines(one.statements))
    )


def scores(one: Score) -> str:
    said = ", ".join(f"{what} {n}" for what, n in sorted(one.similar.items())) or "none"
    error = reliability.calibration_error(one.bins)
    return (
        f"### Is the score a probability: {one.label}\n\nMeasured pairs, accepted or not, by `pairs.score`, those of"
        f" equal pixels apart. Expected calibration error {error:.4f} (docs/score-reliability.png).\n\n"
        + table(("score", "pairs", "mean score", "share of true pairs"), reliability.lines(one.bins))
        + f"\nPairs of kind `similar`: {said}.\n"
    )
