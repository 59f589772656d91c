"""One run at a time: real processes, one of them killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from dupelake.errors import BusyError
from dupelake.runtime.lock import NAME, RunLock, lock_of

LIB = Path(__file__).parents[2] / "lib"
HOLD = """
import sys, time
from dupelake.runtime.lock import lock_of
lock = lock_of(None, sys.argv[1], "other", 0, 900)
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


def lock(folder, run_id, wait_s=0.0, stale_s=900.0):
    return lock_of(None, str(folder), run_id, wait_s, stale_s)


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock."""
    env = os.environ | {"PYTHONPATH": str(LIB)}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_of_two_stops_and_names_the_first(tmp_path, other):
    with pytest.raises(BusyError, match=rf"run other \(process {other.pid} on ") as found:
        lock(tmp_path, "mine").acquire()
    assert found.value.exit_code == 4
    assert json.loads((tmp_path / NAME).read_text())["run_id"] == "other"


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    mine = lock(tmp_path, "mine")
    mine.acquire()
    mine.check()
    mine.release()
    assert not list(tmp_path.iterdir())


def test_the_second_of_two_waits_for_the_first(tmp_path):
    first, second = lock(tmp_path, "first"), lock(tmp_path, "second", wait_s=60)
    first.acquire()
    with pytest.raises(BusyError, match="waited 0 s"):
        lock(tmp_path, "third", wait_s=0.1).acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_holder_that_lost_its_lock_is_told_before_it_commits(tmp_path):
    first, second = lock(tmp_path, "first", stale_s=900), lock(tmp_path, "second", stale_s=900)
    first.acquire()
    long_ago = time.time() - 1000
    os.utime(tmp_path / NAME, (long_ago, long_ago))
    second.acquire()
    with pytest.raises(BusyError, match="run first lost the lock"):
        first.check()
    first.release()
    second.check()  # the loser's release left it alone
    second.release()


def test_a_lock_that_nobody_can_read_falls_when_it_is_old(tmp_path):
    (tmp_path / NAME).write_text("half a fi", encoding="utf-8")
    with pytest.raises(BusyError, match="half a fi"):
        lock(tmp_path, "mine").acquire()
    os.utime(tmp_path / NAME, (0, 0))
    mine = lock(tmp_path, "mine")
    mine.acquire()
    mine.release()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_hard_links_has_locks_too(tmp_path, monkeypatch, code):
    """exFAT answers EPERM; the tests have no such file system."""

    def link(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    locks = [lock(tmp_path, f"run{i}") for i in range(8)]
    start, held = threading.Barrier(len(locks)), []

    def take(one: RunLock) -> None:
        start.wait()
        with suppress(BusyError):
            one.acquire()
            held.append(one)

    with ThreadPoolExecutor(len(locks)) as pool:
        list(pool.map(take, locks))
    assert len(held) == 1
    held[0].check()
    with pytest.raises(BusyError):
        lock(tmp_path, "later").acquire()
    held[0].release()
    assert not list(tmp_path.iterdir())
    lock(tmp_path, "later").acquire()
