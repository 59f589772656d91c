"""The bar of `dupelake check` on a terminal: it stands between the lines and is gone at the end."""

from __future__ import annotations

import io
import sys

from first_run import environment
from made_lake import make_night
from pictures import photograph
from screens import Session, screen

from dupelake.lookup.build import build_index
from dupelake.lookup.command_lines import _shown
from dupelake.lookup.manifest import FOLDER


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(stream):
    for answer in _shown(["a.jpg: new", "b.jpg: copy", "c.jpg: new"], 3, stream):
        stream.write(f"{answer}\n")
    return stream.getvalue()


def test_a_terminal_shows_how_far_a_check_is():
    told = printed(Terminal())
    assert "| 1 of 3 images, " in told
    assert "| 2 of 3 images, " in told
    assert screen(told) == ["a.jpg: new", "b.jpg: copy", "c.jpg: new"], "each bar is removed before the next line"


def test_a_file_gets_the_lines_alone():
    assert printed(io.StringIO()) == "a.jpg: new\nb.jpg: copy\nc.jpg: new\n"


def test_a_check_in_a_terminal_that_is_stopped(tmp_path):
    """Ctrl-C reaches the processes that check as well: they say nothing."""
    data = io.BytesIO()
    photograph("coffee.png").save(data, "PNG")
    make_night(tmp_path / "lake", {"/old/coffee.png": data.getvalue()})
    build_index(str(tmp_path / "lake"), tmp_path / "lake" / FOLDER)
    (tmp_path / "new").mkdir()
    for at in range(60):
        photograph("coffee.png").rotate(at, expand=True).save(tmp_path / "new" / f"{at:02d}.png")
    pressed: list[int] = []

    def press(output: str) -> bytes:
        if "| 2 of 60 images" not in output or pressed:
            return b""
        pressed.append(len(output))
        return b"\x03"

    words = ["check", "new", "--warehouse", "lake", "--processes", "2"]
    done = Session([sys.executable, "-m", "dupelake.cli", *words], environment(), press, tmp_path)
    assert done.code == 130, done.output
    assert done.lines[0] == "dupelake check: opens the index"
    assert done.lines[-1] == "dupelake check: stopped by SIGINT; nothing is left half done; run it again"
    assert all(line.startswith(str(tmp_path / "new")) for line in done.lines[1:-1]), done.lines
