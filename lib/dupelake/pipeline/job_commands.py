"""The commands that are jobs, by their names. Imports neither Spark nor torch, so that `--help` takes no time."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from dupelake.errors import unexpected
from dupelake.pipeline.command_lines import Command, forget_command, maintain_command, manifest_command
from dupelake.pipeline.overlap_command import overlap_command
from dupelake.runtime.interrupts import GO_ON, Interrupts
from dupelake.runtime.redaction import Redactor

JOBS = {"run": "nightly", "forget": "forget", "maintain": "maintain", "overlap": "overlap"}
"""Job of each such command of `dupelake`."""
_COMMANDS: dict[str, tuple[Any, str]] = {
    "nightly": (manifest_command, "Find the copies among new images: hash, embed, join and cluster in one session."),
    "forget": (
        forget_command,
        "Forget images by hand: they leave pairs and groups, and do not return even if manifests still list them. No "
        "image file is changed. With --purge the data of these pictures in the warehouse is deleted.",
    ),
    "maintain": (maintain_command, "Compact files, drop old versions, checkpoint logs. Run it about once a week."),
    "overlap": (
        overlap_command,
        "Which sets of images share pictures, which pictures two sets share, which have several labels.",
    ),
}


def command_of(job: str, prog: str) -> Command[Any]:
    """The command line of the job `job`, for the command `prog`."""
    make, about = _COMMANDS[job]
    found: Command[Any] = make(prog, about)
    return found


def run_command(name: str, argv: Sequence[str]) -> int:
    """Run the command `name` of JOBS; returns its exit code. What it is about is said before Spark is imported."""
    from dupelake.pipeline.beginning import begin

    job, prog = JOBS[name], f"dupelake {name}"
    with Interrupts(prog, GO_ON) as interrupts:
        try:
            begun = begin(job, command_of(job, prog), argv)
            if isinstance(begun.given, int):
                return begun.given
            from dupelake.pipeline.common import run_begun

            return run_begun(import_module(f"dupelake.pipeline.{job}").JOB, begun, interrupts)
        except Exception as error:  # such as a package that cannot be imported
            told = traceback.format_exc() if "--debug" in argv else ""
            print(Redactor()(f"{told}{prog}: {unexpected(error)}"), file=sys.stderr)  # noqa: T201
            return 1
