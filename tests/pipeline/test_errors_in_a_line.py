"""An error that nobody expects: one line with its type and message; --debug and the events have the traceback."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dupelake.cli import main
from dupelake.errors import unexpected
from dupelake.pipeline import cluster
from dupelake.pipeline.command_lines import cluster_command
from dupelake.pipeline.common import run_job


def in_the_driver(run, *_):
    return {}["no such key"]


def in_a_worker(run, *_):
    def fails(batches):
        raise OverflowError("too much, in a worker")
        yield from batches

    run.warehouse.spark.range(3).mapInArrow(fails, "id long").collect()


def in_java(run, *_):
    run.warehouse.spark._jvm.java.lang.Integer.parseInt("seven")


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (in_the_driver, "KeyError: 'no such key'"),
        (in_a_worker, "OverflowError: too much, in a worker"),
        (in_java, 'NumberFormatException: For input string: "seven"'),
    ],
)
@pytest.mark.parametrize("is_debug", [False, True])
def test_an_unexpected_error(spark, tmp_path, capfd, work, told, is_debug):
    events = tmp_path / "events.jsonl"
    argv = ["--warehouse", str(tmp_path / "wh"), "--set", f"run.event_log={events}", *["--debug"] * is_debug]
    assert run_job(replace(cluster.JOB, work=work), cluster_command("dupelake test", ""), argv) == 1
    said = capfd.readouterr().err
    lines = [line for line in said.splitlines() if "dupelake test stopped" in line]
    assert len(lines) == 1, said
    assert f"{told} (unexpected; run again with --debug to see where)" in lines[0]
    assert ("Traceback" in said) == is_debug
    last = json.loads(events.read_text(encoding="utf-8").splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("run_finished", 1)
    assert work.__name__ in last["traceback"]


def test_other_commands(tmp_path, capsys):
    (tmp_path / "groups" / "_delta_log").mkdir(parents=True)
    (tmp_path / "groups" / "_delta_log" / "00000000000000000000.json").write_text("no json", encoding="utf-8")
    words = ["report", "--warehouse", str(tmp_path), "--out", str(tmp_path / "sheet.png")]
    code = main(words)
    said = capsys.readouterr().err
    assert code != 0
    assert len(said.splitlines()) == 1, said
    assert main(["--debug", *words]) == code


def test_an_error_without_a_message_has_its_type():
    assert unexpected(AssertionError()).startswith("AssertionError")


def test_a_worker_that_fails_tells_its_own_error():
    said = (
        "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n"
        '  File "a.py", line 1, in f\n    raise ValueError\nValueError: no\nmore of it\n'
    )
    assert unexpected(RuntimeError(said)).startswith("ValueError: no (unexpected")
