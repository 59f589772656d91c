"""The command line of each job, by its name. Imports neither Spark nor torch, so that `--help` takes no time."""

from __future__ import annotations

from typing import Any

from dupelake.pipeline.command_lines import Command, forget_command, maintain_command, manifest_command
from dupelake.pipeline.overlap_command import overlap_command

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
