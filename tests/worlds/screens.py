"""Terminals: a command in one, and what then stands on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

WIDTH = 120
_CONTROL = re.compile(r"\r|\n|\x1b\[(\d*)([A-Za-z])")


def screen(output: str) -> list[str]:
    """The lines that a terminal shows after `output`, without empty ones at the end.

    It knows what bars use: return, new line, up, and the removal of the rest of a line.
    """
    lines, row, column, at = [""], 0, 0, 0
    while at < len(output):
        found = _CONTROL.search(output, at)
        text = output[at : found.start() if found else len(output)]
        line = lines[row].ljust(column)
        lines[row] = line[:column] + text + line[column + len(text) :]
        column += len(text)
        if found is None:
            break
        at = found.end()
        if found[0] == "\r":
            column = 0
        elif found[0] == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif found[2] == "A":
            row = max(0, row - int(found[1] or 1))
        elif found[2] == "K":
            lines[row] = lines[row][:column]
        else:
            raise AssertionError(f"no bar uses {found[0]!r}")
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]


class Session:
    """A command in a pseudo-terminal, as a person starts it: all of its processes belong to the terminal.

    Args:
        command: the words.
        env: of the process.
        seen: called with all output so far, whenever there is more; what it returns is typed.
        cwd: the folder in which it starts.

    Attributes:
        code: exit code.
        output: all that was written.
        times: seconds since the start, and what was written then.
        lines: what stands on the screen at the end.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        seen: Callable[[str], bytes] = lambda _: b"",
        cwd: Path | None = None,
    ) -> None:
        self.times: list[tuple[float, str]] = []
        start = time.monotonic()
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(its, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            command,
            stdin=its,
            stdout=its,
            stderr=its,
            env=dict(env),
            cwd=cwd,
            preexec_fn=own_terminal,  # noqa: PLW1509
        )
        os.close(its)
        said = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # the last process of the terminal has ended
                break
            if not more:
                break
            said += more
            self.times.append((time.monotonic() - start, more.decode("utf-8", "replace")))
            typed = seen(said.decode("utf-8", "replace"))
            if typed:
                os.write(ours, typed)
        os.close(ours)
        self.code = process.wait(60)
        self.output = said.decode("utf-8", "replace").replace("\r\n", "\n")
        self.lines = screen(self.output)
