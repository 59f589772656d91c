"""Why a file gave no picture: one type for what reads files and for what decodes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why there is no picture.

    Attributes:
        reason: one word: empty, too_large (bytes, pixels, or memory; the message names the option), bomb (small data
            that unpack to a lot; before, pixels too), truncated, undecodable, out_of_memory; the stages that read
            files add missing, unreadable, not_a_file and others.
        message: what happened, in words, at most 500 characters.
        content_id: first 16 bytes of sha256(bytes), hex; None when there were no bytes to read.
        byte_size: bytes of the file; None when unknown.
    """

    reason: str
    message: str
    content_id: str | None = None
    byte_size: int | None = None
