"""One run at a time: a lock file in the warehouse, which the holder keeps fresh and which a dead holder loses.

Delta makes each commit atomic, but a run is many commits over many tables, computed from what it read at its start. So
two runs must not overlap. A file rather than a table: it is made atomically by every store that Hadoop creates files on
without overwriting, costs no Spark job, and can be touched while all cores are busy.

A lock is taken over when its holder is known to be dead (same machine, boot and PID namespace, no such process any
more), or has not touched it for `run.lock_stale_s`. The former holder, should it wake up, finds the lock gone before
its next commit and stops: `check` is called before each. What it is committing just then is refused by the fence of
`tables.Warehouse`.

The file of the lock is written once and never again, so that nobody reads half of it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from dupelake.errors import BusyError
from dupelake.warehouse.paths import local_folder

log = logging.getLogger(__name__)

NAME = "_lock.json"
PEOPLE = "_lock_decisions.json"  # held for the seconds in which verdicts are written
_BEAT_S = 30.0
_POLL_S = (0.2, 2.0)  # between two looks at a lock that another holds: at first, and in the long run
_IF_ABSENT = "fs.option.create.conditional.overwrite"


class Store(Protocol):
    """The few file operations that a lock needs."""

    def create(self, text: str) -> bool:
        """Write the file if there is none; False where there is one."""

    def read(self) -> str | None:
        """Its text; None where there is none."""

    def age(self) -> float | None:
        """Seconds since it was written or touched, by the store's own clock; None where there is none."""

    def touch(self) -> None:
        """Make it fresh again; its text is not written again."""

    def set_aside(self, suffix: str) -> str | None:
        """Rename it and return its text; None where it is gone. Whoever renames it has it."""

    def remove(self) -> None:
        """Delete it if it is there."""


