"""scripts/check_markdown.py: this repository passes it, and each kind of fault fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.check_markdown import main

REPO = Path(__file__).parents[1]


@pytest.fixture
def check(capsys):
    def run(root: Path) -> tuple[int, list[str]]:
        code = main([str(root)])
        return code, capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def root(tmp_path) -> Path:
    for name in ("docs/other.md", "lib/dupelake/group/stage.py", "lib/dupelake/jars/x.jar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "docs" / "other.md").write_text("# One `word` & two\n\n## Twice\n\n## Twice\n", encoding="utf-8")
    stage = tmp_path / "lib" / "dupelake" / "group" / "stage.py"
    stage.write_text("LIMIT = 3\n\n\ndef build_groups():\n    pass\n", encoding="utf-8")
    return tmp_path


def test_the_pages_of_this_repository(check):
    code, faults = check(REPO)
    assert (code, faults) == (0, [])


GOOD = [
    "[a](docs/other.md) and [b](docs/other.md#one-word--two), [c](#page), [d](docs/other.md#twice-1)",
    "[web](https://example.org/nothing/here.md), [mail](mailto:a@example.org)",
    "`docs/other.md`, `docs/`, `docs/*.md`, `group/stage.py`, `group/stage.py:build_groups`, `group/stage.py:LIMIT`",
    "`lib/dupelake/group/stage.py`, `results/LABEL/x.csv`, `s3a://bucket/x`, `text/plain`, `[a](none.md)`",
    "| " + "table " * 40 + "|",
    "- https://example.org/" + "long" * 40,
    "```\n[a](none.md) `docs/none.md` " + "code " * 40 + "\n```",
    "text\n\n    [a](none.md) " + "code " * 40 + "\n\ntext",
    "<!-- bench: written by a program -->\n" + "long " * 40 + "\n<!-- bench: end -->",
]


@pytest.mark.parametrize("text", GOOD, ids=range(len(GOOD)))
def test_what_passes(check, root, text):
    (root / "page.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
    assert check(root) == (0, [])


BAD = [
    ("[a](docs/none.md)", "link to docs/none.md: there is no such file"),
    ("[a](docs/other.md#none)", "link to docs/other.md#none: there is no heading for #none"),
    ("[a](#none)", "link to #none: there is no heading for #none"),
    ("![a](none.png)", "link to none.png: there is no such file"),
    ("see `docs/none.md`", "`docs/none.md`: there is no docs/none.md"),
    ("see `group/none.py`", "`group/none.py`: there is no lib/dupelake/group/none.py"),
    ("see `group/stage.py:none`", "`group/stage.py:none`: group/stage.py defines no none"),
    ("long " * 24 + "x", "121 characters; lines wrap at 120"),
]


@pytest.mark.parametrize(("text", "fault"), BAD, ids=[fault[:40] for _, fault in BAD])
def test_what_fails(check, root, text, fault):
    (root / "page.md").write_text(f"# Page\n\nfine\n{text}\n", encoding="utf-8")
    assert check(root) == (1, [f"page.md:4: {fault}"])


def test_lines_after_a_written_section_and_after_code_count_again(check, root):
    text = "<!-- b: written by x -->\n<!-- b: end -->\n" + "long " * 30 + "\n\n    code\n\n" + "long " * 30 + "\n"
    (root / "page.md").write_text(text, encoding="utf-8")
    code, faults = check(root)
    assert code == 1
    assert [fault.split(":")[1] for fault in faults] == ["3", "7"]
