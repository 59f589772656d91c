"""Pictures for the page of the method, and what dupelake finds in them: the code of a night, without Spark.

The pictures are photographs of scikit-image and edits of them.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from PIL import Image, ImageDraw

from dupelake.config import Config
from dupelake.embed.embedding import get_embedder, to_float16_bytes
from dupelake.fingerprint.fingerprint import Fingerprint, fingerprint_image
from dupelake.fingerprint.thumbnails import decode_thumbnail
from dupelake.frames.functions import locally
from dupelake.group.stage import member_rows
from dupelake.lookup.candidates import passing_by_words
from dupelake.lookup.measure import Measured, frame_of, measured_pairs, rows_of
from dupelake.lookup.night import hash_row, own_parts
from dupelake.propose.distances import cosines
from dupelake.verify.align import Overlap, find_overlap
from dupelake.verify.pair import find_map, pair_seed
from dupelake.verify.picture import Picture
from dupelake.warehouse.schema import HASHES, IMAGES, PAIRS
from dupelake.words.keypoints import unpack_features
from dupelake.words.vocabulary import load_vocabulary

CONFIG = Config()
Row = dict[str, Any]
_VERSIONS = {"join": "j", "verify": "v", "model": None, "preprocess": None}
_AT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Seen:
    """One image as a night sees it."""

    name: str
    data: bytes

    @cached_property
    def shown(self) -> Fingerprint:
        """Its fingerprint."""
        vocabulary = load_vocabulary("default")
        found = fingerprint_image(self.data, CONFIG.decode, CONFIG.hash, CONFIG.features, vocabulary)
        if not isinstance(found, Fingerprint):
            raise TypeError(f"{self.name}: {found}")
        return found

    @cached_property
    def picture(self) -> Picture:
        """Its thumbnail and keypoints, as pairs are aligned."""
        rgb = decode_thumbnail(self.shown.thumbnail_bytes)
        return Picture(rgb, unpack_features(self.shown.keypoints, self.shown.descriptors))

    @cached_property
    def embedding(self) -> np.ndarray[Any, Any]:
        """float16 (1, dim)."""
        vectors, _ = get_embedder(CONFIG.embed, "cpu").embed_jpegs([self.shown.thumbnail_bytes])
        return np.frombuffer(to_float16_bytes(vectors)[0], "<f2")[None]


def photograph(name: str, longest: int | None = None) -> Image.Image:
    """A photograph of scikit-image, in colour."""
    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        picture = image.convert("RGB")
    if longest:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


def saved(name: str, picture: Image.Image, quality: int = 90) -> Seen:
    """The picture as a JPEG."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Seen(name, out.getvalue())


def cut(picture: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """A part of a picture; the edges are shares of its width and height."""
    w, h = picture.size
    return picture.crop((round(left * w), round(top * h), round(right * w), round(bottom * h)))


def resized(picture: Image.Image, factor: float) -> Image.Image:
    """The picture in another size."""
    size = round(picture.width * factor), round(picture.height * factor)
    return picture.resize(size, Image.Resampling.LANCZOS)


def captioned(picture: Image.Image, text: str) -> Image.Image:
    """The picture with a bar of text over its lower part."""
    out = picture.copy()
    bar = out.height // 9
    draw = ImageDraw.Draw(out)
    draw.rectangle([0, out.height - bar, out.width, out.height], fill=(20, 20, 20))
    draw.text((bar // 3, out.height - bar * 0.9), text, fill="white", font_size=bar * 0.7)
    return out


def ordered(a: Seen, b: Seen) -> tuple[Seen, Seen]:
    """The two in the order of a stored pair: the source has the smaller content id."""
    return (a, b) if a.shown.content_id < b.shown.content_id else (b, a)


def judged(a: Seen, b: Seen) -> Row:
    """The row of `pairs` of two images."""
    (row,) = _judged([(a, b)])
    return row


def _judged(pairs: Sequence[tuple[Seen, Seen]]) -> list[Row]:
    keys = {(s.shown.content_id, d.shown.content_id): "words" for s, d in (ordered(a, b) for a, b in pairs)}
    seen = {one.shown.content_id: one for pair in pairs for one in pair}
    contents = {key: Measured(hash_row(one.shown, "h"), own_parts(one.shown), None) for key, one in seen.items()}
    with locally():
        return measured_pairs(keys, contents, _VERSIONS, CONFIG.decide)


def grouped(images: Sequence[Seen]) -> tuple[list[Row], list[Row]]:
    """(rows of `groups` with `star` for their group, accepted rows of `pairs`) when all pairs were proposed."""
    pairs = [row for row in _judged(list(combinations(images, 2))) if row["is_duplicate"]]
    rows = [
        {name: None for name in IMAGES.columns}
        | {name: getattr(one.shown, name) for name in IMAGES.columns if hasattr(one.shown, name)}
        | {"image_id": one.name, "uri": one.name, "partition": "", "scope": "", "status": "ok", "ingested_at": _AT}
        for one in images
    ]
    hashes = [hash_row(one.shown, "h") for one in images]
    with locally():
        members = member_rows(
            frame_of(rows, IMAGES.columns),
            frame_of(hashes, HASHES.columns),
            frame_of(pairs, PAIRS.columns),
            CONFIG,
            lambda frame: frame,
        )
        return rows_of(members.rows), pairs


def laid(a: Seen, b: Seen) -> Overlap | None:
    """The two thumbnails over the part that both show, the source first; None without an alignment."""
    src, dst = ordered(a, b)
    transform = find_map(src.picture, dst.picture, pair_seed(src.shown.content_id, dst.shown.content_id))
    if transform is None:
        return None
    one, other = src.picture, dst.picture
    return find_overlap(one.grey, other.grey, one.content, other.content, transform)


def found_by(a: Seen, b: Seen, row: Row) -> dict[str, tuple[float, bool]]:
    """{generator: (what it measures, whether it proposes the pair)}."""
    lsh = CONFIG.lsh
    phash = min(row["phash_bits"], row["phash_mirrored_bits"])
    pdq = min(row["pdq_bits"], row["pdq_mirrored_bits"])
    passing = passing_by_words(
        a.shown.content_id, a.shown.words, {b.shown.content_id: b.shown.words}, np.empty(0, np.uint32), lsh
    )
    cosine = float(cosines(a.embedding, b.embedding)[0])
    return {
        "phash": (phash, phash <= lsh.phash_max_bits),
        "pdq": (pdq, pdq <= lsh.pdq_max_bits),
        "words": (float(bool(passing)), bool(passing)),
        "embedding": (cosine, cosine >= lsh.embedding_min_cosine),
    }
