"""The keeper bench: which image of an original and its edited copies is kept, in groups of two and of six.

Each case is a scope of its own in one manifest over the images of the corpus, so that no other copy has a say: an
original with one copy (so many of each edit), and an original with five copies. Copies keep half of the picture and
100 px. The original is what careful people keep: every copy was at least encoded once more. Every other copy is saved
again as PNG, as editors and phones do, which makes the larger file and hides what an earlier JPEG lost.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from benchmarks.edits.corpus import ORIGINAL, SEED, Row
from benchmarks.edits.score import FULL_KEPT, FULL_SIDE_PX, Share, is_edited
from benchmarks.quality import read_table
from PIL import Image

PAIRS_PER_EDIT, PAIRS_PER_EDIT_SMALL = 16, 4
SIXES, SIXES_SMALL = 60, 20
SIX = 6
COLUMNS = ("scope", "image", "group", "is_keeper", "relation", "kind", "reason")
EQUAL_KINDS = ("exact", "pixel")
RESAVED = ".png"


@dataclass(frozen=True)
class Case:
    """Images of one picture in a scope of their own; the first is the original, `NAME.png` is NAME saved again."""

    scope: str
    images: tuple[str, ...]


@dataclass
class KeeperScore:
    """Cases whose keeper is the original or equal to it.

    Attributes:
        pairs: of cases of two, by edit.
        resaved: of those whose copy was saved again as PNG.
        sixes: of cases of six.
        beaten: edits of copies that were kept instead, in cases of six.
        alone: cases whose original stands in no group.
        wrong: (scope, kept image, reason that the tables give) of the others.
    """

    pairs: defaultdict[str, Share] = field(default_factory=lambda: defaultdict(Share))
    resaved: Share = field(default_factory=Share)
    sixes: Share = field(default_factory=Share)
    beaten: Counter[str] = field(default_factory=Counter)
    alone: int = 0
    wrong: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def all_pairs(self) -> Share:
        """Of all cases of two."""
        return Share(sum(s.hits for s in self.pairs.values()), sum(s.n for s in self.pairs.values()))


def cases(rows: Sequence[Row], small: bool) -> list[Case]:
    """The cases of a corpus; which, the seed says."""
    rng = np.random.default_rng([SEED, 4])
    original = {row.group: row.image for row in rows if row.edit == ORIGINAL}
    fit = [row for row in rows if is_edited(row) and row.kept_fraction >= FULL_KEPT]
    fit = [fit[i] for i in rng.permutation(len(fit)) if fit[i].short_side_px >= FULL_SIDE_PX]
    by_edit: defaultdict[str, list[Row]] = defaultdict(list)
    by_group: defaultdict[str, list[Row]] = defaultdict(list)
    for row in fit:
        by_edit[row.edit].append(row)
        by_group[row.group].append(row)
    n_pairs, n_sixes = (PAIRS_PER_EDIT_SMALL, SIXES_SMALL) if small else (PAIRS_PER_EDIT, SIXES)
    out = [
        Case(f"pair:{row.image}", (original[row.group], row.image + RESAVED * (i % 2)))
        for some in by_edit.values()
        for i, row in enumerate(some[:n_pairs])
    ]
    enough = sorted(group for group, some in by_group.items() if len(some) >= SIX - 1)
    for group in enough[:: max(1, len(enough) // n_sixes)][:n_sixes]:
        copies = tuple(row.image + RESAVED * (i % 2) for i, row in enumerate(by_group[group][: SIX - 1]))
        out.append(Case(f"six:{group}", (original[group], *copies)))
    return out


def write_manifest(some: Iterable[Case], images: Path, path: Path) -> None:
    """A manifest that names each image once for each case; PNGs are written beside it."""
    resaved = path.with_name("images")
    resaved.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image_id", "uri", "scope"))
        for case in some:
            for image in case.images:
                file_of = images / image
                if image.endswith(RESAVED):
                    file_of = resaved / image
                    if not file_of.exists():
                        with Image.open(images / image.removesuffix(RESAVED)) as picture:
                            picture.save(file_of)
                writer.writerow((f"{case.scope}/{image}", str(file_of), case.scope))


def export(warehouse: Path, path: Path) -> None:
    """The groups of a run over `write_manifest`'s manifest as a CSV file of COLUMNS."""
    rows = read_table(warehouse, "groups")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for r in sorted(rows, key=lambda r: r["image_id"]):
            image = r["image_id"].rsplit("/", 1)[1]
            writer.writerow((r["scope"], image, r["group_id"], *(r[c] for c in COLUMNS[3:])))


def score(some: Iterable[Case], path: Path, rows: Iterable[Row]) -> KeeperScore:
    """Which image each case keeps.

    Args:
        some: the cases that were run.
        path: of `export`.
        rows: the corpus.
    """
    edit = {row.image: row.edit for row in rows}
    with path.open(newline="", encoding="utf-8") as file:
        found = {(r["scope"], r["image"]): r for r in csv.DictReader(file)}
    keeper = {(r["scope"], r["group"]): r for r in found.values() if r["is_keeper"] == "True"}
    out = KeeperScore()
    for case in some:
        mine = found.get((case.scope, case.images[0]))
        if mine is None:
            out.alone += 1
            continue
        kept = keeper[(case.scope, mine["group"])]
        right = kept is mine or mine["kind"] in EQUAL_KINDS
        if not right:
            out.wrong.append((case.scope, kept["image"], kept["reason"]))
        if len(case.images) == SIX:
            out.sixes.add(right)
            out.beaten.update([] if right else [edit[kept["image"].removesuffix(RESAVED)]])
        else:
            out.pairs[edit[case.images[1].removesuffix(RESAVED)]].add(right)
            if case.images[1].endswith(RESAVED):
                out.resaved.add(right)
    return out
