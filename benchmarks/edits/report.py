"""The figures of the edits bench as Markdown: one section of benchmarks/quality.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.edits.corpus import Row
from benchmarks.edits.keepers import KeeperScore
from benchmarks.edits.registry import EDITS
from benchmarks.edits.report_decisions import sections, table
from benchmarks.edits.score import Result, Score, Share, kind_of, number

from dupelake.evaluate.scores import wilson_interval

BEGIN, END = "<!-- edits bench: written by benchmarks/edits/run.py -->", "<!-- edits bench: end -->"
GOAL_PRECISION, GOAL_FULL, GOAL_PART, GOAL_DISTRACTORS = 0.999, 0.98, 0.95, 0.002

Found = Sequence[tuple[Result, Score]]


def section(rows: Sequence[Row], found: Found, command: str, small: bool, keeper: KeeperScore | None = None) -> str:
    """The whole section; the first result leads: its goals, relations and distractors are shown in full."""
    parts = [_head(rows, command, small), _summary(found)]
    if found[0][0].says_relation:  # only dupelake tells copies from alternates
        parts += [_goals(found[0][1]), *sections(*found[0], keeper)]
    parts += [_distractors(found), _edits(rows, found)]
    return "\n".join([BEGIN, *parts, END, ""])


def write_section(path: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Puts the section between its marks in a file, or at its end without marks; other text of the file stays."""
    begin, end = marks
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin in old and end in old:
        before, after = old[: old.index(begin)], old[old.index(end) + len(end) :].lstrip("\n")
    else:
        before, after = old + ("\n" if old else ""), ""
    path.write_text(before + text + ("\n" + after if after else ""), encoding="utf-8")


def _head(rows: Sequence[Row], command: str, small: bool) -> str:
    originals = sum(row.group.startswith("photo") and row.edit == "original" for row in rows)
    copies = sum(row.edit in EDITS for row in rows)
    cells = len({(row.edit, row.strength) for row in rows if row.edit in EDITS})
    others = len(rows) - originals - copies
    size = " (small mode: too few samples for conclusions)" if small else ""
    edits = len({row.edit for row in rows} & set(EDITS))
    return f"""## The edits bench: recall and precision by edit and strength{size}

    {command}

{len(rows)} images: {originals} photographs, {copies} seeded copies of them by {edits} edits in {cells} grades
(`benchmarks/edits/registry.py` says what each does), {others} distractors: real look-alikes (people, motorbikes,
airliners, signs, banknotes, drawings and paintings of one kind, product photographs), second shots (a stereo pair,
bursts, a garment in another colour), pages of one template, one caption, sticker, watermark or screen on different
pictures, one scene or studio with different garments, patterns. One scope, one setting. Other tools ran on the same
files; their groups are connected components of their pairs (fastdup: its own), as their users build them. Shares are
cut, not rounded; intervals: 95 %, Wilson.
"""


def _summary(found: Found) -> str:
    lines = []
    for result, one in found:
        wrong = one.groups.n - one.groups.hits
        lines.append(
            (
                result.label,
                number(one.copies.value),
                number(one.direct.value),
                f"{number(one.pairs.value)} of {one.pairs.n}",
                f"{number(one.implied.value)} of {one.implied.n}",
                f"{wrong} of {one.groups.n}",
                one.wrong_distractor_groups,
                f"{one.distractors.hits} of {one.distractors.n}",
                f"{one.mean_of_kinds:.2%}",
            )
        )
    header = [
        *("", "copies found (groups)", "copies found (pairs)", "precision of pairs", "precision of groups, by pair"),
        *("wrong groups", "of them with distractors", "distractors in wrong groups", "mean over their kinds"),
    ]
    notes = [f"- {result.label}: {_settings(result)}" for result, _ in found]
    return "### All in one line each\n\n" + table(header, lines) + "\n" + "\n".join(notes) + "\n"


