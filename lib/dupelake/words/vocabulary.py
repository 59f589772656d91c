"""Visual words of local features: the words generator joins pictures that share words.

A word is a cell of an inverted multi-index: the pair of nearest centroids of the two halves of a descriptor. With 2,048
centroids for each half there are 4 million cells from a small table (A. Babenko, V. Lempitsky, "The Inverted
Multi-Index", CVPR 2012). The codebook of the second half is the mirror of that of the first, because the lower rows of
a SIFT descriptor are the upper rows of the mirrored one. So the word of a mirrored keypoint is the same word with its
halves exchanged, without a second search.

Distances are sums of products of bytes below 2^24, which float32 holds exactly in any order of summation. So a word
depends only on its descriptor and the vocabulary, not on the batch, the machine or the BLAS library.
"""

from __future__ import annotations

import functools
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dupelake.config import Config, fingerprint
from dupelake.errors import ModelError
from dupelake.runtime.out_files import written_whole
from dupelake.shipped import shipped_asset
from dupelake.words.keypoints import (
    FEATURES_REVISION,
    HALF_MIRROR_PERMUTATION,
    KEYPOINT,
    Features,
    pack_keypoints,
    unpack_keypoints,
)

N_CENTROIDS = 2048
HALF_DIM = 64
NO_WORD = 0xFFFFFFFF
"""The value of a probe without a cell; never join on it."""
PACKED_HEADER = np.dtype([("width", "<u2"), ("height", "<u2")])
"""Start of a value of the column `words`: size of the thumbnail, pixels."""
PACKED_WORD = np.dtype([("stored", "<u4"), ("second", "<u4"), ("keypoint", KEYPOINT)])
"""Follows the header, once for each word."""
DEFAULT_ASSET = "vocabulary_default.npz"

_BLOCK_ROWS = 256  # descriptors compared with all centroids at once: 2 MiB of float32, fits into a core's cache
_LARGE_PX = 4.0  # two thirds of a photograph's keypoints are smaller


@dataclass(frozen=True)
class Vocabulary:
    """Codebooks and stop words.

    Attributes:
        first: uint8 (2048, 64), centroids of descriptors[:, :64].
        second: uint8 (2048, 64), centroids of descriptors[:, 64:]; row i mirrors row i of `first`.
        stop_words: uint32 (m,), sorted; contains the mirrored word of each of its words.
        version: digest of the other attributes, 8 hex digits.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    stop_words: NDArray[np.uint32]
    version: str


@dataclass(frozen=True)
class Words:
    """Words of one picture, each stored word once.

    Attributes:
        keypoint: uint16 (n,), index of the word's keypoint in its Features.
        stored: uint32 (n,), first cell * 2048 + second cell; the key by which other pictures find this one.
        probes: uint32 (n, 2), keys by which it finds others: the nearest cell (equal to `stored`) and the second
            nearest, or NO_WORD if that is a stop word.
    """

    keypoint: NDArray[np.uint16]
    stored: NDArray[np.uint32]
    probes: NDArray[np.uint32]

    @property
    def mirrored(self) -> NDArray[np.uint32]:
        """uint32 (n, 2), `probes` of the picture mirrored left to right."""
        return mirrored_words(self.probes)

    def __len__(self) -> int:
        return len(self.stored)


@dataclass(frozen=True)
class PackedWords:
    """The value of the column `words` for one picture: all that the words generator reads.

    Attributes:
        width_px: of the thumbnail; positions refer to it.
        height_px: of the thumbnail.
        stored: uint32 (n,), as in Words.
        probes: uint32 (n, 2), as in Words.
        xy: float32 (n, 2), pixels of the thumbnail, of the word's keypoint.
        scale: float32 (n,), pixels of the thumbnail.
        angle: float32 (n,), degrees, 0 <= angle < 360.
    """

    width_px: int
    height_px: int
    stored: NDArray[np.uint32]
    probes: NDArray[np.uint32]
    xy: NDArray[np.float32]
    scale: NDArray[np.float32]
    angle: NDArray[np.float32]

    @property
    def mirrored(self) -> NDArray[np.uint32]:
        """uint32 (n, 2), as in Words."""
        return mirrored_words(self.probes)

    def __len__(self) -> int:
        return len(self.stored)


def make_vocabulary(first: NDArray[np.uint8], stop_words: NDArray[np.uint32]) -> Vocabulary:
    """The vocabulary of a codebook, uint8 (2048, 64), and stop words in any order, uint32 (m,).

    Raises:
        ValueError: wrong shape or type, or stop words outside the cells.
    """
    if first.shape != (N_CENTROIDS, HALF_DIM) or first.dtype != np.uint8:
        raise ValueError(f"the codebook is {first.dtype} {first.shape}; uint8 {(N_CENTROIDS, HALF_DIM)} is needed")
    if stop_words.ndim != 1 or stop_words.dtype != np.uint32 or (stop_words >= N_CENTROIDS**2).any():
        raise ValueError("stop words must be one-dimensional uint32 below 2048 * 2048")
    both = np.unique(np.concatenate([stop_words, mirrored_words(stop_words)]))
    digest = hashlib.sha256(first.tobytes() + both.astype("<u4").tobytes()).hexdigest()[:8]
    return Vocabulary(first, np.ascontiguousarray(first[:, HALF_MIRROR_PERMUTATION]), both, digest)


def load_vocabulary(name_or_path: str = "default") -> Vocabulary:
    """The shipped vocabulary ('default'), or the one in a file of `save_vocabulary`; cached in the process.

    Raises:
        ModelError: the file is missing or is not a vocabulary.
    """
    if name_or_path != "default":
        return _load_file(name_or_path, Path(name_or_path).stat().st_mtime_ns if Path(name_or_path).exists() else 0)
    return _load_default()


@functools.lru_cache(maxsize=1)
def _load_default() -> Vocabulary:
    return read_vocabulary(shipped_asset(DEFAULT_ASSET).read_bytes(), DEFAULT_ASSET)


@functools.lru_cache(maxsize=4)
def _load_file(path: str, _changed_ns: int) -> Vocabulary:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"features.vocabulary: {path} cannot be read ({error})") from error
    return read_vocabulary(data, path)


def read_vocabulary(data: bytes, name: str) -> Vocabulary:
    """The vocabulary in the bytes of a file; `name` is for the message.

    Raises:
        ModelError: the bytes are not a vocabulary.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            return make_vocabulary(held["first"], held["stop_words"])
    except Exception as error:  # numpy and zipfile raise many kinds
        raise ModelError(
            f"features.vocabulary: {name} is not a vocabulary ({type(error).__name__}: {error}); "
            "give default, or a file that `dupelake vocabulary` wrote"
        ) from error


