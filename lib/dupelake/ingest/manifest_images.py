"""Parquet files that hold the bytes of images: one row per image, placed in its file. Reads no image bytes.

Hugging Face writes a struct `image` with the binary field `bytes` and the text `path`; others write a binary column.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql import window as W

from dupelake.errors import ManifestError
from dupelake.ingest.access import Access, open_local
from dupelake.ingest.failure import Failure, told
from dupelake.ingest.manifest_cells_stage import FAULT, FOLDER, quoted
from dupelake.ingest.manifest_columns_stage import PLACE, is_known, packed
from dupelake.ingest.manifest_names import OTHER_URI_NAMES, URI, plain_name
from dupelake.ingest.manifest_place import Place
from dupelake.ingest.members import MemberPlace, member_uri, version_of
from dupelake.ingest.retries_stage import MARKS
from dupelake.ingest.trees import time_text

log = logging.getLogger(__name__)

_NTH, _GIVEN_URI = "_dupelake_nth", "given_uri"
FILE, ROW = "_dupelake_file", "_dupelake_row"  # columns: the file of a row, and its number in the file from 0
_BYTES, _PATH = "bytes", "path"  # fields of Hugging Face's struct
_FILES = 64  # whose footers a task keeps


class ImageColumn(NamedTuple):
    """A column of image bytes: its name, that of the bytes for Parquet readers, and whether a path is beside them."""

    name: str
    bytes: str
    has_path: bool


def find_image_column(fields: T.StructType, names: Sequence[str], where: str, asked: str = "") -> ImageColumn | None:
    """The column that holds the bytes of images; None if the rows name images by URIs.

    A manifest with a column `uri` names images. Otherwise a struct with the binary field `bytes` holds them; so does a
    binary column, unless a column `url`, `path` or `file_name` says where the images are. Of several the one called
    `image` is taken.

    Args:
        fields: the columns that Spark reads.
        names: all columns.
        where: the name of the manifest for the error message.
        asked: the option manifest.image_column; it may name a column of URIs instead.

    Raises:
        ManifestError: there are several.
    """
    structs, binaries = _columns_of_bytes(fields)
    plain_names = {plain_name(name) for name in names}
    if asked:
        return _named(structs | binaries, plain_name(asked), where)
    if URI in plain_names:
        return None
    found = structs or ({} if plain_names & set(OTHER_URI_NAMES) else binaries)
    if len(found) > 1 and "image" not in found:
        raise ManifestError(
            f"{where} has several columns of image bytes: {', '.join(found)}; choose one: "
            f"--set manifest.image_column={next(iter(found))}"
        )
    return _named(found, "image" if "image" in found else next(iter(found), ""), where)


def _columns_of_bytes(fields: T.StructType) -> tuple[dict[str, ImageColumn], dict[str, ImageColumn]]:
    """The structs with bytes, and the binary columns, by their plain names."""
    structs: dict[str, ImageColumn] = {}
    binaries: dict[str, ImageColumn] = {}
    for field in fields.fields:
        plain, kind = plain_name(field.name), field.dataType
        if isinstance(kind, T.BinaryType):
            binaries[plain] = ImageColumn(field.name, field.name, has_path=False)
        elif isinstance(kind, T.StructType) and _BYTES in kind.names and kind[_BYTES].dataType == T.BinaryType():
            has_path = _PATH in kind.names and kind[_PATH].dataType == T.StringType()
            structs[plain] = ImageColumn(field.name, f"{field.name}.{_BYTES}", has_path)
    return structs, binaries


def without_bytes(fields: T.StructType) -> list[str]:
    """The names of the columns that hold no bytes of images, masks, or the like, so that `extra` stays small.

    Columns that dupelake knows are among them in any type: writers store texts as binary.
    """
    structs, binaries = _columns_of_bytes(fields)
    held = structs | {name: column for name, column in binaries.items() if not is_known(name)}
    return [field.name for field in fields.fields if plain_name(field.name) not in held]


def _named(found: Mapping[str, ImageColumn], name: str, where: str) -> ImageColumn | None:
    chosen = found.get(name)
    if chosen is not None and "." in chosen.name:
        raise ManifestError(f"{where}: a column of image bytes cannot have a dot in its name; rename {chosen.name}")
    return chosen


def image_rows(raw: DataFrame, place: Place, image: ImageColumn, access: Access) -> DataFrame:
    """The rows of a Parquet file as text, with `uri`, marks, FAULT and PLACE, and without the bytes.

    The URI is that of the row: the path of the manifest and the id where the row gives an `image_id`, so that files may
    be rewritten; else the file and the number of the row. `last_modified` and `etag` are those of the file, unless the
    row gives its own.

    Raises:
        ManifestError: the place is not local.
    """
    if place.local is None:
        raise ManifestError(
            f"{place.path}: Parquet files with the bytes of images are read from local or mounted file systems only; "
            "mount the store, or copy the files"
        )
    plain = {plain_name(name) for name in raw.columns}
    path = [F.col(quoted(image.name)).getField(_PATH).alias(_PATH)] if image.has_path and _PATH not in plain else []
    names = [name for name in without_bytes(raw.schema) if name not in (image.name, FOLDER, FILE, ROW, PLACE)]
    left_out = sorted(set(raw.columns) - {*names, image.name, FOLDER, FILE, ROW, PLACE})
    if left_out:
        log.info("%s: columns of bytes that are not read: %s", place.path, ", ".join(left_out))
    # A column `uri` beside the bytes (with manifest.image_column) says where they came from: it is kept in EXTRA.
    others = [
        F.col(quoted(name)).alias(_GIVEN_URI) if plain_name(name) == URI else F.col(quoted(name)) for name in names
    ]
    # The mapper turns the file in URI and the number of the row in PLACE into what they stand for.
    texts = packed(raw.select(F.col(FILE).alias(URI), F.col(ROW).cast("string").alias(PLACE), *others, *path))
    cells = [*texts.columns, *(name for name in ("last_modified", "etag", FAULT) if name not in texts.columns)]
    work = partial(_batches, names=cells, column=image.bytes, source=place.local.rstrip("/"), access=access)
    rows = texts.mapInArrow(work, ", ".join(f"{quoted(name)} string" for name in cells))
    if "image_id" not in cells:
        return rows
    # Rows that repeat an id have URIs of their own, so that they become conflicts (manifest_ids_stage) and no repeats.
    nth = F.row_number().over(W.Window.partitionBy(URI).orderBy(PLACE, FAULT)) - 1
    rows = rows.withColumn(_NTH, nth)
    return rows.withColumn(URI, F.when(F.col(_NTH) > 0, F.concat(URI, F.lit("#"), _NTH)).otherwise(F.col(URI))).drop(
        _NTH
    )


def _batches(
    batches: Iterable[pa.RecordBatch], *, names: Sequence[str], column: str, source: str, access: Access
) -> Iterator[pa.RecordBatch]:
    files = lru_cache(maxsize=_FILES)(partial(_file, access=access))
    for batch in batches:
        cells: dict[str, list[Any]] = {
            name: batch[name].to_pylist() if name in batch.schema.names else [None] * len(batch) for name in names
        }
        ids = cells.get("image_id") or [None] * len(batch)
        for at, (path, number, image_id) in enumerate(zip(cells[URI], cells[PLACE], ids, strict=True)):
            file, row = files(path), int(number)
            given = image_id.strip() if image_id else ""
            cells[URI][at] = member_uri(source, given) if given else member_uri(path, number)
            cells[PLACE][at] = None
            if isinstance(file, Failure):
                cells[FAULT][at] = f"{file.reason}: {file.message}"
                continue
            group = int(np.searchsorted(file.starts, row, side="right")) - 1
            cells[PLACE][at] = json.dumps(asdict(MemberPlace(path, file.version, "parquet", column, group, row)))
            if not any(cells[mark][at] for mark in MARKS if mark in cells):
                cells["last_modified"][at], cells["etag"][at] = file.modified, f"{file.version}@{row}"
        yield pa.RecordBatch.from_arrays([pa.array(cells[name], pa.string()) for name in names], names=list(names))


class _File(NamedTuple):
    version: str
    modified: str
    starts: np.ndarray  # int64, the number of the first row of each row group


def _file(path: str, *, access: Access) -> _File | Failure:
    try:
        opened = open_local(path, access)
        if isinstance(opened, Failure):
            return opened
        with open(opened, "rb") as file:
            info = os.fstat(opened)
            footer = pq.read_metadata(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        return Failure("unreadable", told(error))
    rows = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    return _File(version_of(info), time_text(info.st_mtime_ns), np.array([0, *accumulate(rows)][:-1], np.int64))
