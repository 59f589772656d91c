"""The lock if process numbers do not identify processes, and with many concurrent runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dupelake.errors import BusyError, EnvironmentFault
from dupelake.runtime import lock as module
from dupelake.runtime import lock_holder as holders
from dupelake.runtime.lock import NAME, RunLock, lock_of

LIB = Path(__file__).parents[2] / "lib"
HOLD = """
import sys, time
from dupelake.runtime.lock import lock_of
lock = lock_of(None, sys.argv[1], "contained", 0, 900)
lock.acquire()
print("held", flush=True)
sys.stdin.read()
lock.release()
"""
TAKE = """
import sys
from dupelake.errors import BusyError, EnvironmentFault
from dupelake.runtime.lock import lock_of
try:
    lock_of(None, sys.argv[1], "thief", 0, 900).acquire()
except BusyError:
    sys.exit(4)
"""


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False).returncode == 0


@pytest.fixture
def namespaces() -> None:
    if not can_unshare():
        pytest.skip("no PID namespaces here: unshare is not there or not allowed")


def python(*before: str, code: str, folder: Path) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(LIB)}
    command = [*before, sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("proc", [("--mount-proc",), ()], ids=["own-proc", "proc-of-the-host"])
def test_a_run_in_another_container_keeps_its_lock(tmp_path, proc):
    """Containers share a kernel and may share a host name; each numbers its processes from 1."""
    unshare = ("unshare", "--pid", "--fork", *proc)
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    holder = python(*unshare, code=HOLD, folder=inside)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(BusyError, match="run contained"):
            lock_of(None, str(inside), "thief", 0, 900).acquire()
        beside = python(*unshare, code=TAKE, folder=inside)
        beside.communicate()
        assert beside.returncode == 4
        mine = lock_of(None, str(outside), "mine", 0, 900)
        mine.acquire()
        thief = python(*unshare, code=TAKE, folder=outside)
        thief.communicate()
        assert thief.returncode == 4
        mine.check()
        mine.release()
    finally:
        holder.communicate("")
    assert not list(inside.iterdir()), "it was its holder's to the end"


@pytest.mark.usefixtures("namespaces")
def test_a_dead_run_loses_its_lock_to_the_next_one_in_its_container(tmp_path):
    code = f"{HOLD.split('sys.stdin', maxsplit=1)[0]}\nimport os, signal\nos._exit(9)"
    script = '"$0" -c "$1" "$3"; "$0" -c "$2" "$3"; echo $?'
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, sys.executable, code, TAKE]
    env = os.environ | {"PYTHONPATH": str(LIB)}
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "held\n0\n", done.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"pid_ns": "pid:[1]"},
        {"pid_ns": None},
        {"boot": ""},
        {"boot": "another"},
        {"host": "another"},
        {"started": None},
        {"pid": -1},
        {"pid": 0},
        {"pid": "x"},
    ],
    ids=str,
)
def test_what_cannot_be_told_is_not_dead(change):
    gone = subprocess.Popen(["true"])
    gone.wait()
    ours = holders.identity() | {"pid": gone.pid, "started": "1"}
    assert holders.is_dead(json.dumps(ours))
    assert not holders.is_dead(json.dumps(ours | change))
    assert not holders.is_dead(json.dumps({k: v for k, v in ours.items() if k not in change}))


def test_a_process_that_proc_hides_is_not_dead(monkeypatch):
    """With hidepid, /proc shows a user only the user's own processes."""
    alive = subprocess.Popen(["sleep", "60"])
    try:
        holder = json.dumps(holders.identity() | {"pid": alive.pid, "started": holders._started(alive.pid)})
        assert not holders.is_dead(holder)
        read = holders._text_of
        monkeypatch.setattr(holders, "_text_of", lambda path: "" if str(alive.pid) in path else read(path))
        assert not holders.is_dead(holder)
    finally:
        alive.kill()
        alive.wait()


def hadoop_store(spark, folder: Path) -> module._HadoopStore:
    return module._HadoopStore(spark, f"file:{folder}", NAME)


def test_a_healthy_lock_passes_every_check_under_many_hands(spark, tmp_path):
    """The holder touches and checks its lock while others read it; 147 of 460 checks failed in an earlier version."""
    store = hadoop_store(spark, tmp_path)
    lock = RunLock(store, "holder", 0, 900)
    lock.acquire()
    faults: list[BaseException] = []
    done, n_checks = threading.Event(), [0]

    def again(what) -> None:
        while not done.is_set():
            try:
                what()
            except BaseException as error:
                faults.append(error)

    def check() -> None:
        lock.check()
        n_checks[0] += 1

    def look() -> None:
        age_s = hadoop_store(spark, tmp_path).age()
        assert age_s is not None
        assert age_s < 60
        with pytest.raises(BusyError, match="run holder"):
            RunLock(hadoop_store(spark, tmp_path), "other", 0, 900).acquire()

    threads = [threading.Thread(target=again, args=(what,)) for what in (store.touch, check, check, look, look)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 60
    while n_checks[0] <= 100 and not faults and time.monotonic() < until:
        time.sleep(0.2)
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert n_checks[0] > 100
    lock.release()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_one_of_many_takes_a_lost_lock_through_hadoop(spark, tmp_path):
    lost = json.dumps({"run_id": "lost", "pid": 1, "host": "elsewhere"})
    assert hadoop_store(spark, tmp_path).create(lost)
    assert not hadoop_store(spark, tmp_path).create("another")
    os.utime(tmp_path / NAME, (0, 0))
    locks = [RunLock(hadoop_store(spark, tmp_path), f"run{n}", 0, 900) for n in range(6)]
    won: list[RunLock] = []
    all_tried = threading.Barrier(len(locks))  # one that removed a newer lock does so before its holder looks again

    def take(lock: RunLock) -> None:
        is_taken = False
        with contextlib.suppress(BusyError):
            lock.acquire()
            is_taken = True
        all_tried.wait(timeout=300)
        with contextlib.suppress(BusyError):
            if is_taken:
                lock.check()
                won.append(lock)

    with ThreadPoolExecutor(len(locks)) as pool:
        list(pool.map(take, locks))
    assert len(won) == 1
    won[0].release()
    assert not (tmp_path / NAME).exists()


def test_an_object_store_is_asked_to_write_only_where_nothing_is(spark, tmp_path):
    """The write is conditional if the file system supports it; this one does not and refuses a must()."""
    store = hadoop_store(spark, tmp_path)
    assert not store._is_conditional
    store._is_conditional = True
    with pytest.raises(EnvironmentFault, match=r"cannot be written: .*fs\.option\.create\.conditional\.overwrite"):
        store.create("text")
    assert not (tmp_path / NAME).exists()
