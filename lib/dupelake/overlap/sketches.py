"""Sketches of sets of pictures, and the pairs of sets that their sketches propose. Knows no Spark.

A sketch holds a MinHash of the set and a sample of it. The MinHash is that of datasketch: its permutations, its scheme
`affine32`. The sample holds the pictures of the smallest hashes, and a set of up to `SAMPLED` pictures whole.

Two ways propose a pair of sets. LSH Ensemble compares MinHashes; it is weak where a small set lies in a large one,
because the Jaccard similarity of the two is then near zero. The sample finds exactly these: a share of its pictures is
also in the other set, whatever the size of that set (`overlap/stage.py` joins it).

References:
    Zhu, Nargesian, Pu, Miller: LSH Ensemble: Internet-Scale Domain Search, VLDB 2016.
    datasketch: https://ekzhu.com/datasketch/lshensemble.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from datasketch import MinHash, MinHashLSHEnsemble
from numpy.typing import NDArray

from dupelake.config import fingerprint
from dupelake.errors import ConfigError
from dupelake.ranges import bounded_slices, ranges

REVISION = 2  # raise it with a change that gives other sketches or other proposals
NUM_PERM = 256
SAMPLED = 128
MAX_SETS = 50_000
"""Sets of one run. The driver holds their sketches: 2 KB each."""
MAX_PROPOSALS = 10_000_000
"""Pairs of sets of one run. The driver and each worker hold their numbers: 8 bytes each."""
FREQUENT_SETS = 2_000
"""A picture that more sets have than this proposes no pair, by sample or MinHash: it would propose all of them."""
_SLACK = 0.4  # a pair is proposed from this part of the wanted share on, because a sample only estimates the share
_LONGEST_BAND = 2  # rows of a band, so that a band is one number of 32 or 64 bits
_WEIGHTS = (0.05, 0.95)  # of wrong and of missed proposals; wrong ones cost time, the exact counts drop them
_BELOW = 2.0  # standard deviations: MinHashes that agree in fewer places than the wanted share gives propose nothing
_ROWS = 1024  # hashes a step: 1 MB of intermediate values
_BUFFERED = 4_000_000  # proposals before they are made distinct

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Keeps = Callable[[I64, I64], NDArray[np.bool_]]
"""Which pairs, given by their two indices, are kept."""


def overlap_version(min_share: float) -> str:
    """Fingerprint of the code and options that decide sketches and pairs."""
    sizes = {"num_perm": NUM_PERM, "sampled": SAMPLED, "frequent": FREQUENT_SETS, "slack": _SLACK, "below": _BELOW}
    return fingerprint({"revision": REVISION, "min_share": min_share, "weights": _WEIGHTS, **sizes})


def sketch(hashes: U64) -> bytes:
    """The sketch of a set.

    Args:
        hashes: uint64 (n,), n at least 1: a hash of each picture, each picture once.

    Returns:
        MinHash, `NUM_PERM` little-endian uint32, then the smallest `SAMPLED` hashes in order, little-endian uint64.
    """
    smallest = np.partition(hashes, SAMPLED - 1)[:SAMPLED] if len(hashes) > SAMPLED else hashes
    return _minhash(hashes).astype("<u4").tobytes() + np.sort(smallest).astype("<u8").tobytes()


def _minhash(hashes: U64) -> U32:
    """The values that `MinHash.update_batch` of datasketch gives for the upper halves of `hashes`, uint32 (NUM_PERM,).

    datasketch calls a Python function for each element; this takes a sixth of the time.
    """
    a, b = _permutations()
    mixed = _mixed((hashes >> np.uint64(32)).astype(np.uint32))
    lowest = np.full(NUM_PERM, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(mixed), _ROWS):
        np.minimum(lowest, (mixed[start : start + _ROWS, None] * a + b).min(axis=0), out=lowest)
    return lowest


@lru_cache(maxsize=1)
def _permutations() -> tuple[U32, U32]:
    a, b = MinHash(num_perm=NUM_PERM, scheme="affine32").permutations
    return a, b


def _mixed(values: U32) -> U32:
    """MurmurHash3's finalizer of 32 bits, which datasketch applies before its permutations."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


