"""CSV and JSON manifests: the layout is detected file by file, the rows are parsed on the executors. Reads only.

A small file is one row for Spark; ingest/records.py parses it whole. A large file is read as lines, by several tasks if
it is not compressed. This is right only if no record spans several lines, so large CSV files are scanned for lines with
an open quote.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial, reduce
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from dupelake.errors import ManifestError
from dupelake.ingest.manifest_cells_stage import EXTRA, FAULT
from dupelake.ingest.manifest_columns_stage import is_known
from dupelake.ingest.manifest_names import URI, check_columns, find_uri_column
from dupelake.ingest.manifest_names import plain_name as _plain
from dupelake.ingest.manifest_place import PACKED, ManifestFile, Place
from dupelake.ingest.records import (
    Layout,
    Row,
    csv_layout,
    csv_rows,
    encoding_of,
    is_document,
    json_rows,
    lines_of,
    resolved,
    text_lines,
)
from dupelake.warehouse.paths import literal

log = logging.getLogger(__name__)

_HEAD_BYTES = (65_536, 16_777_216)  # read from the start of a file; the second if the header line exceeds the first
_WHOLE_BYTES = 33_554_432  # files up to this size are read whole, by one task
_WHOLE_PACKED_BYTES = 4_194_304
_MAX_WHOLE_BYTES = 1_073_741_824  # a file whose cells hold line ends must fit in memory
_BATCH_ROWS = 4096
_BATCH_CELLS = 1_000_000
_MAX_COLUMNS = 20_000


def read_text_table(spark: SparkSession, place: Place, kind: str, uri_column: str = "") -> DataFrame:
    """The rows of CSV or JSON files as text: the known columns of all files, FAULT, and all others in EXTRA.

    Args:
        spark: the session.
        place: a file or a folder.
        kind: csv or json.
        uri_column: the option manifest.image_column; the column is called `uri` in the result.

    Raises:
        ManifestError: a file cannot be read; the message names the file and the fix.
    """
    files = place.files(kind)
    layouts = {
        file.path: layout
        for file, layout in zip(files, place.on_each(partial(_layout, place, kind, uri_column), files), strict=True)
        if layout is not None
    }
    if not layouts:
        raise ManifestError(f"{place.path} has no header line" if kind == "csv" else f"{place.path} is empty")
    kept = [file for file in files if file.path in layouts]
    whole, by_lines = _whole_and_by_lines(spark, place, kind, kept, layouts)
    groups = [(whole, {"wholetext": "true"})] if whole else []
    for end in sorted({layouts[path].line_end for path in by_lines}):
        groups.append(([path for path in by_lines if layouts[path].line_end == end], {"lineSep": end}))
    sources = [_source(spark, place, paths, options) for paths, options in groups]
    if kind == "csv":
        names = _names_of_csv(layouts, place, uri_column)
    else:
        names, uri_name = _names_of_json(sources, layouts, place, uri_column)
        layouts = {path: layout._replace(uri_name=uri_name) for path, layout in layouts.items()}
    known = [name for name in names if is_known(name)]
    frames = [_parsed(source, kind, layouts, known) for source in sources]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)


def _layout(place: Place, kind: str, uri_column: str, path: str) -> Layout | None:
    """The layout of a file; None for a blank file."""
    words = place.readable_path(path)
    folder = words.rpartition("/")[0]
    for n_bytes in _HEAD_BYTES:
        head = place.head(path, n_bytes)
        if kind == "json":
            encoding = encoding_of(head, words)
            text = head.decode(encoding, "replace")
            end = "\r" if "\r" in text and "\n" not in text else "\n"
            return Layout(words, folder, encoding, end) if text.strip("\ufeff \t\r\n\0") else None
        layout = csv_layout(head, words, folder, uri_column)
        if layout is not None:
            return layout
        if len(head) < n_bytes:
            break
    if head.strip(b"\xef\xbb\xbf \t\r\n\0"):
        raise ManifestError(f"{words}: its header line is not CSV: a quote is not closed, or the file is not text")
    return None


def _whole_and_by_lines(
    spark: SparkSession, place: Place, kind: str, files: Sequence[ManifestFile], layouts: dict[str, Layout]
) -> tuple[list[str], list[str]]:
    """The paths of the files that are read whole, and of those that are read as lines.

    Raises:
        ManifestError: a large file can be read in neither way.
    """
    whole, large = [], []
    for file in files:
        is_packed = file.path.lower().endswith(PACKED)
        is_small = file.size <= (_WHOLE_PACKED_BYTES if is_packed else _WHOLE_BYTES)
        if is_small or (layouts[file.path].encoding != "utf-8" and file.size <= _MAX_WHOLE_BYTES and not is_packed):
            whole.append(file)
        elif layouts[file.path].encoding != "utf-8":
            raise ManifestError(f"{layouts[file.path].name} is UTF-16 and too large to be read whole; save it as UTF-8")
        else:
            large.append(file)
    if kind == "json":
        for file in large:
            if is_document(place.head(file.path, _HEAD_BYTES[0]), layouts[file.path].name):
                raise ManifestError(
                    f"{layouts[file.path].name} is one JSON array, or has objects over several lines, and is too large "
                    "to be read whole; write one object a line (jq -c '.[]')"
                )
        return [file.path for file in whole], [file.path for file in large]
    unpacked = [file for file in large if not file.path.lower().endswith(PACKED)]
    opened = _with_open_quotes(spark, place, [file.path for file in unpacked], layouts)
    for file in unpacked:
        if file.path in opened and file.size > _MAX_WHOLE_BYTES:
            raise ManifestError(
                f"{layouts[file.path].name} has cells with line ends and {file.size} bytes, so it can be read neither "
                f"by several tasks nor whole; write it as files below {_MAX_WHOLE_BYTES} bytes, or as Parquet"
            )
    whole += [file for file in unpacked if file.path in opened]
    return [file.path for file in whole], [file.path for file in large if file.path not in opened]


def _with_open_quotes(spark: SparkSession, place: Place, paths: Sequence[str], layouts: dict[str, Layout]) -> set[str]:
    """The files with a line that holds an odd number of quotes: a cell may continue on the next line."""
    found: set[str] = set()
    for end in sorted({layouts[path].line_end for path in paths}):
        lines = _source(spark, place, [path for path in paths if layouts[path].line_end == end], {"lineSep": end})
        text = F.col("value").cast("string")
        quotes = F.octet_length(text) - F.octet_length(F.replace(text, F.lit('"'), F.lit("")))
        odd = lines.where(quotes % 2 == 1).select("_path").distinct()
        found |= {unquote(row["_path"]) for row in odd.collect()}  # at most one row a file
    return found


def _source(spark: SparkSession, place: Place, paths: Sequence[str], options: dict[str, str]) -> DataFrame:
    """Files or lines: `value` (bytes), `_path` (percent-encoded), `_start`, `_is_whole`, and partition columns."""
    base = {"basePath": place.hadoop} if place.is_folder else {}
    # Not `spark.read.text`: its default for wholetext overrides the option.
    text = spark.read.format("text").options(**options, **base).load([literal(path) for path in paths])
    return text.withColumn("value", F.col("value").cast("binary")).select(
        "*",
        F.col("_metadata.file_path").alias("_path"),
        F.col("_metadata.file_block_start").alias("_start"),
        F.lit("wholetext" in options).alias("_is_whole"),
    )


def _names_of_csv(layouts: dict[str, Layout], place: Place, uri_column: str) -> list[str]:
    """The distinct columns of all headers, in order of occurrence."""
    names: dict[str, str] = {}
    for headers in dict.fromkeys(layout.names for layout in layouts.values()):
        one = next(layout.name for layout in layouts.values() if layout.names == headers)
        asked = uri_column if URI not in map(_plain, headers) else ""  # csv_layout has renamed it
        check_columns(headers, one if place.is_folder else place.path, asked)
        for name in _named(headers):
            names.setdefault(_plain(name), name)
    return list(names.values())


def _names_of_json(
    sources: Sequence[DataFrame], layouts: dict[str, Layout], place: Place, uri_column: str
) -> tuple[list[str], str]:
    """The distinct keys of all objects, sorted, with `uri` for the key that holds the URIs; and this key as written.

    Raises:
        ManifestError: see check_columns.
    """
    found: set[str] = set()
    for source in sources:
        keys = source.mapInArrow(partial(_key_batches, layouts=layouts), "name string").distinct()
        found |= {str(row["name"]) for row in keys.limit(_MAX_COLUMNS + 1).collect()}
    if len(found) > _MAX_COLUMNS:
        raise ManifestError(
            f"{place.path} has more than {_MAX_COLUMNS} different keys; nest keys that differ between objects below "
            "one common key"
        )
    found = found or {"_corrupt_record"}
    check_columns(sorted(found), place.path, uri_column)
    uri_name = find_uri_column(sorted(found), uri_column) or URI
    return sorted(URI if name == uri_name else name for name in found), uri_name


def _named(headers: Sequence[str]) -> list[str]:
    """The names of a header; a blank name becomes `_c` and its position, as in Spark."""
    return [name if name.strip() else f"_c{at}" for at, name in enumerate(headers)]


def _parsed(source: DataFrame, kind: str, layouts: dict[str, Layout], names: Sequence[str]) -> DataFrame:
    """Parses `source`. Partition columns of folders override cells of the same name, as everywhere in Spark."""
    of_folders = [name for name in source.columns if name not in ("value", "_path", "_start", "_is_whole")]
    plain = {_plain(name) for name in of_folders}
    columns = [name for name in names if _plain(name) not in plain]
    text = T.StringType()
    schema = T.StructType([T.StructField(name, text) for name in [*columns, FAULT, EXTRA, *of_folders]])
    parse = partial(_row_batches, kind=kind, layouts=layouts, columns=columns, of_folders=of_folders)
    return source.mapInArrow(parse, schema)


Part = tuple[str, int, bool, tuple[Any, ...]]


def _parts(batches: Iterable[pa.RecordBatch], of_folders: Sequence[str]) -> Iterator[tuple[Part, Iterator[bytes]]]:
    """The parts of files, each with its lines (or the bytes of the whole file) in order."""

    def stream() -> Iterator[tuple[Part, bytes]]:
        for batch in batches:
            columns = [batch[name].to_pylist() for name in ("_path", "_start", "_is_whole", *of_folders)]
            for at, value in enumerate(batch["value"]):
                path, start, is_whole, *said = (column[at] for column in columns)
                yield (path, start, is_whole, tuple(said)), value.as_py()

    for part, values in groupby(stream(), key=itemgetter(0)):
        yield part, (value for _, value in values)


def _rows_of(part: Part, values: Iterator[bytes], kind: str, layout: Layout) -> Iterator[Row]:
    _, start, is_whole, _ = part
    at_start = start == 0
    lines = text_lines(b"".join(values), layout) if is_whole else lines_of(values, layout, at_start=at_start)
    if kind == "csv":
        return csv_rows(lines, layout, at_start=at_start)
    return json_rows(lines, layout, at_start=at_start, is_whole=is_whole)


def _key_batches(batches: Iterable[pa.RecordBatch], *, layouts: dict[str, Layout]) -> Iterator[pa.RecordBatch]:
    names: set[str] = set()
    for part, values in _parts(batches, ()):
        for cells, _ in _rows_of(part, values, "json", layouts[unquote(part[0])]):
            names.update(cells)
    yield pa.RecordBatch.from_arrays([pa.array(sorted(names), pa.string())], names=["name"])


def _row_batches(
    batches: Iterable[pa.RecordBatch],
    *,
    kind: str,
    layouts: dict[str, Layout],
    columns: Sequence[str],
    of_folders: Sequence[str],
) -> Iterator[pa.RecordBatch]:
    for part, values in _parts(batches, of_folders):
        layout = layouts[unquote(part[0])]
        order = _order(columns, layout) if kind == "csv" else list(columns)
        n_rows = max(1, min(_BATCH_ROWS, _BATCH_CELLS // max(1, len(columns), len(layout.names))))
        held: list[Row] = []
        for row in _rows_of(part, values, kind, _renamed(layout)):
            held.append(row)
            if len(held) == n_rows:
                yield _batch(held, order, columns, part, layout, of_folders)
                held = []
        if held:
            yield _batch(held, order, columns, part, layout, of_folders)


def _renamed(layout: Layout) -> Layout:
    return layout._replace(names=tuple(_named(layout.names)))


def _order(columns: Sequence[str], layout: Layout) -> list[str]:
    """The spelling of the columns in this file."""
    own = {_plain(name): name for name in _named(layout.names)}
    return [own.get(_plain(name), name) for name in columns]


def _batch(
    rows: Sequence[Row],
    order: Sequence[str],
    columns: Sequence[str],
    part: Part,
    layout: Layout,
    of_folders: Sequence[str],
) -> pa.RecordBatch:
    """Rows as an Arrow batch. Names without a column of their own go into one JSON object."""
    arrays, taken = [], {*order, *of_folders}
    for name in order:
        values = [cells.get(name) for cells, _ in rows]
        if _plain(name) == "uri":
            values = [value and resolved(value, layout.folder) for value in values]
        arrays.append(pa.array(values, pa.string()))
    arrays.append(pa.array([fault for _, fault in rows], pa.string()))
    arrays.append(pa.array([_extra(cells, taken) for cells, _ in rows], pa.string()))
    arrays += [pa.array([said] * len(rows), pa.string()) for said in part[3]]
    return pa.RecordBatch.from_arrays(arrays, names=[*columns, FAULT, EXTRA, *of_folders])


def _extra(cells: dict[str, str | None], taken: set[str]) -> str | None:
    extra = {name.strip(): cell for name, cell in sorted(cells.items()) if cell is not None and name not in taken}
    return json.dumps(extra, ensure_ascii=False) if extra else None
