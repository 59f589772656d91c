"""Milliseconds of verification per pair on one core, by the result of the pair, and the share of each step.

    OMP_NUM_THREADS=1 python benchmarks/verify.py --data ../shared/data [--photographs 24] [--repeat 3]

It uses one process and one thread and measures CPU time; the fastest repetition of each pair counts. Thumbnails and
keypoints are prepared before. Cached values of a picture (grey, content box) are computed again for each pair. Direct:
whole pictures are aligned with each other. Keypoints: pairs are aligned by keypoints. Rejected: photographs of other
sources that share the most matches, as a join would propose them.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is loaded

import argparse
import functools
import io
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageOps

from dupelake.fingerprint.fingerprint import encode_thumbnail, make_thumbnail, to_grey
from dupelake.verify import changes
from dupelake.verify import pair as verify
from dupelake.verify.matching import descriptor_distances, match
from dupelake.verify.pair import verify_pair
from dupelake.verify.picture import Picture
from dupelake.words.keypoints import extract_features

STEPS = (
    "_direct_transforms",
    "find_consensus",
    "find_support",
    "fit_homography",
    "lay",
    "refine_transform",
    "_straightened",
    "_shares",
    "agreement",
    "difference",
    "warp",
)
Pair = tuple[Picture, Picture]


def picture(image: Image.Image) -> Picture:
    data = encode_thumbnail(make_thumbnail(np.asarray(image.convert("RGB")), 320), 92)
    rgb = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return Picture(rgb, extract_features(np.asarray(to_grey(rgb)), 400))


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        out = ImageOps.exif_transpose(image).convert("RGB")
    out.thumbnail((800, 800), Image.Resampling.LANCZOS)
    return out


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def sticker(image: Image.Image) -> Image.Image:
    out = image.copy()
    w, h = out.size
    ImageDraw.Draw(out).ellipse([w * 0.3, h * 0.3, w * 0.6, h * 0.6], fill=(250, 210, 30), outline=(0, 0, 0), width=5)
    return out


def cropped(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((int(w * 0.15), int(h * 0.1), int(w * 0.9), int(h * 0.85)))


EDITS: dict[str, list[Callable[[Image.Image], Image.Image]]] = {
    "direct": [
        lambda i: jpeg(i, 50),
        lambda i: i.resize((i.width // 2, i.height // 2)),
        ImageOps.mirror,
        lambda i: i.transpose(Image.Transpose.ROTATE_90),
    ],
    "direct, edited": [sticker],
    "keypoints": [cropped, lambda i: i.rotate(12, Image.Resampling.BICUBIC, expand=True)],
    "keypoints, mirrored": [lambda i: ImageOps.mirror(cropped(i))],
}


def rejected(pictures: list[Picture], n: int) -> list[Pair]:
    """The pairs of distinct photographs that share the most matches."""
    held = [p.features for p in pictures]
    counts = [
        (-len(match(descriptor_distances(held[i], held[j]))[0]), i, j)
        for i in range(len(held))
        for j in range(i + 1, len(held))
    ]
    return [(pictures[i], pictures[j]) for _, i, j in sorted(counts)[:n]]


def milliseconds(pair: Pair, repeat: int) -> float:
    """Seconds of the fastest run; each run uses new pictures without cached values."""
    times = []
    for _ in range(repeat):
        first, second = (Picture(p.rgb, p.features) for p in pair)
        start = time.process_time_ns()
        verify_pair(first, second, 1)
        times.append((time.process_time_ns() - start) / 1e6)
    return min(times)


def step_shares(pairs: list[Pair]) -> dict[str, float]:
    """Share of the time of each step, without the steps inside it."""
    spent: dict[str, float] = defaultdict(float)
    inside: list[float] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any) -> Any:
            inside.append(0.0)
            start = time.process_time_ns()
            try:
                return function(*args)
            finally:
                taken = (time.process_time_ns() - start) / 1e6
                spent[name] += taken - inside.pop()
                if inside:
                    inside[-1] += taken

        return run

    places = [(module, name) for name in STEPS for module in (verify, changes) if hasattr(module, name)]
    originals = [(module, name, getattr(module, name)) for module, name in places]
    try:
        for module, name, function in originals:
            setattr(module, name, timed(name, function))
        start = time.process_time_ns()
        for first, second in pairs:
            verify_pair(Picture(first.rgb, first.features), Picture(second.rgb, second.features), 1)
        total = (time.process_time_ns() - start) / 1e6
    finally:
        for module, name, function in originals:
            setattr(module, name, function)
    shares = {name: spent[name] / total for name in STEPS}
    return shares | {"rest": 1.0 - sum(shares.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photographs", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    paths = sorted((args.data / "imagenet_sample").glob("*.JPEG"))
    paths = paths[:: max(1, len(paths) // args.photographs)][: args.photographs]
    images = [opened(p) for p in paths]
    originals = [picture(i) for i in images]
    kinds: dict[str, list[Pair]] = {
        kind: [(o, picture(edit(i))) for i, o in zip(images, originals, strict=True) for edit in edits]
        for kind, edits in EDITS.items()
    }
    kinds["rejected"] = rejected(originals, 2 * len(originals))
    print(f"{'pairs':22s} {'n':>4s} {'mean':>6s} {'median':>6s} {'p95':>6s} ms")
    for kind, pairs in kinds.items():
        times = np.array([milliseconds(pair, args.repeat) for pair in pairs])
        print(f"{kind:22s} {len(times):4d} {times.mean():6.1f} {np.median(times):6.1f} {np.quantile(times, 0.95):6.1f}")
    for kind, pairs in kinds.items():
        shares = sorted(step_shares(pairs).items(), key=lambda item: -item[1])
        print(f"{kind}: " + ", ".join(f"{name.strip('_')} {share:.0%}" for name, share in shares if share >= 0.01))


if __name__ == "__main__":
    main()
