"""Core-milliseconds and bytes of local features and visual words per image, compared with OpenCV's plain SIFT.

    OMP_NUM_THREADS=1 python benchmarks/features.py --data ../shared/data [--repeat 3] [--limit N]

It uses one process and one thread and measures CPU time. All methods use the same thumbnails in memory; plain is
`cv2.SIFT.create(nfeatures=max_keypoints).detectAndCompute(thumbnail)`. The methods alternate picture by picture, and
the median of each picture counts. `dim` are the photographs of imagenet_sample at 15 % of their brightness.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is loaded

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import cv2
import numpy as np

from dupelake.config import Config
from dupelake.fingerprint.decode import Decoded, decode
from dupelake.fingerprint.fingerprint import make_thumbnail
from dupelake.words.keypoints import extract_features, pack_features
from dupelake.words.vocabulary import feature_version, load_vocabulary, make_words, pack_words

SETS = ("imagenet_sample", "clothing_small", "polyu", "pdq", "hydrus")
COLUMNS = (
    "set", "images", "keypoints", "words", "plain SIFT, ms", "features, ms", "words, ms", "packing, ms", "ratio",
    "bytes an image", "words column", "largest",
)  # fmt: skip


def milliseconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time_ns()
    result = work()
    return (time.process_time_ns() - start) / 1e6, result


def thumbnails(folder: Path, limit: int, cfg: Config) -> list[np.ndarray]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    greys = []
    for path in files[:: max(1, len(files) // limit)] if limit else files:
        decoded = decode(path.read_bytes(), cfg.decode)
        if isinstance(decoded, Decoded):
            greys.append(cv2.cvtColor(make_thumbnail(decoded.rgb, cfg.hash.thumbnail_side_px), cv2.COLOR_RGB2GRAY))
    return greys


def measure(greys: list[np.ndarray], cfg: Config, repeat: int) -> list[float]:
    """Means: keypoints, words, ms plain, features, words, packing, bytes, bytes of words; then the largest bytes."""
    vocabulary = load_vocabulary(cfg.features.vocabulary)
    rows = []
    for grey in greys:
        taken: list[list[float]] = [[], [], [], []]
        for _ in range(repeat):
            plain, _found = milliseconds(
                lambda g=grey: cv2.SIFT.create(nfeatures=cfg.features.max_keypoints).detectAndCompute(g, None)
            )
            finding, features = milliseconds(lambda g=grey: extract_features(g, cfg.features.max_keypoints))
            naming, words = milliseconds(lambda f=features: make_words(f, vocabulary, cfg.features.max_words))
            packing, packed = milliseconds(
                lambda f=features, w=words, g=grey: (*pack_features(f), pack_words(w, f, g.shape[1], g.shape[0]))
            )
            for held, one in zip(taken, (plain, finding, naming, packing), strict=True):
                held.append(one)
        rows.append([len(features), len(words), *map(statistics.median, taken), sum(map(len, packed)), len(packed[2])])
    means = np.mean(rows, axis=0).tolist()
    return [*means, max(row[6] for row in rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="about this many files of each set; 0 for all")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    cfg = Config()
    print(f"{feature_version(cfg)}, OpenCV {cv2.__version__}, numpy {np.__version__}\n")
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    sets = {name: thumbnails(args.data / name, args.limit, cfg) for name in SETS if (args.data / name).is_dir()}
    if "imagenet_sample" in sets:
        sets["dim"] = [np.rint(grey * 0.15).astype(np.uint8) for grey in sets["imagenet_sample"]]
    for name, greys in sets.items():
        kp, n_words, plain, finding, naming, packing, total, column, largest = measure(greys, cfg, args.repeat)
        ratio = (finding + naming + packing) / plain
        print(
            f"| {name} | {len(greys)} | {kp:.0f} | {n_words:.0f} | {plain:.1f} | {finding:.1f} | {naming:.1f} "
            f"| {packing:.2f} | {ratio:.2f} | {total:.0f} | {column:.0f} | {largest:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
