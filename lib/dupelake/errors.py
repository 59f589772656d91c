"""Every error that dupelake raises on purpose; the exit code of a job follows from its class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DupelakeError(Exception):
    """Base of all errors below; `exit_code` is what a job ends with."""

    exit_code = 1


class ConfigError(DupelakeError):
    """The configuration or the command line is wrong; raised before Spark starts, all faults at once.

    Args:
        faults: one sentence per fault, each naming the field and the fix.
    """

    exit_code = 2

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(f"- {fault}" for fault in self.faults))


class ManifestError(DupelakeError):
    """A manifest as a whole cannot be used (no `uri` column, a column named twice, nothing there)."""

    exit_code = 2


class EnvironmentFault(DupelakeError):
    """The machine lacks something (a Java, a jar); the message says what to install."""

    exit_code = 2


class ModelError(DupelakeError):
    """An embedding model cannot be loaded, or does not give unit vectors of one length."""

    exit_code = 2


class VersionMixError(DupelakeError):
    """Rows made by two versions (hash, model, preprocessing, join) would meet; both are named."""

    exit_code = 2


class SchemaError(DupelakeError):
    """A DataFrame or a stored table lacks what its schema promises; the message lists what is there."""


class GateError(DupelakeError):
    """The run's results stand, but a limit was passed (share of failed images); raised after writing."""

    exit_code = 3


class BusyError(DupelakeError):
    """Another run holds the warehouse, or took it over; nothing was written after that."""

    exit_code = 4


def first_line(error: BaseException, *, innermost: bool = False) -> str:
    """What an error says, in one line.

    Args:
        error: of Python, Spark or Java.
        innermost: of one that Java raised, what its innermost cause says. The outermost error of a filesystem names
            the path; that of Spark's start or of a job names neither cause nor fix.
    """
    raised: Any = getattr(error, "java_exception", None)
    while innermost and raised is not None and raised.getCause() is not None:
        raised = raised.getCause()
    text = str(error if raised is None else raised.toString())
    return (text.strip().splitlines() or [type(error).__name__])[0]
