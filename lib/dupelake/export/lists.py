"""The removal list: each image that may go, with the image that is kept beside it, as CSV, JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dupelake.csv_cells import write_rows
from dupelake.export.files import Written
from dupelake.export.names import text_path_of
from dupelake.export.night import Night
from dupelake.runtime.out_files import written_whole
from dupelake.runtime.run_report import human_bytes

_TEXT, _BYTES = pa.string(), pa.int64()
SCHEMA = pa.schema(
    [
        ("image_id", _TEXT),
        ("uri", _TEXT),
        ("path", _TEXT),  # of a local file; null for others, members of archives, and where the name is not UTF-8
        ("byte_size", _BYTES),
        ("freed_bytes", _BYTES),  # 0 for further names of one file
        ("content_id", _TEXT),  # first 32 hex digits of the SHA-256 of the bytes
        ("tier", _TEXT),
        ("kind", _TEXT),
        ("score", pa.float64()),
        ("reason", _TEXT),
        ("group_id", _TEXT),
        ("keeper_id", _TEXT),
        ("keeper_uri", _TEXT),
        ("keeper_path", _TEXT),
        ("keeper_byte_size", _BYTES),
        ("keeper_content_id", _TEXT),
    ]
)
"""The columns of all three forms."""


def write_list(night: Night, out: Path, form: str) -> Written:
    """Write the images that may go; `form` is a key of FORMS."""
    total = [0, 0]
    with written_whole(out) as path:
        FORMS[form](path, _counted(map(_row_batch, night.removable()), total))
    return Written([out], f"{total[0]} images that may go, {human_bytes(total[1])} in all")


def _row_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of `removable_of` with the columns of SCHEMA."""
    found = {name: batch[name] for name in batch.schema.names} | {"score": batch["score_to_keeper"]}
    for of in ("", "keeper_"):
        found[f"{of}path"] = pa.array(
            map(text_path_of, batch[f"{of}uri"].to_pylist(), batch[f"{of}is_member"].to_pylist()), _TEXT
        )
    return pa.RecordBatch.from_arrays([found[name].cast(kind) for name, kind in _KINDS], schema=SCHEMA)


_KINDS = [(field.name, field.type) for field in SCHEMA]


def _counted(batches: Iterable[pa.RecordBatch], total: list[int]) -> Iterator[pa.RecordBatch]:
    """The batches; rows and freed bytes are added to `total`."""
    for batch in batches:
        total[0] += batch.num_rows
        total[1] += pc.sum(batch["freed_bytes"]).as_py() or 0
        yield batch


def _write_csv(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = (cells for batch in batches for cells in zip(*(column.to_pylist() for column in batch), strict=True))
        write_rows(file, SCHEMA.names, rows)


def _write_json_lines(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())


def _write_parquet(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(batch)


FORMS: dict[str, Callable[[Path, Iterable[pa.RecordBatch]], None]] = {
    "csv": _write_csv,
    "jsonl": _write_json_lines,
    "parquet": _write_parquet,
}
