"""Real look-alikes: pairs and groups of one run compared with the truth, by kind of picture.

    .venv/bin/python -m benchmarks.lookalikes run --data ../shared/data --work /tmp/look [--set KEY=VALUE ...]
    .venv/bin/python -m benchmarks.lookalikes score --data ../shared/data --work /tmp/look --half even
    .venv/bin/python -m benchmarks.lookalikes score --data ../shared/data --work /tmp/look --write

Run it in the root of the repository. `run` is `dupelake run` over the folder `lookalikes` in one scope, with tables in
--work (a second run recomputes only what changed), followed by `score`. `score` reads existing tables, in seconds. Both
print a report; lookalikes.csv (each wrong and each missed pair with paths and evidence), report.md and reliability.png
are written to WORK-report. `--write` puts the report into benchmarks/quality.md and the diagram into docs/.

A pair that the truth calls `dup` is true, `ambiguous` is not scored, and every other pair is different. `--half even`
takes the pictures of every other block of ten numbers in a folder (people are in blocks) and pairs within it, `odd` the
rest: a threshold chosen on one half is reported on the other.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.edits import reliability
from benchmarks.edits import tiers as removal
from benchmarks.edits.report import write_section
from benchmarks.edits.report_decisions import table
from benchmarks.pair_scores import recall_by_relation, score_pair_sets, unordered
from benchmarks.quality import (
    ALTERNATE_KINDS,
    LOOKALIKE_KINDS,
    NOT_EVIDENCE,
    Found,
    Pair,
    Truth,
    load_found,
    load_truth,
)

from dupelake.evaluate.scores import Scores

ROOT = Path(__file__).parents[1]
MARKS = ("<!-- lookalikes: written by benchmarks/lookalikes.py -->", "<!-- lookalikes: end -->")
DIAGRAM = "score-reliability-lookalikes.png"
SHOWN = 10
SHORT = ("score", "aligned_ncc", "agreeing_share", "contradicting_share", "largest_local_difference", "pdq_bits")
GOAL_F1 = 0.985
MIXED = "of two kinds"


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    data, work = Path(args.data).absolute(), Path(args.work).absolute()
    if args.step == "run":
        command = [str(Path(sys.executable).with_name("dupelake")), "run", str(data / "lookalikes")]
        command += ["--warehouse", str(work)] + [word for option in args.set for word in ("--set", option)]
        subprocess.run(command, check=True)
    found, truth = load_found(work, data)["lookalikes"], load_truth(data, "lookalikes")
    pictures = [str(p.relative_to(data)) for p in sorted((data / "lookalikes").rglob("*")) if p.is_file()]
    if args.half:
        pictures, found, truth = half(args.half, pictures, found, truth)
    out = work.with_name(work.name + "-report")
    out.mkdir(exist_ok=True)
    listed = list_faults(found, truth)
    write_list(listed, found, out / "lookalikes.csv")
    text = report(pictures, found, truth, args.half, listed)
    bins = binned(found, truth)
    reliability.draw([("lookalikes", bins)], out / "reliability.png")
    (out / "report.md").write_text(text, encoding="utf-8")
    print(text)
    if args.write:
        write_section(ROOT / "benchmarks" / "quality.md", text, MARKS)
        shutil.copyfile(out / "reliability.png", ROOT / "docs" / DIAGRAM)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("run", "score"))
    parser.add_argument("--data", default="../shared/data", help="folder of the real images")
    parser.add_argument("--work", required=True, help="folder of the tables, outside the repository")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="option of `dupelake run`")
    parser.add_argument("--half", choices=("even", "odd"), help="score these blocks of pictures only")
    parser.add_argument("--write", action="store_true", help="write report and diagram into benchmarks/ and docs/")
    args = parser.parse_args(argv)
    if args.write and args.half:
        parser.error("--write is for the report over all pictures, not for one --half")
    return args


def half(which: str, pictures: Sequence[str], found: Found, truth: Truth) -> tuple[list[str], Found, Truth]:
    """The pairs within one half of the pictures; copies of one photograph have one number, and so one half."""
    mine = {p for p in pictures if (number(p) // 10) % 2 == (which == "odd")}

    def within(pairs: Iterable[Pair]) -> set[Pair]:
        return {pair for pair in pairs if mine.issuperset(pair)}

    part = Found(within(found.edges), within(found.grouped))
    part.measured = {pair: row for pair, row in found.measured.items() if mine.issuperset(pair)}
    part.members = {path: row for path, row in found.members.items() if path in mine}
    relation = {pair: said for pair, said in truth.relation.items() if mine.issuperset(pair)}
    return sorted(mine), part, Truth(relation, within(truth.ignore))


def number(path: str) -> int:
    """Number of a picture in its source; drawings of one photograph, `n02676566_4469-3`, have its number."""
    digits = "".join(c if c.isdigit() else " " for c in Path(path).stem.partition("-")[0]).split()
    return int(digits[-1]) if digits else 0


def kind_of(pair: Pair) -> str:
    """The kind of both pictures, or MIXED."""
    kinds = {LOOKALIKE_KINDS[path.split("/")[1]] for path in pair}
    return kinds.pop() if len(kinds) == 1 else MIXED


def scores(found: Found, truth: Truth, where: Callable[[Pair], bool] = lambda _: True) -> tuple[Scores, Scores]:
    """Scores of pairs, and of groups by pair, for the pairs that `where` selects."""
    true = [pair for pair in truth.relation if where(pair)]
    edges, grouped = ([pair for pair in pairs if where(pair)] for pairs in (found.edges, found.grouped))
    return score_pair_sets(edges, true, truth.ignore), score_pair_sets(grouped, true, truth.ignore)


def binned(found: Found, truth: Truth) -> list[reliability.Bin]:
    """Measured pairs by score."""
    return reliability.binned(
        (row["score"], pair in truth.relation) for pair, row in found.measured.items() if pair not in truth.ignore
    )


Fault = tuple[str, str, str, str]


def list_faults(found: Found, truth: Truth) -> list[Fault]:
    """Wrong and missed pairs as (what, kind of picture, a, b), highest score first; `lost`: accepted, in two groups."""
    faults: list[Fault] = []
    for pair in found.wrong(truth):
        faults.append(("wrong pair" if pair in found.edges else "wrong by group", kind_of(pair), *pair))
    for pair in set(truth.relation) - (found.edges & found.grouped):
        what = "lost" if pair in found.edges else "missed, in one group" if pair in found.grouped else "missed"
        faults.append((what, kind_of(pair), *pair))
    return sorted(faults, key=lambda fault: (fault[0], -found.measured.get(fault[2:], {}).get("score", 1.0), fault))


def write_list(faults: Iterable[Fault], found: Found, path: Path) -> None:
    """The faults as a CSV file, with the rows of `pairs`."""
    columns = sorted({key for row in found.measured.values() for key in row} - set(NOT_EVIDENCE))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("what", "pictures", "a", "b", *columns))
        for fault in faults:
            row = found.measured.get(fault[2:], {})
            writer.writerow((*fault, *(row.get(key) for key in columns)))


def report(pictures: Sequence[str], found: Found, truth: Truth, which: str | None, listed: Sequence[Fault]) -> str:
    """The figures as Markdown."""
    parts = [
        MARKS[0],
        f"## Look-alikes: {len(pictures)} pictures{f', {which} blocks' if which else ''}\n",
        "    .venv/bin/python -m benchmarks.lookalikes run --data ../shared/data --work /tmp/look --write\n",
        _by_kind(pictures, found, truth),
        _relations(found, truth),
        _keepers(found, truth),
        _tiers(found, truth),
        _score(found, truth),
        _listed(listed, found),
        MARKS[1],
        "",
    ]
    return "\n".join(parts)


def _by_kind(pictures: Sequence[str], found: Found, truth: Truth) -> str:
    n_of = Counter(LOOKALIKE_KINDS[path.split("/")[1]] for path in pictures)
    proposed = Counter(kind_of(pair) for pair in found.measured)
    aligned = Counter(kind_of(pair) for pair, row in found.measured.items() if row["verify_version"])
    lines = []
    for kind in (*n_of, MIXED, "all"):
        one, groups = scores(found, truth, lambda pair, kind=kind: kind in ("all", kind_of(pair)))
        n = n_of.get(kind, len(pictures))
        candidates = proposed.total() if kind == "all" else proposed[kind]
        tried = aligned.total() if kind == "all" else aligned[kind]
        figures = [f"{s.precision:.3f} / {s.recall:.3f} / {s.f1:.3f}" for s in (one, groups)]
        counts = [f"{s.n_hit} of {s.n_found}" for s in (one, groups)]
        lines.append(
            (
                *(kind.replace("_", " "), n_of.get(kind, "" if kind == MIXED else n), one.n_true),
                *(counts[0], figures[0], counts[1], figures[1], f"{candidates / n:.2f}", f"{tried / n:.2f}"),
            )
        )
    header = [
        *("kind", "images", "true pairs", "right of pairs", "precision / recall / F1", "right of pairs in groups"),
        *("precision / recall / F1", "candidates an image", "aligned an image"),
    ]
    pairs, groups = scores(found, truth)
    met = "met" if min(pairs.f1, groups.f1) >= GOAL_F1 else "missed"
    return table(header, lines) + f"\nGoal: F1 of pairs and of groups at least {GOAL_F1}: {met}.\n"


def _relations(found: Found, truth: Truth) -> str:
    recall = recall_by_relation(found.edges, truth.relation)
    in_groups = recall_by_relation(found.grouped, truth.relation)
    said: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for pair, relation in truth.relation.items():
        kind = found.kind(pair) or ("equal" if pair in found.edges else "not accepted")
        said[relation][kind] += 1
    lines = [
        (
            *(name, s.n_true, f"{s.recall:.3f}", f"{in_groups[name].recall:.3f}"),
            ", ".join(f"{kind} {n}" for kind, n in said[name].most_common()),
        )
        for name, s in recall.items()
        if name != "all"
    ]
    true = [pair for pair in truth.relation if pair in found.edges]
    alternates = sum(found.kind(pair) in ALTERNATE_KINDS for pair in true)
    wrong = Counter(found.kind(pair) or "equal" for pair in found.edges - set(truth.relation) - truth.ignore)
    similar = Counter(
        "not scored" if pair in truth.ignore else "copies" if pair in truth.relation else "different"
        for pair, row in found.measured.items()
        if row["kind"] == "similar"
    )
    return (
        table(("true pairs", "n", "recall, pairs", "recall, groups", "kinds"), lines)
        + f"\nCopies that are called alternates (edited, recoloured): {alternates} of {len(true)}. "
        + "Kinds of wrong pairs: "
        + (", ".join(f"{kind} {n}" for kind, n in wrong.most_common()) or "none")
        + ". Pairs of kind `similar`: "
        + (", ".join(f"{what} {n}" for what, n in sorted(similar.items())) or "none")
        + ".\n"
    )


def _fuller(pair: Pair) -> str:
    """The picture to keep of a true pair of people: the whole frame, else the one that is not squashed."""
    order = ("Faces", "Faces_easy", "mirrored_squashed")
    return min(pair, key=lambda path: order.index(path.split("/")[1]))


def _keepers(found: Found, truth: Truth) -> str:
    n = right = 0
    for pair in truth.relation:
        if kind_of(pair) == "people" and pair in found.grouped:
            rows = {path: found.members[path] for path in pair}
            if any(row["is_keeper"] for row in rows.values()):
                n += 1
                right += rows[_fuller(pair)]["is_keeper"]
    return f"True pairs of people of which one is the keeper: the fuller or unaltered one in {right} of {n}.\n"


def _tiers(found: Found, truth: Truth) -> str:
    if not any("tier" in row for row in found.members.values()):
        return "The tables have no column `tier`: nothing to measure of tiers of removal.\n"
    keeper = {row["group_id"]: path for path, row in found.members.items() if row["is_keeper"]}
    by_id = {row["image_id"]: path for path, row in found.members.items()}
    members = {}
    for path, row in found.members.items():
        kept = by_id.get(row.get("compared_with"), keeper.get(row["group_id"], path))
        pair = unordered(path, kept)
        if row["is_keeper"] or kept == path or pair in truth.ignore:
            continue
        if row["kind"] in ("exact", "pixel"):
            fault = ""
        elif pair not in truth.relation:
            fault = removal.OTHER
        else:
            fault = removal.MORE if kind_of(pair) == "people" and _fuller(pair) == path else ""
        members[path] = (row["tier"] or "", kept, fault)
    counted = removal.tally(members)
    wrong = [f"- {a} against {b}: {fault}" for a, b, fault in counted["copies"].examples[:SHOWN]]
    return table(removal.HEADER, removal.lines(counted)) + ("\n" + "\n".join(wrong) + "\n" if wrong else "")


def _score(found: Found, truth: Truth) -> str:
    bins = binned(found, truth)
    return table(("score", "pairs", "mean score", "share of true pairs"), reliability.lines(bins)) + (
        f"\nExpected calibration error: {reliability.calibration_error(bins):.4f} (docs/{DIAGRAM}).\n"
    )


def _listed(listed: Sequence[Fault], found: Found) -> str:
    by_what: defaultdict[str, list[Fault]] = defaultdict(list)
    for fault in listed:
        by_what[fault[0]].append(fault)
    lines, some = [], []
    for what, faults in by_what.items():
        kinds = Counter(kind for _, kind, *_ in faults)
        lines.append((what, len(faults), ", ".join(f"{k.replace('_', ' ')} {n}" for k, n in kinds.most_common())))
        for _, _, a, b in faults[:SHOWN]:
            row = found.measured.get((a, b), {})
            said = [f"{key} {row[key]:.2f}" for key in SHORT if row.get(key) is not None]
            text = ", ".join([row.get("kind") or "not accepted", *said]) if row else found.evidence((a, b))
            some.append(f"- {what}: {a.removeprefix('lookalikes/')} | {b.removeprefix('lookalikes/')} ({text})")
    if not lines:
        return "Nothing is wrong or missed.\n"
    return table(("", "pairs", "of"), lines) + "\nOf each the highest scores:\n\n" + "\n".join(some) + "\n"


if __name__ == "__main__":
    sys.exit(main())
