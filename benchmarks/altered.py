"""Fit the model that tells a copy from an edited or recoloured one (lib/dupelake/assets/altered.json).

    OMP_NUM_THREADS=1 nice python -m benchmarks.altered --data ../shared/data --work DIR [--write]

It reads the evidence that `benchmarks.edits.verified` keeps in DIR: originals with one seeded edit each. Edits that
nobody sees (benchmarks/visibility.py), frames and pairs that are not accepted are left out. Photographs are in three
parts: two halves, of which each is judged by the model of the other, and a third part that nothing was chosen or
fitted on. The third part has none of the photographs of benchmarks/decision.py, on which measures were tried.

`--write` fits the model on both halves, writes it, and puts the tables into benchmarks/quality.md.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from benchmarks.decision import RIDGE
from benchmarks.decision import SEED as DECISION_SEED
from benchmarks.decision import photographs as used_by_decision
from benchmarks.edits.report import write_section
from benchmarks.edits.report_decisions import table
from benchmarks.edits.verified import EACH, Made, Photograph, held_in, loaded, names_of
from benchmarks.visibility import NOTICEABLE
from numpy.typing import NDArray
from scipy.optimize import minimize

import dupelake.verify.decision as decision
from dupelake.config import Config
from dupelake.evaluate.scores import wilson_interval
from dupelake.frames.functions import F, locally
from dupelake.lookup.measure import frame_of, rows_of
from dupelake.verify.decide_stage import MAX_LOCAL_DIFFERENCE, covers_edge, decide
from dupelake.verify.decision import Factor, Model, Term
from dupelake.warehouse.schema import PAIRS

FRAMES = ("screenshot_phone", "screenshot_desktop", "collage", "caption_bar", "repost", "caption_resize_jpeg")
TERMS = (  # noise and strong compression raise every difference, and make it incoherent
    Term("largest_local_difference", 0.01, 1.0, True, 0.0),
    Term("colour_difference", 0.01, 1.0, True, 0.0),
    Term("unexplained_colour", 0.5, 16.0, True, 0.0),
    Term("difference_coherence", 0.0, 1.0, False, 0.0),
    Term("cell_shift_px", 0.02, 1.0, True, 0.0),
)
HALVES, THIRD = ("half 0", "half 1"), "third part"
BEGIN, END = "<!-- altered: written by benchmarks/altered.py -->", "<!-- altered: end -->"


@dataclass(frozen=True)
class Pair:
    """An accepted pair of an original and its edit, as a row of schema.PAIRS."""

    made: Made
    part: str
    row: dict[str, Any]


def pairs_of(found: Iterable[Photograph], data: Path) -> list[Pair]:
    """The pairs of all photographs that the truth and the decision say something about."""
    known = used_by_decision(data, np.random.default_rng(DECISION_SEED))
    used = {str(path.relative_to(data)) for path in known}
    return [one for photograph in found for one in _of_photograph(photograph, used)]


def _of_photograph(photograph: Photograph, used: set[str]) -> list[Pair]:
    code = crc32(photograph.name.encode())
    part = THIRD if code % 2 and photograph.name not in used else HALVES[code // 2 % 2]
    with locally():
        rows = rows_of(decide(frame_of(photograph.pairs, PAIRS.columns), Config().decide))
    by_ends = {(row["src_id"], row["dst_id"]): row for row in rows}
    out = []
    for number, made in enumerate(photograph.made):
        ids = [image["content_id"] for image in photograph.images if image["scope"] == str(number)]
        row = by_ends[min(ids), max(ids)]
        if row["is_duplicate"] and row["aligned_ncc"] is not None and is_fair(made) and not made.is_unseen():
            out.append(Pair(made, part, row))
    return out


def is_fair(made: Made) -> bool:
    """Whether enough of the picture is left to tell, and nothing was put around it."""
    return made.kept_fraction >= 0.5 and made.picture_side_px >= 100 and made.edit not in FRAMES


def values_of(pairs: list[Pair]) -> dict[str, list[float]]:
    """The columns that the model reads."""
    return {term.column: [one.row[term.column] for one in pairs] for term in TERMS}


def weights_of(pairs: list[Pair]) -> NDArray[np.float64]:
    """Weights by which each edit at each strength counts as much as any other; their mean is 1."""
    counts = Counter((one.made.edit, one.made.strength) for one in pairs)
    weight = np.array([1.0 / counts[one.made.edit, one.made.strength] for one in pairs])
    return np.asarray(weight / weight.mean(), np.float64)


def fit(pairs: list[Pair]) -> Model:
    """Weighted logistic regression with a little ridge on standardised terms."""
    given = values_of(pairs)
    x = np.column_stack([term.of(given[term.column]) for term in TERMS])
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    z = np.column_stack([(x - mean) / deviation, np.ones(len(x))])
    sign = np.where([one.made.is_alternate() for one in pairs], 1.0, -1.0)
    weight = weights_of(pairs)

    def loss(b: Any) -> tuple[float, Any]:
        logit = np.clip(sign * (z @ b), -60, 60)
        slope = -(z.T @ (weight * sign / (1.0 + np.exp(logit)))) + RIDGE * np.append(b[:-1], 0.0)
        return float((weight * np.log1p(np.exp(-logit))).sum() + RIDGE / 2 * (b[:-1] ** 2).sum()), slope

    b = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B").x
    slopes = b[:-1] / deviation
    terms = tuple(replace(term, weight=round(float(s), 4)) for term, s in zip(TERMS, slopes, strict=True))
    return Model((Factor("altered", round(float(b[-1] - (slopes * mean).sum()), 4), terms),))


def said(pairs: list[Pair], model: Model) -> NDArray[np.bool_]:
    """Which pairs `verify.decide_stage.aligned_kind` calls edited or recoloured with this model."""
    with locally():
        rows = frame_of([one.row for one in pairs], PAIRS.columns)
        hides = covers_edge("src_frame", "dst_beyond") | covers_edge("dst_frame", "src_beyond")
        is_local = F.col("largest_local_difference") > MAX_LOCAL_DIFFERENCE
        covered = [row["covers"] for row in rows_of(rows.select((hides & is_local).alias("covers")))]
    return np.asarray((model.probability(values_of(pairs)) >= 0.5) | np.array(covered), np.bool_)


@dataclass(frozen=True)
class Confusion:
    """Pairs of one part with what is said of them."""

    pairs: list[Pair]
    said: NDArray[np.bool_]

    def wrong(self, *, is_alternate: bool) -> list[Pair]:
        """The pairs of a class that are called the other."""
        real = [one.made.is_alternate() == is_alternate for one in self.pairs]
        return [self.pairs[i] for i in np.flatnonzero(np.array(real) & (self.said != is_alternate))]

    def line(self, name: str) -> tuple[object, ...]:
        """A row of the table."""
        out: list[object] = [name]
        for is_alternate in (False, True):
            held = [one for one in self.pairs if one.made.is_alternate() == is_alternate]
            wrong, weight = (
                self.wrong(is_alternate=is_alternate),
                dict(zip(map(id, held), weights_of(held), strict=True)),
            )
            low, high = wilson_interval(len(wrong), len(held))
            balanced = sum(weight[id(one)] for one in wrong) / max(1, len(held))
            out += [f"{len(wrong)} of {len(held)}", f"{low:.1%} to {high:.1%}", f"{balanced:.1%}"]
        return tuple(out)


HEADER = (
    "",
    "copies called alternates",
    "95 %",
    "all edits equal",
    "alternates called copies",
    "95 %",
    "all edits equal",
)


def section(pairs: list[Pair], unseen: Counter[str], shipped: Model) -> str:
    """The tables: each half by the model of the other, the third part by the model of both."""
    by_part = {part: [one for one in pairs if one.part == part] for part in (*HALVES, THIRD)}
    fitted = {HALVES[0]: fit(by_part[HALVES[1]]), HALVES[1]: fit(by_part[HALVES[0]]), THIRD: shipped}
    found = {part: Confusion(held, said(held, fitted[part])) for part, held in by_part.items()}
    wrong = Counter(
        (is_alternate, f"{one.made.edit} {one.made.strength:g}")
        for one_part in found.values()
        for is_alternate in (False, True)
        for one in one_part.wrong(is_alternate=is_alternate)
    )
    listed = [
        ", ".join(f"{edit}: {n}" for (alternate, edit), n in wrong.most_common() if alternate == is_alternate) or "none"
        for is_alternate in (False, True)
    ]
    left_out = ", ".join(f"{edit}: {n}" for edit, n in unseen.most_common()) or "none"
    return "\n".join(
        (
            BEGIN,
            "## Copy or altered: each half by the model of the other",
            "",
            "    python -m benchmarks.edits.verified --data ../shared/data --work DIR",
            "    python -m benchmarks.altered --data ../shared/data --work DIR",
            "",
            "An original with one seeded edit that leaves half of the picture and 100 px, accepted as a copy; frames",
            "(screenshots, collages, bars) apart. Nothing was chosen or fitted on the photographs of the third part. "
            '"All edits equal":',
            "each edit at each strength has the same weight; the bench has more encodings, sizes and crops.",
            "",
            table(HEADER, [one.line(part) for part, one in found.items()]),
            f"Copies that are called alternates, of all three: {listed[0]}.",
            "",
            f"Alternates that are called copies: {listed[1]}.",
            "",
            f"Left out, because nobody sees them (largest smoothed difference below {NOTICEABLE} of CIELAB, "
            f"`benchmarks/visibility.py`): {left_out}.",
            END,
            "",
        )
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="that of benchmarks.edits.verified")
    parser.add_argument("--write", action="store_true", help="write the model and the section of benchmarks/quality.md")
    args = parser.parse_args()
    files = [held_in(args.work, EACH, name) for name in names_of(args.data)]
    found = [one for file in files if file.exists() and (one := loaded(file)) is not None]
    pairs = pairs_of(found, args.data)
    model = fit([one for one in pairs if one.part in HALVES])
    unseen = Counter(
        f"{made.edit} {made.strength:g}" for one in found for made in one.made if made.is_unseen() and is_fair(made)
    )
    text = section(pairs, unseen, model)
    print(text)
    print(json.dumps(model.as_dict()))
    if args.write:
        path = Path(decision.__file__).parents[1] / "assets" / "altered.json"
        path.write_text(json.dumps(model.as_dict(), indent=1) + "\n", encoding="utf-8")
        write_section(Path(__file__).parent / "quality.md", text, (BEGIN, END))


if __name__ == "__main__":
    main()
