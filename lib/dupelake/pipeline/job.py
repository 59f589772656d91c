"""The protocol of jobs: a check of versions, then the work with the result of the check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dupelake.runtime.run_record import Run

O = TypeVar("O")  # noqa: E741
"""The options of a job: a frozen dataclass of pipeline.options, or None."""
V = TypeVar("V")
"""What the check of a job returns."""
Task = Callable[[Run], None]
"""The work of a job whose versions are checked."""


@dataclass(frozen=True)
class Job(Generic[O, V]):
    """One job of the pipeline.

    Attributes:
        name: as in `runs`, events and metrics.
        check: records the versions of the job in the run and returns the versions that `work` needs. It raises
            VersionMixError if the warehouse has versions that must not be mixed with these. It changes no images,
            pairs or groups.
        work: reads and writes the tables.
    """

    name: str
    check: Callable[[Run, O], V]
    work: Callable[[Run, O, V], None]

    def ready(self, run: Run, options: O) -> Task:
        """The job after its check.

        Raises:
            VersionMixError: as `check`.
            ModelError: as `check`.
        """
        return self.task(options, self.check(run, options))

    def task(self, options: O, checked: V) -> Task:
        """The job with the result of a check that another job made, as the nightly job does."""
        return lambda run: self.work(run, options, checked)


def unversioned(run: Run, options: object) -> None:
    """The check of a job that makes no version of its own."""
