"""Warehouses to review."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from review_world import make_many, make_review


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


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