class _LocalStore:
    """On this machine's file system: making a hard link is as atomic as O_EXCL, and nobody reads half a file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._path = folder, folder / name

    def create(self, text: str) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"{self._path.name}.{uuid.uuid4().hex}"
        draft.write_text(text, encoding="utf-8")
        try:
            os.link(draft, self._path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def read(self) -> str | None:
        try:
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def age(self) -> float | None:
        try:
            return time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return None

    def touch(self) -> None:
        os.utime(self._path)

    def set_aside(self, suffix: str) -> str | None:
        aside = self._folder / f"{self._path.name}.{suffix}"
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
    """On any path that Hadoop reads, by a file beside it that is written anew at each touch.

    Creating without overwriting is atomic on HDFS, ABFS and GCS. On S3A it is a look and then a write, so there the
    condition goes with the write itself, where Hadoop can (3.4.2 on, unless `fs.s3a.create.conditional.enabled` is
    false or the store does not know `If-None-Match`).
    """

    def __init__(self, spark: Any, root: str, name: str) -> None:
        self._jvm = spark._jvm
        self._text = f"{root.rstrip('/')}/{name}"
        self._path = self._at("")
        self._fs = self._path.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
        self._is_conditional = bool(self._fs.hasPathCapability(self._path, _IF_ABSENT))

    def _at(self, ending: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(self._text + ending)

    def create(self, text: str) -> bool:
        for attempt in range(3):
            try:
                if self._is_conditional:
                    out = self._fs.createFile(self._path).must(_IF_ABSENT, True).recursive().build()
                else:
                    out = self._fs.create(self._path, False)
                out.write(bytearray(text, "utf-8"))
                out.close()
            except (Py4JJavaError, PySparkException) as error:
                there = self.read()
                if there is not None:
                    return there == text  # written, though the answer was lost
                if attempt == 2:  # not released in between, again and again
                    raise BusyError(f"the lock {self._text} cannot be written: {_reason(error)}") from error
            else:
                return True
        return False

    def read(self) -> str | None:
        try:
            stream = self._fs.open(self._path)
        except Py4JJavaError as error:
            if _is_absent(error):
                return None
            raise
        try:
            return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream)).decode("utf-8", "replace")
        finally:
            stream.close()

    def age(self) -> float | None:
        touched = max((at for at in (self._modified(""), self._modified(".beat")) if at is not None), default=None)
        if touched is None or self._modified("") is None:
            return None
        # Compared with a file written now: the clock of the store, not of this machine. Its name is nobody else's.
        probe = f".clock.{uuid.uuid4().hex}"
        self._fs.create(self._at(probe), True).close()
        try:
            now = self._modified(probe)
        finally:
            self._fs.delete(self._at(probe), False)
        return None if now is None else (now - touched) / 1000

    def _modified(self, ending: str) -> int | None:
        """Milliseconds since 1970 of the file with this ending, None where there is none."""
        try:
            return int(self._fs.getFileStatus(self._at(ending)).getModificationTime())
        except Py4JJavaError as error:
            if _is_absent(error):
                return None
            raise

    def touch(self) -> None:
        self._fs.create(self._at(".beat"), True).close()  # object stores keep no time that can be set

    def set_aside(self, suffix: str) -> str | None:
        text, aside = self.read(), self._at(f".{suffix}")
        try:
            if text is None or not self._fs.rename(self._path, aside):
                return None
        except Py4JJavaError as error:
            if _is_absent(error):
                return None
            raise
        self._fs.delete(aside, False)
        return text

    def remove(self) -> None:
        self._fs.delete(self._at(".beat"), False)  # first: once the lock is gone, it is the next holder's
        self._fs.delete(self._path, False)


def _is_absent(error: Py4JJavaError) -> bool:
    return error.java_exception.getClass().getSimpleName() in ("FileNotFoundException", "NoSuchFileException")


def _reason(error: Py4JJavaError | PySparkException) -> str:
    text = error.java_exception.toString() if isinstance(error, Py4JJavaError) else str(error)
    return str(text).splitlines()[0]


class RunLock:
    """A lock of one warehouse, held by one run.

    Args:
        store: where the file lies.
        run_id: of the holder.
        wait_s: how long `acquire` waits for another run to end; 0 stops at once.
        stale_s: a lock not touched for so long belongs to nobody; a live holder touches it every 30 s.
        name: NAME, or PEOPLE for what `dupelake decide` and a run share.
    """

    def __init__(self, store: Store, run_id: str, wait_s: float, stale_s: float, name: str = NAME) -> None:
        self._store, self._run_id, self._name = store, run_id, name
        self._wait_s, self._stale_s = wait_s, stale_s
        self._text = json.dumps({"run_id": run_id, "nonce": uuid.uuid4().hex, **_process()})
        self._done = threading.Event()
        self._beat: threading.Thread | None = None
        self.pause: Callable[[float], None] = time.sleep  # between two looks; may raise to stop waiting

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            BusyError: another run holds it, and did so for `wait_s`.
        """
        start, pause = time.monotonic(), _POLL_S[0]
        told = False
        while not self._store.create(self._text):
            holder, age_s = self._store.read(), self._store.age()
            if holder is None or age_s is None:
                continue
            if (age_s > self._stale_s or _is_dead(holder)) and self._take_over(holder):
                continue
            if time.monotonic() - start >= self._wait_s:
                raise BusyError(_busy(holder, self._wait_s, self._name))
            if not told:
                log.info("waiting up to %.0f s: %s", self._wait_s, _busy(holder, 0, self._name))
                told = True
            some = random.uniform(0.5, 1.0)  # noqa: S311 - several that wait do not look at once
            self.pause(min(pause * some, self._wait_s))
            pause = min(pause * 1.5, _POLL_S[1])
        self._beat = threading.Thread(target=self._keep_fresh, daemon=True, name="dupelake-lock")
        self._beat.start()

    def check(self) -> None:
        """Stop where the lock was lost.

        Raises:
            BusyError: another run has taken it over, or somebody deleted it.
        """
        if self._store.read() != self._text:
            raise BusyError(
                f"run {self._run_id} was held up for longer than run.lock_stale_s = {self._stale_s:.0f} s and lost the "
                f"warehouse's lock to another run, or somebody deleted {self._name}; nothing more is written, start it "
                "again"
            )

    def release(self) -> None:
        """Give it back, if it is still ours."""
        self._done.set()
        if self._beat is None:
            return
        self._beat.join()
        try:
            if self._store.read() == self._text:
                self._store.remove()
        except Exception:  # Spark is gone, or the store: a run's results do not depend on it
            log.warning("the lock could not be given back; it falls after %.0f s", self._stale_s, exc_info=True)

    def _keep_fresh(self) -> None:
        while not self._done.wait(min(_BEAT_S, self._stale_s / 4)):
            try:
                self.check()
                self._store.touch()
            except BusyError:
                return  # said before the next commit
            except Exception:
                log.warning("the lock could not be touched", exc_info=True)

    def _take_over(self, seen: str) -> bool:
        """Set a lost lock aside; should it be another one by now, that one's holder stops before its next commit."""
        if self._store.read() != seen:
            return False
        found = self._store.set_aside(uuid.uuid4().hex)
        if found == seen:
            log.warning("the lock of a run that did not end was taken over: %s", found)
        return found is not None


