"""The text of manifest files, record by record."""

from __future__ import annotations

import io
import json

import pytest

from dupelake.errors import ManifestError
from dupelake.ingest.records import (
    csv_layout,
    csv_rows,
    encoding_of,
    is_document,
    json_rows,
    lines_of,
    resolved,
    text_lines,
)

FOLDER = "/m"


def read_csv(content: bytes, *, as_lines: bool = False) -> list[dict[str, str | None] | str]:
    layout = csv_layout(content, "m.csv", FOLDER)
    assert layout is not None
    if as_lines:  # as Spark gives a large file
        parts = content.split(layout.line_end.encode())
        lines = lines_of(parts[:-1] if content.endswith(layout.line_end.encode()) else parts, layout, at_start=True)
    else:
        lines = text_lines(content, layout)
    return [fault or cells for cells, fault in csv_rows(lines, layout, at_start=True)]


def read_json(text: str, *, is_whole: bool = True) -> list[dict[str, str | None] | str]:
    layout = csv_layout(b"uri\n", "m.json", FOLDER)
    assert layout is not None
    lines = iter(io.StringIO(text, newline=""))
    return [fault or cells for cells, fault in json_rows(lines, layout, at_start=True, is_whole=is_whole)]


ROWS = [{"uri": "/a.jpg", "n": "1"}, {"uri": "/b, c.jpg", "n": None}]
PLAIN = 'uri,n\n/a.jpg,1\n"/b, c.jpg",\n'


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-be"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace("\n", "\n\n  \n").encode(),
        b"\n\n" + PLAIN.encode(),
        b"sep=,\r\n" + PLAIN.encode(),
        b'uri;n\n/a.jpg;1\n"/b, c.jpg";\n',
        b"sep=;\nuri;n\n/a.jpg;1\n/b, c.jpg;\n",
        b"uri\tn\n/a.jpg\t1\n/b, c.jpg\t\n",
        b"uri|n\n/a.jpg|1\n/b, c.jpg|\n",
        b'uri, n\n/a.jpg, 1\n"/b, c.jpg", \n',
        b'uri, n\n "/a.jpg", 1\n "/b, c.jpg", ""\n',
        PLAIN.rstrip("\n").encode(),
    ],
)
def test_dialects_give_the_same_rows(content: bytes) -> None:
    assert read_csv(content) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("as_lines", [False, True])
def test_line_ends_in_quotes_are_of_the_cell(end: str, as_lines: bool) -> None:
    text = f'caption,uri{end}"two{end}lines",/a{end}plain,/b{end}"a ""quoted""{end}{end}word, and comma",/c{end}'
    assert read_csv(text.encode(), as_lines=as_lines) == [
        {"caption": f"two{end}lines", "uri": "/a"},
        {"caption": "plain", "uri": "/b"},
        {"caption": f'a "quoted"{end}{end}word, and comma', "uri": "/c"},
    ]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (b"/b,1,2", "line 3 has 3 cells where the header has 2"),
        (b"/b", "line 3 has 1 cells where the header has 2"),
        (b"/b,1,", "line 3 has 3 cells"),
        (b'"/b"x,1', "line 3: ',' expected after '\"'; double the quotes"),
        (b'/b,"say \\"hi\\""', "line 3: ',' expected after '\"'"),
        (b"/caf\xe9,1", "line 3: it is not UTF-8"),
        (b"/b\0,1", "line 3: it is not UTF-8, or holds a NUL"),
    ],
)
@pytest.mark.parametrize("as_lines", [False, True])
def test_a_record_that_cannot_be_used_is_one_row_with_its_reason(record: bytes, says: str, as_lines: bool) -> None:
    before, bad, after = read_csv(b"uri,n\n/a,1\n" + record + b"\n/c,3\n", as_lines=as_lines)
    assert (before, after) == ({"uri": "/a", "n": "1"}, {"uri": "/c", "n": "3"})
    assert isinstance(bad, str)
    assert bad.startswith("bad_row: m.csv, ")
    assert says in bad
    assert "\n" not in bad


@pytest.mark.parametrize("text", ['uri,n\n/a,1\n/b,"x\n/c,3\n', 'uri,n\n/a,1\n/b,"x\n/c,3\n/d,"y"\n'])
def test_a_quote_that_is_not_closed_is_refused_where_it_swallows_lines(text: str) -> None:
    with pytest.raises(ManifestError, match=r"m\.csv, line 3: a quoted cell that begins here is not closed"):
        read_csv(text.encode())


