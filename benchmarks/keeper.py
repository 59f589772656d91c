"""Which picture the product keeps, of an original and one edited copy, and of an original and five edited copies.

    OMP_NUM_THREADS=1 python benchmarks/keeper.py --data ../shared/data [--half 0|1|7] [--originals 48] [--sixes 6]

It does not use Spark. Files are made in memory and fingerprinted as in the hash stage, every pair is aligned as in the
align stage, and `group/keeping.py` decides. Without `--half` the weights are fitted on each half and reported on the
other; with `--write` they are then fitted on both halves and written to the shipped file. The terms and their limits
were chosen on both halves; the weights were not. `--half 7` is a third set, of product photographs, airliners,
paintings, banknotes and drawings, on which nothing was chosen. Originals are photographs of imagenet_sample, polyu
(the clean shot) and lookalikes, unchanged, or reduced and saved as PNG or as JPEG of quality 60 to 92.
Copies are edits of `edits/registry.py` and others, saved as PNG, JPEG or WebP in turn. A copy counts as equal to its
original if no measure is worse, as after a lossless resave. `level`: no rule decides, so the configured order does.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is loaded

import argparse
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from zlib import crc32

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / "lib"), str(_ROOT)]

import cv2
import numpy as np
from benchmarks.edits.registry import EDITS
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from scipy.optimize import minimize

from dupelake.config import ClusterConfig, DecodeConfig, HashConfig
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.group import keeping
from dupelake.group.keeper_order import order_of
from dupelake.group.stars import agreement_of
from dupelake.group.traces import fits_of, levels_of
from dupelake.ingest.failure import Failure
from dupelake.recall import edits as planted
from dupelake.verify.pair import Alignment, pair_seed, verify_pair
from dupelake.verify.picture import Picture, stored_picture
from dupelake.words.keypoints import unpack_features

RGB = NDArray[np.uint8]
Change = Callable[[RGB, float, np.random.Generator], planted.Shown]

MODES = ("as it is", "as it is", "PNG", "as it is", "JPEG 75", "as it is", "JPEG 92", "JPEG 60")
SAVED = ("PNG", "JPEG 90", "JPEG 95", "WEBP 90", "JPEG 80")
RESAVED = ("PNG", "JPEG 95", "JPEG 85", "JPEG 75", "JPEG 50", "JPEG 30", "WEBP 95", "WEBP 80", "WEBP 50")
AS_PNG = ("WEBP 95", "WEBP 80", "WEBP 60", "WEBP 40", "WEBP 10", "JPEG 90", "JPEG 75", "JPEG 50")  # then saved as PNG
EQUAL = ("resave PNG",)
RIDGE = 3.0
# Of these the larger value is the worse. A weight of the other sign would give reasons that are not true.
WORSE = ("unusual_sharpness", "comb", "blockiness", "web")
THIRD = 7  # the set on which nothing was chosen: (folder, pattern, originals of 48)
THIRD_FOLDERS = (
    ("clothing_small", "**/*.jpg", 16),
    ("lookalikes/airplanes", "*", 8),
    ("lookalikes/art_painting_giraffe", "*", 6),
    ("lookalikes/art_painting_horse", "*", 6),
    ("lookalikes/dollar_bill", "*", 6),
    ("lookalikes/cartoon_elephant", "*", 3),
    ("lookalikes/cartoon_house", "*", 3),
)
TAKEN = (
    *("resize 2", "resize 1.5", "resize 0.75", "resize 0.5", "squash 0.9", "squash 0.75", "crop 0.8", "crop 0.5"),
    *("mirror 1", "quarter_turn 90", "rotate_cropped 5", "rotate_filled 5", "border_white 0.05", "border_black 0.05"),
    *("letterbox 0.15", "caption_bar 0.1", "caption_over 0.1", "caption_over 0.2", "meme_text 0.08", "sticker 0.02"),
    *("sticker 0.05", "sticker 0.1", "watermark_corner 0.7", "watermark_tiled 0.3", "blur 0.2", "blur 0.5"),
    *("sharpen 100", "sharpen 300", "noise 6", "noise 15", "noise 30", "salt_pepper 0.01", "gamma 0.7", "gamma 1.4"),
    *("brightness 0.8", "brightness 1.25", "contrast 0.75", "contrast 1.3", "grey 1", "sepia 1", "colour_cast 0.15"),
    *("hue 30", "hue 90", "saturation 0.4", "saturation 2", "posterise 4", "posterise 3"),
)


@dataclass(frozen=True)
class File:
    """One file: its name, its fingerprint, and the picture to align."""

    name: str
    mark: Fingerprint
    picture: Picture

    @property
    def rank(self) -> tuple[float, ...]:
        """The configured order of `keepers_stage.rank_of`; but the id, the last criterion, ranks originals last."""
        mark, order = self.mark, ClusterConfig().format_order
        pixels = mark.width_px * mark.height_px
        place = order.index(mark.format) if mark.format in order else len(order)
        rich = mark.has_exif + mark.has_icc + (mark.bit_depth > 8)
        return (-rich, -round(pixels * mark.detail**2), -mark.byte_size / pixels, place, self.name == "original")


def saved(rgb: RGB, how: str) -> bytes:
    kind, _, quality = how.partition(" ")
    options = {"quality": int(quality)} if quality else {"compress_level": 1}
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind, **options)
    return buffer.getvalue()


def opened(data: bytes) -> RGB:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def originals(data: Path, half: int, n: int) -> list[bytes]:
    """Every second photograph, evenly over the sets, or the third set; reduced ones show no trace of their JPEG."""
    found = []
    folders = [("imagenet_sample", "*", n // 2), ("polyu/CroppedImages", "*_mean.JPG", n // 8)]
    folders += [(f"lookalikes/{name}", "*", n // 8) for name in ("Faces", "Motorbikes", "stop_sign")]
    if half == THIRD:
        folders = [(folder, pattern, n * share // 48) for folder, pattern, share in THIRD_FOLDERS]
    for folder, pattern, count in folders:
        paths = sorted(path for path in (data / folder).glob(pattern) if path.is_file())
        paths = paths if half == THIRD else paths[half::2]
        found += [paths[i * len(paths) // count] for i in range(count)]
    out = []
    for i, path in enumerate(found):
        content, mode = path.read_bytes(), MODES[i % len(MODES)]
        if mode != "as it is":
            rgb = opened(content)
            content = saved(planted.scaled(rgb, round(rgb.shape[1] * 0.6), round(rgb.shape[0] * 0.6)), mode)
        out.append(content)
    return out


def _logo(rgb: RGB, share: float, rng: np.random.Generator) -> planted.Shown:
    height, width = rgb.shape[:2]
    radius, out = round(min(height, width) * share / 2), rgb.copy()
    for part, colour in ((1.0, (230, 40, 40)), (0.6, (255, 255, 255))):
        cv2.circle(out, (width - radius - 8, height - radius - 8), max(1, round(radius * part)), colour, -1)
    return planted.whole(out)


def _text(rgb: RGB, share: float, rng: np.random.Generator) -> planted.Shown:
    height, width = rgb.shape[:2]
    image = Image.fromarray(rgb)
    ImageDraw.Draw(image).text(
        (width * 0.1, height * rng.uniform(0.1, 0.8)),
        planted.words(rng, 3),
        fill=(255, 255, 255),
        font=planted.font(height * share),
        stroke_width=max(1, round(height * share * 0.06)),
        stroke_fill=(0, 0, 0),
    )
    return planted.whole(np.array(image))


def _edges(rgb: RGB, share: float, rng: np.random.Generator) -> planted.Shown:
    """Crop one to four sides by `share` of the side's length."""
    height, width = rgb.shape[:2]
    cut = rng.integers(0, 2, 4)
    cut = cut if cut.any() else np.ones(4, int)
    left, top, right, bottom = (
        round(float(on) * share * side) for on, side in zip(cut, (width, height) * 2, strict=True)
    )
    return planted.whole(rgb[top : height - bottom, left : width - right])


