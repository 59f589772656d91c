"""Core-seconds of fingerprinting without local features, compared with decoding the same files.

    OMP_NUM_THREADS=1 python benchmarks/hash_stage.py --data ../shared/data [--repeat 3] [--limit N]

It uses one process and one thread. Plain is `Image.open(bytes).convert("RGB").load()`; fastest is the faster of plain
and OpenCV's `imdecode`, for each file. Files that Pillow does not decode are left out. All methods are measured one
after the other for each file, in CPU time of the process. The median of the repetitions counts, and the ratio of a set
is a ratio of sums. Features and words have their own benchmark (features.py).
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is loaded

import argparse
import io
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import cv2
import numpy as np
from PIL import Image

from dupelake.config import Config
from dupelake.fingerprint import fingerprint, hashing
from dupelake.fingerprint.decode import Decoded, decode
from dupelake.fingerprint.detail import measure_spectrum
from dupelake.fingerprint.digest import pixel_digest
from dupelake.fingerprint.fingerprint import content_id, encode_thumbnail, fingerprint_image, make_thumbnail, to_grey

_FEATURES = ("n_keypoints", "keypoints", "descriptors", "words", "features_error")
PARTS = (
    "open, decode, digest",
    "of which digest",
    "sha256",
    "grey",
    "pHash x 2",
    "PDQ x 2",
    "thumbnail",
    "its JPEG",
    "detail",
)


def plain(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").load()


def by_opencv(data: bytes) -> bool:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) is not None
    except cv2.error:
        return False


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time_ns()
    result = work()
    return (time.process_time_ns() - start) / 1e9, result


def components(data: bytes, cfg: Config) -> list[float]:
    """Seconds of each of PARTS for one file; zeros when it does not decode."""
    taken, decoded = seconds(lambda: decode(data, cfg.decode))
    if not isinstance(decoded, Decoded):
        return [0.0] * len(PARTS)
    digest, _ = seconds(lambda: pixel_digest(decoded.rgb))
    sha, _ = seconds(lambda: content_id(data))
    grey, image = seconds(lambda: to_grey(decoded.rgb))
    phash, _ = seconds(lambda: hashing.phash_pair(image))
    pdq, _ = seconds(lambda: hashing.pdq(decoded.rgb))
    thumb, small = seconds(lambda: make_thumbnail(decoded.rgb, cfg.hash.thumbnail_side_px))
    jpeg, _ = seconds(lambda: encode_thumbnail(small, cfg.hash.thumbnail_quality))
    detail, _ = seconds(lambda: measure_spectrum(np.asarray(image)))
    return [taken, digest, sha, grey, phash, pdq, thumb, jpeg, detail]


def files_by_set(root: Path, limit: int) -> dict[str, list[Path]]:
    sets = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name not in ("truth", "weights")):
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        sets[folder.name] = files[:: max(1, len(files) // limit)] if limit else files
    return sets


def measure(files: list[Path], cfg: Config, repeat: int) -> tuple[int, float, float, float, list[float]]:
    """(images, plain, fastest, hash, parts): seconds, each the sum over files of the median repetition."""
    count, base, best, ours, parts = 0, 0.0, 0.0, 0.0, [0.0] * len(PARTS)
    for path in files:
        data = path.read_bytes()
        try:
            plain(data)  # also warms caches and loads the plugin
        except Exception:  # noqa: S112 - what Pillow does not decode is not compared
            continue
        plains, others, hashes = [], [], []
        for _ in range(repeat):
            plains.append(seconds(lambda d=data: plain(d))[0])
            taken, decodes = seconds(lambda d=data: by_opencv(d))
            others.append(taken if decodes else plains[-1])
            hashes.append(seconds(lambda d=data: fingerprint_image(d, cfg.decode, cfg.hash))[0])
        count += 1
        base += statistics.median(plains)
        best += min(statistics.median(plains), statistics.median(others))
        ours += statistics.median(hashes)
        parts = [a + b for a, b in zip(parts, components(data, cfg), strict=True)]
    return count, base, best, ours, parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="about this many files of each set; 0 for all")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    # what is measured here is all but these
    fingerprint._features_of = lambda *_: dict.fromkeys(_FEATURES)  # type: ignore[assignment]
    cfg, total, totals = Config(), 0, [0.0, 0.0, 0.0]
    all_parts = [0.0] * len(PARTS)
    print("| set | images | plain, ms an image | fastest | hash stage | over plain | over fastest |")
    print("|---|---|---|---|---|---|---|")
    for name, files in files_by_set(args.data, args.limit).items():
        count, *taken, parts = measure(files, cfg, args.repeat)
        if not count:
            continue
        print(line(name, count, taken), flush=True)
        total += count
        totals = [a + b for a, b in zip(totals, taken, strict=True)]
        all_parts = [a + b for a, b in zip(all_parts, parts, strict=True)]
    print(line("**all**", total, totals))
    print("\n| part (one repetition) | ms an image | over plain decode |\n|---|---|---|")
    for part, spent in zip(PARTS, all_parts, strict=True):
        print(f"| {part} | {1e3 * spent / total:.3f} | {spent / totals[0]:.2f} |")


def line(name: str, count: int, taken: list[float]) -> str:
    plain_s, fastest_s, ours_s = taken
    each = " | ".join(f"{1e3 * seconds / count:.2f}" for seconds in taken)
    return f"| {name} | {count} | {each} | {ours_s / plain_s:.2f} | {ours_s / fastest_s:.2f} |"


if __name__ == "__main__":
    main()
