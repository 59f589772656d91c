"""Parses the text of one manifest file to rows: CSV by RFC 4180, and JSON. No Spark.

A record that cannot be used is a row with the reason `bad_row`; cells are never shifted. If the start of the next
record cannot be found, the file is refused.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dupelake.errors import ManifestError
from dupelake.ingest.manifest_names import OTHER_URI_NAMES, URI, find_uri_column, plain_name

BAD_ROW = "bad_row"
DELIMITERS = ",;\t|"
_SHOWN = 160  # characters of a bad record in its message
_MARKS = (  # byte order marks, the longer ones first
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_RELATIVE = re.compile(r"(?!\s*/|\s*[A-Za-z][A-Za-z0-9+.\-]*://|\s*file:)", re.IGNORECASE)

Row = tuple[dict[str, str | None], str | None]
"""Cells by column, and the fault as `reason: message`; a row with a fault has no cells."""


class Layout(NamedTuple):
    """The layout of one text file; `delimiter` and `names` are for CSV."""

    name: str  # of the file in messages
    folder: str  # base of relative URIs
    encoding: str
    line_end: str
    delimiter: str = ","
    names: tuple[str, ...] = ()
    uri_name: str = "uri"  # of the key that holds the URIs, for JSON


def resolved(uri: str, folder: str) -> str:
    """A URI of a manifest file; a relative one is resolved against the folder of that file."""
    return f"{folder}/{uri}" if uri.strip() and _RELATIVE.match(uri) else uri


def encoding_of(head: bytes, name: str) -> str:
    """The encoding by the first bytes: UTF-8, or UTF-16 if there is a byte order mark or every second byte is zero.

    Raises:
        ManifestError: the file is UTF-32.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            if encoding == "utf-32":
                raise ManifestError(f"{name} is UTF-32; save it as UTF-8")
            return encoding
    zeros = head[:1000].count(0)
    if zeros > len(head[:1000]) // 4:
        return "utf-16-le" if head[1:1000:2].count(0) == zeros else "utf-16-be"
    return "utf-8"


def csv_layout(head: bytes, name: str, folder: str, uri_column: str = "") -> Layout | None:
    """The layout of a CSV file, its column of URIs called `uri`; None if `head` has no complete header line.

    Args:
        head: the first bytes of the file, or all of them.
        name: of the file in messages.
        folder: of the file.
        uri_column: the option manifest.image_column.

    Raises:
        ManifestError: the encoding of the header is not supported.
    """
    encoding = encoding_of(head, name)
    text = _decoded(head, encoding)
    line_end = "\r" if "\r" in text and "\n" not in text else "\n"
    best: list[str] = []
    for delimiter in DELIMITERS:
        names = _header(text, delimiter)
        if names is None:
            continue
        if {plain_name(name) for name in names} & {plain_name(uri_column), URI, *OTHER_URI_NAMES} - {""}:
            best, chosen = names, delimiter
            break
        if len(names) > len(best):
            best, chosen = names, delimiter
    if not best:
        return None
    if not _is_text("".join(best)):
        raise ManifestError(f"{name}, header line: it is not UTF-8, or holds a NUL; save the file as UTF-8")
    uri_name = find_uri_column(best, uri_column)
    named = tuple(URI if one == uri_name else one for one in best)
    return Layout(name, folder, encoding, line_end, chosen, named)


def _header(text: str, delimiter: str) -> list[str] | None:
    reader = _reader(io.StringIO(text, newline=""), delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not _is_separator_line(cells):
                return cells
    except csv.Error:
        pass
    return None


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    csv.field_size_limit(sys.maxsize)  # a caption may be long
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)


def _is_separator_line(cells: list[str]) -> bool:
    """Whether this is the separator line of Excel, such as `sep=;`."""
    return cells[0].lower().startswith("sep=") and len("".join(cells)) <= len("sep=;")


def text_lines(content: bytes, layout: Layout) -> Iterator[str]:
    """The lines of a whole file, each with its end."""
    return iter(io.StringIO(_decoded(content, layout.encoding), newline=""))


def lines_of(values: Iterable[bytes], layout: Layout, *, at_start: bool) -> Iterator[str]:
    """The lines of a part of a UTF-8 file, from lines without their ends."""
    for value in values:
        yield _decoded(value, layout.encoding, mark=at_start) + layout.line_end
        at_start = False


def _decoded(data: bytes, encoding: str, *, mark: bool = True) -> str:
    """Decodes text. Invalid bytes become lone surrogates, which `_is_text` detects."""
    errors = "surrogateescape" if encoding == "utf-8" else "replace"
    text = data.decode(encoding, errors)
    return text.removeprefix("\ufeff") if mark else text


