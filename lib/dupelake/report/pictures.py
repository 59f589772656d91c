"""Thumbnails as text inside the page, as many as its weight allows."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
from PIL import Image

from dupelake.report.questions import thumbnails_of
from dupelake.warehouse.reader import Reader

SMALL_PX = 160  # longest side of a picture where the stored thumbnails are too heavy together
_QUALITY = 60
_SMALL_BYTES = 3000  # of a small picture as text, at least: how many contents are worth reading
_AT_ONCE = 5000  # contents that a query names; delta-rs overflows its stack at some 20,000
_AHEAD = 128  # pictures that are reduced together
PER_BLOCK = 48  # pictures of a script element
_SMALL_MEMBERS = 6  # images of a group with a small picture


@dataclass(frozen=True)
class Pictures:
    """Pictures of the listed images.

    Attributes:
        blocks: lines of text, PER_BLOCK images each: a JPEG in base64, `=` and the number of the image that has the
            same picture, or nothing. Numbers begin at 0 with the first listed image.
        n_shown: the number of images that have a picture.
        longest_px: longest side of the pictures; None if they are as stored.
    """

    blocks: Sequence[str]
    n_shown: int
    longest_px: int | None


def read_pictures(reader: Reader, members: pa.Table, budget: int) -> Pictures:
    """Pictures in the order of the page until they weigh `budget` bytes.

    The stored thumbnails are used if all of them fit. Otherwise pictures are reduced to SMALL_PX, and of a group only
    the first images have one.

    Args:
        reader: of the table `thumbnails`.
        members: group_id and content_id of the listed images, those of one group after each other.
        budget: bytes of text.
    """
    contents = members["content_id"].to_pylist()
    wanted = list(dict.fromkeys(contents))
    affordable = wanted[: max(0, budget) // _SMALL_BYTES]
    parts = [affordable[at : at + _AT_ONCE] for at in range(0, len(affordable) or 1, _AT_ONCE)]
    rows = pa.concat_tables([reader.query(thumbnails_of(part)) for part in parts])
    stored = dict(zip(rows["content_id"].to_pylist(), rows["bytes"].to_pylist(), strict=True))
    weight = sum(4 * (len(data) // 3 + 1) for data in stored.values())
    if len(affordable) == len(wanted) and weight + 8 * len(contents) <= budget:
        return _packed(_lines(contents, stored, lambda thumbnails: map(_as_text, thumbnails)), budget, None)
    places = _places(members["group_id"].to_pylist())
    few = [content if place < _SMALL_MEMBERS else None for content, place in zip(contents, places, strict=True)]
    return _packed(_lines(few, stored, _reduced_texts), budget, SMALL_PX)


def _places(group_ids: Sequence[str]) -> Iterator[int]:
    """The place of each image in its group, from 0."""
    place, before = 0, None
    for group_id in group_ids:
        place = place + 1 if group_id == before else 0
        before = group_id
        yield place


def _lines(
    contents: Sequence[str | None], stored: Mapping[str, bytes], texts_of: Callable[[Iterable[bytes]], Iterator[str]]
) -> Iterator[str]:
    """The line of each image, made when it is asked for."""
    first: dict[str, int] = {}
    for number, content in enumerate(contents):
        if content is not None and content in stored:
            first.setdefault(content, number)
    texts = texts_of(stored[content] for content in first)
    for number, content in enumerate(contents):
        if content is None or content not in first:
            yield ""
        elif first[content] < number:
            yield f"={first[content]}"
        else:
            yield next(texts)


def _reduced_texts(thumbnails: Iterable[bytes]) -> Iterator[str]:
    """Smaller pictures as text, in the order of the thumbnails; Pillow decodes outside of Python's lock."""
    thumbnails = iter(thumbnails)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        while batch := list(islice(thumbnails, _AHEAD)):
            yield from pool.map(lambda data: _as_text(_reduced(data)), batch)


def _packed(lines: Iterator[str], budget: int, longest_px: int | None) -> Pictures:
    taken: list[str] = []
    for line in lines:
        budget -= len(line) + 1
        if budget < 0:
            break
        taken.append(line)
    while taken and not taken[-1]:
        taken.pop()
    blocks = ["\n".join(taken[at : at + PER_BLOCK]) for at in range(0, len(taken), PER_BLOCK)]
    return Pictures(blocks, sum(map(bool, taken)), longest_px)


def _as_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _reduced(data: bytes) -> bytes:
    """A smaller JPEG of a thumbnail; no bytes if it does not decode."""
    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (SMALL_PX, SMALL_PX))  # decodes at half the size where that is enough
            picture = image.convert("RGB")
    except OSError:
        return b""
    picture.thumbnail((SMALL_PX, SMALL_PX), Image.Resampling.BILINEAR)
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