@dataclass(frozen=True)
class Sketches:
    """The sketches of n sets.

    Attributes:
        sizes: int64 (n,), pictures of each set.
        minhashes: uint32 (n, NUM_PERM).
        samples: uint64, the samples of all sets one after the other.
        owners: int64, the set of each sampled hash, as an index.
    """

    sizes: I64
    minhashes: U32
    samples: U64
    owners: I64

    @classmethod
    def of(cls, sizes: Sequence[int] | I64, packed: Sequence[bytes]) -> Sketches:
        """Sketches from the bytes of `sketch`."""
        split = 4 * NUM_PERM
        head = b"".join(one[:split] for one in packed)
        samples = [np.frombuffer(one, "<u8", offset=split) for one in packed]
        return cls(
            np.asarray(sizes, np.int64),
            np.frombuffer(head, "<u4").reshape(-1, NUM_PERM),
            np.concatenate(samples) if samples else np.empty(0, np.uint64),
            np.repeat(np.arange(len(samples)), [len(one) for one in samples]),
        )

    def rare_samples(self) -> tuple[I64, U64, int]:
        """(owners, hashes) without the pictures of more than FREQUENT_SETS samples, and the number of these."""
        hashes, inverse, counts = np.unique(self.samples, return_inverse=True, return_counts=True)
        is_rare = counts[inverse] <= FREQUENT_SETS
        return self.owners[is_rare], self.samples[is_rare], int((counts > FREQUENT_SETS).sum()) if len(hashes) else 0


def needed_hits(owners: I64, n_sets: int, min_share: float) -> I64:
    """How many sampled pictures another set must have so that the pair is proposed, int64 (n_sets,), at least 1.

    Args:
        owners: of the sampled hashes that propose.
        n_sets: number of sets.
        min_share: the wanted share.
    """
    sampled = np.bincount(owners, minlength=n_sets)
    return np.maximum(1, np.ceil(_SLACK * min_share * sampled)).astype(np.int64)


def ensemble_pairs(given: Sketches, is_changed: NDArray[np.bool_], min_share: float) -> I64:
    """The pairs of sets that LSH Ensemble proposes: the smaller set asks for sets that hold `min_share` of it.

    A pair whose MinHashes agree in fewer places than `min_share` makes likely is left out; at low shares one equal
    value in 256 is no evidence.

    Args:
        given: the sketches.
        is_changed: bool (n,); a pair without a changed set is left out.
        min_share: 0 to 1.

    Returns:
        int64 (m, 2), each pair once, the smaller index first.

    Raises:
        ConfigError: there are more than MAX_PROPOSALS.
    """
    return ensemble_answers(given, is_changed, min_share, partial(_agree, given, min_share))


def _agree(given: Sketches, min_share: float, low: I64, high: I64) -> NDArray[np.bool_]:
    """Which pairs of sets have MinHashes that agree in as many places as `min_share` makes likely, bool (m,)."""
    a, b = given.sizes[low], given.sizes[high]
    jaccard = min_share / (1 + np.maximum(a, b) / np.minimum(a, b) - min_share)
    wanted = NUM_PERM * jaccard - _BELOW * np.sqrt(NUM_PERM * jaccard * (1 - jaccard))
    agreeing = np.empty(len(low), np.int64)
    for start in range(0, len(low), _ROWS):
        part = slice(start, start + _ROWS)
        agreeing[part] = (given.minhashes[low[part]] == given.minhashes[high[part]]).sum(axis=1)
    return np.asarray(agreeing >= wanted)


