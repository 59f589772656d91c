"""Where log lines go."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

from dupelake.runtime.logs import configure_logging


def test_a_terminal_that_is_gone_stops_no_job(monkeypatch):
    ours, theirs = os.openpty()
    logger = logging.getLogger("dupelake")
    before = (logger.handlers[:], logger.level, logger.propagate)
    with suppress(OSError), os.fdopen(theirs, "w") as terminal:  # closing writes what is left
        monkeypatch.setattr(sys, "stderr", terminal)
        configure_logging("run")
        logger.warning("read me")
        assert b"read me" in os.read(ours, 1000)
        os.close(ours)  # the window is closed; writing raises OSError
        logger.warning("nobody reads this")
        is_on = True
    assert is_on
    logger.handlers[:], logger.level, logger.propagate = before
