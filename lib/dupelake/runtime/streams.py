"""The output streams of a command: one that its reader closed, one that is not there, one that lacks a letter.

A command that has done its work ends with its own exit code whether or not somebody reads what it prints: a scheduler
would else run a finished night again.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class _Spared:
    """The stream `of` which goes on in os.devnull when its reader is gone."""

    def __init__(self, of: TextIO) -> None:
        self._of = of
        self.is_closed_by_reader = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def write(self, text: str) -> int:
        try:
            return self._of.write(text)
        except BrokenPipeError:
            self._spare()
            return len(text)

    def flush(self) -> None:
        try:
            self._of.flush()
        except BrokenPipeError:
            self._spare()

    def _spare(self) -> None:
        """What is still buffered, and all that follows, goes to os.devnull."""
        self.is_closed_by_reader = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._of.fileno())
        os.close(nowhere)


@contextmanager
def spared_streams() -> Iterator[None]:
    """sys.stdout and sys.stderr of a command, whatever it was started with."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Spared(_usable(stream))) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # Python flushes again at its end, and tells what is wrong
                stream.flush()
        sys.stdout, sys.stderr = before


def is_read(stream: TextIO) -> bool:
    """False if the reader of this stream has closed it."""
    return not getattr(stream, "is_closed_by_reader", False)


def _usable(stream: TextIO | None) -> TextIO:
    """The stream, which writes a letter that its encoding lacks as an escape."""
    if stream is None:  # it was closed when Python started
        return open(os.devnull, "w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")
    return stream


def _fill_descriptors() -> None:
    """Open os.devnull where 0, 1 or 2 is closed: the next file would else have that number, and Java write into it."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
