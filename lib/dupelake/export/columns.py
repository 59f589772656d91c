"""Columns for FiftyOne and for Hugging Face's `datasets`, as Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dupelake.export.files import Written
from dupelake.export.names import text_name_of
from dupelake.export.night import Night, Row
from dupelake.runtime.out_files import written_whole

_FIELDS = [
    ("group_id", pa.string()),
    ("relation", pa.string()),
    ("is_removable", pa.bool_()),
    ("tier", pa.string()),
    ("keeper", pa.string()),
    ("score", pa.float64()),
    ("kind", pa.string()),
    ("reason", pa.string()),
]
_ROWS = 10_000  # of a row group


def write_fiftyone(night: Night, out: Path) -> Written:
    """Write a row for each image of a group: `filepath`, then the fields for `Dataset.set_values`.

    Members of archives are left out, because FiftyOne cannot open them.
    """
    rows = (row for members in night.groups() for row in members)
    n_rows, n_members = _write(night, out, "filepath", rows, None)
    notes = [f"{n_members} images are members of archives, which FiftyOne cannot open; left out"] if n_members else []
    return Written([out], f"{n_rows} images of groups", notes)


def write_datasets(night: Night, out: Path, folder: str | None) -> Written:
    """Write a row for each live image: `file_name`, then the columns; those of an image without a group are null.

    Args:
        night: the tables.
        out: the file.
        folder: to which file names are relative; None for absolute paths.
    """
    grouped = (row for members in night.groups() for row in members)
    single = (row | {"is_removable": False} for row in night.in_no_group())
    n_rows, n_members = _write(night, out, "file_name", chain(grouped, single), folder)
    notes = [f"{n_members} images are members of archives; their file_name is their URI"] if n_members else []
    return Written([out], f"{n_rows} images", notes)


def _write(night: Night, out: Path, key: str, rows: Iterable[Row], folder: str | None) -> tuple[int, int]:
    """Write the rows, one for each URI; those of members of archives only as `file_name`.

    Returns:
        The number of rows, and of members.
    """
    schema = pa.schema([(key, pa.string()), *_FIELDS])
    waiting = (_named(key, row, folder) for row in _once(rows, night.shared_uris()))
    n_rows = n_members = 0
    with written_whole(out) as path, pq.ParquetWriter(path, schema) as writer:
        while some := list(islice(waiting, _ROWS)):
            n_members += sum(row["is_member"] for row in some)
            some = [row for row in some if key == "file_name" or not row["is_member"]]
            writer.write_table(pa.Table.from_pylist(some, schema))
            n_rows += len(some)
    return n_rows, n_members


def _once(rows: Iterable[Row], shared: set[str]) -> Iterator[Row]:
    """The first row of each URI; `shared` has the URIs of several rows. If one of its images may go, then all may."""
    seen = set()
    for row in rows:
        if row["uri"] in shared:
            if row["uri"] in seen:
                continue
            seen.add(row["uri"])
        yield row


def _named(key: str, row: Row, folder: str | None) -> Row:
    keeper = row.get("keeper_uri")
    return {
        **row,
        key: text_name_of(row["uri"], row["is_member"], folder),
        "keeper": None if keeper is None else text_name_of(keeper, row["keeper_is_member"], folder),
    }
