"""A browser for the tests of the report, and the pages that they look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_lake import write_lake

from dupelake.cli import main

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, driven by Playwright; the test skips, loudly, where one of them is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is absent: pip install '.[test]'")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser: install chromium (apt-get install chromium) to test the page of the report")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def made_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `lake`, a warehouse of 60 groups, and report.html, its report."""
    folder = tmp_path_factory.mktemp("report")
    write_lake(folder / "lake", 60, n_photographs=30)
    assert main(["report", "--warehouse", str(folder / "lake"), "--out", str(folder / "report.html")]) == 0
    return folder
