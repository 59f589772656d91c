"""The errors of dupelake; the class of an error decides the exit code of a job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

_TRACEBACK = "Traceback (most recent call last):"
_UNREAD = re.compile(r"\[FAILED_READ_FILE\S*\] Encountered error while reading file (\S.*?)\.  ?SQLSTATE")
_BRANCH, _COLOUR = "↳", re.compile(r"\x1b\[\d*m")


class DupelakeError(Exception):
    """Base of all errors below; `exit_code` is the exit code of the job."""

    exit_code = 1


class ConfigError(DupelakeError):
    """The configuration or the command line is wrong; raised before Spark starts, with all faults at once.

    Args:
        faults: one sentence per fault, each naming the field and the fix.
    """

    exit_code = 2

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(f"- {fault}" for fault in self.faults))


class ChangedError(ConfigError):
    """Verdicts are about pictures that changed since their author saw them; nothing is written."""


class ManifestError(DupelakeError):
    """A whole manifest cannot be used (no column `uri`, a repeated column, no such path)."""

    exit_code = 2


class EnvironmentFault(DupelakeError):
    """The machine lacks a requirement (Java, a jar); the message says what to install."""

    exit_code = 2


class ModelError(DupelakeError):
    """A model or vocabulary cannot be loaded or used; the message gives the fix."""

    exit_code = 2


class VersionMixError(DupelakeError):
    """Rows of two versions (hash, model, preprocessing, join) would be compared; the message names both."""

    exit_code = 2


class NotFoundError(DupelakeError, LookupError):
    """There is no such warehouse, table, version, image or group; the message names it and the fix."""

    exit_code = 2


class QueryError(DupelakeError, ValueError):
    """A question to a warehouse has a fault (its SQL, a name that several images have); the message says which."""

    exit_code = 2


class SchemaError(DupelakeError):
    """A DataFrame or a stored table lacks columns of its schema; the message lists the present columns."""


class GateError(DupelakeError):
    """The results are written, but a limit was exceeded (share of failed images); raised after writing."""

    exit_code = 3


class BusyError(DupelakeError):
    """Another run holds the lock of the warehouse, or took it over; nothing was written after that."""

    exit_code = 4


def first_line(error: BaseException, *, innermost: bool = False) -> str:
    """The first line of an error's message.

    Args:
        error: of Python, Spark or Java.
        innermost: for an error of Java, use its innermost cause. The outermost error of a filesystem names the path,
            but that of Spark's start or of a job names neither cause nor fix.
    """
    raised: Any = getattr(error, "java_exception", None)
    while innermost and raised is not None and raised.getCause() is not None:
        raised = raised.getCause()
    text = str(error if raised is None else raised.toString())
    if _BRANCH in text:  # delta-rs draws its causes as a tree: the trunk says what failed, the last leaf says why
        trunk, *_, leaf = (_COLOUR.sub("", part).strip() for part in text.split(_BRANCH))
        return f"{trunk}: {leaf}".splitlines()[0]
    return (text.strip().splitlines() or [type(error).__name__])[0]


def unread_file(error: BaseException) -> tuple[str, str] | None:
    """The path of the file that a task of Spark could not read, and why; None for any other error."""
    found = _UNREAD.search(str(error))
    if found is None:
        return None
    return unquote(re.sub("^file:(//)?(?=/)", "", found[1])), first_line(error, innermost=True)


def unread_manifest(path: str, why: str) -> str:
    """The message about a manifest that Spark began to read; for a ManifestError."""
    return (
        f"{path} cannot be read to its end ({why}): it is damaged or was cut off; write it again, or leave it out, and "
        "run again"
    )


def unexpected(error: BaseException) -> str:
    """One line about an error that is no DupelakeError: its type, its message and how to learn more."""
    told, text = first_line(error, innermost=True), str(error)
    if _TRACEBACK in text:  # of a worker of Spark: what follows the last frame names the error
        after = text.rsplit(_TRACEBACK, maxsplit=1)[-1].splitlines()[1:]
        told = next((line for line in after if line and not line[0].isspace()), told)
    elif getattr(error, "java_exception", None) is None:
        told = f"{type(error).__name__}: {told}"
    return f"{told} (unexpected; run again with --debug to see where)"
