"""Cells of CSV files: no formula reaches a spreadsheet, numbers stay numbers, and every text comes back."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupelake.csv_cells import escape, line_of, read_rows, unescape, write_rows

FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
TEXTS = st.text(st.sampled_from("'=+-@\t\r\n;,\"\uff1d a1.e"), max_size=8) | st.text(max_size=8)


@given(TEXTS)
def test_every_text_comes_back(text):
    assert unescape(escape(text)) == text


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), max_size=4))
def test_every_text_comes_back_out_of_a_file(rows):
    file = io.StringIO(newline="")
    write_rows(file, ("a", "b"), rows)
    read = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert next(read) == ["a", "b"]
    assert [[unescape(cell) for cell in row] for row in read] == rows


@given(TEXTS)
def test_nothing_that_is_written_starts_a_formula(text):
    written = escape(text)
    if written[:1] in FORMULA and written:
        float(written)  # a number


@pytest.mark.parametrize("cell", [5, -5, -0.5, None, True, "-0.5", "+3", "-1e-06", "plain", "'quoted'", ""])
def test_numbers_and_plain_texts_stay_as_they_are(cell):
    assert escape(cell) is cell


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('=HYPERLINK("http://a.b")', '\'=HYPERLINK("http://a.b")'),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("'=x", "''=x"),
    ],
)
def test_formulas_get_a_quote(text, written):
    assert escape(text) == written


def test_a_semicolon_starts_no_cell():
    assert line_of(["a;=1+1", 2]) == '"a;=1+1",2'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("uri\n/data/a, b.jpg\n", "line 2 has 2 cells where the header has 1"),
        ("image_id,uri\na,/x\nb\n", "line 3 has 1 cells where the header has 2"),
        ("uri,URI \n/a,/b\n", "the header names uri more than once"),
    ],
)
def test_rows_that_do_not_fit_their_header_are_refused(text, told):
    with pytest.raises(ValueError, match=told):
        list(read_rows(io.StringIO(text, newline=""))[1])


def test_a_quote_that_is_not_closed_is_refused():
    with pytest.raises(csv.Error):
        list(read_rows(io.StringIO('uri\n"/a\n/b\n', newline=""))[1])


def test_rows_may_be_short_where_the_reader_allows_it():
    header, rows = read_rows(io.StringIO("a,b,c\n1\n\n1,2,3\n", newline=""), may_be_short=True)
    assert (header, list(rows)) == (["a", "b", "c"], [(2, ["1", "", ""]), (4, ["1", "2", "3"])])