def ensemble_answers(
    given: Sketches, is_changed: NDArray[np.bool_], min_share: float, keeps: Keeps | None = None
) -> I64:
    """The answers of LSH Ensemble; the other arguments and the result are those of `ensemble_pairs`.

    A set is in the partition of its size: partition k has the sizes above 2^(k-1) up to 2^k. So an answer depends on
    the two sets alone. datasketch's own index makes the partitions from all sizes, and looks up each key in Python;
    this gives the pairs that its index with these partitions gives, by sorting the keys of each band. But a key that
    more than FREQUENT_SETS sets have gives no pair: it stands for one picture that they all have.
    """
    found: list[I64] = []
    for n_rows, n_bands in _bands(min_share):
        for band in range(n_bands):
            keys = _keys(given.minhashes[:, band * n_rows : (band + 1) * n_rows])
            for pairs in _equal_pairs(keys):
                met = pairs[:, is_changed[pairs].any(axis=0)]
                bands, rows = _parameters(given.sizes[met[0]], given.sizes[met[1]], min_share)
                asked = met[:, (rows == n_rows) & (band < bands)]
                # Before they are counted: one common picture lets all pairs of sets meet.
                kept = asked if keeps is None else asked[:, keeps(asked[0], asked[1])]
                found.append(kept[0] << 32 | kept[1])
                if sum(map(len, found)) > _BUFFERED:
                    found = [_distinct(found, min_share)]
    return _unpacked(_distinct(found, min_share))


def merged(pairs: Sequence[I64], min_share: float) -> I64:
    """The pairs of several (m, 2) arrays, each once, the smaller index first, int64 (m, 2).

    Raises:
        ConfigError: there are more than MAX_PROPOSALS.
    """
    return _unpacked(_distinct([one.min(axis=1) << 32 | one.max(axis=1) for one in pairs], min_share))


def too_many(n: int, min_share: float) -> ConfigError:
    """The error for too many pairs of sets."""
    return ConfigError(
        [
            f"--min-share {min_share:g}: more than {MAX_PROPOSALS} pairs of sets may share that much (at least {n}); "
            "give a larger share, or a column with fewer values"
        ]
    )


@lru_cache(maxsize=4)
def _ensemble(min_share: float) -> MinHashLSHEnsemble:
    """The parameters of datasketch: the number of bands and their rows by the ratio of sizes."""
    return MinHashLSHEnsemble(threshold=min_share, num_perm=NUM_PERM, num_part=1, m=_LONGEST_BAND, weights=_WEIGHTS)


def _bands(min_share: float) -> list[tuple[int, int]]:
    """(rows of a band, the largest number of such bands that a pair is asked for)."""
    params = _ensemble(min_share).params
    return [(int(r), int(params[params[:, 1] == r, 0].max())) for r in np.unique(params[:, 1])]


def _parameters(a: I64, b: I64, min_share: float) -> tuple[I64, I64]:
    """(bands, rows) for pairs of sets of these sizes: datasketch's choice for the smaller set that asks."""
    ensemble = _ensemble(min_share)
    bound = np.exp2(np.ceil(np.log2(np.maximum(a, b))))  # of the partition that the larger set is in
    at = np.searchsorted(ensemble.xqs, bound / np.minimum(a, b), side="left")
    chosen = ensemble.params[np.minimum(at, len(ensemble.params) - 1)]
    return chosen[:, 0], chosen[:, 1]


def _keys(band: U32) -> U32 | U64:
    """The values of a band as one number for each set."""
    whole = np.ascontiguousarray(band)
    return whole.ravel() if band.shape[1] == 1 else whole.view(np.uint64).ravel()


def _equal_pairs(keys: U32 | U64) -> Iterator[I64]:
    """All pairs of indices with equal keys, int64 (2, m), the smaller index first, some at a time; no frequent keys."""
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(counts)[inverse[order]]
    following = ends - np.arange(len(order)) - 1  # members of the same bucket after this one
    following[counts[inverse[order]] > FREQUENT_SETS] = 0
    for part in bounded_slices(following, _BUFFERED):
        places, n = np.arange(part.start, part.stop), following[part]
        yield np.stack([order[np.repeat(places, n)], order[ranges(places + 1, n)]])


def _distinct(found: Sequence[I64], min_share: float) -> I64:
    codes = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    if len(codes) > MAX_PROPOSALS:
        raise too_many(len(codes), min_share)
    return codes


def _unpacked(codes: I64) -> I64:
    return np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1)
