"""The warehouse of tests/worlds/exported.py, with its pictures at their paths."""

from __future__ import annotations

from pathlib import Path

import pytest
from exported import members_in
from grouped_lake import Member, make_lake, written


@pytest.fixture
def members(tmp_path) -> list[Member]:
    return written(members_in(tmp_path / "pictures"))


@pytest.fixture
def lake(tmp_path, members) -> Path:
    return make_lake(tmp_path / "lake", members, "verified")
