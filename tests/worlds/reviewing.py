"""`dupelake review --serve` as a process, and what it wrote."""

from __future__ import annotations

import time
from pathlib import Path

import serving
from deltalake import DeltaTable


class Serving(serving.Serving):
    """`dupelake review --serve` of a warehouse, as a process; a context."""

    def __init__(self, warehouse: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        command = ["review", "--serve", "--port", "0", *arguments, "--warehouse", str(warehouse)]
        super().__init__(warehouse, command, r"open (http://\S+/) in a browser", env)
        self.url = self.found[1].replace("0.0.0.0", "127.0.0.1")

    def __exit__(self, *_: object) -> None:
        assert self.stop() == 0


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
