"""Methods to propose pairs of embeddings, at equal recall: planes through origin or centre, whitening, and pivots.

    .venv/bin/python -m benchmarks.embedding_lsh --warehouse DIR

DIR is a warehouse of some thousand edited photographs with a model (benchmarks.nights.run real --model default). True
pairs are its duplicates with a cosine of lsh.embedding_min_cosine or more; unrelated pairs are drawn at random. Means,
axes and pivots are learned from one half of the pictures. For planes, the probability that a pair shares a band follows
from its angle (Charikar 2002), so each method gets the cheapest bands and probes with lsh.embedding_recall of the true
pairs; pivots are counted. The cost of an image among a million consists of its keys and of the unrelated images it is
compared with, at the rates of propose/forecast.py; the cost of the code or of finding pivots is given separately.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import deltalake
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binom

from dupelake.config import LshConfig

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_CORPUS = 1_000_000
_KEY_US, _MEETING_US = 0.5, 0.02  # core-microseconds
_PRODUCT_US = 1 / 10_000  # of a multiplication and addition on a core, of large matrices
_STRANGERS = 2_000_000
_MAX_SPILL = 16


@dataclass(frozen=True)
class Pairs:
    """Rows of both ends of true pairs, and of unrelated pairs."""

    true: tuple[Ints, Ints]
    strange: tuple[Ints, Ints]


def read(warehouse: Path, cfg: LshConfig) -> tuple[Floats, Pairs]:
    def table(name: str, columns: list[str]) -> pd.DataFrame:
        return deltalake.DeltaTable(str(warehouse / name)).to_pyarrow_table(columns=columns).to_pandas()

    held = table("embeddings", ["content_id", "embedding"]).dropna().sort_values("content_id", ignore_index=True)
    vectors = np.stack([np.frombuffer(value, "<f2").astype(np.float32) for value in held["embedding"]])
    row = {content: at for at, content in enumerate(held["content_id"])}
    pairs = table("pairs", ["src_id", "dst_id", "cosine_similarity", "is_duplicate"])
    pairs = pairs[pairs["is_duplicate"] & (pairs["cosine_similarity"] >= cfg.embedding_min_cosine)]
    true = tuple(pairs[side].map(row).to_numpy(np.int64) for side in ("src_id", "dst_id"))
    a, b = np.random.default_rng(0).integers(0, len(vectors), (2, _STRANGERS))
    return vectors, Pairs((true[0], true[1]), (a[a != b], b[a != b]))


def unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def angles(vectors: Floats, ends: tuple[Ints, Ints]) -> npt.NDArray[np.float64]:
    """Angles as fractions of pi."""
    found = np.empty(len(ends[0]))
    for start in range(0, len(found), 100_000):
        a, b = (vectors[end[start : start + 100_000]] for end in ends)
        found[start : start + 100_000] = np.einsum("ij,ij->i", a, b)
    return np.arccos(np.clip(found, -1, 1)) / np.pi


def best_bands(true: npt.NDArray[np.float64], strange: npt.NDArray[np.float64], recall: float) -> tuple[float, ...]:
    """(cost in microseconds, bits of a band, bands, probe radius in bits, unrelated images met)."""
    few = np.sort(strange)[:: max(1, len(strange) // 20_000)]
    found = []
    for radius in (0, 1):
        for bits in range(8, 33):
            hit = binom.cdf(radius, bits, true)
            bands = next((n for n in range(1, 400) if (1 - (1 - hit) ** n).mean() >= recall), None)
            if bands is None:
                continue
            met = bands * float(binom.cdf(radius, bits, few).mean()) * _CORPUS
            keys = bands * (1 + (1 + bits if radius else 1))  # stored, and looked for
            found.append((keys * _KEY_US + met * _MEETING_US, bits, bands, radius, met))
    return min(found)


def with_pivots(vectors: Floats, learned: Ints, pairs: Pairs, n: int, recall: float) -> tuple[float, ...]:
    """(cost in microseconds, nearest pivots, recall, unrelated images met), with the fewest pivots for the recall."""
    centres = vectors[np.random.default_rng(1).choice(learned, n, replace=False)]
    parts = np.array_split(vectors, len(vectors) // 1000 + 1)
    nearest = np.concatenate([np.argsort(-(part @ centres.T), axis=1)[:, :_MAX_SPILL] for part in parts])

    def meet(ends: tuple[Ints, Ints], spill: int) -> float:
        hits = 0
        for start in range(0, len(ends[0]), 50_000):
            a, b = (nearest[end[start : start + 50_000], :spill] for end in ends)
            hits += int((a[:, :, None] == b[:, None, :]).any(axis=(1, 2)).sum())
        return hits / len(ends[0])

    strange = pairs.strange[0][:200_000], pairs.strange[1][:200_000]
    for spill in range(1, _MAX_SPILL + 1):
        found = meet(pairs.true, spill)
        if found >= recall or spill == _MAX_SPILL:
            break
    met = meet(strange, spill) * _CORPUS
    return 2 * spill * _KEY_US + met * _MEETING_US, spill, found, met


def transforms(vectors: Floats, learned: Ints) -> dict[str, Floats]:
    mean = vectors[learned].mean(axis=0)
    centred = vectors - mean
    axes, spread, _ = np.linalg.svd(np.cov(centred[learned].T).astype(np.float64))
    found = {"planes through the origin": vectors, "**planes through the centre**": unit(centred)}
    for n, power in ((vectors.shape[1], 0.5), (256, 0.5), (128, 0.5), (256, 0.25), (128, 0.25)):
        name = f"{'whitened' if power == 0.5 else 'half whitened'}, {n} of {vectors.shape[1]} axes"
        found[name] = unit((centred @ axes[:, :n] / spread[:n] ** power).astype(np.float32))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--pivots", default="256,1024,4096")
    args = parser.parse_args()
    cfg = LshConfig()
    vectors, pairs = read(args.warehouse, cfg)
    learned = np.random.default_rng(2).permutation(len(vectors))[: len(vectors) // 2]
    n_true = len(pairs.true[0])
    print(f"{len(vectors)} embeddings of {vectors.shape[1]}, {n_true} true pairs; recall {cfg.embedding_recall}")
    print("| way | true, degrees | strangers | bands | strangers met of a million | keys and meetings, us | code, us |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, made in transforms(vectors, learned).items():
        true, strange = angles(made, pairs.true), angles(made, pairs.strange)
        cost, bits, bands, radius, met = best_bands(true, strange, cfg.embedding_recall)
        code = made.shape[1] * bits * bands * _PRODUCT_US
        told = f"{bands:.0f} of {bits:.0f} bits, {radius:.0f} may differ"
        if made.shape[1] < vectors.shape[1] or "white" in name:
            code += vectors.shape[1] * made.shape[1] * _PRODUCT_US
        means = f"{180 * true.mean():.1f} | {180 * strange.mean():.1f}"
        print(f"| {name} | {means} | {told} | {met:,.0f} | {cost:.0f} | {code:.0f} |", flush=True)
    centred = unit(vectors - vectors[learned].mean(axis=0))
    for n in map(int, args.pivots.split(",")):
        cost, spill, found, met = with_pivots(centred, learned, pairs, n, cfg.embedding_recall)
        told = f"nearest {spill:.0f} of {n} pivots (recall {found:.3f})"
        print(
            f"| pivots | | | {told} | {met:,.0f} | {cost:.0f} | {vectors.shape[1] * n * _PRODUCT_US:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()
