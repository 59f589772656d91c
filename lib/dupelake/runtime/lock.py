"""One run at a time: a lock file in the warehouse, which its holder touches regularly.

Delta makes each commit atomic, but a run makes many commits to many tables from what it read at its start. So two runs
must not overlap. The lock is a file and not a table: every store on which Hadoop creates files without overwriting
creates it atomically, it needs no Spark job, and it can be touched while all cores are busy.

Another run takes the lock over if its holder is certainly dead (same machine, boot and PID namespace, no such process),
or has not touched it for `run.lock_stale_s`. If the old holder continues, it finds before its next commit that the lock
is lost, and stops: `check` is called before each commit. The fence of `tables.Warehouse` refuses a commit in progress.

The lock file is written once and never changed, so nobody can read half of it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from dupelake.errors import BusyError, EnvironmentFault
from dupelake.runtime.lock_holder import identity, is_dead
from dupelake.warehouse.paths import local_folder
from dupelake.warehouse.store_faults import is_of_store, told

log = logging.getLogger(__name__)

NAME = "_lock.json"
PEOPLE = "_lock_decisions.json"  # held while verdicts are written, for seconds
_BEAT_S = 30.0
_POLL_S = (0.2, 2.0)  # first and longest pause between two checks of a lock that another run holds
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # file systems without hard links say one of these
_IF_ABSENT = "fs.option.create.conditional.overwrite"


class Store(Protocol):
    """The file operations that a lock needs."""

    def create(self, text: str) -> bool:
        """Writes the file if it does not exist; False if it exists."""

    def read(self) -> str | None:
        """The text of the file; None if it does not exist."""

    def age(self) -> float | None:
        """Seconds since the file was written or touched, by the clock of the store; None if it does not exist."""

    def touch(self) -> None:
        """Renews the time of the file without writing its text."""

    def set_aside(self, suffix: str) -> str | None:
        """Renames the file and returns its text; None if it does not exist. Only one of several callers succeeds."""

    def remove(self) -> None:
        """Deletes the file if it exists."""


class _LocalStore:
    """A lock on this machine's file system. A hard link is as atomic as O_EXCL, and nobody can read half a file.

    Without hard links (exFAT, some network drives) an empty file is created with O_EXCL, and the written one takes its
    place. Somebody who reads the empty one finds a lock whose holder is unknown, and waits.
    """

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
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._created_from(draft)
        finally:
            draft.unlink(missing_ok=True)
        return True

    def _created_from(self, draft: Path) -> bool:
        try:
            self._path.touch(exist_ok=False)
        except FileExistsError:
            return False
        draft.replace(self._path)
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
    """A lock on any path that Hadoop reads; a second file beside it is rewritten at each touch.

    Creating without overwriting is atomic on HDFS, ABFS and GCS. On S3A it is a check followed by a write. There the
    write itself is conditional if Hadoop supports that (from 3.4.2, unless `fs.s3a.create.conditional.enabled` is false
    or the store does not support `If-None-Match`).
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
                if is_of_store(error):  # Hadoop has tried for minutes; reading would take as long
                    raise
                there = self.read()
                if there is not None:
                    return there == text  # written, although the answer was lost
                if _is_taken(error):  # and given back since
                    return False
                if attempt == 2:  # the lock does not exist, so writing itself fails
                    why = told(error, innermost=True)
                    raise EnvironmentFault(f"the lock {self._text} cannot be written: {why}") from error
            else:
                return True
        return False

    def read(self) -> str | None:
        try:
            stream = self._fs.open(self._path)
            try:  # on S3 the object is asked for here, so that it may be gone only now
                return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream)).decode("utf-8", "replace")
            finally:
                stream.close()
        except Py4JJavaError as error:
            if _is_absent(error):
                return None
            raise

    def age(self) -> float | None:
        touched = max((at for at in (self._modified(""), self._modified(".beat")) if at is not None), default=None)
        if touched is None or self._modified("") is None:
            return None
        # Compared with a file written now, to use the clock of the store and not of this machine. Its name is unique.
        probe = f".clock.{uuid.uuid4().hex}"
        self._fs.create(self._at(probe), True).close()
        try:
            now = self._modified(probe)
        finally:
            self._fs.delete(self._at(probe), False)
        return None if now is None else (now - touched) / 1000

    def _modified(self, ending: str) -> int | None:
        """Milliseconds since 1970 of the file with this ending; None if it does not exist."""
        try:
            return int(self._fs.getFileStatus(self._at(ending)).getModificationTime())
        except Py4JJavaError as error:
            if _is_absent(error):
                return None
            raise

    def touch(self) -> None:
        self._fs.create(self._at(".beat"), True).close()  # object stores have no settable times

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
        self._fs.delete(self._at(".beat"), False)  # first: without the lock, this file belongs to the next holder
        self._fs.delete(self._path, False)


def _is_absent(error: Py4JJavaError) -> bool:
    return error.java_exception.getClass().getSimpleName() in ("FileNotFoundException", "NoSuchFileException")


