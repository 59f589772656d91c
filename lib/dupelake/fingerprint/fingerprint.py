"""Computes everything that the hash stage stores for one image file, with one decode: ids, hashes, thumbnail, features.

Passes over the full-size pixels: decoder, digest, first axis of PDQ, grey (Pillow), first axis of pHash, thumbnail
(OpenCV). All later steps use pictures that fit into the cache. It uses one thread.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dupelake.config import DecodeConfig, FeaturesConfig, HashConfig
from dupelake.fingerprint import hashing
from dupelake.fingerprint.condition import measure_condition
from dupelake.fingerprint.decode import Decoded, decode
from dupelake.fingerprint.detail import LOWEST_DETAIL, measure_spectrum
from dupelake.fingerprint.thumbnails import keep_profile
from dupelake.ingest.failure import Failure
from dupelake.words.keypoints import extract_features, no_features, pack_features
from dupelake.words.vocabulary import Vocabulary, load_vocabulary, make_words, no_words, pack_words

_GREY_BAND_PIXELS = 1 << 22  # larger pictures are converted a band at a time: one copy of the picture is enough


@dataclass(frozen=True)
class Fingerprint:
    """The fingerprint of one image; columns of `images`, `hashes`, `thumbnails`, `features` have the same names.

    Attributes:
        content_id: first 16 bytes of sha256(file bytes), 32 hex digits.
        byte_size: bytes of the file.
        width_px: upright, at full size.
        height_px: upright, at full size.
        format: Pillow's name.
        pixel_digest: 32 hex digits.
        phash: 64 bits as a signed integer (Spark's BIGINT).
        phash_mirrored: of the picture mirrored left to right.
        pdq: 32 bytes.
        pdq_mirrored: 32 bytes.
        pdq_quality: 0 to 100.
        is_low_information: the hashes of this picture do not identify it.
        detail: 0 to 1, share of the linear resolution that carries detail.
        spectrum: power of 64 bands of frequencies (fingerprint/detail.py); null if not measured.
        jpeg_quality: and the next five as in Encoding (fingerprint/encoding.py).
        jpeg_trace: and the next nine as in Condition (fingerprint/condition.py); null if not measured.
        thumbnail_bytes: JPEG, 4:4:4; its only metadata is the profile of `thumbnails.keep_profile`.
        thumbnail_width_px: longest side at most `HashConfig.thumbnail_side_px`.
        thumbnail_height_px: the other side, at least 1.
        n_keypoints: of the thumbnail; a flat one has 0.
        keypoints: packed by words/keypoints.py, strongest first.
        descriptors: packed by words/keypoints.py.
        words: packed by words/vocabulary.py.
        features_error: null, or the error that prevented features; never a lack of memory.
    """

    content_id: str
    byte_size: int
    width_px: int
    height_px: int
    format: str
    pixel_digest: str
    phash: int
    phash_mirrored: int
    pdq: bytes
    pdq_mirrored: bytes
    pdq_quality: int
    is_low_information: bool
    detail: float
    spectrum: bytes | None
    jpeg_quality: int | None
    chroma_subsampling: str | None
    is_web_lossy: bool
    has_exif: bool
    has_icc: bool
    bit_depth: int
    jpeg_trace: float | None
    earlier_quality: int | None
    quantiser_fits: bytes | None
    blockiness: float | None
    noise: float | None
    sharpness: float | None
    clipped: float | None
    comb: float | None
    contrast: float | None
    colourfulness: float | None
    thumbnail_bytes: bytes
    thumbnail_width_px: int
    thumbnail_height_px: int
    n_keypoints: int
    keypoints: bytes
    descriptors: bytes
    words: bytes
    features_error: str | None


def content_id(data: bytes) -> str:
    """First 16 bytes of sha256(data), 32 hex digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def fingerprint_image(
    data: bytes,
    decode_cfg: DecodeConfig,
    hash_cfg: HashConfig,
    features_cfg: FeaturesConfig | None = None,
    vocabulary: Vocabulary | None = None,
    max_memory_bytes: int | None = None,
) -> Fingerprint | Failure:
    """The `Fingerprint` of the bytes of a file, or a `Failure` with content_id and byte_size.

    Bytes never make it raise. The failure of an empty file has no content_id: all empty files would share it.

    Args:
        data: of the file.
        decode_cfg: limits and options of decoding.
        hash_cfg: thumbnail and low-information rule.
        features_cfg: keypoints and words; None for the defaults.
        vocabulary: of the words; None for the vocabulary of `features_cfg`.
        max_memory_bytes: for one image; None for no limit.

    Raises:
        ModelError: the vocabulary cannot be read.
    """
    features_cfg = features_cfg or FeaturesConfig()
    decoded = decode(data, decode_cfg, max_memory_bytes)
    if isinstance(decoded, Failure):
        return replace(decoded, content_id=content_id(data) if data else None, byte_size=len(data))
    try:
        grey = to_grey(decoded.rgb)
        levels = np.asarray(grey)  # a copy
        straight, mirrored = hashing.phash_pair(grey, levels)
        pdq, thumbnail = hashing.pdq(decoded.rgb), make_thumbnail(decoded.rgb, hash_cfg.thumbnail_side_px)
        thumbnail_bytes = keep_profile(encode_thumbnail(thumbnail, hash_cfg.thumbnail_quality), decoded.profile)
        is_low = hashing.is_low_information(decoded.width_px, decoded.height_px, int(straight), pdq.quality, hash_cfg)
        measured = _measures_of(decoded, levels)
        features = _features_of(thumbnail, features_cfg, vocabulary or load_vocabulary(features_cfg.vocabulary))
    except MemoryError:
        return Failure("out_of_memory", "not enough memory to hash it", content_id(data), len(data))
    return Fingerprint(
        content_id=content_id(data),
        byte_size=len(data),
        width_px=decoded.width_px,
        height_px=decoded.height_px,
        format=decoded.format,
        pixel_digest=decoded.pixel_digest,
        phash=hashing.to_signed(straight),
        phash_mirrored=hashing.to_signed(mirrored),
        pdq=pdq.bits,
        pdq_mirrored=pdq.mirrored,
        pdq_quality=pdq.quality,
        is_low_information=is_low,
        **(vars(decoded.encoding) | measured),
        thumbnail_bytes=thumbnail_bytes,
        thumbnail_width_px=thumbnail.shape[1],
        thumbnail_height_px=thumbnail.shape[0],
        **features,
    )


def _measures_of(decoded: Decoded, levels: NDArray[np.uint8]) -> dict[str, Any]:
    """`detail`, `spectrum` and the condition, of the full size. `levels` is the grey of `decoded.rgb`.

    Of a JPEG that is known reduced only, what is finer than its pixels is not known.
    """
    full_grey = levels if decoded.scale == 1 else decoded.full_grey
    if full_grey is not None:
        detail, spectrum = measure_spectrum(full_grey)
        condition = measure_condition(decoded.rgb, full_grey, decoded.encoding.jpeg_quality)
        return {"detail": detail, "spectrum": spectrum} | vars(condition)
    detail, _ = measure_spectrum(levels)
    detail = max(detail / decoded.scale, LOWEST_DETAIL) if detail < 1 else 1.0
    condition = measure_condition(decoded.rgb, levels, decoded.encoding.jpeg_quality)
    scaled = ("jpeg_trace", "earlier_quality", "quantiser_fits", "blockiness", "noise", "sharpness")
    return {"detail": detail, "spectrum": None} | vars(condition) | dict.fromkeys(scaled)


def _features_of(thumbnail: NDArray[np.uint8], cfg: FeaturesConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """The columns of `features`. An error becomes the `features_error` of this picture; its hashes are kept.

    Raises:
        MemoryError: the machine was short of memory, which is no property of the picture; a retry may succeed.
    """
    height, width = thumbnail.shape[:2]
    try:
        features = no_features()
        if cfg.max_words:
            grey: Any = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY)
            features = extract_features(grey, cfg.max_keypoints)
        words = make_words(features, vocabulary, cfg.max_words)
        error = None
    except MemoryError:
        raise
    except Exception as fault:  # cv2.error too
        if isinstance(fault, cv2.error) and getattr(fault, "code", None) == cv2.Error.StsNoMem:
            raise MemoryError(str(fault)) from fault
        features, words = no_features(), no_words()
        error = f"{type(fault).__name__}: {fault}"[:500]
    keypoints, descriptors = pack_features(features)
    return {
        "n_keypoints": len(features),
        "keypoints": keypoints,
        "descriptors": descriptors,
        "words": pack_words(words, features, width, height),
        "features_error": error,
    }


def to_grey(rgb: NDArray[np.uint8]) -> Image.Image:
    """`rgb` in mode L, equal to Pillow's conversion, without the copies of `Image.fromarray`."""
    height, width = rgb.shape[:2]
    rows = max(1, _GREY_BAND_PIXELS // width)
    if rows >= height:
        return _band_to_grey(rgb)
    grey = np.empty((height, width), np.uint8)
    for top in range(0, height, rows):
        grey[top : top + rows] = np.asarray(_band_to_grey(rgb[top : top + rows]))
    return Image.frombuffer("L", (width, height), grey, "raw", "L", 0, 1)


def _band_to_grey(rgb: NDArray[np.uint8]) -> Image.Image:
    height, width = rgb.shape[:2]
    padded = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)  # Pillow's own layout of RGB, which it reads in place
    return Image.frombuffer("RGBX", (width, height), padded, "raw", "RGBX", 0, 1).convert("L")


def make_thumbnail(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """`rgb` reduced to `side_px` on its longest side; unchanged if it is not larger.

    It is halved (exact means of 2 x 2 pixels, an odd last line dropped) while it stays above the size, then resized by
    bilinear interpolation. At a factor below 2 every pixel still counts, as in a filter fitted to the factor, at a
    tenth of the cost. OpenCV's code depends on the processor, so pixels may differ by one level between types of
    machines; nothing compares thumbnails byte by byte.
    """
    height, width = rgb.shape[:2]
    longest = max(height, width)
    if longest <= side_px:
        return rgb
    size = tuple(max(1, (2 * side * side_px + longest) // (2 * longest)) for side in (width, height))  # rounded
    small: Any = rgb
    while min(small.shape[1] - 2 * size[0], small.shape[0] - 2 * size[1]) >= 0:
        half = small.shape[1] // 2, small.shape[0] // 2
        small = cv2.resize(small[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
    # the short side of a very long picture is rounded to 1, so a factor above 2 remains
    far = max(small.shape[1] / size[0], small.shape[0] / size[1]) > 2.5
    return cv2.resize(small, size, interpolation=cv2.INTER_AREA if far else cv2.INTER_LINEAR)


def encode_thumbnail(thumbnail: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG of RGB pixels without metadata; 4:4:4, so that colours of small pictures stay sharp.

    Raises:
        MemoryError: OpenCV could not encode it.
    """
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    done, out = cv2.imencode(".jpg", cv2.cvtColor(thumbnail, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise MemoryError("the thumbnail could not be encoded")
    return out.tobytes()
