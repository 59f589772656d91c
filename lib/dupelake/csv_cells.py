"""CSV files for spreadsheets: cells that look like formulas are escaped, and unescaped when read back.

A file name may be `=HYPERLINK("https://...")`. As OWASP advises ("CSV Injection"), a text that starts with = + - @, a
tab or a line end gets an apostrophe before it. Every text is quoted, so that a spreadsheet that splits at semicolons
does not split it. A text that already starts with apostrophes before such a character gets one more, so that `unescape`
restores every text. Numbers are unchanged.

Reference:
    OWASP, "CSV Injection": https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # the last four: full width, as typed in Japanese
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def escape(cell: Any) -> Any:
    """`cell` for the file: a text that looks like a formula gets an apostrophe before it."""
    if not isinstance(cell, str) or _FORMULA.match(cell) is None or _NUMBER.fullmatch(cell):
        return cell
    return "'" + cell


def unescape(cell: str) -> str:
    """The inverse of `escape` for texts."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def write_rows(file: TextIO, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a header and rows of cells to a file opened with newline=""."""
    csv.writer(file).writerow(header)
    csv.writer(file, quoting=csv.QUOTE_NONNUMERIC).writerows([escape(cell) for cell in row] for row in rows)


def read_rows(file: TextIO, *, may_be_short: bool = False) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """(header, (number of its last line, cells) of each row that is not blank) of a file opened with newline="".

    Args:
        file: the file; its cells are separated by commas.
        may_be_short: whether a row may lack cells at its end, as spreadsheets leave out empty ones; they are "".

    Raises:
        ValueError: the header names a column twice; while reading, a row has another number of cells than the header.
        csv.Error: while reading, a quote is not closed.
    """
    reader = csv.reader(file, strict=True)
    header = next(reader, [])
    names = [name.strip().lower() for name in header]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise ValueError(f"the header names {', '.join(repeated)} more than once")
    return header, _rows_below(reader, len(header), may_be_short=may_be_short)


def _rows_below(reader: Any, width: int, *, may_be_short: bool) -> Iterator[tuple[int, list[str]]]:
    for cells in reader:
        if not cells:
            continue
        if len(cells) > width or (len(cells) < width and not may_be_short):
            raise ValueError(
                f"line {reader.line_num} has {len(cells)} cells where the header has {width}; quote cells that hold a "
                "comma"
            )
        yield reader.line_num, cells + [""] * (width - len(cells))


def line_of(cells: Sequence[Any]) -> str:
    """One row of such a file, without its line end."""
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="").writerow([escape(cell) for cell in cells])
    return buffer.getvalue()
