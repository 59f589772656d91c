"""Fits the model that tells an enlarged picture from one that was made smaller (`group/traces.py`).

    OMP_NUM_THREADS=1 python benchmarks/enlarged.py --data ../shared/data [--write]

Photographs of imagenet_sample, polyu and lookalikes are enlarged and made smaller by several filters and factors and
saved in several formats. A quarter of the originals was itself enlarged, a quarter reduced and saved in other ways.
Reported by five-fold cross-validation, a photograph in one fold; with `--write` the weights of all are written.
Pixels that were repeated or left out (nearest) are no part of it: see `fingerprint/detail.py`.
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
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy.optimize import minimize

from dupelake.fingerprint.detail import measure_spectrum
from dupelake.fingerprint.fingerprint import to_grey
from dupelake.group import traces

RGB = NDArray[np.uint8]

SETS = (("imagenet_sample", "*", 3), ("polyu/CroppedImages", "*_mean.JPG", 12), ("lookalikes/Faces", "*", 14))
SETS += (("lookalikes/Motorbikes", "*", 14), ("lookalikes/stop_sign", "*", 8))
FACTORS = (1.08, 1.25, 1.5, 2.0, 3.0)
SAVED = ("PNG", "JPEG 95", "JPEG 90", "JPEG 80", "JPEG 60", "WEBP 80")
UP = ("BILINEAR", "BICUBIC", "LANCZOS", "cubic", "sharpened")
DOWN = ("BILINEAR", "BICUBIC", "LANCZOS", "area", "linear", "sharpened")
OPENCV = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
FOLDS, RIDGE = 5, 1.0


class Sample(NamedTuple):
    """One pair: spectra, the scale, whether the larger was made from the smaller, and what it is."""

    small: bytes | None
    large: bytes | None
    scale: float
    is_enlarged: bool
    photo: int
    kind: str
    filter: str


def resized(rgb: RGB, factor: float, how: str) -> RGB:
    size = tuple(max(40, round(side * factor)) for side in (rgb.shape[1], rgb.shape[0]))
    if how in OPENCV:
        return np.asarray(cv2.resize(rgb, size, interpolation=OPENCV[how]), np.uint8)
    image = Image.fromarray(rgb).resize(size, Image.Resampling["LANCZOS" if how == "sharpened" else how])
    return np.asarray(image.filter(ImageFilter.UnsharpMask(0.8, 80, 0)) if how == "sharpened" else image)


def encoded(rgb: RGB, how: str) -> RGB:
    kind, _, quality = how.partition(" ")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind, **({"quality": int(quality)} if quality else {"compress_level": 1}))
    return np.asarray(Image.open(buffer).convert("RGB"))


def spectrum(rgb: RGB) -> bytes | None:
    return measure_spectrum(np.asarray(to_grey(rgb)))[1]


def samples(data: Path) -> list[Sample]:
    """The pairs: of each photograph one enlarged and one smaller copy for each factor."""
    found = []
    paths = [path for folder, pattern, step in SETS for path in sorted((data / folder).glob(pattern))[::step]]
    for i, path in enumerate(paths):
        rng = np.random.default_rng([18, i])
        rgb = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        kind = ("as it is", "reduced", "enlarged", "as it is")[i % 4]
        if kind == "reduced":
            rgb = encoded(resized(rgb, 0.6, "area"), SAVED[rng.integers(6)])
        elif kind == "enlarged":
            rgb = encoded(
                resized(resized(rgb, 0.7, "area"), rng.uniform(1.2, 2), UP[rng.integers(4)]), SAVED[rng.integers(5)]
            )
        if min(rgb.shape[:2]) < 64:
            continue
        own = spectrum(rgb)
        for factor in FACTORS:
            for is_up, filters in ((True, UP), (False, DOWN)):
                how = filters[rng.integers(len(filters))]
                other = spectrum(encoded(resized(rgb, factor if is_up else 1 / factor, how), SAVED[rng.integers(6)]))
                ends = (own, other) if is_up else (other, own)
                found.append(Sample(*ends, factor, is_up, i, kind, how))
    return found


def fitted(terms: NDArray[np.float64], is_enlarged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights by logistic regression with ridge on unit scales, without ridge on the constant."""
    unit = terms.std(axis=0)
    unit[-1] = 1.0
    scaled, sign = terms / unit, np.where(is_enlarged, 1.0, -1.0)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = np.clip(sign * (scaled @ weights), -30, 30)
        slope = -scaled.T @ (sign / (1 + np.exp(margin)))
        slope[:-1] += 2 * RIDGE * weights[:-1]
        return float(np.log1p(np.exp(-margin)).sum() + RIDGE * weights[:-1] @ weights[:-1]), slope

    return np.asarray(minimize(loss, np.zeros(terms.shape[1]), jac=True).x / unit)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--write", action="store_true", help="write the weights to the shipped file")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    held = samples(args.data)
    small, large = (traces.levels_of([getattr(one, end) for one in held]) for end in ("small", "large"))
    scale = np.array([one.scale for one in held])
    terms = traces.enlarged_terms(traces.enlarged_measures(small, large, scale))
    truth, fold = np.array([one.is_enlarged for one in held]), np.array([one.photo % FOLDS for one in held])
    logit = np.zeros(len(held))
    for k in range(FOLDS):
        logit[fold == k] = terms[fold == k] @ fitted(terms[fold != k], truth[fold != k])
    print(f"{len(held)} pairs\n\n| logit above | enlarged found | others called enlarged |\n|---|---|---|")
    for limit in (0.0, 0.5, 1.0, 1.5, 2.0):
        print(f"| {limit} | {(logit[truth] > limit).mean():.3f} | {(logit[~truth] > limit).mean():.3f} |")
    print("\n| pairs | enlarged found at 1 | others called enlarged at 1 |\n|---|---|---|")
    for name in ("kind", "filter", "scale"):
        for value in sorted({getattr(one, name) for one in held}):
            here = np.array([getattr(one, name) == value for one in held])
            shares = [
                f"{(logit[here & side] > 1).mean():.3f}" if (here & side).any() else "" for side in (truth, ~truth)
            ]
            print(f"| {name} {value} | {' | '.join(shares)} |")
    if args.write:
        text = json.dumps({"weights": [round(float(value), 5) for value in fitted(terms, truth)]}, indent=1)
        (Path(traces.__file__).parents[1] / "assets" / "enlarged.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
