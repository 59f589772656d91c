"""The result of a file that could not be read or decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A file that could not be read or decoded.

    Attributes:
        reason: one word. Decoding gives empty, too_large (bytes, pixels or memory; the message names the option), bomb
            (small data that unpack to a large size), truncated, undecodable, no_decoder (HEIC without the extra
            `heif`), out_of_memory. Reading adds missing, unreadable, not_a_file and others.
        message: what happened, at most 500 characters.
        content_id: first 16 bytes of sha256(bytes), hex; None if no bytes were read.
        byte_size: bytes of the file; None if unknown.
    """

    reason: str
    message: str
    content_id: str | None = None
    byte_size: int | None = None


def told(error: Exception) -> str:
    """The message of a Failure by an exception, with room for a few words more."""
    return f"{type(error).__name__}: {error}"[:480]
