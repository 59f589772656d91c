"""The refusal of a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dupelake.errors import BusyError, NotFoundError
from dupelake.runtime.redaction import redact_uris


class Refused(Exception):
    """A request is not done.

    Args:
        status: of HTTP.
        reason: one word.
        message: a sentence for people.
        retry_after_s: when another try may succeed; None if none will.
        more: further values of the answer.
    """

    def __init__(
        self, status: int, reason: str, message: str, retry_after_s: int | None = None, **more: object
    ) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after_s, self.more = (
            status,
            reason,
            message,
            retry_after_s,
            more,
        )

    def body(self) -> dict[str, Any]:
        """Values for JSON."""
        return {"reason": self.reason, "message": redact_uris(self.message), **self.more}

    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


@contextmanager
def refusing_faults() -> Iterator[None]:
    """Faults of writing verdicts as refusals."""
    try:
        yield
    except BusyError as error:
        raise Refused(503, "busy", str(error), retry_after_s=5) from error
    except NotFoundError as error:
        raise Refused(409, "no_table", str(error)) from error
    except OSError as error:
        raise Refused(503, "not_writable", f"the warehouse cannot be written: {error}", retry_after_s=60) from error
