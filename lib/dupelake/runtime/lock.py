"""One run at a time: a lock file in the warehouse, which the holder keeps fresh and which a dead holder loses.

Delta makes each commit atomic, but a run is many commits over many tables, computed from what it read at its start. So
two runs must not overlap. A file rather than a table: it is made atomically by every store that Hadoop creates files on
without overwriting, costs no Spark job, and can be touched while all cores are busy.

A lock is taken over when its holder is known to be dead (same machine and boot, no such process any more), or has not
touched it for `run.lock_stale_s`. The former holder, should it wake up, finds the lock gone before its next commit and
stops: `check` is called before each.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from dupelake.errors import BusyError

log = logging.getLogger(__name__)

NAME = "_lock.json"
_BEAT_S = 30.0
_POLL_S = 2.0


class Store(Protocol):
    """The few file operations that a lock needs."""

    def create(self, text: str) -> bool:
        """Write the file if there is none; False where there is one."""

    def read(self) -> tuple[str, float] | None:
        """Its text and seconds since it was written or touched, by the store's own clock; None where there is none."""

    def touch(self, text: str) -> None:
        """Make it fresh again."""

    def set_aside(self, suffix: str) -> str | None:
        """Rename it and return its text; None where it is gone. Whoever renames it has it."""

    def remove(self) -> None:
        """Delete it if it is there."""


class _LocalStore:
    """On this machine's file system: O_EXCL is atomic."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / NAME

    def create(self, text: str) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"{NAME}.{os.getpid()}.{threading.get_ident()}"
        draft.write_text(text, encoding="utf-8")
        try:
            os.link(draft, self._path)  # as atomic as O_EXCL, and nobody reads half a file
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def read(self) -> tuple[str, float] | None:
        try:
            text, touched = self._path.read_text(encoding="utf-8"), self._path.stat().st_mtime
        except FileNotFoundError:
            return None
        return text, time.time() - touched

    def touch(self, text: str) -> None:
        os.utime(self._path)

    def set_aside(self, suffix: str) -> str | None:
        aside = self._folder / f"{NAME}.{suffix}"
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return None
        text = aside.read_text(encoding="utf-8")
        aside.unlink()
        return text

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class _HadoopStore:
    """On any path that Hadoop reads; creating without overwriting is atomic on HDFS, ABFS, S3A since Hadoop 3.4.2."""

    def __init__(self, spark: Any, root: str) -> None:
        self._jvm = spark._jvm
        self._path = self._jvm.org.apache.hadoop.fs.Path(f"{root}/{NAME}")
        self._fs = self._path.getFileSystem(spark._jsc.hadoopConfiguration())
        self._root = root

    def create(self, text: str) -> bool:
        return self._write(self._path, text, overwrite=False)

    def _write(self, path: Any, text: str, *, overwrite: bool) -> bool:
        try:
            out = self._fs.create(path, overwrite)
            out.write(bytearray(text, "utf-8"))
            out.close()
        except Exception as error:
            if not overwrite and self._fs.exists(path):
                return False
            raise BusyError(f"the lock {path.toString()} cannot be written: {error}") from error
        return True

    def read(self) -> tuple[str, float] | None:
        if not self._fs.exists(self._path):
            return None
        stream = self._fs.open(self._path)
        text = bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream)).decode("utf-8")
        stream.close()
        # compared with a file written now: the clock of the store, not of this machine
        probe = self._jvm.org.apache.hadoop.fs.Path(f"{self._root}/{NAME}.clock.{os.getpid()}")
        self._write(probe, "", overwrite=True)
        now = self._fs.getFileStatus(probe).getModificationTime()
        self._fs.delete(probe, False)
        return text, (now - self._fs.getFileStatus(self._path).getModificationTime()) / 1000

    def touch(self, text: str) -> None:
        self._write(self._path, text, overwrite=True)  # object stores keep no time that can be set

    def set_aside(self, suffix: str) -> str | None:
        found = self.read()
        aside = self._jvm.org.apache.hadoop.fs.Path(f"{self._root}/{NAME}.{suffix}")
        if found is None or not self._fs.rename(self._path, aside):
            return None
        self._fs.delete(aside, False)
        return found[0]

    def remove(self) -> None:
        self._fs.delete(self._path, False)


class RunLock:
    """The lock of one warehouse, held by one run.

    Args:
        store: where the file lies.
        run_id: of the holder.
        wait_s: how long `acquire` waits for another run to end; 0 stops at once.
        stale_s: a lock not touched for so long belongs to nobody; a live holder touches it every 30 s.
    """

    def __init__(self, store: Store, run_id: str, wait_s: float, stale_s: float) -> None:
        self._store, self._run_id = store, run_id
        self._wait_s, self._stale_s = wait_s, stale_s
        self._text = json.dumps({"run_id": run_id, **_process()})
        self._done = threading.Event()
        self._beat: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            BusyError: another run holds it, and did so for `wait_s`.
        """
        start = time.monotonic()
        told = False
        while not self._store.create(self._text):
            holder = self._store.read()
            if holder is None:
                continue
            if self._is_lost(*holder) and self._take_over(holder[0]):
                continue
            if time.monotonic() - start >= self._wait_s:
                raise BusyError(_busy(holder[0], self._wait_s))
            if not told:
                log.info("waiting up to %.0f s: %s", self._wait_s, _busy(holder[0], 0))
                told = True
            time.sleep(min(_POLL_S, self._wait_s))
        self._beat = threading.Thread(target=self._keep_fresh, daemon=True, name="dupelake-lock")
        self._beat.start()

    def check(self) -> None:
        """Stop where the lock was lost.

        Raises:
            BusyError: another run has taken it over, or somebody deleted it.
        """
        found = self._store.read()
        if found is None or found[0] != self._text:
            raise BusyError(
                f"run {self._run_id} was held up for longer than run.lock_stale_s = {self._stale_s:.0f} s and lost the "
                "warehouse's lock to another run; nothing more is written, start it again"
            )

    def release(self) -> None:
        """Give it back, if it is still ours."""
        self._done.set()
        if self._beat is not None:
            self._beat.join()
            found = self._store.read()
            if found is not None and found[0] == self._text:
                self._store.remove()

    def _keep_fresh(self) -> None:
        while not self._done.wait(min(_BEAT_S, self._stale_s / 4)):
            try:
                self.check()
                self._store.touch(self._text)
            except BusyError:
                return  # said before the next commit
            except Exception:
                log.warning("the lock could not be touched", exc_info=True)

    def _is_lost(self, text: str, age_s: float) -> bool:
        return age_s > self._stale_s or _is_dead(text)

    def _take_over(self, seen: str) -> bool:
        """Set a lost lock aside; should it be another one by now, that one's holder stops before its next commit."""
        found = self._store.set_aside(self._run_id)
        if found == seen:
            log.warning("the lock of a run that did not end was taken over: %s", found)
        return found is not None


