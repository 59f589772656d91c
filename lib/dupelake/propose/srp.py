"""Sign random projections: bit codes of vectors, and plans of bands for a wanted cosine and recall.

A bit says on which side of a random plane through `centre` a vector lies. Two vectors at the angle a differ in a bit
with probability p = a / pi, independently for each bit (Charikar 2002). A pair is proposed if two conditions hold. In
one of L bands of k bits at most r bits differ, and in the whole code of L k bits at most `max_bits` bits differ. Both
conditions are symmetric. They depend on the two vectors, the model and the configuration only, not on the corpus, the
order or the night.

Codes are computed from whole numbers in float64, without rounding (see `srp_codes`). So they are equal bit for bit on
every machine, with every BLAS and in every batch. If a bit changed between two nights, one night could find a pair that
the other misses.

Reference: Charikar: Similarity Estimation Techniques from Rounding Algorithms, STOC 2002.
"""

from __future__ import annotations

from functools import lru_cache
from math import acos, ceil, log, log1p, pi

import numpy as np
import numpy.typing as npt

from dupelake.config import LshConfig
from dupelake.errors import ConfigError
from dupelake.propose.mih import MAX_PROBE_BITS, Codes, SlotPlan, words_of

SEED = 20_020_519  # every code depends on it: another seed needs another join version
PLANNING_ITEMS = 1_000_000  # corpus size that plans assume; fixed, so that plans do not change with the corpus
MIN_BAND_BITS, MAX_BAND_BITS = 8, 40
MAX_CODE_BITS = 1024  # a code travels in every row of the join
_GRID = 2.0**16  # vectors are rounded to this grid; an error of 2^-17 does not change an angle noticeably
_MEAN = 12 * 0xFFFF // 2  # of twelve uniform 16-bit integers: 393,210, whole
_MISS_BY_FILTER = 0.2  # share of the allowed misses that the limit on the whole code may cause
# Standard deviation of the cosines of unrelated pictures after centring. With ImageNet networks the raw cosines of
# photographs have median .31, and 99.9 % are below .73. At k = 16 they share a band 5 times as often as random bits.
_STRANGER_SPREAD = 0.2
_MAX_COSINE = 0.9999  # plan no tighter: float16 storage alone moves equal directions by about this


@lru_cache(maxsize=4)
def projections(dim: int, n_bits: int) -> npt.NDArray[np.float64]:
    """Normals of the planes: float64 (dim, n_bits), whole numbers of magnitude up to 393,210.

    Each is the sum of twelve uniform 16-bit integers minus its mean. This is nearly Gaussian, with an excess kurtosis
    of -0.1, which the sum over `dim` coordinates removes. It uses raw PCG64 output and integer addition only, because
    NumPy guarantees the raw stream but not its normal variates. A longer code starts with the planes of a shorter one.
    """
    raw = np.random.PCG64(SEED).random_raw(n_bits * dim * 3).reshape(n_bits, dim, 3)
    lanes = np.stack([(raw >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)])
    return np.ascontiguousarray((lanes.sum(axis=(0, 3)).astype(np.int64) - _MEAN).T.astype(np.float64))


