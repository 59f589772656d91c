"""`dupelake review --serve` as a process, and what it wrote."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

from deltalake import DeltaTable

LIB = Path(__file__).parents[2] / "lib"


class Serving:
    """`dupelake review --serve` of a warehouse, as a process; a context."""

    def __init__(self, warehouse: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "dupelake.cli", "review", "--serve", "--port", "0", *arguments]
        self._log = warehouse.parent / f"review-{uuid.uuid4().hex[:6]}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--warehouse", str(warehouse)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(LIB), **(env or {})},
            )
        self.url = self._listening()

    def _listening(self) -> str:
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            if found := re.search(r"open (http://\S+/) in a browser", self.log):
                return found[1].replace("0.0.0.0", "127.0.0.1")
            time.sleep(0.1)
        self.process.kill()
        raise AssertionError(f"the server did not start:\n{self.log}")

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(60) == 0
        finally:
            self.process.kill()


def verdicts(warehouse: Path) -> list[dict[str, object]]:
    """The rows of `decisions`, by time."""
    rows = DeltaTable(str(warehouse / "decisions")).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: row["decided_at"])


def wait_until(holds, seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to hold"
        time.sleep(0.05)
