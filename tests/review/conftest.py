"""Warehouses to review, and headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from review_world import make_many, make_review

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """The warehouse of `review_world.make_review`; tests only read it."""
    return make_review(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def many(tmp_path_factory) -> Path:
    """The warehouse of `review_world.make_many` with 300 pairs; tests only read it."""
    return make_many(tmp_path_factory.mktemp("many"), 300)


@pytest.fixture
def lake(made, tmp_path) -> Path:
    """A copy of `made` that one test may write."""
    return Path(shutil.copytree(made, tmp_path / "lake"))


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Headless Chromium; the test skips, loudly, where none is installed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()