def save_vocabulary(vocabulary: Vocabulary, path: str | Path) -> None:
    """Write a file that `load_vocabulary` reads: an .npz archive of `first` and `stop_words`."""
    out = io.BytesIO()
    np.savez_compressed(out, first=vocabulary.first, stop_words=vocabulary.stop_words)
    with written_whole(Path(path)) as unfinished:
        unfinished.write_bytes(out.getvalue())


def feature_version(cfg: Config) -> str:
    """The version of a row of `features`, for example 'f1-0f3a6c1e'; rows of two versions are never compared.

    It changes with the revision of the algorithm, max_keypoints, max_words, the side of thumbnails, and the
    vocabulary's contents (not its path).

    Raises:
        ModelError: the vocabulary cannot be read.
    """
    vocabulary = load_vocabulary(cfg.features.vocabulary)
    parts = [cfg.features.max_keypoints, cfg.features.max_words, vocabulary.version, cfg.hash.thumbnail_side_px]
    return f"f{FEATURES_REVISION}-{fingerprint(parts)[:8]}"


def mirrored_words(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The words of mirrored keypoints: the halves are exchanged; NO_WORD is unchanged. Any shape."""
    swapped = (words % N_CENTROIDS) * np.uint32(N_CENTROIDS) + words // np.uint32(N_CENTROIDS)
    return np.where(words == NO_WORD, np.uint32(NO_WORD), swapped).astype(np.uint32)


def nearest_words(descriptors: NDArray[np.uint8], vocabulary: Vocabulary) -> NDArray[np.uint32]:
    """The nearest and the second nearest cell of each descriptor, uint32 (n, 2), including stop words.

    Args:
        descriptors: uint8 (n, 128).
        vocabulary: ties go to the lower centroid.
    """
    out = np.empty((len(descriptors), 2), np.uint32)
    for start in range(0, len(descriptors), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        first, first_extra = _two_nearest(descriptors[rows, :HALF_DIM], *_codebook(vocabulary, "first"))
        second, second_extra = _two_nearest(descriptors[rows, HALF_DIM:], *_codebook(vocabulary, "second"))
        # the second nearest cell exchanges the half that costs less; the rule for ties must be symmetric under
        # mirroring
        swap_first = (first_extra < second_extra) | ((first_extra == second_extra) & (first[1] < second[1]))
        cells = np.where(swap_first, first[1], first[0]), np.where(swap_first, second[0], second[1])
        out[rows, 0] = first[0] * N_CENTROIDS + second[0]
        out[rows, 1] = cells[0] * N_CENTROIDS + cells[1]
    return out


def no_words() -> Words:
    """The words of a picture without keypoints."""
    none = np.empty((0, 2), np.uint32)
    return Words(np.empty(0, np.uint16), none[:, 0], none)


def make_words(features: Features, vocabulary: Vocabulary, max_words: int) -> Words:
    """Words of a picture: at most `max_words`, one keypoint for each, without stop words.

    Small and large keypoints alternate, the strongest of each first. By strength alone most keypoints would be small,
    and a smaller or blurred copy lacks those (measured recall of the join: .935 by strength, .953 alternating).
    """
    order = _alternating_by_size(features.scale)
    index, cells = np.empty(0, np.int64), np.empty((0, 2), np.uint32)
    for start in range(0, len(order), _BLOCK_ROWS):  # most pictures have enough within the first block
        block = order[start : start + _BLOCK_ROWS]
        found = nearest_words(features.descriptors[block], vocabulary)
        kept = np.flatnonzero(~is_stop_word(found[:, 0], vocabulary))
        index, cells = np.concatenate([index, block[kept]]), np.concatenate([cells, found[kept]])
        first = np.sort(np.unique(cells[:, 0], return_index=True)[1])  # of each word
        index, cells = index[first], cells[first]
        if len(index) >= max_words:
            break
    index, cells = index[:max_words], cells[:max_words]
    probes = np.where(is_stop_word(cells, vocabulary), np.uint32(NO_WORD), cells)
    return Words(index.astype(np.uint16), cells[:, 0].copy(), probes)


def _alternating_by_size(scale: NDArray[np.float32]) -> NDArray[np.intp]:
    """The alternating order of keypoints sorted by strength: strongest small, strongest large, next small, ..."""
    is_large = scale >= _LARGE_PX
    rank = np.where(is_large, np.cumsum(is_large), np.cumsum(~is_large))
    return np.lexsort((is_large, rank))


def is_stop_word(words: NDArray[np.uint32], vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Whether each word is a stop word; same shape."""
    stops = vocabulary.stop_words
    if not len(stops):
        return np.zeros(words.shape, np.bool_)
    return stops[np.minimum(np.searchsorted(stops, words), len(stops) - 1)] == words


def pack_words(words: Words, features: Features, width_px: int, height_px: int) -> bytes:
    """The `words` column: 4 bytes of the thumbnail's width and height, then 16 bytes a word, little-endian."""
    header = np.array([(width_px, height_px)], PACKED_HEADER)
    packed = np.empty(len(words), PACKED_WORD)
    packed["stored"], packed["second"] = words.stored, words.probes[:, 1]
    packed["keypoint"] = pack_keypoints(features)[words.keypoint]
    return header.tobytes() + packed.tobytes()


def unpack_words(data: bytes) -> PackedWords:
    """The inverse of `pack_words`; positions have a precision of 1/32 pixel, as in the column `keypoints`."""
    header = np.frombuffer(data, PACKED_HEADER, count=1)[0]
    packed = np.frombuffer(data, PACKED_WORD, offset=PACKED_HEADER.itemsize)
    probes = np.stack([packed["stored"], packed["second"]], axis=1).astype(np.uint32)
    xy, scale, angle = unpack_keypoints(packed["keypoint"])
    return PackedWords(
        int(header["width"]),
        int(header["height"]),
        probes[:, 0].copy(),
        probes,
        xy,
        scale,
        angle,
    )


_CODEBOOKS: dict[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}


def _codebook(vocabulary: Vocabulary, half: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """-2 times the centroids as columns (64, 2048) and their squared lengths (2048,), float32, cached."""
    key = (vocabulary.version, half)
    kept = _CODEBOOKS.get(key)
    if kept is None:
        if len(_CODEBOOKS) >= 8:
            _CODEBOOKS.clear()
        centroids = getattr(vocabulary, half).astype(np.float32)
        kept = _CODEBOOKS[key] = np.ascontiguousarray(centroids.T) * np.float32(-2.0), (centroids**2).sum(axis=1)
    return kept


def _two_nearest(
    half: NDArray[np.uint8], columns: NDArray[np.float32], lengths: NDArray[np.float32]
) -> tuple[tuple[NDArray[np.uint32], NDArray[np.uint32]], NDArray[np.float32]]:
    """Nearest and second nearest centroid of each row (uint32 (n,) each), and the difference of squared distances."""
    distance = half.astype(np.float32) @ columns
    distance += lengths  # the row's own squared length is left out, because it does not change the order
    rows = np.arange(len(distance))
    nearest = distance.argmin(axis=1)
    low = distance[rows, nearest]
    distance[rows, nearest] = np.inf
    second = distance.argmin(axis=1)
    return (nearest.astype(np.uint32), second.astype(np.uint32)), distance[rows, second] - low