def _equalise(rgb: RGB, strength: float, rng: np.random.Generator) -> planted.Shown:
    return planted.whole(np.asarray(ImageOps.equalize(Image.fromarray(rgb))))


def _stretch(rgb: RGB, percent: float, rng: np.random.Generator) -> planted.Shown:
    return planted.whole(np.asarray(ImageOps.autocontrast(Image.fromarray(rgb), cutoff=percent)))


MORE: tuple[tuple[str, float, Change], ...] = (
    *(("edges", share, _edges) for share in (0.01, 0.02, 0.03, 0.05, 0.1)),
    *(("logo", share, _logo) for share in (0.12, 0.25)),
    *(("text", share, _text) for share in (0.06, 0.12)),
    ("equalise", 1.0, _equalise),
    ("stretch", 1.0, _stretch),
)


def copies(rgb: RGB, seed: int) -> list[tuple[str, bytes]]:
    """(name, bytes) of every copy; the format of each edit changes from original to original."""
    out = [(f"resave {how}", saved(rgb, how)) for how in RESAVED]
    jobs = [(name, EDITS[name.split()[0]].change, float(name.split()[1])) for name in TAKEN]
    jobs += [(f"{name} {strength:g}", change, strength) for name, strength, change in MORE]
    for i, (name, change, strength) in enumerate(jobs):
        rng = np.random.default_rng([seed, crc32(name.encode())])
        out.append((name, saved(change(rgb, strength, rng).rgb, SAVED[(i + seed) % len(SAVED)])))
    return out + [(f"resave {how} > PNG", saved(opened(saved(rgb, how)), "PNG")) for how in AS_PNG]


