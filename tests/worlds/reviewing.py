"""`dupelake review --serve` as a process, and what it wrote."""

from __future__ import annotations

import time
from pathlib import Path

import serving
from deltalake import DeltaTable

from dupelake.review.desk import Desk
from dupelake.warehouse.reader import Reader


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


def images_of(lake: Path) -> list[dict[str, object]]:
    """The rows of `images`."""
    return Reader(lake).table("images").to_pylist()


def keys(answer) -> list[str]:
    """The keys of the cards that `Desk.hand_out` gave."""
    return [card["key"] for card in answer["cards"]]


def all_keys(desk: Desk) -> list[str]:
    """The keys of all cards that wait for a verdict and that nobody has; they are free again afterwards."""
    found: list[str] = []
    while new := keys(desk.hand_out("all", "all", 50, [], found)):
        found += new
    desk.hand_out("all", "all", 0, found, [])
    return found
