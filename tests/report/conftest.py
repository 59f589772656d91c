"""A browser for the tests of the report, and the pages that they look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_lake import write_lake
from scripts.chromium import executable, launched

from dupelake.cli import main


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, driven by Playwright; the test skips, loudly, where one of them is absent."""
    pytest.importorskip("playwright.sync_api", reason="Playwright is absent: pip install '.[test]'")
    if executable() is None:
        pytest.skip("no browser: install chromium (apt-get install chromium) to test the page of the report")
    with launched() as opened:
        yield opened


@pytest.fixture(scope="session")
def made_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `lake`, a warehouse of 60 groups, and report.html, its report."""
    folder = tmp_path_factory.mktemp("report")
    write_lake(folder / "lake", 60, n_photographs=30)
    assert main(["report", "--warehouse", str(folder / "lake"), "--out", str(folder / "report.html")]) == 0
    return folder
