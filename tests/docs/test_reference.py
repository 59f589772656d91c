"""The reference pages hold what the code has."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from scripts.reference import PAGES, base_comments

from dupelake import errors
from dupelake.config import Config, options_of
from dupelake.runtime.counts import Counts
from dupelake.warehouse.schema import ALL_TABLES
from dupelake.warehouse.views import VIEWS

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: page() for name, page in PAGES.items()}


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """{first cell: the others} of the first table below a heading."""
    part = page.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\| `([^`]+)` \| (.*) \|$", part, flags=re.M)
    return {name: re.split(r"(?<!\\) \| ", rest) for name, rest in lines}


def test_tables_and_columns_with_their_comments(pages):
    for table in ALL_TABLES:
        found = rows(pages["tables"], f"## {table.name}")
        for field in table.schema.fields:
            kind, null, comment = found[field.name]
            assert kind == f"`{field.dataType.simpleString()}`"
            assert null == ("" if field.nullable else "never null")
            assert comment.replace("\\|", "|").replace("&lt;", "<") == field.metadata["comment"]
        for name in table.checks:
            assert f"| {name} | `" in pages["tables"]


def test_views_have_their_columns_and_all_of_them_a_meaning(pages):
    for view in VIEWS.values():
        found = rows(pages["views"], f"## {view.name}")
        assert set(view.comments) <= set(found)
        without = [name for name, (_, comment) in found.items() if not comment]
        assert without == [], view.name
    assert rows(pages["views"], "## removable")["freed_bytes"][0] == "`bigint`"


def test_options_have_type_default_range_and_a_meaning(pages):
    config = Config()
    for section in dataclasses.fields(Config):
        found = rows(pages["options"], f"## {section.name}")
        names = {f"{section.name}.{name}" for name in options_of(getattr(config, section.name))}
        assert set(found) == names
        assert [name for name, (*_, comment) in found.items() if not comment] == []
    assert rows(pages["options"], "## decide")["decide.min_score"][:3] == ["number", "`0.5`", "0.01 to 0.999"]
    assert rows(pages["options"], "## cluster")["cluster.removable"][2] == "`identical`, `verified`, `copies`"


def test_comments_of_a_configuration():
    text = "# head\n\na:      # of a\n        # goes on\n  x: 1  # of x\n        # too\n  y: 2\nb:\n  x: 3 # other\n"
    assert base_comments(text) == {"a": "of a goes on", "a.x": "of x too", "b.x": "other"}


def test_commands_are_what_help_says(pages):
    page = pages["commands"]
    for words in ("run", "plan", "report", "check", "export quarantine", "decide", "overlap", "serve", "demo", "jars"):
        part = page.split(f"\n## dupelake {words}\n", 1)[1].split("\n## ", 1)[0]
        assert f"usage: dupelake {words} " in part
    assert "--retain-hours" in page
    for job in ("nightly", "hash", "lsh_join", "cluster"):
        assert f"### jobs/{job}.py\n\n```text\nusage: " in page


def test_exit_codes_of_all_errors_stand_on_both_pages(pages):
    codes = {one.exit_code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "exit_code")}
    text = (REPO / "docs" / "operations.md").read_text(encoding="utf-8")
    for code in codes | {0, 10, 130, 143}:
        assert f"\n| {code} |" in pages["exit_codes"]
        assert re.search(rf"^\| (\d+, )?{code}(, \d+)? \|", text, flags=re.M), code


def test_events_and_counts(pages):
    found = rows(pages["events"], "## Events")
    assert set(found) == set(
        ("run_refused", "run_started", "step_started", "step_finished", "image_failed", "run_finished")
    )
    assert "`traceback`" in found["run_finished"][0]
    assert len(rows(pages["events"], "## Counts")) == len(dataclasses.fields(Counts))
    assert "dupelake_run_success" in rows(pages["events"], "## Metrics")
