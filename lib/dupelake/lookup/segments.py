"""Segments of the index: what candidate generators and the alignment read of some contents, as memory-mapped arrays.

A segment is written once and never changed. Everything of variable length (words, thumbnails, keypoints, descriptors,
embeddings) lies in one file for each kind, with an array of (start, length): the operating system caches what is used,
several processes share it, and there is no engine to keep well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dupelake.propose.mih import Codes, binary_rows, words_of
from dupelake.propose.srp import srp_codes
from dupelake.words.vocabulary import NO_WORD
from dupelake.words.votes import WordBlock, unpack_block

MAX_CONTENTS = 200_000  # of one segment: its postings are sorted in memory, 40 bytes a word
BLOBS = ("words", "thumbnail", "keypoints", "descriptors", "embedding")
"""What a segment holds of variable length."""
_CELLS = ("stored", "second")
_WORDS_AT_ONCE = 4096  # pictures whose words are unpacked at once
_IDS = np.dtype("S16")

Places = npt.NDArray[np.int64]
Cells = npt.NDArray[np.uint32]
Keys = npt.NDArray[np.bytes_]
"""Content ids, S16."""


def keys_of(content_ids: pa.Array) -> Keys:
    """Content ids of 32 hex digits, in their order."""
    return np.frombuffer(bytes.fromhex("".join(content_ids.to_pylist())), _IDS)


def ids_of(keys: Keys) -> list[str]:
    """The content ids of keys; the array drops zero bytes at the end of a key, and its memory does not."""
    digits = keys.tobytes().hex()
    return [digits[start : start + 32] for start in range(0, len(digits), 32)]


def places_of(keys: Keys, ids: Keys) -> Places:
    """The places of keys, int64 (k,), among ascending ids; -1 for those that are not there."""
    at = np.minimum(np.searchsorted(ids, keys), max(0, len(ids) - 1))
    return np.where(ids[at] == keys, at, -1) if len(ids) else np.full(len(keys), -1)


@dataclass(frozen=True)
class Postings:
    """The contents that have each visual word as nearest, or as second nearest, cell.

    Attributes:
        keys: uint32 (m,), the words, ascending.
        start: int64 (m + 1,), the contents of word i are owners[start[i]:start[i + 1]].
        owners: int32 (k,), places in the segment.
    """

    keys: Cells
    start: Places
    owners: npt.NDArray[np.int32]

    def of(self, cells: Cells) -> npt.NDArray[np.int32]:
        """The owners of some words, one after the other; an owner is repeated for each word that it has."""
        at, is_held = self._places(cells)
        if not is_held.any():
            return np.empty(0, np.int32)
        at = at[is_held]
        return np.concatenate([self.owners[a:b] for a, b in zip(self.start[at], self.start[at + 1], strict=True)])

    def counts(self, cells: Cells) -> Places:
        """The number of owners of each word."""
        at, is_held = self._places(cells)
        at = np.where(is_held, at, 0)
        return np.where(is_held, self.start[at + 1] - self.start[at], 0) if len(self.keys) else np.zeros_like(at)

    def _places(self, cells: Cells) -> tuple[Places, npt.NDArray[np.bool_]]:
        if not len(self.keys):
            return np.zeros(len(cells), np.int64), np.zeros(len(cells), bool)
        at = np.minimum(np.searchsorted(self.keys, cells), len(self.keys) - 1)
        return at, (self.keys[at] == cells) & (cells != NO_WORD)


class Segment:
    """One segment, opened for reading; arrays are mapped into memory when they are first used, or by `map_all`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ids = np.load(folder / "ids.npy")  # S16, ascending

    def map_all(self) -> None:
        """Map all arrays: from now on the segment can be read although a build removes its files."""
        for name in ("phash", "pdq", "codes", "widths", "coded", "postings", "_blobs"):
            getattr(self, name)

    def __len__(self) -> int:
        return len(self.ids)

    def _array(self, name: str) -> Any:
        return np.asarray(np.load(self._folder / f"{name}.npy", mmap_mode="r"))  # a plain array is faster to slice

    @cached_property
    def phash(self) -> Codes:
        """uint64 (n, 2): pHash, straight and mirrored."""
        return self._array("phash")

    @cached_property
    def pdq(self) -> Codes:
        """uint64 (n, 8): PDQ, straight and mirrored."""
        return self._array("pdq")

    @cached_property
    def codes(self) -> Codes:
        """uint64 (m, words): codes of the embeddings of the contents in `coded`."""
        return self._array("codes")

    @cached_property
    def widths(self) -> npt.NDArray[np.int32]:
        """int32 (n,): pixels, of the thumbnails."""
        return self._array("widths")

    @cached_property
    def coded(self) -> Places:
        """int64 (m,): the places of the contents with an embedding."""
        return self._array("coded")

    @cached_property
    def postings(self) -> tuple[Postings, Postings]:
        """By nearest and by second nearest cell."""
        first, second = (
            Postings(self._array(f"{kind}_keys"), self._array(f"{kind}_start"), self._array(f"{kind}_owners"))
            for kind in _CELLS
        )
        return first, second

    @cached_property
    def _blobs(self) -> dict[str, tuple[Any, npt.NDArray[np.uint8]]]:
        found = {}
        for kind in BLOBS:
            path = self._folder / f"{kind}.bin"
            data = np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.empty(0, np.uint8)
            found[kind] = self._array(f"{kind}_at"), data
        return found

    def blob(self, kind: str, place: int) -> bytes | None:
        """The bytes of a kind of BLOBS of one content; None if there are none."""
        at, data = self._blobs[kind]
        start, length = at[place].tolist()
        return None if length < 0 else data[start : start + length].tobytes()

    def place(self, content_id: str) -> int | None:
        """The place of a content; None if it is not in this segment."""
        key = np.bytes_(bytes.fromhex(content_id))
        at = int(np.searchsorted(self.ids, key))
        return at if at < len(self.ids) and self.ids[at] == key else None

    def content_id(self, place: int) -> str:
        """The id of the content at a place; the array drops zero bytes at the end of an id."""
        return bytes(self.ids[place]).ljust(16, b"\0").hex()