def read(name: str, data: bytes) -> File:
    mark = fingerprint_image(data, DecodeConfig(), HashConfig())
    if isinstance(mark, Failure):
        raise SystemExit(f"{name}: {mark.message}")
    picture = stored_picture(mark.thumbnail_bytes, unpack_features(mark.keypoints, mark.descriptors))
    return File(name, mark, picture)


def aligned(a: File, b: File) -> Alignment | None:
    return verify_pair(a.picture, b.picture, pair_seed(a.mark.content_id, b.mark.content_id))


def side(files: Sequence[File], found: Sequence[Alignment | None], end: str) -> keeping.Side:
    """The sides that `keepers_stage` makes from hashes and pairs."""
    rows = []
    for one, pair in zip(files, found, strict=True):
        mark = one.mark
        shown = {"overlap": 1.0, "beyond": 0.0, "frame": 0.0, "added": 0.0}
        own = {name: getattr(mark, name, None) for name in keeping.OWN}
        own |= {"area": mark.width_px * mark.height_px, "richness": mark.has_exif + mark.has_icc + (mark.bit_depth > 8)}
        if pair is not None:
            shown = {name: getattr(pair, f"{end}_{name}") for name in keeping.OF_PAIR}
        rows.append([np.nan if v is None else float(v) for v in (shown | own).values()])
    fits = fits_of([one.mark.quantiser_fits for one in files])
    levels = levels_of([one.mark.spectrum for one in files])
    return keeping.Side(*np.array(rows, np.float64).T, fits=fits, levels=levels)


def ends_of(
    pairs: Sequence[tuple[File, File]], found: Sequence[Alignment | None]
) -> tuple[keeping.Side, keeping.Side, NDArray[np.float64]]:
    """Both ends of each pair, and the scale."""
    scales = []
    for (a, b), pair in zip(pairs, found, strict=True):
        rate = (b.mark.width_px / b.mark.thumbnail_width_px) / (a.mark.width_px / a.mark.thumbnail_width_px)
        by_area = ((b.mark.width_px * b.mark.height_px) / (a.mark.width_px * a.mark.height_px)) ** 0.5
        scales.append(by_area if pair is None else pair.scale * rate)
    return side([a for a, _ in pairs], found, "src"), side([b for _, b in pairs], found, "dst"), np.array(scales)


def agreements(found: Sequence[Alignment | None]) -> NDArray[np.int64]:
    """How far the two pictures of each pair agree, as in `keepers_stage`."""
    names = ("aligned_ncc", "agreeing_share", "largest_local_difference", "colour_difference")
    measures = [[np.nan if pair is None else getattr(pair, name) for name in names] for pair in found]
    turned = [pair is not None and (pair.is_mirrored or abs(pair.rotation_degrees) > 1) for pair in found]
    return np.where(turned, 0, agreement_of(*np.array(measures, np.float64).T))


def judged(
    pairs: Sequence[tuple[File, File]], found: Sequence[Alignment | None]
) -> tuple[keeping.Judgement, NDArray[np.int64]]:
    """The better end of each pair, and how far the two agree."""
    agreement = agreements(found)
    return keeping.better_side(*ends_of(pairs, found), agreement), agreement


RULES = {
    code: name.lower()
    for name, code in vars(keeping).items()
    if name.isupper() and name[0] != "_" and isinstance(code, int)
}


def kept_of_six(files: Sequence[File], found: Sequence[Alignment | None]) -> str:
    """The kept one of several files that are sorted by rank; all pairs of them are compared."""
    ends = list(combinations(range(len(files)), 2))
    judgement, agreement = judged([(files[i], files[j]) for i, j in ends], found)
    a, b = np.array(ends, np.int64).T
    use = np.array([pair is not None for pair in found])
    chosen = np.zeros(len(files), np.bool_)
    order = order_of(a[use], b[use], judgement.margin[use], judgement.rule[use], agreement[use], chosen, len(files))
    return files[int(order.vertices[0])].name


@dataclass(frozen=True)
class Case:
    """An original, its copies, their alignments, and draws of five copies with the kept file of each."""

    first: File
    files: list[File]
    found: list[Alignment | None]
    draws: list[tuple[list[File], list[Alignment | None]]]


def cases(data: Path, half: int, n_originals: int, n_draws: int) -> Iterator[Case]:
    for i, content in enumerate(originals(data, half, n_originals)):
        first = read("original", content)
        files = [read(name, copy) for name, copy in copies(opened(content), i)]
        known = {one.name: aligned(first, one) for one in files}
        rng = np.random.default_rng([half, i])
        draws = []
        for _ in range(n_draws):
            six = sorted(
                [first, *(files[k] for k in rng.choice(len(files), 5, replace=False))], key=lambda one: one.rank
            )
            draws.append((six, [known[b.name] if a is first else aligned(a, b) for a, b in combinations(six, 2)]))
        yield Case(first, files, list(known.values()), draws)
        print(f"half {half}: {i + 1} originals", file=sys.stderr, flush=True)