def _settings(result: Result) -> str:
    versions = result.meta.get("versions") or {}
    settings = result.meta.get("settings") or {}
    assert isinstance(versions, dict)
    assert isinstance(settings, dict)
    if result.meta.get("tool") == "dupelake":
        profile = settings.get("profile")
        changed = ([f"--profile {profile}"] if profile else []) + (settings.get("set") or [])
        return "all defaults" if not changed else "defaults but " + ", ".join(f"`{c}`" for c in changed)
    said = ", ".join(f"{key} {value}" for key, value in settings.items())
    return ", ".join(f"{key} {value}" for key, value in versions.items()) + f"; {said}"


def _goals(one: Score) -> str:
    full = Share(sum(s.hits for s in one.full.values()), sum(s.n for s in one.full.values()))
    below = [f"{edit} {s.hits} of {s.n}" for edit, s in one.full.items() if s.value < GOAL_FULL]
    n_good = len(one.full) - len(below)
    lines = [
        ("precision of groups, over pairs", one.implied.text(), GOAL_PRECISION, _met(one.implied, GOAL_PRECISION)),
        ("groups without a wrong member", one.groups.text(), "", ""),
        (
            "look-alike distractors in wrong groups",
            _percent(one.distractors),
            f"{GOAL_DISTRACTORS:.1%}",
            _few(one.distractors.value),
        ),
        (
            "the same, each kind weighing the same",
            f"{one.mean_of_kinds:.2%}",
            f"{GOAL_DISTRACTORS:.1%}",
            _few(one.mean_of_kinds),
        ),
        ("copies that keep 50 % or more and 100 px", full.text(), GOAL_FULL, _met(full, GOAL_FULL)),
        (
            f"edits of these at {GOAL_FULL:g} or more",
            f"{n_good} of {len(one.full)}",
            "all",
            "missed" if below else "met",
        ),
        ("crops that leave 25 to 50 %", one.part.text(), GOAL_PART, _met(one.part, GOAL_PART)),
        ("of them, with a short side of 100 px", one.part_large.text(), GOAL_PART, _met(one.part_large, GOAL_PART)),
    ]
    text = f"### Goals: {one.label}\n\n" + table(("", "measured", "goal", ""), lines)
    return text + (
        f"\nBelow {GOAL_FULL:g}, of copies that keep 50 % and 100 px: {'; '.join(below)}.\n" if below else ""
    )


def _met(share: Share, goal: float) -> str:
    return "met" if share.value >= goal else "missed"


def _few(share: float) -> str:
    return "met" if share <= GOAL_DISTRACTORS else "missed"


def _percent(share: Share) -> str:
    low, high = wilson_interval(share.hits, share.n)
    return f"{share.hits / share.n:.2%} ({low:.2%} to {high:.2%}), {share.hits} of {share.n}" if share.n else "-"


def _distractors(found: Found) -> str:
    kinds = list(found[0][1].kinds)
    lines = [
        (kind.replace("_", " "), found[0][1].kinds[kind].n, *(one.kinds[kind].hits for _, one in found))
        for kind in kinds
    ]
    header = ("kind", "images", *(result.label for result, _ in found))
    return "### Distractors that stand in a wrong group\n\n" + table(header, lines)


def _edits(rows: Sequence[Row], found: Found) -> str:
    kept: defaultdict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows:
        if row.edit in EDITS and not kind_of(row):
            kept[(row.edit, row.strength)].append(row.kept_fraction)
    lines = []
    for name, edit in EDITS.items():
        for strength in edit.strengths:
            cell = (name, strength)
            if cell not in kept:
                continue
            mean = sum(kept[cell]) / len(kept[cell])
            first = found[0][1].cells[cell]
            rest = (number(one.cells[cell].value) for _, one in found[1:])
            grade = f"{strength:g} {edit.unit}" if edit.unit else ""
            lines.append((name.replace("_", " "), grade, f"{mean:.2f}", first.n, first.text(), *rest))
    header = ("edit", "strength", "kept", "copies", *(result.label for result, _ in found))
    intro = (
        "Share of copies that stand in one group with their original; a tool that joins what is different finds more.\n"
    )
    return "### Recall by edit and strength\n\n" + intro + "\n" + table(header, lines)