def test_headers_that_cannot_be_read() -> None:
    with pytest.raises(ManifestError, match="UTF-32"):
        encoding_of("uri".encode("utf-32"), "m.csv")
    with pytest.raises(ManifestError, match="header line: it is not UTF-8"):
        csv_layout(b"uri,gr\xf6\xdfe\n/a,1\n", "m.csv", FOLDER)
    assert csv_layout(b"\n \n", "m.csv", FOLDER) is None
    layout = csv_layout(b"link;n\n", "m.csv", FOLDER)
    assert layout is not None
    assert layout.names == ("link", "n"), "the delimiter that gives most columns, so that the message lists them"


OBJECTS = [{"uri": "/a", "n": 1.50, "deep": {"iso": 100, "ä": [None]}}, {"uri": "/b", "n": None, "deep": True}]
AS_TEXT = [{"uri": "/a", "n": "1.50", "deep": '{"iso":100,"ä":[null]}'}, {"uri": "/b", "n": None, "deep": "true"}]
ONE, TWO = (json.dumps(one).replace("1.5,", "1.50,") for one in OBJECTS)


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE}\n{TWO}\n",
        f"\n{ONE}\r\n\r\n{TWO}",
        f"[{ONE},{TWO}]",
        f"[\n{ONE},\n{TWO}\n]\n",
        f"[\n  {ONE}\n,\n  {TWO}\n]",
        "\n".join([json.dumps(OBJECTS, indent=2).replace("1.5,", "1.50,")]),
        "\n".join(json.dumps(one, indent=2).replace("1.5,", "1.50,") for one in OBJECTS),
    ],
)
def test_json_however_it_is_laid_out(text: str) -> None:
    assert read_json(text) == AS_TEXT


@pytest.mark.parametrize(
    "line",
    ['{"uri": "/x"', '{"uri": "/x"} {"uri": "/y"}', "7", '{"uri": "/x", "uri": "/y"}', "x", '{"uri": "\\ud800"}'],
)
@pytest.mark.parametrize("is_whole", [False, True])
def test_a_json_line_that_is_not_one_object_is_a_row_with_its_reason(line: str, is_whole: bool) -> None:
    first, bad, last = read_json(f'{{"uri": "/a"}}\n{line}\n{{"uri": "/b"}}\n', is_whole=is_whole)
    assert (first, last) == ({"uri": "/a"}, {"uri": "/b"})
    assert isinstance(bad, str)
    assert bad.startswith("bad_row: m.json, line 2")


@pytest.mark.parametrize(
    "deep", ["[" * 200_000 + "]" * 200_000, '{"a":' * 200_000 + "1" + "}" * 200_000, "[" * 200_000]
)
@pytest.mark.parametrize("is_whole", [False, True])
def test_a_json_line_that_is_nested_too_deeply_is_a_row_with_its_reason(deep: str, is_whole: bool) -> None:
    for line in (deep, f'{{"uri": "/x", "n": {deep}}}'):
        for text in (f'{line}\n{{"uri": "/b"}}\n', f"{line}\n", f"{line}\n{line}"):
            bad, *rest = read_json(text, is_whole=is_whole)
            assert isinstance(bad, str)
            assert bad.startswith("bad_row: m.json, line 1")
            assert len(bad) < 1000
            assert len(rest) == text.strip().count("\n")
    assert is_document(line.encode(), "m.json") is False


def test_json_that_can_be_read_but_not_written_is_a_row_with_its_reason() -> None:
    """Nesting up to the limit of the parser; the writer's limit is another."""
    for depth in range(900, 1000):
        line = f'{{"uri": "/x", "n": {"[" * depth}{"]" * depth}}}'
        [row] = read_json(line)
        assert isinstance(row, dict) or row.startswith("bad_row: m.json, line 1")
        try:
            [row] = read_json(f"[\n{line}\n]")
        except ManifestError:
            continue
        assert isinstance(row, dict) or row.startswith("bad_row: m.json, line 2")


@pytest.mark.parametrize(
    "text",
    ['[\n{"uri": "/a"},\n{"uri":\n', '[\n{"uri": "/a"}\n', '{\n"uri": "/a"\n}\n{\n"uri"\n', "[\n" + "[" * 200_000],
)
def test_json_that_breaks_off_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match=r"m\.json"):
        read_json(text)


@pytest.mark.parametrize(
    ("uri", "full"),
    [
        ("a.jpg", "/m/a.jpg"),
        ("./a/../b.jpg", "/m/./a/../b.jpg"),
        ("a:b.jpg", "/m/a:b.jpg"),
        ("/a.jpg", "/a.jpg"),
        (" /a.jpg", " /a.jpg"),
        ("file:/a.jpg", "file:/a.jpg"),
        ("S3A://b/a.jpg", "S3A://b/a.jpg"),
        (" ", " "),
        ("", ""),
    ],
)
def test_relative_uris_lie_below_their_manifest(uri: str, full: str) -> None:
    assert resolved(uri, "/m") == full
