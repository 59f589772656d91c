"""Trains a vocabulary from descriptors: seeded k-means for the codebook, word counts for the stop words.

Both halves of a descriptor train one codebook, the second half mirrored (words/vocabulary.py explains why), so that
pictures and their mirrored copies have equal weight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dupelake.errors import ModelError
from dupelake.words.keypoints import HALF_MIRROR_PERMUTATION
from dupelake.words.vocabulary import (
    HALF_DIM,
    N_CENTROIDS,
    Vocabulary,
    make_vocabulary,
    mirrored_words,
    nearest_words,
)

DEFAULT_STOP_WORDS = 20_000
DEFAULT_ITERATIONS = 12
MAX_DESCRIPTORS = 300_000
"""Largest sample for the codebook: 290 half descriptors a centroid; more do not measurably improve it."""
MIN_DESCRIPTORS = 20 * N_CENTROIDS
"""Fewer are less than 40 half descriptors a centroid: the codebook would depend on single pictures."""
_BLOCK_ROWS = 4096


def train_vocabulary(
    descriptors: NDArray[np.uint8],
    pictures: NDArray[np.int64],
    seed: int = 0,
    n_iterations: int = DEFAULT_ITERATIONS,
    n_stop_words: int = DEFAULT_STOP_WORDS,
) -> Vocabulary:
    """Trains a vocabulary. The result depends only on the arguments, on any machine, because all sums are of integers.

    Args:
        descriptors: uint8 (n, 128).
        pictures: int64 (n,), the picture of each descriptor: a stop word is a word of many pictures.
        seed: of the first centroids.
        n_iterations: of k-means, over all descriptors or a sample of MAX_DESCRIPTORS.
        n_stop_words: approximate number; a word of only one picture is not a stop word.

    Raises:
        ModelError: too few descriptors.
    """
    if len(descriptors) < MIN_DESCRIPTORS:
        raise ModelError(
            f"{len(descriptors)} descriptors are too few to train a vocabulary on; {MIN_DESCRIPTORS} are needed"
        )
    sample = descriptors
    if len(descriptors) > MAX_DESCRIPTORS:
        rng = np.random.default_rng([seed, 1])
        sample = descriptors[np.sort(rng.choice(len(descriptors), MAX_DESCRIPTORS, replace=False))]
    halves = np.concatenate([sample[:, :HALF_DIM], sample[:, HALF_DIM:][:, HALF_MIRROR_PERMUTATION]])
    codebook = train_codebook(halves, seed, n_iterations)
    none = make_vocabulary(codebook, np.empty(0, np.uint32))
    words = nearest_words(descriptors, none)[:, 0]
    return make_vocabulary(codebook, most_frequent_words(words, pictures, n_stop_words))


def train_codebook(halves: NDArray[np.uint8], seed: int, n_iterations: int) -> NDArray[np.uint8]:
    """k-means (Lloyd) over half descriptors, uint8 (n, 64); the centroids, uint8 (2048, 64), rounded in each round.

    A centroid without rows is replaced by the row that is farthest from its centroid.
    """
    rng = np.random.default_rng(seed)
    centroids = halves[np.sort(rng.choice(len(halves), N_CENTROIDS, replace=False))]
    lengths = np.concatenate(
        [(halves[at : at + _BLOCK_ROWS].astype(np.int64) ** 2).sum(axis=1) for at in range(0, len(halves), _BLOCK_ROWS)]
    )
    values = halves.astype(np.int32)
    for _ in range(n_iterations):
        nearest, distance = _assign(halves, centroids)
        member = sparse.csr_matrix(
            (np.ones(len(halves), np.int32), (nearest, np.arange(len(halves)))), (N_CENTROIDS, len(halves))
        )
        counts = np.bincount(nearest, minlength=N_CENTROIDS)
        sums = np.asarray(member @ values)
        empty = np.flatnonzero(counts == 0)
        centroids = ((sums + counts[:, None] // 2) // np.maximum(counts, 1)[:, None]).astype(np.uint8)
        centroids[empty] = halves[np.argsort(-(distance + lengths), kind="stable")[: len(empty)]]
    return centroids


def most_frequent_words(words: NDArray[np.uint32], pictures: NDArray[np.int64], n_words: int) -> NDArray[np.uint32]:
    """The `n_words` words that most pictures have, straight or mirrored, sorted.

    Args:
        words: uint32 (n,), words of keypoints.
        pictures: int64 (n,), the picture of each.
        n_words: the largest number; ties go to the lower word; words of only one picture are left out.
    """
    held = np.unique(np.stack([pictures, words.astype(np.int64)], axis=1), axis=0)[:, 1].astype(np.uint32)
    distinct, counts = np.unique(np.concatenate([held, mirrored_words(held)]), return_counts=True)
    order = np.lexsort((distinct, -counts))[:n_words]
    return np.sort(distinct[order[counts[order] > 1]])


def _assign(halves: NDArray[np.uint8], centroids: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The nearest centroid of each row, and the squared distance to it minus the row's squared length."""
    columns = centroids.astype(np.float32).T * np.float32(-2.0)
    lengths = (centroids.astype(np.float32) ** 2).sum(axis=1)
    nearest, low = np.empty(len(halves), np.intp), np.empty(len(halves), np.int64)
    for at in range(0, len(halves), _BLOCK_ROWS):
        distance = halves[at : at + _BLOCK_ROWS].astype(np.float32) @ columns + lengths
        nearest[at : at + _BLOCK_ROWS] = distance.argmin(axis=1)
        low[at : at + _BLOCK_ROWS] = distance[np.arange(len(distance)), nearest[at : at + _BLOCK_ROWS]]
    return nearest, low