def _is_taken(error: Exception) -> bool:
    """Whether the file was not written because it existed, or because another write of it came first."""
    return re.search(r"FileAlreadyExists|Status Code: (409|412)\b", str(error)) is not None


class RunLock:
    """A lock of one warehouse, held by one run.

    Args:
        store: of the lock file.
        run_id: of the holder.
        wait_s: seconds that `acquire` waits for another run to end; 0 fails at once.
        stale_s: seconds without a touch after which others may take the lock over; a live holder touches it every 30 s.
        name: NAME, or PEOPLE for the lock that `dupelake decide` and a run share.
    """

    def __init__(self, store: Store, run_id: str, wait_s: float, stale_s: float, name: str = NAME) -> None:
        self._store, self._run_id, self._name = store, run_id, name
        self._wait_s, self._stale_s = wait_s, stale_s
        self._text = json.dumps({"run_id": run_id, "nonce": uuid.uuid4().hex, **identity()})
        self._done = threading.Event()
        self._beat: threading.Thread | None = None
        self.pause: Callable[[float], None] = time.sleep  # between two checks; may raise to stop waiting

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            BusyError: another run has held it for `wait_s`.
        """
        start, pause = time.monotonic(), _POLL_S[0]
        told = False
        while not self._store.create(self._text):
            holder, age_s = self._store.read(), self._store.age()
            if holder is None or age_s is None:
                continue
            if (age_s > self._stale_s or is_dead(holder)) and self._take_over(holder):
                continue
            if time.monotonic() - start >= self._wait_s:
                raise BusyError(_busy(holder, self._wait_s, self._name))
            if not told:
                log.info("waiting up to %.0f s: %s", self._wait_s, _busy(holder, 0, self._name))
                told = True
            some = random.uniform(0.5, 1.0)  # noqa: S311 - waiting runs must not check at the same time
            self.pause(min(pause * some, self._wait_s))
            pause = min(pause * 1.5, _POLL_S[1])
        self._beat = threading.Thread(target=self._keep_fresh, daemon=True, name="dupelake-lock")
        self._beat.start()

    def check(self) -> None:
        """Stops the run if it has lost the lock.

        Raises:
            BusyError: another run has taken it over, or somebody deleted it.
        """
        if self._store.read() != self._text:
            raise BusyError(
                f"run {self._run_id} lost the lock of the warehouse: it did not touch the lock for more than "
                f"run.lock_stale_s = {self._stale_s:.0f} s and another run took it over, or somebody deleted "
                f"{self._name}; nothing more is written, start the run again"
            )

    def abandon(self) -> None:
        """Stops touching the lock and leaves it: the store is not to be reached."""
        self._done.set()

    def release(self) -> None:
        """Releases the lock, if this run still holds it."""
        self._done.set()
        if self._beat is None:
            return
        self._beat.join()
        try:
            if self._store.read() == self._text:
                self._store.remove()
        except Exception as error:  # Spark or the store is unreachable; the results of the run do not depend on it
            log.warning("the lock could not be released (%s); it expires after %.0f s", told(error), self._stale_s)

    def _keep_fresh(self) -> None:
        while not self._done.wait(min(_BEAT_S, self._stale_s / 4)):
            try:
                self.check()
                self._store.touch()
            except BusyError:
                return  # raised again before the next commit
            except Exception as error:
                log.warning("the lock could not be touched: %s", told(error))

    def _take_over(self, seen: str) -> bool:
        """Removes the lock of a dead run. If it is a newer lock by now, its holder stops before its next commit."""
        if self._store.read() != seen:
            return False
        found = self._store.set_aside(uuid.uuid4().hex)
        if found == seen:
            log.warning("took over the lock of a run that did not end: %s", found)
        return found is not None


def _busy(text: str, wait_s: float, name: str) -> str:
    try:
        holder = json.loads(text)
        run = "run " if name == NAME else ""
        who = f"{run}{holder['run_id']} (process {holder['pid']} on {holder['host']})"
    except (ValueError, KeyError, TypeError):
        who = f"somebody ({text[:100]})"
    waited = f" (waited {wait_s:.0f} s)" if wait_s else ""
    doing, then = "is at work on this warehouse", "start again when it has ended, or set run.lock_wait_s"
    stale = "run.lock_stale_s"
    if name == PEOPLE:
        doing, then, stale = "is writing verdicts to this warehouse", "try again when it has ended", "two minutes"
    return (
        f"{who} {doing}{waited}; {then}. If that process does not exist any more: its lock expires after {stale}, or "
        f"delete {name} in the warehouse"
    )


def lock_of(spark: Any, root: str, run_id: str, wait_s: float, stale_s: float, name: str = NAME) -> RunLock:
    """A lock of the warehouse at `root` (`Warehouse.root`), a local folder or a path that Hadoop reads."""
    folder = local_folder(root)
    store: Store = _HadoopStore(spark, root, name) if folder is None else _LocalStore(folder, name)
    return RunLock(store, run_id, wait_s, stale_s, name)
