"""Commands that write into a user's folder keep files that they did not write, and files that a person filled in."""

from __future__ import annotations

import pytest
from PIL import Image

from dupelake.evaluate.files import _is_ours, _mark
from dupelake.review.page import CSV_COLUMNS, keep_answers

HEAD = ",".join(CSV_COLUMNS)
ROW = "a,b,{verdict},{note},close,why,0.5,near,/a,/b"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"{HEAD}\n{ROW.format(verdict='', note='')}\n", False),
        (f"{HEAD}\n", False),
        (f"{HEAD}\n{ROW.format(verdict='duplicate', note='')}\n", True),
        (f"{HEAD}\n{ROW.format(verdict='', note='ask bob')}\n", True),
        ("film,stars\nAlien,5\n", True),
        ("\x00\ufffd", True),
    ],
)
def test_a_review_that_somebody_filled_in_is_kept(tmp_path, text, kept):
    path = tmp_path / "review.csv"
    path.write_text(text, encoding="utf-8")
    now = keep_answers(path)
    assert (now is not None) is kept
    if now is not None:
        assert now.read_text(encoding="utf-8") == text
        assert not path.exists()
    assert keep_answers(tmp_path / "none.csv") is None


def test_a_sheet_is_known_by_its_mark_not_by_its_name(tmp_path):
    picture = Image.new("RGB", (4, 4))
    picture.save(tmp_path / "false-pairs-1.png", pnginfo=_mark())
    picture.save(tmp_path / "false-pairs-holiday.png")
    (tmp_path / "false-pairs-2.png").write_bytes(b"no picture")
    assert [_is_ours(tmp_path / f"false-pairs-{name}.png") for name in ("1", "holiday", "2")] == [True, False, False]