class SegmentWriter:
    """Writes one segment: first the hashes of all contents, then parts of variable length in any order, then `close`.

    Args:
        folder: exists and is empty.
        ids: content ids, 32 hex digits each.
        centre: float32 (dim,) of the model; None without one.
        n_bits: length of a code of an embedding.
    """

    def __init__(self, folder: Path, ids: Sequence[str], centre: npt.NDArray[np.float32] | None, n_bits: int) -> None:
        self._folder, self._centre, self._n_bits = folder, centre, n_bits
        raw = np.frombuffer(bytes.fromhex("".join(ids)), _IDS) if ids else np.empty(0, _IDS)
        self.ids = np.sort(raw)
        np.save(folder / "ids.npy", self.ids)
        self._at = {kind: np.tile(np.array([0, -1], np.int64), (len(ids), 1)) for kind in BLOBS}
        self._files = {kind: (folder / f"{kind}.bin").open("wb") for kind in BLOBS}
        self._widths = np.zeros(len(ids), np.int32)
        self._phash, self._pdq = np.zeros((len(ids), 2), np.uint64), np.zeros((len(ids), 8), np.uint64)

    def places(self, content_ids: pa.Array) -> Places:
        """The places of contents, int64 (k,); -1 for those of other segments."""
        return places_of(keys_of(content_ids), self.ids)

    def add_hashes(self, batch: pa.RecordBatch) -> None:
        """Take the rows of HASHES of this segment."""
        place = self.places(batch["content_id"])
        held = place >= 0
        for side, suffix in enumerate(("", "_mirrored")):
            self._phash[place[held], side] = np.asarray(batch[f"phash{suffix}"]).astype(np.int64).view(np.uint64)[held]
            self._pdq[place[held], 4 * side : 4 * side + 4] = words_of(binary_rows(batch[f"pdq{suffix}"], 32))[held]

    def add_blobs(self, kind: str, content_ids: pa.Array, values: pa.Array) -> None:
        """Take the values of a kind of BLOBS of this segment's contents; null stays absent."""
        file, at = self._files[kind], self._at[kind]
        for place, value in zip(self.places(content_ids).tolist(), values, strict=True):
            if place >= 0 and value.is_valid:
                held = value.as_buffer()
                at[place] = file.tell(), held.size
                file.write(held)

    def add_widths(self, batch: pa.RecordBatch) -> None:
        """Take the widths of rows of THUMBNAILS."""
        place = self.places(batch["content_id"])
        self._widths[place[place >= 0]] = np.asarray(batch["width_px"])[place >= 0]

    def close(self) -> None:
        """Write the arrays."""
        for kind, file in self._files.items():
            file.close()
            np.save(self._folder / f"{kind}_at.npy", self._at[kind])
        for name, codes in (("phash", self._phash), ("pdq", self._pdq)):
            np.save(self._folder / f"{name}.npy", np.asfortranarray(codes))  # `meeting` reads one word of all codes
        np.save(self._folder / "widths.npy", self._widths)
        self._write_codes()
        self._write_postings()

    def _blobs_of(self, kind: str, places: Places) -> list[bytes]:
        path = self._folder / f"{kind}.bin"
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        return [data[start : start + length].tobytes() for start, length in self._at[kind][places].tolist()]

    def _write_codes(self) -> None:
        coded = np.flatnonzero(self._at["embedding"][:, 1] > 0)
        codes = np.empty((0, -(-self._n_bits // 64)), np.uint64)
        if self._centre is not None and len(coded):
            dense = np.frombuffer(b"".join(self._blobs_of("embedding", coded)), "<f2").reshape(len(coded), -1)
            codes = srp_codes(dense.astype(np.float32), self._centre, self._n_bits)
        np.save(self._folder / "coded.npy", coded)
        np.save(self._folder / "codes.npy", np.asfortranarray(codes))

    def _word_blocks(self) -> Iterator[tuple[Places, WordBlock]]:
        places = np.flatnonzero(self._at["words"][:, 1] > 0)
        for start in range(0, len(places), _WORDS_AT_ONCE):
            some = places[start : start + _WORDS_AT_ONCE]
            block = unpack_block(self._blobs_of("words", some))
            yield np.repeat(some, np.diff(block.start)), block

    def _write_postings(self) -> None:
        owners, cells = [np.empty(0, np.int32)], {kind: [np.empty(0, np.uint32)] for kind in _CELLS}
        for owner, block in self._word_blocks():
            owners.append(owner.astype(np.int32))
            for kind in _CELLS:
                cells[kind].append(getattr(block, kind))
        owner = np.concatenate(owners)
        for kind in _CELLS:
            values = np.concatenate(cells[kind])
            held = np.flatnonzero(values != NO_WORD)
            order = held[np.argsort(values[held], kind="stable")]
            keys, start = np.unique(values[order], return_index=True)
            np.save(self._folder / f"{kind}_keys.npy", keys)
            np.save(self._folder / f"{kind}_start.npy", np.append(start, len(order)).astype(np.int64))
            np.save(self._folder / f"{kind}_owners.npy", owner[order])
