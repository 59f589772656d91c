"""The bar of `dupelake check` on a terminal: it stands between the lines and is gone at the end."""

from __future__ import annotations

import io

from screens import screen

from dupelake.lookup.command_lines import _shown


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