def _busy(text: str, wait_s: float, name: str) -> str:
    try:
        holder = json.loads(text)
        run = "run " if name == NAME else ""
        who = f"{run}{holder['run_id']} (process {holder['pid']} on {holder['host']})"
    except (ValueError, KeyError, TypeError):
        who = f"somebody ({text[:100]})"
    waited = f" and did so for {wait_s:.0f} s" if wait_s else ""
    doing, then = "is at work on this warehouse", "start again when it has ended, or set run.lock_wait_s"
    stale = "run.lock_stale_s"
    if name == PEOPLE:
        doing, then, stale = "is writing verdicts to this warehouse", "try again when it has ended", "two minutes"
    return (
        f"{who} {doing}{waited}; {then}. If it is no more: its lock falls after {stale}, or delete {name} in the "
        "warehouse"
    )


def _process() -> dict[str, Any]:
    """What tells this process from every other one, on this machine or another."""
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pid_ns": _pid_namespace(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _is_dead(text: str) -> bool:
    """Whether the holder ran on this machine, since its last boot, among the processes seen here, and runs no more.

    What cannot be told is not dead: containers share a host name and a kernel, and count their processes each from 1.
    """
    try:
        holder = json.loads(text)
        pid, started, boot, namespace = int(holder["pid"]), holder["started"], holder["boot"], holder["pid_ns"]
    except (ValueError, KeyError, TypeError):
        return False
    if holder.get("host") != socket.gethostname() or not (boot and started and namespace and pid > 0):
        return False
    if boot != _boot_id() or namespace != _pid_namespace():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # there is one, of another user
    now = _started(pid)
    return now is not None and now != started


def _boot_id() -> str:
    return _text_of("/proc/sys/kernel/random/boot_id").strip()


def _pid_namespace() -> str | None:
    """The name of the namespace of this process's number; None where /proc does not say, or shows another one's."""
    try:
        if int(os.readlink("/proc/self")) != os.getpid():
            return None
        return os.readlink("/proc/self/ns/pid")
    except (OSError, ValueError):
        return None


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot, "ended" of one not yet waited for; None where nobody says."""
    fields = _text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()  # the name before it may hold spaces
    if len(fields) < 20:
        return None
    return "ended" if fields[0] in ("Z", "X") else fields[19]


def _text_of(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""


def lock_of(spark: Any, root: str, run_id: str, wait_s: float, stale_s: float, name: str = NAME) -> RunLock:
    """A lock of the warehouse at `root`, which is `Warehouse.root`: a local folder or a path that Hadoop reads."""
    folder = local_folder(root)
    store: Store = _HadoopStore(spark, root, name) if folder is None else _LocalStore(folder, name)
    return RunLock(store, run_id, wait_s, stale_s, name)
