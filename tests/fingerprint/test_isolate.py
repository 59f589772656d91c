"""isolate with real faults: SIGSEGV, SIGKILL, an endless loop, memory beyond the limit."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pictures import photograph

from dupelake.config import DecodeConfig
from dupelake.fingerprint.decode import decode
from dupelake.fingerprint.isolate import Guard, Lost, fail_on_purpose
from dupelake.ingest.failure import Failure

LIMIT = 256 << 20


def work(item: Any, note: Callable[[Any], None]) -> Any:
    note(("noted", item))
    if isinstance(item, bytes):
        fail_on_purpose(item)
        return item
    if item == "pid":
        return os.getpid()
    if item == "exit":
        os._exit(7)
    if item == "large":
        return len(bytearray(LIMIT // 2))
    raise ValueError(item)


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard(work, 2.0, LIMIT) as made:
        yield made


def test_what_a_decoder_writes_about_a_damaged_file_reaches_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    file = io.BytesIO()
    photograph("coffee.png", 300).save(file, "JPEG")
    cut = file.getvalue()[: len(file.getvalue()) // 2]
    assert isinstance(decode(cut, DecodeConfig()), Failure)
    assert "premature end" in capfd.readouterr().err, "libjpeg writes to the descriptor itself"
    with Guard(lambda data, note: isinstance(decode(data, DecodeConfig()), Failure), 20.0, LIMIT) as guard:
        assert guard(cut) is True
    assert capfd.readouterr().err == ""


def test_an_item_that_is_larger_than_the_limit_is_named_as_that(guard: Guard) -> None:
    lost = guard(bytes(LIMIT + (64 << 20)))
    assert isinstance(lost, Lost)
    assert (lost.reason, "guard.max_memory_bytes" in lost.message) == ("out_of_memory", True)
    assert guard("large") == LIMIT // 2, "the next child serves"


def test_one_child_serves_all_and_is_another_process(guard: Guard) -> None:
    pids = {guard("pid") for _ in range(50)}
    assert len(pids) == 1
    assert pids != {os.getpid()}
    big = bytes(range(256)) * 40_000  # 10 MB: more than a pipe holds, both ways
    assert guard(big) == big
    assert guard("large") == LIMIT // 2


@pytest.mark.parametrize(
    ("kind", "reason", "said"),
    [
        ("crash", "crashed", "signal 11 (SIGSEGV)"),
        ("kill", "crashed", "signal 9 (SIGKILL), as the kernel does when"),
        ("hang", "timeout", "longer than 2 s"),
        ("memory", "out_of_memory", f"more than {LIMIT} bytes"),
    ],
)
def test_faults_are_named_and_the_next_item_is_served(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, kind: str, reason: str, said: str
) -> None:
    monkeypatch.setenv("DUPELAKE_BAD_IMAGE", f"{kind}:bad")
    before = guard("pid")
    lost = guard(b"a bad one")
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.noted) == (reason, ("noted", b"a bad one"))
    assert said in lost.message
    assert guard(b"a good one") == b"a good one"
    assert guard("pid") != before
    with pytest.raises(ProcessLookupError):  # gone, and no zombie
        os.kill(before, 0)


def test_exceptions_and_exits(guard: Guard) -> None:
    before = guard("pid")
    assert guard("other") == Lost("internal_error", "ValueError: other", ("noted", "other"))
    assert guard("pid") == before
    assert "exit code 7" in guard("exit").message


def test_a_crash_that_does_not_repeat_is_no_loss() -> None:
    """An earlier item may have damaged the child; in a new child the item works."""
    seen: list[str] = []

    def fragile(item: str, note: Callable[[Any], None]) -> str:
        seen.append(item)
        if "poison" in seen[:-1]:
            os.kill(os.getpid(), signal.SIGSEGV)
        return item

    with Guard(fragile, 5.0, LIMIT) as guard:
        assert [guard(item) for item in ("poison", "innocent", "next")] == ["poison", "innocent", "next"]


def test_a_fresh_child_knows_what_the_parent_knows() -> None:
    bad: set[str] = set()

    def careful(item: str, note: Callable[[Any], None]) -> str:
        if item in bad:
            return "known"
        os._exit(1)

    with Guard(careful, 5.0, LIMIT) as guard:
        assert guard("x").reason == "crashed"
        bad.add("x")
        assert guard("x") == "known"


PARENT = """
import os, sys, time
from dupelake.fingerprint.isolate import Guard
def work(item, note):
    print(os.getpid(), flush=True)
    while True: pass
Guard(work, 600.0, 1 << 28)("x")
"""


def test_an_endless_loop_does_not_outlive_a_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment())
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.kill()
    parent.wait(30)
    parent.stdout.close()
    until = time.monotonic() + 30
    while _is_running(child):
        assert time.monotonic() < until, "the child still runs"
        time.sleep(0.01)


def test_the_child_holds_none_of_the_parents_files() -> None:
    def files(_item: str, note: Callable[[Any], None]) -> list[str]:
        held = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the listing's own
                held += [os.readlink(f"/proc/self/fd/{fd}")] if int(fd) > 2 else []
        return held

    with open(__file__, encoding="utf-8"), Guard(files, 5.0, LIMIT) as guard:
        held = guard("x")
    assert [name.split(":")[0] for name in held] == ["socket"]  # the one to its parent


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
