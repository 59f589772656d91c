"""The one progress bar of the product, and its words for a log. Knows no Spark."""

from __future__ import annotations

import sys
import threading
from typing import Any, TextIO

from tqdm import tqdm

NAME_CELLS = 9
"""Width of the name before a bar, so that bars stand below each other."""
_KNOWN = "{desc} {percentage:3.0f}% |{bar:24}| {told}"
_UNKNOWN = "{desc} {told}"


tqdm.set_lock(threading.RLock())  # its own is one of multiprocessing, which no bar here needs


class Bar(tqdm):  # type: ignore[misc]
    """A bar on the terminal `stream`. Where `total` is unknown, it shows the count, the rate and the time alone.

    Args:
        stream: a terminal.
        name: what stands before the bar.
        unit: what is counted, in the plural.
        total: all of them, or None.
        done: how many were done before this bar began; they do not count for the rate.
    """

    n: int
    monitor_interval = 0  # the caller redraws: no thread of tqdm's own

    def __init__(self, stream: TextIO, name: str, unit: str, total: int | None, done: int = 0) -> None:
        form = _KNOWN if total else _UNKNOWN
        super().__init__(
            total=total, initial=done, desc=f"{name:<{NAME_CELLS}}", unit=unit, file=stream, leave=False,
            dynamic_ncols=True, mininterval=0, smoothing=0, bar_format=form,
        )  # fmt: skip

    @property
    def format_dict(self) -> dict[str, Any]:
        """The fields of the formats above."""
        known = super().format_dict
        return known | {"told": how_far(self.n, self.total, self.unit, known["elapsed"], self.initial)}

    def show(self, done: int) -> None:
        """Draw the bar with `done`, which never falls and never passes the total."""
        self.n = max(self.n, done if self.total is None else min(done, self.total))
        self.refresh()

    def end(self, *, is_kept: bool) -> None:
        """Remove the bar; or leave it as a line, if all is done and `is_kept`."""
        self.leave = is_kept and self.total is not None and self.n >= self.total
        self.close()


def how_far(done: int, total: int | None, unit: str, seconds: float, before: int = 0) -> str:
    """The count, the rate and the time that is left, in words; at the end the time that it took.

    Args:
        done: of the units.
        total: all of them, or None if that is not known.
        unit: in the plural.
        seconds: since the start.
        before: how many of `done` were done before the start; they do not count for the rate.
    """
    rate = (done - before) / seconds if seconds > 0 else 0.0
    speed = f", {rate:,.1f} a second" if rate else ""
    if total is None or done >= total:
        return f"{done:,} {unit}{speed}, {duration(seconds)}"
    left = f", {duration((total - done) / rate)} left" if rate else f", {duration(seconds)}"
    return f"{done:,} of {total:,} {unit}{speed}{left}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8 s, 2 min 5 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether bars can be drawn on `stream` (default: stderr)."""
    stream = stream or sys.stderr
    return stream is not None and stream.isatty()  # None where it was closed when Python started


def write_line(text: str, stream: TextIO | None = None) -> None:
    """Write a line on the terminal `stream` (default: stderr), above the bar if there is one."""
    Bar.write(text, file=stream or sys.stderr)