def terms(case: Case) -> NDArray[np.float64]:
    """Terms, float64 (n, terms), of the copies that the model decides, without lossless resaves."""
    src, dst, scale = ends_of([(case.first, one) for one in case.files], case.found)
    is_open = keeping.by_content_and_size(src, dst, scale)[0] == 0
    is_open &= [one.name not in EQUAL for one in case.files]
    return keeping.terms_of(src, dst, scale, agreements(case.found))[is_open]


def fitted(values: NDArray[np.float64]) -> dict[str, float]:
    """Weights for which originals are kept: logistic regression without a constant, with ridge on unit scales.

    Each weight has the sign of what its term stands for.
    """
    unit = values.std(axis=0) + 1e-6
    scaled = values / unit

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = np.clip(scaled @ weights, -30, 30)
        slope = 2 * RIDGE * weights - scaled.T @ (1 / (1 + np.exp(logit)))
        return float(np.log1p(np.exp(-logit)).sum() + RIDGE * weights @ weights), slope

    bounds = [(None, 0) if term.name in WORSE else (0, None) for term in keeping.TERMS]
    weights = minimize(loss, np.zeros(values.shape[1]), jac=True, bounds=bounds).x / unit
    return {term.name: round(float(weight), 4) for term, weight in zip(keeping.TERMS, weights, strict=True)}


def score(held: Sequence[Case], title: str, show: bool) -> None:
    """Judge all pairs and sixes, and print the tables."""
    won: dict[str, Counter[str]] = defaultdict(Counter)
    sixes = Counter[bool]()
    for i, case in enumerate(held):
        found, _ = judged([(case.first, one) for one in case.files], case.found)
        for one, sign, code in zip(case.files, found.better.tolist(), found.rule.tolist(), strict=True):
            level = one.name in EQUAL or (sign == 0 and case.first.rank < one.rank)
            outcome = "original" if sign > 0 else "equal" if level else "level" if sign == 0 else "copy"
            won[one.name][outcome] += 1
            if show and outcome in ("copy", "level"):
                how = f"{one.mark.format} {one.mark.jpeg_quality or ''}"
                print(f"{i}: {one.name} as {how} by {RULES[code]}", file=sys.stderr, flush=True)
        for six, found in case.draws:
            sixes[kept_of_six(six, found) in ("original", *EQUAL)] += 1
    print(f"{title}\n")
    tell(won, sixes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--half", type=int, choices=(0, 1, THIRD), help="score this set by the shipped weights")
    parser.add_argument("--originals", type=int, default=48, help="number of originals of each half")
    parser.add_argument("--sixes", type=int, default=6, help="draws of five copies for each original")
    parser.add_argument("--show", action="store_true", help="print the kept copies")
    parser.add_argument("--write", action="store_true", help="fit on both halves and write the weights")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    halves = (0, 1) if args.half is None else (args.half,)
    held = {half: list(cases(args.data, half, args.originals, args.sixes)) for half in halves}
    if args.half is not None:
        score(held[args.half], f"set {args.half}, by the weights that are shipped", args.show)
        return 0
    values = {half: np.concatenate([terms(case) for case in held[half]]) for half in halves}
    shipped = keeping.keeper_weights
    for half in halves:
        weights = fitted(values[1 - half])
        keeping.keeper_weights = lambda weights=weights: weights  # type: ignore[assignment]
        score(held[half], f"half {half}, by weights fitted on the other", args.show)
    keeping.keeper_weights = shipped
    if args.write:
        text = json.dumps(fitted(np.concatenate([values[half] for half in halves])), indent=1)
        (Path(keeping.__file__).parents[1] / "assets" / "keeper.json").write_text(text + "\n", encoding="utf-8")
    return 0


def tell(won: dict[str, Counter[str]], sixes: Counter[bool]) -> None:
    """Print the tables."""
    total: Counter[str] = sum(won.values(), Counter())
    right = (total["original"] + total["equal"]) / total.total()
    print(f"pairs: {total.total()}, the original or an equal one kept in {right:.1%} ({dict(total)})")
    print(f"sixes: {sixes.total()}, the original or an equal one kept in {sixes[True] / max(1, sixes.total()):.1%}\n")
    print("| copy | original kept | equal | level | copy kept |\n|---|---|---|---|---|")
    for name, count in won.items():
        print(f"| {name} | {count['original']} | {count['equal']} | {count['level']} | {count['copy']} |")


if __name__ == "__main__":
    sys.exit(main())