def _busy(text: str, wait_s: float) -> str:
    try:
        holder = json.loads(text)
        who = f"run {holder['run_id']} (process {holder['pid']} on {holder['host']})"
    except (ValueError, KeyError, TypeError):
        who = f"somebody ({text[:100]})"
    waited = f" and did so for {wait_s:.0f} s" if wait_s else ""
    return (
        f"{who} is at work on this warehouse{waited}; start again when it has ended, or set run.lock_wait_s. If it is "
        f"no more: its lock falls after run.lock_stale_s, or delete {NAME} in the warehouse"
    )


def _process() -> dict[str, Any]:
    """What tells this process from every other one, on this machine or another."""
    return {"host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid(), "started": _started(os.getpid())}


def _is_dead(text: str) -> bool:
    """Whether the holder ran on this machine, since its last boot, and runs no more."""
    try:
        holder = json.loads(text)
        pid, started, boot = int(holder["pid"]), holder["started"], holder["boot"]
    except (ValueError, KeyError, TypeError):
        return False
    if holder.get("host") != socket.gethostname() or boot != _boot_id() or not boot or started is None:
        return False
    return _started(pid) != started


def _boot_id() -> str:
    return _text_of("/proc/sys/kernel/random/boot_id").strip()


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot; None where there is none or the system does not say."""
    fields = _text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()  # the name before it may hold spaces
    return None if len(fields) < 20 or fields[0] == "Z" else fields[19]  # Z: dead, and not yet waited for


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def lock_of(spark: Any, root: str, run_id: str, wait_s: float, stale_s: float) -> RunLock:
    """The lock of the warehouse at `root`, a local folder or any path that Hadoop reads."""
    is_local = root.startswith("/")
    store: Store = _LocalStore(Path(root)) if is_local else _HadoopStore(spark, root)
    return RunLock(store, run_id, wait_s, stale_s)
