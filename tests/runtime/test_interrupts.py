"""Signals: how and when a job stops; tests/runtime/test_interrupted.py has a real job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dupelake.runtime.interrupts import Interrupted, Interrupts


class Session:
    """Replaces a Spark session: records that its jobs were cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.sparkContext = self

    def setLogLevel(self, level: str) -> None:
        assert level == "OFF"

    def cancelAllJobs(self) -> None:
        self.cancelled.set()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_jobs_and_stops_at_the_next_step(number, code):
    session, before = Session(), signal.getsignal(number)
    with Interrupts("test", "go on") as interrupts:
        interrupts.watch(session)
        interrupts.check()
        assert interrupts.exit_code == 0
        os.kill(os.getpid(), number)
        assert session.cancelled.wait(5)
        with pytest.raises(Interrupted, match=f"stopped by {number.name}; go on"):
            interrupts.check()
        start = time.monotonic()
        with pytest.raises(Interrupted):
            interrupts.pause(60)
        assert time.monotonic() - start < 10
        assert interrupts.exit_code == code
        interrupts.settle()
        interrupts.check()  # the end of the job may take its steps
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_without_spark_gives_back_what_it_holds(number, code):
    with Interrupts("test", "go on", unwinds=True) as interrupts:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert interrupts.exit_code == code


def test_a_signal_at_the_end_changes_nothing():
    session = Session()
    with Interrupts("test", "go on") as interrupts:
        interrupts.watch(session)
        interrupts.settle()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        interrupts.check()
        assert interrupts.exit_code == 0
    assert not session.cancelled.is_set()


SCRIPT = """
import os, signal, sys, time
from dupelake.runtime.interrupts import Interrupts

class Session:
    sparkContext = property(lambda self: self)
    def setLogLevel(self, level): pass
    def cancelAllJobs(self): pass

with Interrupts("dupelake test", "go on", patience_s=0.5) as interrupts:
    if sys.argv[1] != "start":
        interrupts.watch(Session())
    os.kill(os.getpid(), signal.SIGTERM)
    if sys.argv[1] == "twice":
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
"""


@pytest.mark.parametrize("when", ["start", "twice", "deaf"])
def test_the_process_ends_at_once_before_there_is_a_session_when_told_twice_and_when_nothing_helps(when):
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SCRIPT, when], capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert done.stderr == "dupelake test: stopped by SIGTERM; go on\n"
    assert time.monotonic() - start < 15


def test_a_run_that_is_stopped_while_spark_starts_says_so(tmp_path: Path):
    (tmp_path / "images").mkdir()
    command = [
        sys.executable,
        "-m",
        "dupelake.cli",
        "run",
        str(tmp_path / "images"),
        "--warehouse",
        str(tmp_path / "w"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "1 path, " in first
    assert "starts Spark" in first
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read().splitlines()
    assert process.wait(30) == 143
    assert [line for line in rest if "stopped by SIGTERM" in line and "run the same command again" in line]
    assert len(rest) < 10, rest
    assert not (tmp_path / "w").exists()
