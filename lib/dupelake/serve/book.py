"""The tables of verdicts of a local warehouse by delta-rs, for `group.giving.give`: no Spark, no Java.

The server, `dupelake decide` and the rules use it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from dupelake.errors import VersionMixError
from dupelake.group.giving import STALE_S, Key, Latest, Named
from dupelake.ingest.uris import plain_uri
from dupelake.lookup.index import opened
from dupelake.lookup.manifest import manifest_of
from dupelake.lookup.state import State
from dupelake.runtime.lock import PEOPLE, lock_of
from dupelake.warehouse.reader import Reader
from dupelake.warehouse.rules import OK
from dupelake.warehouse.schema import DECIDED, DECISIONS, IMAGES
from dupelake.warehouse.scratch import scratch_beside
from dupelake.warehouse.writer import Writer

Row = dict[str, Any]

# Names are of this module.
# ruff: noqa: S608

_READ = f"SELECT image_id, uri, content_id, scope FROM images WHERE status = '{OK}' AND content_id IS NOT NULL"
_TAIL = "reverse(split_part(reverse(uri), '/', 1))"
# Folding and percent-decoding change the end of a URI only where it has `%`, `/.` or `//`.
_ODD = "strpos(uri, '%') > 0 OR strpos(uri, '/.') > 0 OR ends_with(uri, '/')"


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
        with scratch_beside(self._reader) as scratch:

            def rows(table: str, texts: Iterable[str], sql: str) -> list[Row]:
                scratch.put_texts(table, word=sorted(texts))
                return scratch.query(sql).to_pylist()

            return _named(
                names,
                lambda ids: rows("ids", ids, f"SELECT r.* FROM ({_READ}) r JOIN ids n ON n.word = r.image_id"),
                lambda plain: rows("tails", {one.rpartition("/")[2] or one for one in plain}, _by_uri(plain)),
            )

    def _in_index(self, index: Path, names: Collection[str]) -> Mapping[str, Named] | None:
        """What `look_up` gives, by the index; None if the index cannot be used or `images` has changed since."""

        def read(folder: Path) -> Mapping[str, Named] | None:
            manifest = manifest_of(folder)
            is_mine = manifest.warehouse == self._reader.root
            shown = manifest.tables.get(IMAGES.name), manifest.table_ids.get(IMAGES.name)
            if not is_mine or shown != (self._reader.version(IMAGES.name), self._reader.table_id(IMAGES.name)):
                return None
            with closing(State(manifest.rows(folder))) as state:
                return _named(names, partial(state.rows, IMAGES, "image_id"), state.images_at)

        try:
            return opened(index, read)
        except (VersionMixError, OSError, sqlite3.Error):
            return None

    @contextmanager
    def held(self, who: str) -> Iterator[Callable[[], None]]:
        """The lock for writing verdicts, which a run holds, too, while it writes them."""
        lock = lock_of(None, self._root, who, self._wait_s, STALE_S, PEOPLE)
        lock.acquire()
        try:
            yield lock.check
        finally:
            lock.release()

    def latest(self, author: str, keys: Collection[Key]) -> Mapping[Key, Latest]:
        """The latest verdict of an author on each of these images."""
        with scratch_beside(self._reader) as scratch:
            low, high = ([key[end] for key in keys] for end in (0, 1))
            scratch.put_texts("asked", author=[author] * len(low), low=low, high=high)
            rows = scratch.query(_LATEST).to_pylist()
        return {(row["low"], row["high"]): Latest(row["verdict"], (row["low_was"], row["high_was"])) for row in rows}

    def pixels(self, contents: Collection[str]) -> Mapping[str, str]:
        """The pixel digests of these contents, where they are known."""
        with scratch_beside(self._reader) as scratch:
            scratch.put_texts("asked", word=sorted(contents))
            rows = scratch.query(_PIXELS).to_pylist()
        return {row["content_id"]: row["pixel_digest"] for row in rows}

    def pin(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Add rows to DECIDED but those whose key is stored."""
        self._writer.insert(DECIDED, rows)

    def add(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Add rows to DECISIONS."""
        self._writer.append(DECISIONS, rows)


_LATEST = """WITH said AS (
  SELECT least(image_id, coalesce(other_image_id, image_id)) AS low,
    greatest(image_id, coalesce(other_image_id, '')) AS high, author, verdict, decided_at
  FROM decisions
)
SELECT s.low, s.high, s.verdict, l.content_id AS low_was, h.content_id AS high_was FROM (
  SELECT s.*, row_number() OVER (PARTITION BY s.low, s.high ORDER BY s.decided_at DESC, s.verdict DESC) AS place
  FROM said s JOIN asked a ON a.low = s.low AND a.high = s.high AND a.author = s.author
) s LEFT JOIN decided l ON l.image_id = s.low AND l.decided_at = s.decided_at
LEFT JOIN decided h ON h.image_id = s.high AND h.decided_at = s.decided_at
WHERE s.place = 1"""
_PIXELS = "SELECT h.content_id, h.pixel_digest FROM hashes h JOIN asked a ON a.word = h.content_id"


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


def _by_uri(plain: Collection[str]) -> str:
    """SELECT of the images whose URIs may have one of these plain forms."""
    if any("://" in one and "/" not in one.partition("://")[2] for one in plain):
        return f"{_READ} AND uri IS NOT NULL"  # a host without a path: its case and port may differ
    same = f"SELECT r.* FROM (SELECT *, {_TAIL} AS tail FROM ({_READ})) r JOIN tails t ON t.word = r.tail"
    return f"SELECT image_id, uri, content_id, scope FROM ({same}) WHERE NOT ({_ODD}) UNION ALL {_READ} AND ({_ODD})"
