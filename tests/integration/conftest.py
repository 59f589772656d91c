"""The remote reader's jar is built before the shared Spark session starts, which takes it up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def reader_jar() -> Path:
    """lib/dupelake/jars/dupelake-reader.jar; autouse, so that it precedes `spark`."""
    done = subprocess.run(
        [sys.executable, str(_ROOT / "scripts" / "build_jar.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return _ROOT / "lib" / "dupelake" / "jars" / "dupelake-reader.jar"
