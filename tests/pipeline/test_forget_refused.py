"""Which images a CSV of `dupelake forget` names, and what the command refuses before Spark starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dupelake.errors import ConfigError
from dupelake.pipeline.command_lines import forget_command


@pytest.fixture
def names(tmp_path: Path):
    (tmp_path / "wh" / "images").mkdir(parents=True)

    def names(text: str) -> tuple:
        file = tmp_path / "names.csv"
        file.write_text(text, encoding="utf-8")
        parsed = forget_command("forget", "").parse(["--warehouse", str(tmp_path / "wh"), "--csv", str(file)])
        return parsed.check().options.names

    return names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (",uri\n0,/x/b8.jpg\n1,/x/b9.jpg\n", ((None, "/x/b8.jpg"), (None, "/x/b9.jpg"))),  # by pandas, with its index
        (",image_id\n/x/0.jpg,a\n", (("a", None),)),
        ("URI , Image_ID\n/x/a.jpg,a\n/x/b.jpg, \n", (("a", None), (None, "/x/b.jpg"))),
        ('\ufeffuri\r\n"/x/a, b.jpg"\r\n\r\n', ((None, "/x/a, b.jpg"),)),
        ("uri\n'=a.jpg\n", ((None, "=a.jpg"),)),
    ],
)
def test_the_columns_of_the_header_name_the_images(names, text, found):
    assert sorted(names(text), key=str) == sorted(found, key=str)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("uri\n/x/c.jpg\n/x/a, b.jpg\n", "line 3 has 2 cells where the header has 1"),
        ("image_id,uri\na\n", "line 2 has 1 cells where the header has 2"),
        ("uri,uri\n/x/a.jpg,/x/b.jpg\n", "names uri more than once"),
        ('uri\n"/x/a.jpg\n/x/b.jpg\n', "unexpected end of data"),
        ("", "has neither a column image_id nor uri"),
    ],
)
def test_a_csv_that_could_name_another_image_is_refused(names, text, told):
    with pytest.raises(ConfigError, match=told):
        names(text)
