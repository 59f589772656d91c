"""Repeats the reading of a local file after transient errors. No Spark."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from dupelake.config import FetchConfig
from dupelake.ingest.failure import Failure, told

# Transient errors: a failing disk, a restarted file server, a lock, a stale file handle.
_TRANSIENT = {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ETIMEDOUT}
_MAX_PAUSE_S = 30.0


def retried(read: Callable[[], bytes | Failure], path: str, fetch: FetchConfig) -> bytes | Failure:
    """The result of `read`, which reads the file at `path`; `missing` or `unreadable` if it cannot be read.

    Args:
        read: may raise OSError, and ValueError for a NUL byte in the name.
        path: for messages.
        fetch: number and pause of retries.
    """
    for attempt in range(fetch.retries + 1):
        try:
            return read()
        except (FileNotFoundError, NotADirectoryError):
            return Failure("missing", f"no file at {path}")
        except (OSError, ValueError) as error:
            if attempt == fetch.retries or getattr(error, "errno", None) not in _TRANSIENT:
                tries = f" (tried {attempt + 1} times)" if attempt else ""
                return Failure("unreadable", told(error) + tries)
        time.sleep(min(_MAX_PAUSE_S, fetch.backoff_ms / 1000 * 2**attempt))
    raise AssertionError
