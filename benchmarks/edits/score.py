"""How good the groups and pairs of one tool are on the corpus of the edits bench."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from math import comb
from pathlib import Path

from benchmarks.edits import reliability, words
from benchmarks.edits import tiers as removal
from benchmarks.edits.corpus import AMBIGUOUS, ORIGINAL, Row
from benchmarks.edits.registry import EDITS
from benchmarks.pair_scores import Pair, unordered

from dupelake.evaluate.scores import wilson_interval

Cell = tuple[str, float]

# "leaves 50 % or more of the picture and a short side of 100 px"; crops end on pixels
FULL_KEPT, FULL_SIDE_PX = 0.495, 100
PART_KEPT = 0.245
CROPS = ("crop", "crop_jpeg_resize", "mirror_crop", "grey_crop")


@dataclass
class Share:
    """Hits of n, with its interval."""

    hits: int = 0
    n: int = 0

    def add(self, hit: bool) -> None:
        """One more trial."""
        self.hits, self.n = self.hits + hit, self.n + 1

    @property
    def value(self) -> float:
        """The share; 1 of nothing."""
        return self.hits / self.n if self.n else 1.0

    def text(self) -> str:
        """`0.987 (0.950 to 0.997)`."""
        low, high = wilson_interval(self.hits, self.n)
        return f"{number(self.value)} ({low:.3f} to {high:.3f})" if self.n else "-"


def number(value: float) -> str:
    """Three digits, cut and not rounded, so that 1.000 means all."""
    return f"{int(value * 1000 + 1e-9) / 1000:.3f}"


@dataclass
class Result:
    """What a tool found: results/LABEL/ of the work folder."""

    label: str
    meta: dict[str, object]
    pairs: dict[Pair, str]
    groups: dict[str, str]
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    measured: dict[Pair, tuple[float, str]] = field(default_factory=dict)  # score and kind, accepted or not

    @property
    def says_tier(self) -> bool:
        """Whether the tool says under which tier of removal a member could go."""
        return any("tier" in row for row in self.rows.values())

    @property
    def says_relation(self) -> bool:
        """Whether the tool tells copies from alternates."""
        return any("relation" in row for row in self.rows.values())


def read_result(folder: Path) -> Result:
    """Reads pairs.csv, groups.csv, meta.json and, of dupelake, measured.csv."""
    with (folder / "pairs.csv").open(newline="", encoding="utf-8") as file:
        pairs = {unordered(r["a"], r["b"]): r.get("evidence") or r["value"] for r in csv.DictReader(file)}
    with (folder / "groups.csv").open(newline="", encoding="utf-8") as file:
        rows = {r["image"]: r for r in csv.DictReader(file)}
    groups = {image: r["group"] for image, r in rows.items()}
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    measured: dict[Pair, tuple[float, str]] = {}
    if (folder / "measured.csv").exists():
        with (folder / "measured.csv").open(newline="", encoding="utf-8") as file:
            measured = {unordered(r["a"], r["b"]): (float(r["score"]), r["kind"]) for r in csv.DictReader(file)}
    return Result(folder.name, meta, pairs, groups, rows, measured)


@dataclass
class Score:
    """All figures of one result.

    Attributes:
        label: of the result.
        pairs: accepted pairs that are right, of those accepted.
        implied: the same over all pairs of images inside groups.
        groups: groups without a wrong member, of all groups.
        copies: edited images that share a group with their original.
        direct: edited images with an accepted pair with their original.
        cells: `copies` by (edit, strength).
        full: `copies` of edits that leave half of the picture and 100 px, by edit.
        part: `copies` of crops that leave 25 to 50 %; and those of them with 100 px.
        wrong_groups: images of each group with members of different pictures.
        wrong_distractor_groups: those of them that hold a distractor.
        kinds: distractors by kind: images in a wrong group, of all.
        wrong_pairs: accepted pairs of different pictures, with what the tool says.
        missed: edited images without their original.
        relation: (true relation, said relation) to images, of copies whose keeper is their original.
        relation_cells: images with the wrong relation by (edit, strength), of those whose keeper is their original.
        wrongly_removable: alternates marked removable.
        keepers: edit of the keeper to groups of photographs.
        kept: groups whose keeper is the original or equal to it, of those that hold an original.
        not_beaten: copies, by edit, that are not kept instead of their original, of those in one group with it.
        tiers: what each tier of removal would lose; empty where the tool names none.
        statements: what reasons say of copies whose keeper is their original; empty where the tool gives none.
        bins: measured pairs by score, with the share of true ones.
        similar: pairs of kind `similar` by what the truth says of them.
    """

    label: str
    pairs: Share = field(default_factory=Share)
    implied: Share = field(default_factory=Share)
    groups: Share = field(default_factory=Share)
    copies: Share = field(default_factory=Share)
    direct: Share = field(default_factory=Share)
    cells: defaultdict[Cell, Share] = field(default_factory=lambda: defaultdict(Share))
    full: defaultdict[str, Share] = field(default_factory=lambda: defaultdict(Share))
    part: Share = field(default_factory=Share)
    part_large: Share = field(default_factory=Share)
    wrong_groups: list[list[str]] = field(default_factory=list)
    wrong_distractor_groups: int = 0
    kinds: defaultdict[str, Share] = field(default_factory=lambda: defaultdict(Share))
    wrong_pairs: list[tuple[str, str, str]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    relation: Counter[tuple[str, str]] = field(default_factory=Counter)
    relation_cells: defaultdict[Cell, Share] = field(default_factory=lambda: defaultdict(Share))
    wrongly_removable: int = 0
    keepers: Counter[str] = field(default_factory=Counter)
    kept: Share = field(default_factory=Share)
    not_beaten: defaultdict[str, Share] = field(default_factory=lambda: defaultdict(Share))
    tiers: dict[str, removal.Tier] = field(default_factory=dict)
    statements: dict[str, words.Words] = field(default_factory=dict)
    bins: list[reliability.Bin] = field(default_factory=list)
    similar: Counter[str] = field(default_factory=Counter)

    @property
    def distractors(self) -> Share:
        """Distractors in a wrong group, of all."""
        return Share(sum(s.hits for s in self.kinds.values()), sum(s.n for s in self.kinds.values()))

    @property
    def mean_of_kinds(self) -> float:
        """The same with the same weight for each kind of distractor."""
        return sum(s.value for s in self.kinds.values()) / len(self.kinds) if self.kinds else 0.0


def is_edited(row: Row) -> bool:
    """Whether an image is a copy of one of the photographs that got edits (made distractors are not)."""
    return row.edit in EDITS


def kind_of(row: Row) -> str:
    """What a distractor is, for tables; empty for photographs and their copies."""
    if row.group.startswith("photo"):
        return ""
    if row.edit == ORIGINAL:
        return "clothing" if row.source.startswith("clothing") else "odd pictures"
    return row.edit


def score(result: Result, truth: Iterable[Row], unscored: Collection[Pair] = frozenset()) -> Score:
    """Compare a result with the truth; linear in images and accepted pairs, however large the groups.

    Args:
        result: of one tool.
        truth: the corpus.
        unscored: pairs of images of which nobody can tell whether they show the same picture, smaller first.

    Raises:
        ValueError: groups hold images that are not in the corpus.
    """
    rows = {row.image: row for row in truth}
    unknown = sorted(set(result.groups) - set(rows))
    if unknown:
        raise ValueError(f"{result.label}: groups hold images that are not in the corpus: {unknown[:3]}")
    out = Score(result.label)
    for (a, b), evidence in sorted(result.pairs.items()):
        same = rows[a].group == rows[b].group
        if (a, b) in unscored:
            continue
        if not same:
            out.wrong_pairs.append((a, b, evidence))
        if not (same and AMBIGUOUS in (rows[a].relation, rows[b].relation)):
            out.pairs.add(same)
    _score_groups(out, result, rows, unscored)
    _score_copies(out, result, rows)
    if result.says_relation:
        _score_relation(out, result, rows)
    if result.says_tier:
        _score_tiers(out, result, rows, unscored)
    _score_scores(out, result, rows, unscored)
    return out


def _score_groups(out: Score, result: Result, rows: dict[str, Row], unscored: Collection[Pair]) -> None:
    open_pairs = Counter(
        result.groups[a]
        for a, b in unscored
        if rows[a].group != rows[b].group and a in result.groups and result.groups[a] == result.groups.get(b)
    )
    members: defaultdict[str, list[str]] = defaultdict(list)
    for image, label in result.groups.items():
        members[label].append(image)
    in_wrong: set[str] = set()
    for label, images in members.items():
        if len(images) < 2:
            continue
        all_of = Counter(rows[image].group for image in images)
        sure_of = Counter(rows[image].group for image in images if rows[image].relation != AMBIGUOUS)
        ignored = sum(comb(n, 2) - comb(sure_of[group], 2) for group, n in all_of.items())
        right = sum(comb(n, 2) for n in sure_of.values())
        out.implied.hits += right
        out.implied.n += comb(len(images), 2) - ignored - open_pairs[label]
        different = comb(len(images), 2) - sum(comb(n, 2) for n in all_of.values()) - open_pairs[label]
        out.groups.add(not different)
        if different:
            in_wrong |= set(images)
            out.wrong_groups.append(sorted(images))
            out.wrong_distractor_groups += any(kind_of(rows[image]) for image in images)
    out.wrong_groups.sort(key=lambda images: (-len(images), images))
    for row in rows.values():
        if kind_of(row):
            out.kinds[kind_of(row)].add(row.image in in_wrong)


def _score_copies(out: Score, result: Result, rows: dict[str, Row]) -> None:
    original = {row.group: row.image for row in rows.values() if row.edit == ORIGINAL}
    for row in rows.values():
        if not is_edited(row):
            continue
        mine, theirs = result.groups.get(row.image), result.groups.get(original[row.group])
        hit = mine is not None and mine == theirs
        out.copies.add(hit)
        out.direct.add(unordered(row.image, original[row.group]) in result.pairs)
        out.cells[(row.edit, row.strength)].add(hit)
        if row.kept_fraction >= FULL_KEPT and row.short_side_px >= FULL_SIDE_PX:
            out.full[row.edit].add(hit)
        if row.edit in CROPS and PART_KEPT <= row.kept_fraction < FULL_KEPT:
            out.part.add(hit)
            if row.short_side_px >= FULL_SIDE_PX:
                out.part_large.add(hit)
        if not hit:
            out.missed.append(row.image)


def _score_relation(out: Score, result: Result, rows: dict[str, Row]) -> None:
    original = {row.group: row.image for row in rows.values() if row.edit == ORIGINAL}
    keeper = {r["group"]: image for image, r in result.rows.items() if r["is_keeper"] == "True"}
    for image in keeper.values():
        if rows[image].group.startswith("photo"):
            out.keepers[rows[image].edit] += 1
    for group, image in keeper.items():
        first = original.get(rows[image].group, "")
        if rows[image].group.startswith("photo") and result.groups.get(first) == group:
            out.kept.add(image == first or result.rows[first].get("kind") in ("exact", "pixel"))
    told: list[tuple[str, str]] = []
    for image, found in result.rows.items():
        row = rows[image]
        if is_edited(row) and result.groups.get(original[row.group]) == found["group"]:
            out.not_beaten[row.edit].add(found["is_keeper"] != "True")
        if not is_edited(row) or keeper.get(found["group"]) != original[row.group]:
            continue
        out.relation[(row.relation, found["relation"])] += 1
        out.relation_cells[(row.edit, row.strength)].add(row.relation != found["relation"])
        out.wrongly_removable += row.relation == "alternate" and found["is_removable"] == "True"
        told.append((row.edit, found.get("reason") or ""))
    out.statements = words.tally(told)


def _score_tiers(out: Score, result: Result, rows: dict[str, Row], unscored: Collection[Pair]) -> None:
    keeper = {r["group"]: image for image, r in result.rows.items() if r["is_keeper"] == "True"}
    members = {}
    for image, found in result.rows.items():
        kept = found.get("compared_with") or ""
        kept = kept if kept in rows else keeper[found["group"]]
        if found["is_keeper"] == "True" or unordered(image, kept) in unscored:
            continue
        equal = found.get("kind") in ("exact", "pixel")
        members[image] = (found.get("tier") or "", kept, lost_by_removal(rows[image], rows[kept], equal=equal))
    out.tiers = removal.tally(members)


def lost_by_removal(member: Row, kept: Row, *, equal: bool = False) -> str:
    """What is lost when `member` goes and `kept` stays; "" when nothing is, or when the truth cannot tell.

    Args:
        member: the image that would go.
        kept: the image that stays.
        equal: both have the same pixels.

    Returns:
        A fault of `benchmarks.edits.tiers`. Two crops of one picture count by the share that each shows: the truth
        does not say where they lie.
    """
    if member.group != kept.group:
        return removal.OTHER
    if equal or AMBIGUOUS in (member.relation, kept.relation) or not member.group.startswith("photo"):
        return ""
    if member.relation == "alternate":
        return removal.ALTERNATE
    if kept.relation == "alternate" or member.kept_fraction > kept.kept_fraction + 0.01:
        return removal.MORE
    if member.edit == ORIGINAL or kept.short_side_px < 0.9 * member.short_side_px:
        return removal.FINER
    return ""


def _score_scores(out: Score, result: Result, rows: dict[str, Row], unscored: Collection[Pair]) -> None:
    scored = []
    for (a, b), (value, kind) in result.measured.items():
        same = rows[a].group == rows[b].group
        unsure = (a, b) in unscored or (same and AMBIGUOUS in (rows[a].relation, rows[b].relation))
        if kind == "similar":
            out.similar["not scored" if unsure else "same picture" if same else "different"] += 1
        if not unsure:
            scored.append((value, same))
    out.bins = reliability.binned(scored) if scored else []


def write_lists(one: Score, rows: Iterable[Row], folder: Path) -> None:
    """wrong_pairs.csv, wrong_groups.csv and missed.csv, for people who want to look."""
    by_image = {row.image: row for row in rows}
    _write(folder / "wrong_pairs.csv", ("a", "b", "evidence"), one.wrong_pairs)
    groups = [(i, image, by_image[image].group) for i, images in enumerate(one.wrong_groups) for image in images]
    _write(folder / "wrong_groups.csv", ("wrong_group", "image", "picture"), groups)
    missed = [by_image[image] for image in one.missed]
    lines = [(r.image, r.edit, r.strength, round(r.kept_fraction, 3), r.short_side_px, r.source) for r in missed]
    _write(folder / "missed.csv", ("image", "edit", "strength", "kept_fraction", "short_side_px", "source"), lines)


def _write(path: Path, header: tuple[str, ...], lines: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)
