"""The tables of verdicts by delta-rs, for `group.giving.give`: what `dupelake decide` does, without Spark."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dupelake.errors import VersionMixError
from dupelake.group.giving import STALE_S, Key, Line, Named
from dupelake.ingest.uris import plain_uri
from dupelake.lookup.index import opened
from dupelake.lookup.manifest import manifest_of, place_of
from dupelake.lookup.state import State
from dupelake.runtime.lock import PEOPLE, lock_of
from dupelake.warehouse.reader import Reader, quoted, quoted_list
from dupelake.warehouse.schema import DECIDED, DECISIONS, IMAGES, OK
from dupelake.warehouse.writer import Writer

_SHOWN = ("image_id", "uri", "content_id", "scope")
Row = dict[str, Any]


class DeltaBook:
    """`group.giving.Book` of a local warehouse.

    Args:
        folder: of the warehouse.
        wait_s: for the lock.
        index: the folder of its index, or None. While the index shows the newest version of `images`, images are
            looked up in it; else all of `images` is read.
    """

    def __init__(self, folder: Path, wait_s: float, index: Path | None = None) -> None:
        self._root, self._wait_s, self._index = str(folder), wait_s, index
        self._reader, self._writer = Reader(folder), Writer(str(folder))

    def look_up(self, names: Collection[str]) -> Mapping[str, Named]:
        """The images of these names that were read."""
        found = None if self._index is None else self._in_index(self._index, names)
        if found is not None:
            return found
        return _named(
            names,
            lambda ids: self._images(pc.field("image_id").isin(list(ids))),
            lambda plain: self._images(_may_be_one_of(plain)),
        )

    def _in_index(self, index: Path, names: Collection[str]) -> Mapping[str, Named] | None:
        """What `look_up` gives, by the index; None if the index cannot be used or `images` has changed since."""

        def read(folder: Path) -> Mapping[str, Named] | None:
            manifest = manifest_of(folder)
            is_mine = place_of(manifest.warehouse) == place_of(self._root)
            if not is_mine or manifest.tables.get(IMAGES.name) != self._reader.version(IMAGES.name):
                return None
            state = State(folder / manifest.state / "rows.sqlite")
            try:
                return _named(names, partial(state.rows, IMAGES, "image_id"), state.images_at)
            finally:
                state.close()

        try:
            return opened(index, read)
        except (VersionMixError, OSError, sqlite3.Error):
            return None

    def _images(self, where: pc.Expression) -> Iterator[Row]:
        was_read = (pc.field("status") == OK) & pc.field("content_id").is_valid()
        for batch in self._reader.batches(IMAGES.name, _SHOWN, was_read & where):
            yield from batch.to_pylist()

    @contextmanager
    def held(self, who: str) -> Iterator[Callable[[], None]]:
        """The lock that `dupelake decide` and runs hold, too."""
        lock = lock_of(None, self._root, who, self._wait_s, STALE_S, PEOPLE)
        lock.acquire()
        try:
            yield lock.check
        finally:
            lock.release()

    def latest(self, author: str, keys: Collection[Key]) -> Mapping[Key, str]:
        """The latest verdict of an author on each of these images."""
        columns = ["image_id", "other_image_id", "verdict"]
        ids = {one for key in keys for one in key if one}
        mine = f"author = {quoted(author)} AND image_id IN {quoted_list(sorted(ids))}"
        rows = self._reader.table(DECISIONS.name, columns, mine, "decided_at, verdict")
        said = {Line("", r["image_id"], r["verdict"], r["other_image_id"]).key: r["verdict"] for r in rows.to_pylist()}
        return {key: said[key] for key in keys if key in said}

    def pin(self, rows: Sequence[Row]) -> None:
        """Add rows to DECIDED but those whose key is stored."""
        self._writer.insert(DECIDED, rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows to DECISIONS."""
        self._writer.append(DECISIONS, rows)


def _named(
    names: Collection[str],
    by_ids: Callable[[Iterable[str]], Iterable[Row]],
    by_plain: Callable[[Collection[str]], Iterable[Row]],
) -> dict[str, Named]:
    """The images of names.

    Args:
        names: ids, or URIs in any spelling.
        by_ids: the rows of `images` with these ids.
        by_plain: the rows whose URIs have these plain forms; there may be others among them.
    """
    found: dict[str, Named] = {}
    for row in by_ids(names):
        found[row["image_id"]] = Named(row["image_id"], row["content_id"], row["scope"], 1)
    wanted = {name: plain_uri(name) for name in names if name not in found}
    by_uri: dict[str, list[Row]] = {plain: [] for plain in wanted.values()}
    if by_uri:
        for row in by_plain(by_uri):
            by_uri.get(plain_uri(row["uri"]), []).append(row)
    for name, plain in wanted.items():
        if by_uri[plain]:
            first = min(by_uri[plain], key=lambda row: str(row["image_id"]))
            found[name] = Named(first["image_id"], first["content_id"], first["scope"], len(by_uri[plain]))
    return found


def _may_be_one_of(plain: Collection[str]) -> pc.Expression:
    """Of `images`: the URIs that may have one of these plain forms. Most others end otherwise.

    Folding and percent-decoding change the end of a URI only where it has `%`, `/.` or `//`.
    """
    uri = pc.field("uri")
    if any("://" in one and "/" not in one.partition("://")[2] for one in plain):
        return uri.is_valid()  # a host without a path: its case and port may differ
    found = pc.match_substring(uri, "%") | pc.match_substring(uri, "/.") | pc.ends_with(uri, "/")
    for one in plain:
        found |= pc.ends_with(uri, one.rpartition("/")[2] or one)
    return found
