"""A warehouse of eight photographs with its index, made without Spark; servers of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_lake import make_night
from pictures import SCENES, photograph
from serving import Server, encoded

from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER


@pytest.fixture(scope="session")
def made_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse; tests only read it."""
    root = tmp_path_factory.mktemp("served") / "dupes"
    make_night(root, {f"/photos/{name}": encoded(photograph(name)) for name in SCENES})
    build_index(str(root), root / FOLDER)
    return root


@pytest.fixture(scope="session")
def server(made_lake: Path) -> Iterator[Server]:
    """One process that checks, narrow limits, URLs allowed, and images that kill or hang what reads them."""
    faults = {"DUPELAKE_BAD_IMAGE": "kill:<killed>;hang:<endless>;crash:<segfault>"}
    limits = {"timeout_s": 5, "max_bytes": 1_000_000, "max_waiting": 2, "fetch_urls": True}
    with Server(made_lake, "--processes", "1", env=faults, **limits) as running:
        yield running
