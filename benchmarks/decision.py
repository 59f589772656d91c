"""Fit the model of verify/decision.py: the probability that two pictures are made from one.

    .venv/bin/python -m benchmarks.decision --data ../shared/data --lookalikes W1 --bench W2 [--write]

There are three kinds of pairs: candidates among real look-alikes (W1: tables of a run over ../shared/data/lookalikes,
see benchmarks/lookalikes.py); candidates of the small edits bench with its distractors (W2: its --work folder); and
seeded edits of real photographs, an original with its copies and two copies of one original. This code measures all of
them again. Each picture belongs to one half: the model is fitted on one half and reported on the other, both ways.
`--write` fits it on both halves and writes the shipped file.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.edits.registry import apply_edit, grid
from deltalake import DeltaTable
from PIL import Image, ImageOps
from scipy.optimize import minimize

import dupelake.verify.decision as decision
from dupelake.fingerprint.fingerprint import encode_thumbnail, make_thumbnail
from dupelake.fingerprint.thumbnails import decode_thumbnail
from dupelake.verify.decision import MIN_AGREEING, MIN_OVERLAP, Factor, Model, Term
from dupelake.verify.pair import Alignment, pair_seed, verify_pair
from dupelake.verify.picture import Picture, stored_picture
from dupelake.words.keypoints import extract_features, pack_features, unpack_features

SEED = 20261129
FACTORS = (  # logarithms, because copies and other photographs differ by orders of magnitude; limits: range of both
    Factor(
        "same_exposure",
        0.0,
        (Term("cell_shift_px", 0.1, 1.0, True, 0.0), Term("unexplained_colour", 1.0, 16.0, True, 0.0)),
    ),
    Factor("same_content", 0.0, (Term("contradicting_share", 0.0, 0.3, False, 0.0),)),
)
TERMS = tuple(term for factor in FACTORS for term in factor.terms)
N_PHOTOGRAPHS, EDITS_EACH = 300, 5
LONGEST_SIDE_PX = 900
# An edit has weight 1. A corpus has more look-alikes than copies; the bench has few distractors of many kinds.
DIFFERENT_WEIGHT, COPY_WEIGHT, DISTRACTOR_WEIGHT = 6.0, 2.0, 6.0
RIDGE = 1.0
MIN_SHARED = 0.4  # share of an original that two copies must have in common: the product of their kept fractions


@dataclass(frozen=True)
class Pair:
    """A measured pair and its class; `half` is 0 or 1, by picture."""

    found: Alignment
    is_copy: bool
    half: int
    weight: float
    name: str
    origin: str
    is_fair: bool = True  # half of the picture and 100 px are left


def usable(found: Alignment | None) -> bool:
    """Whether the model decides the pair."""
    return (
        found is not None
        and (found.aligned_ncc != 0 or found.agreeing_share != 0)
        and max(found.src_overlap, found.dst_overlap) >= MIN_OVERLAP
    )


def candidates(warehouse: str) -> Iterator[tuple[str, str, Alignment]]:
    """(uri, uri, alignment) of all usable pairs that a run proposed, measured again."""

    def table(name: str, columns: list[str]) -> Any:
        rows = DeltaTable(f"{warehouse}/{name}").to_pandas(columns=["content_id", *columns])
        return rows.drop_duplicates("content_id").set_index("content_id")

    uris = table("images", ["uri", "status"])
    uris = uris[uris["status"] == "ok"]["uri"].to_dict()
    thumbnails, features = table("thumbnails", ["bytes"]), table("features", ["keypoints", "descriptors"])

    def picture(content: str) -> Picture:
        row = features.loc[content]
        found = unpack_features(row.keypoints or b"", row.descriptors or b"")
        return stored_picture(thumbnails.loc[content].bytes, found)

    pairs = DeltaTable(f"{warehouse}/pairs").to_pandas(columns=["src_id", "dst_id", "found_by"])
    for src, dst, found_by in pairs.sort_values(["src_id", "dst_id"]).itertuples(index=False):
        if found_by == "pixel" or src not in uris or dst not in uris:
            continue
        found = verify_pair(picture(src), picture(dst), pair_seed(src, dst))
        if found is not None and usable(found):
            yield uris[src], uris[dst], found


def lookalikes(data: Path, warehouse: str) -> Iterator[Pair]:
    """Candidates of a run over the look-alikes, without ambiguous ones."""
    with (data / "truth" / "lookalikes_pairs.csv").open(encoding="utf-8") as file:
        labels = {frozenset((r["path_a"], r["path_b"])): r["label"] for r in csv.DictReader(file)}
    for src, dst, found in candidates(warehouse):
        names = ["lookalikes/" + uri.split("/lookalikes/")[1] for uri in (src, dst)]
        label = labels.get(frozenset(names), "different")
        if label == "ambiguous":
            continue
        half = int(re.findall(r"\d+", names[0])[-1]) // 8 % 2  # one person's photographs have neighbouring numbers
        weight = COPY_WEIGHT if label == "dup" else DIFFERENT_WEIGHT
        yield Pair(found, label == "dup", half, weight, " ".join(names), "look-alikes")


def bench(work: Path) -> Iterator[Pair]:
    """Candidates of the edits bench, including distractors."""
    with (work / "corpus" / "truth.csv").open(encoding="utf-8") as file:
        rows = {r["image"]: r for r in csv.DictReader(file)}
    with (work / "corpus" / "unscored.csv").open(encoding="utf-8") as file:
        unscored = {frozenset((r["a"], r["b"])) for r in csv.DictReader(file)}
    for src, dst, found in candidates(str(work / "results" / "dupelake" / "warehouse")):
        names = [uri.rsplit("/", 1)[1] for uri in (src, dst)]
        if frozenset(names) in unscored or not all(name in rows for name in names):
            continue
        one, other = (rows[name] for name in names)
        is_copy = one["group"] == other["group"]
        if is_copy and "ambiguous" in (one["relation"], other["relation"]):
            continue
        half = int(re.findall(r"\d+", names[0])[0]) % 2
        yield Pair(found, is_copy, half, 1.0 if is_copy else DISTRACTOR_WEIGHT, " ".join(names), "bench")


def photographs(data: Path, rng: np.random.Generator) -> list[Path]:
    """Real pictures of many kinds; by the truth of their sets no two show one scene."""
    found = sorted((data / "imagenet_sample").glob("*.JPEG"))
    clothing = sorted((data / "clothing_small").rglob("*.jpg"))
    found += [clothing[i] for i in rng.permutation(len(clothing))[:150]]
    for folder in sorted(p for p in (data / "lookalikes").iterdir() if p.is_dir() and p.name != "Faces_easy"):
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        found += [files[i] for i in rng.permutation(len(files))[:12]]
    return [found[i] for i in rng.permutation(len(found))[:N_PHOTOGRAPHS]]


def prepared(image: Image.Image) -> Picture:
    """The picture as a run stores it."""
    thumbnail = make_thumbnail(np.ascontiguousarray(np.asarray(image.convert("RGB"))), 320)
    features = extract_features(cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY), 400)
    return Picture(decode_thumbnail(encode_thumbnail(thumbnail, 92)), unpack_features(*pack_features(features)))


def edits(data: Path) -> Iterator[Pair]:
    """Pairs of originals and seeded copies, and pairs of copies."""
    rng = np.random.default_rng(SEED)
    cells = grid()
    queue: list[int] = []
    for number, path in enumerate(photographs(data, rng)):
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file).convert("RGB")
        image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
        if min(image.size) < 64:
            continue
        pictures = [(prepared(image), 1.0)]
        for _ in range(EDITS_EACH):
            queue = queue or rng.permutation(len(cells)).tolist()
            edit, strength = cells[queue.pop()]
            made = apply_edit(np.asarray(image), edit, strength, int(rng.integers(2**31)))
            with Image.open(io.BytesIO(made.data)) as file:
                copy = prepared(file)
            name = f"{edit} {strength:g} {path.name}"
            for other, kept in [pictures[0], *pictures[1:][-1:]]:  # the original, and the copy before
                found = verify_pair(other, copy, pair_seed(path.name, name))
                is_first = other is pictures[0][0]
                is_fair = is_first and made.kept_fraction >= 0.5 and made.picture_side_px >= 100
                if found is not None and usable(found) and (is_first or kept * made.kept_fraction >= MIN_SHARED):
                    yield Pair(found, True, number % 2, 1.0, name, "edits", is_fair)
            pictures.append((copy, made.kept_fraction))


def fit(pairs: list[Pair]) -> Model:
    """The product of weighted logistic models, by maximum likelihood with a little ridge on standardised terms."""
    pairs = [p for p in pairs if p.found.agreeing_share >= MIN_AGREEING]  # of the rest nothing is measured exactly
    x = np.column_stack([term.of([getattr(p.found, term.column) for p in pairs]) for term in TERMS])
    is_copy = np.array([p.is_copy for p in pairs])
    weight = np.array([p.weight for p in pairs])
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    z, n = (x - mean) / deviation, len(TERMS)
    factor = np.repeat(np.arange(len(FACTORS)), [len(f.terms) for f in FACTORS])

    def loss(b: Any) -> tuple[float, Any]:
        logits = np.column_stack([z[:, factor == f] @ b[:n][factor == f] + b[n + f] for f in range(len(FACTORS))])
        each = 1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60)))
        p = np.clip(each.prod(axis=1), 1e-12, 1 - 1e-12)
        value = -float((weight * np.where(is_copy, np.log(p), np.log1p(-p))).sum())
        slope = (weight * np.where(is_copy, -1.0 / p, 1.0 / (1.0 - p)) * p)[:, None] * (1.0 - each)
        by_term = (z * slope[:, factor]).sum(axis=0) + RIDGE * b[:n]
        return value + RIDGE / 2 * float((b[:n] ** 2).sum()), np.append(by_term, slope.sum(axis=0))

    start = np.append(np.zeros(n), np.full(len(FACTORS), 2.0))
    b = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    slopes = b[:n] / deviation
    made = []
    for f, one in enumerate(FACTORS):
        held = np.flatnonzero(factor == f)
        terms = tuple(replace(TERMS[i], weight=round(float(slopes[i]), 4)) for i in held)
        intercept = float(b[n + f] - (slopes[held] * mean[held]).sum())
        made.append(Factor(one.name, round(intercept, 4), terms))
    return Model(tuple(made))


def report(name: str, model: Model, pairs: list[Pair]) -> None:
    """Print precision, recall and F1 on look-alikes and the bench, and recall on edits, for values of min_score."""
    p = model.probability({t.column: [getattr(one.found, t.column) for one in pairs] for t in TERMS})
    p[[one.found.agreeing_share < MIN_AGREEING for one in pairs]] = 0.0
    is_copy, fair = (np.array([getattr(one, field) for one in pairs]) for field in ("is_copy", "is_fair"))
    origin = np.array([one.origin for one in pairs])
    for at in (0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99):
        told = []
        for one in ("look-alikes", "bench"):
            real, said = origin == one, p >= at
            right, wrong, lost = (int((m & real).sum()) for m in (said & is_copy, said & ~is_copy, ~said & is_copy))
            precision, recall = right / max(right + wrong, 1), right / max(right + lost, 1)
            f1 = 2 * precision * recall / max(precision + recall, 1e-9)
            told.append(f"{one} P {precision:.3f} R {recall:.3f} F1 {f1:.3f}")
        held = (origin == "edits") & fair
        print(f"{name} min_score {at:4}: {'; '.join(told)}; edits {(p[held] >= at).mean():.4f} of {int(held.sum())}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--lookalikes", required=True, metavar="WAREHOUSE")
    parser.add_argument("--bench", required=True, type=Path, metavar="WORK")
    parser.add_argument("--write", action="store_true", help="write lib/dupelake/assets/decision.json")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    pairs = [*lookalikes(args.data, args.lookalikes), *bench(args.bench), *edits(args.data)]
    for half in (0, 1):
        model = fit([p for p in pairs if p.half != half])
        report(f"half {half}", model, [p for p in pairs if p.half == half])
    model = fit(pairs)
    print(json.dumps(model.as_dict()))
    if args.write:
        path = Path(decision.__file__).parents[1] / "assets" / "decision.json"
        path.write_text(json.dumps(model.as_dict(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