def _is_text(text: str) -> bool:
    if "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def csv_rows(lines: Iterator[str], layout: Layout, *, at_start: bool) -> Iterator[Row]:
    """The rows of a CSV file, or of a part of it that begins with a record.

    Args:
        lines: with their ends.
        layout: of the file.
        at_start: whether the part begins with the header; else line numbers are unknown.

    Raises:
        ManifestError: a quote is not closed, so the following lines cannot be told apart.
    """
    last = ""

    def noted() -> Iterator[str]:
        nonlocal last
        for line in lines:
            last = line
            yield line

    reader = _reader(noted(), layout.delimiter)
    header_due, n_names = at_start, len(layout.names)
    while True:
        first = reader.line_num + 1
        where = f"{layout.name}, line {first}" if at_start else f"{layout.name}, a line far from its start"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num > first:
                raise ManifestError(
                    f"{where}: a quoted cell that begins here is not closed as it must be ({error}, line "
                    f"{reader.line_num if at_start else 'unknown'}); close the quote, and double quotes inside a cell"
                ) from None
            yield _bad(f"{where}: {error}; double the quotes inside a quoted cell: {last.strip()[:_SHOWN]}")
            continue
        if not cells or (len(cells) < 2 and not last.strip()) or (header_due and _is_separator_line(cells)):
            continue
        if header_due:
            header_due = not any(cell.strip() for cell in cells)
        elif len(cells) != n_names:
            shown = layout.delimiter.join(cells)[:_SHOWN]
            yield _bad(
                f"{where} has {len(cells)} cells where the header has {n_names}; quote cells that hold "
                f"{layout.delimiter!r} or a line end: {shown}"
            )
        elif not _is_text("\x1f".join(cells)):
            yield _bad(
                f"{where}: it is not UTF-8, or holds a NUL; save the file as UTF-8: "
                f"{layout.delimiter.join(cells)[:_SHOWN]}"
            )
        else:
            yield {name: cell or None for name, cell in zip(layout.names, cells, strict=True)}, None


def json_rows(lines: Iterator[str], layout: Layout, *, at_start: bool, is_whole: bool) -> Iterator[Row]:
    """The rows of JSON lines; of a whole file also those of one array, or of objects that span several lines.

    Raises:
        ManifestError: JSON that spans several lines is incomplete.
    """
    if is_whole:
        held = list(lines)
        if _is_document(held):
            yield from _document_rows("".join(held), layout)
            return
        lines = iter(held)
    for number, line in enumerate(lines, start=1):
        where = f"{layout.name}, line {number}" if at_start else f"{layout.name}, a line far from its start"
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_float=_NumberAsWritten, object_pairs_hook=_unique_keys)
            yield from _json_values(value, where, layout.uri_name)
        except (ValueError, RecursionError) as error:  # the latter: it is nested too deeply
            yield _bad(f"{where} is not one JSON object ({error}): {line.strip()[:_SHOWN]}")


def is_document(head: bytes, name: str) -> bool:
    """Whether a JSON file is an array or has objects that span several lines."""
    text = _decoded(head, encoding_of(head, name))
    return _is_document(io.StringIO(text, newline=""))


def _is_document(lines: Iterable[str]) -> bool:
    first = [line for line, _ in zip((line for line in lines if line.strip()), range(2), strict=False)]
    return bool(first) and (first[0].strip() == "[" or not any(map(_is_json, first)))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    except RecursionError:
        pass  # one line of JSON as far as it was read
    return True


def _document_rows(text: str, layout: Layout) -> Iterator[Row]:
    """The rows of consecutive JSON values, in an array or not."""
    decoder = json.JSONDecoder(parse_float=_NumberAsWritten, object_pairs_hook=_unique_keys)
    space = re.compile(r"[\s,]*")
    at = space.match(text).end()  # type: ignore[union-attr]  # it matches nothing too
    is_array = text[at : at + 1] == "["
    if is_array:
        at = space.match(text, at + 1).end()  # type: ignore[union-attr]
    line, counted = 1, 0
    while at < len(text) and not (is_array and text[at] == "]"):
        line, counted = line + text.count("\n", counted, at), at
        where = f"{layout.name}, line {line}"
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{where} is not JSON ({error}); write one object a line, or correct it") from None
        yield from _json_values(value, where, layout.uri_name)
        at = space.match(text, end).end()  # type: ignore[union-attr]
    if is_array and (at >= len(text) or text[at + 1 :].strip()):
        raise ManifestError(f"{layout.name}: its array is not closed, or more follows it; write one object a line")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; ValueError if a key occurs twice, because JSON parsers drop one of the two."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it names a key twice")
    return found


class _NumberAsWritten(float):
    """A number that keeps its text."""

    text: str

    def __new__(cls, text: str) -> _NumberAsWritten:
        number = super().__new__(cls, text)
        number.text = text
        return number


def _json_values(value: Any, where: str, uri_name: str) -> Iterator[Row]:
    for one in value if isinstance(value, list) else [value]:
        try:
            row = _json_row(one, where, uri_name)
        except RecursionError as error:  # it could be read, but a cell is nested too deeply to be written as text
            row = _bad(f"{where}: a cell is nested too deeply ({error})")
        yield row


def _json_row(value: Any, where: str, uri_name: str) -> Row:
    if not isinstance(value, dict):
        return _bad(f"{where} is not an object: {json.dumps(value)[:_SHOWN]}")
    cells = {URI if name == uri_name else name: _cell(cell) for name, cell in value.items()}
    if _is_text("\x1f".join([*cells, *(cell for cell in cells.values() if cell)])):
        return cells, None
    return _bad(f"{where}: it is not UTF-8, or holds a NUL; save the file as UTF-8")


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, _NumberAsWritten):
        return value.text
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _bad(message: str) -> Row:
    shown = " ".join(message.split()).encode("utf-8", "replace").decode().replace("\0", "\u2400")
    return {}, f"{BAD_ROW}: {shown}"
