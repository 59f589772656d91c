"""What a person sees of `dupelake run`, from the first character to the prompt: docs/first-run.md holds it."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import deltalake
import pytest
from first_run import blocks, command, environment, settled, write_photos
from screens import Session

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_photos(folder / "photos")
    return folder


@pytest.fixture(scope="module")
def first(home) -> tuple[Session, float]:
    """The first run in a terminal, and how many seconds it took."""
    start = time.monotonic()
    done = Session(command(), environment(), cwd=home)
    return done, time.monotonic() - start


def test_a_first_run_prints_what_the_page_says(first, home):
    done, _ = first
    assert done.code == 0, done.output
    assert settled(done.lines, home) == settled(blocks()[0][1:]), "\n".join(done.lines)


def test_a_useful_line_comes_at_once(first):
    done, _ = first
    when, line = next((when, text) for when, text in done.times if "dupelake" in text)
    assert "1 path, warehouse dupes" in line
    assert when < 3, f"after {when:.1f} s"


def test_bars_name_images_rate_and_time_left(first):
    done, _ = first
    for step, unit in (("hash", "images"), ("align", "pairs")):
        assert re.search(rf"{step} +\d+% \|[^|]+\| [\d,]+ of [\d,]+ {unit}", done.output), step
        assert re.search(rf"{step} +100% \|[^|]+\| [\d,]+ {unit}, [\d.]+ a second, \d+", done.output), step


def test_the_time_that_is_told_is_that_of_the_clock(first):
    done, took = first
    told = float(re.search(r"; ([\d.]+) in all, on the clock", done.output)[1])
    assert told <= took + 0.1
    assert took - told < max(3.0, 0.05 * took), "the start of Python and the end of Spark count as well"


def test_the_next_run_prints_lines_into_a_log(first, home):
    with (home / "night.log").open("w", encoding="utf-8") as log:
        done = subprocess.run(command(), cwd=home, env=environment(), stdout=log, stderr=log, check=False)
    told = (home / "night.log").read_text(encoding="utf-8")
    assert done.returncode == 0, told
    assert "\r" not in told
    assert "\x1b" not in told
    assert settled(told.splitlines(), home) == settled(blocks()[1]), told


def test_ctrl_c_says_how_to_go_on(home):
    """All processes of the terminal get the signal, as from a keyboard: Python, the JVM and its workers."""
    pressed: list[float] = []

    def press(output: str) -> bytes:
        if "hash  " not in output or pressed:
            return b""
        pressed.append(time.monotonic())
        return b"\x03"

    done = Session([*command()[:-1], "stopped"], environment(), press, home)
    assert done.code == 130, done.output
    assert time.monotonic() - pressed[0] < 90
    told = [line for line in done.lines[1:] if "press Ctrl-C again" not in line]
    assert len(told) == 1, done.lines
    assert "dupelake run: stopped by SIGINT; what is committed stands; run the same command again" in told[0]
    (row,) = deltalake.DeltaTable(str(home / "stopped" / "runs")).to_pyarrow_table().to_pylist()
    assert row["status"] == "failed"
    assert not (home / "stopped" / "_lock.json").exists()


def test_ctrl_c_before_spark_is_there_ends_at_once(home):
    pressed: list[float] = []

    def press(output: str) -> bytes:
        if "starts Spark" not in output or pressed:
            return b""
        pressed.append(time.monotonic())
        return b"\x03"

    done = Session([*command()[:-1], "never"], environment(), press, home)
    assert done.code == 130, done.output
    assert [line for line in done.lines[1:] if "stopped by SIGINT" not in line] == []
    assert not (home / "never").exists()