def srp_codes(vectors: npt.NDArray[np.float32], centre: npt.NDArray[np.float32], n_bits: int) -> Codes:
    """Make codes of vectors from the signs of their projections.

    Args:
        vectors: float32 (n, dim), of unit length (not checked; any magnitude up to 100 is coded exactly).
        centre: float32 (dim,), subtracted first. Embeddings lie in a narrow cone, so bits around 0 would carry little
            information.
        n_bits: length of a code.

    Returns:
        uint64 (n, ceil(n_bits / 64)); bit 0 is the highest bit of word 0, unused bits are 0.

    Raises:
        ValueError: the shapes do not fit, or a value is not finite.
    """
    if vectors.ndim != 2 or centre.shape != vectors.shape[1:]:
        raise ValueError(f"vectors {vectors.shape} and centre {centre.shape} do not fit")
    grid = np.rint((vectors.astype(np.float64) - centre.astype(np.float64)) * _GRID)
    if not np.isfinite(grid).all():
        raise ValueError("a vector holds a value that is not finite")
    # Every partial sum is a whole number below 2^53 (2^19 * 2^16 * sqrt(dim) * length), so any order is exact.
    signs = grid @ projections(vectors.shape[1], n_bits) >= 0
    packed = np.zeros((len(vectors), -(-n_bits // 64) * 8), np.uint8)
    packed[:, : -(-n_bits // 8)] = np.packbits(signs, axis=1)
    return words_of(packed)


def centred_cosine(cosine: float, centre_norm2: float) -> float:
    """The cosine after centring of a pair with raw `cosine`, for vectors at the average distance from the centre.

    It is (s - |c|^2) / (1 - |c|^2), because a . c is |c|^2 on average. Pairs nearer to the centre have a wider angle
    and so less recall; the run measures it.
    """
    return (cosine - centre_norm2) / (1 - centre_norm2)


def disagreement(cosine: float) -> float:
    """Probability that one bit differs for this cosine after centring: angle / pi."""
    return acos(min(1.0, max(-1.0, cosine))) / pi


@lru_cache(maxsize=256)
def _stranger_hit(band_bits: int, probe_bits: int) -> float:
    """Probability that two unrelated pictures share one band, averaged over their cosines."""
    from scipy.stats import binom, norm

    cosines = norm.ppf((np.arange(1000) + 0.5) / 1000) * _STRANGER_SPREAD
    return float(np.mean(binom.cdf(probe_bits, band_bits, np.arccos(np.clip(cosines, -1, 1)) / pi)))


def plan_srp(min_cosine: float, recall: float, centre_norm2: float) -> SlotPlan:
    """The cheapest bands (`SlotPlan.cost`) that propose a pair at `min_cosine` with probability `recall`.

    For each probe radius and band width, the fewest bands that miss at most 80 % of what may be missed, and the
    tightest filter on the whole code that misses at most the rest; nearer pairs are found more surely. Nothing here
    may depend on the corpus: codes are planned for PLANNING_ITEMS.

    Args:
        min_cosine: raw, before centring.
        recall: wanted recall at `min_cosine`, below 1.
        centre_norm2: squared length of the centre.

    Raises:
        ValueError: no plan within 1,024 bits, because the cosine is too low for this model and recall.
    """
    from scipy.stats import binom

    cosine = centred_cosine(min_cosine, centre_norm2) if centre_norm2 < 1 else -1.0
    refusal = (
        f"no code of {MAX_CODE_BITS} bits finds pairs at cosine {min_cosine} with recall {recall} "
        f"(cosine {cosine:.2f} after centring); raise the cosine or lower the recall"
    )
    if cosine <= 0:  # unrelated pictures are as near
        raise ValueError(refusal)
    p = disagreement(min(cosine, _MAX_COSINE))
    missable = 1 - recall
    best: tuple[float, SlotPlan] | None = None
    for probe_bits in range(MAX_PROBE_BITS + 1):
        for k in range(MIN_BAND_BITS, MAX_BAND_BITS + 1):
            hit = float(binom.cdf(probe_bits, k, p))
            n_bands = max(1, ceil(log(missable * (1 - _MISS_BY_FILTER)) / log1p(-hit))) if hit < 1 else 1
            if n_bands * k > MAX_CODE_BITS:
                continue
            max_bits = int(binom.ppf(1 - missable * _MISS_BY_FILTER, n_bands * k, p))
            plan = SlotPlan(n_bands * k, tuple((band * k, k) for band in range(n_bands)), probe_bits, max_bits)
            cost = plan.cost(PLANNING_ITEMS * n_bands * _stranger_hit(k, probe_bits))
            if best is None or cost < best[0]:
                best = cost, plan
    if best is None:
        raise ValueError(refusal)
    return best[1]


def embedding_plan(centre: npt.NDArray[np.float32], cfg: LshConfig) -> SlotPlan:
    """The plan for codes of embeddings. It depends on the model and the configuration only, never on the corpus.

    Args:
        centre: float32 (dim,) of the model.
        cfg: wanted cosine and recall.

    Raises:
        ConfigError: the wanted cosine is too low for this model.
    """
    try:
        norm2 = float(np.square(centre, dtype=np.float64).sum())
        return plan_srp(cfg.embedding_min_cosine, cfg.embedding_recall, norm2)
    except ValueError as error:
        raise ConfigError([f"lsh.embedding_min_cosine: {error}"]) from error
