"""Output streams that a reader closed, that are not there, or that lack a letter: commands end as they would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_lake import make_night
from pictures import SCENES, photograph
from serving import encoded

from dupelake.cli import command_parser, main
from dupelake.lookup.build import build_index
from dupelake.lookup.manifest import FOLDER

N_IMAGES = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with `lake`, a truth about it, and `given`, more pictures than a pipe takes."""
    folder = tmp_path_factory.mktemp("streams")
    data = encoded(photograph(SCENES[0], 96))
    make_night(folder / "lake", {"/photos/é.png": data})
    build_index(str(folder / "lake"), folder / "lake" / FOLDER)
    (folder / "given").mkdir()
    for i in range(N_IMAGES):
        (folder / "given" / f"{i:02d}.png").write_bytes(data)
    (folder / "truth.csv").write_text("path,group\n/photos/é.png,é\n", encoding="utf-8")
    return folder


def in_shell(world: Path, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which D is the command, W the option of the warehouse; slow readers are gone by then."""
    begin = f'D() {{ {sys.executable} -m dupelake.cli "$@"; }}; W="--warehouse {world}/lake"; '
    return subprocess.run(
        ["bash", "-c", begin + line], cwd=world, capture_output=True, text=True, check=False, env=os.environ | env
    )


COMMANDS = [
    ("report $W --out r.html", 0),
    ("evaluate $W --truth truth.csv --out e", 0),
    ("register $W --schema s --print duckdb", 0),
    ("check given $W --csv --processes 1", 0),
    ("check given $W --processes 1 --on-duplicate reject", 10),
    ("--help", 0),
    ("report --warehouse /none", 2),
]


@pytest.mark.parametrize(("command", "code"), COMMANDS, ids=lambda value: str(value).split(" $", maxsplit=1)[0])
@pytest.mark.parametrize("pipe", ["| true", "2>&1 | true"])
def test_a_reader_that_left_changes_no_exit_code(world, command, code, pipe):
    done = in_shell(world, f"D {command} {pipe}; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == f"{code}\n"
    assert "BrokenPipe" not in done.stderr


def test_a_check_ends_with_its_reader_unless_its_exit_code_is_asked_for(world):
    done = in_shell(world, "D check given $W --csv --processes 1 | head -1")
    assert done.stdout.startswith("image,status")
    assert f"{N_IMAGES} images: " not in done.stderr
    assert f"{N_IMAGES} images: " in in_shell(world, "D check given $W --csv --on-duplicate reject | head -1").stderr


@pytest.mark.parametrize("closed", ["2>&-", "1>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("run /none $W", 2),
        ("plan /none $W", 2),
        ("report --warehouse /none", 2),
        ("report $W --out r.html", 0),
        ("check given/00.png $W", 0),
        ("check given $W --processes 2", 0),
    ],
)
def test_streams_that_are_not_there(world, command, code, closed):
    done = in_shell(world, f"D {command} {closed}")
    assert done.returncode == code
    if "2>&-" in closed:
        assert done.stderr == ""
    if code or "1>&-" in closed:
        assert done.stdout == ""


def test_a_letter_that_the_terminal_lacks(world):
    done = in_shell(world, "D evaluate $W --truth truth.csv --out é", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert f"In {world}/\\xe9: evaluation.json" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--debug", "--debug", "run"], "dupelake run: error"),
        (["--deb", "maintain"], "dupelake maintain: error"),
        (["--debug"], "required: command"),
        (["--d", "--debug", "overlap"], "dupelake overlap: error"),
    ],
)
def test_debug_before_a_command(capsys, words, said):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--debug", "export", "csv"], ["export", "--debug", "csv"], ["export", "csv", "--debug"]]
)
def test_debug_of_a_command_in_a_command(words):
    assert command_parser().parse_args([*words, "--warehouse", "x"]).debug
    assert not command_parser().parse_args([*filter("--debug".__ne__, words), "--warehouse", "x"]).debug


@pytest.mark.parametrize(
    ("java", "mode", "said"),
    [
        (b"#!/bin/sh\n", 0o644, "cannot be started (Permission denied)"),
        (b"\x7fELF of another processor", 0o755, "cannot be started (Exec format error)"),
        (b"#!/bin/sh\nprintf 'version \"\\377 11' >&2\n", 0o755, "is Java of an unknown version"),
    ],
)
def test_a_java_that_is_none(world, tmp_path, java, mode, said):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").write_bytes(java)
    (tmp_path / "bin" / "java").chmod(mode)
    done = in_shell(world, "D run given $W", JAVA_HOME=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert f"{tmp_path}/bin/java {said}" in done.stderr
    assert "openjdk-17-jdk-headless" in done.stderr
    assert "Traceback" not in done.stderr
