"""The pages that the tests of the report look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_lake import write_lake

from dupelake.cli import main


@pytest.fixture(scope="session")
def made_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `lake`, a warehouse of 60 groups, and report.html, its report."""
    folder = tmp_path_factory.mktemp("report")
    write_lake(folder / "lake", 60, n_photographs=30)
    assert main(["report", "--warehouse", str(folder / "lake"), "--out", str(folder / "report.html")]) == 0
    return folder
