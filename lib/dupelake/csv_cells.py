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
from collections.abc import Iterable, Sequence
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


def line_of(cells: Sequence[Any]) -> str:
    """One row of such a file, without its line end."""
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="").writerow([escape(cell) for cell in cells])
    return buffer.getvalue()
