"""One run of a job: its id, counts and seconds, and its row in `runs`."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from pyspark.sql import Row
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.runtime.bars import duration
from dupelake.runtime.clock import new_run_id
from dupelake.runtime.counts import Counts
from dupelake.runtime.logs import EventLog
from dupelake.runtime.progress import Progress, Work
from dupelake.runtime.redaction import Redactor
from dupelake.runtime.run_report import in_detail, in_short
from dupelake.version import __version__
from dupelake.warehouse.rules import COMPLETE, DONE
from dupelake.warehouse.schema import ALL_TABLES, BESIDE_NIGHTS, DECISIONS, RUNS
from dupelake.warehouse.staging import Staging
from dupelake.warehouse.tables import Warehouse

START, REST = "start", "between"
"""Keys of `runs.seconds` beside those of steps: up to the lock (Python's and Spark's start), and what no step took."""


@dataclass
class Run:
    """What a job knows of itself while it works."""

    job: str
    config: Config
    warehouse: Warehouse
    arguments: Sequence[str] = ()
    started_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    run_id: str = ""
    begun: float = field(default_factory=time.monotonic)  # of the clock on the wall, Spark's start included
    redactor: Redactor = field(default_factory=Redactor)
    at_step: Callable[[], None] = lambda: None  # before each step; raising stops the run
    counts: Counts = field(default_factory=Counts)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    recall: str | None = None
    plan: str | None = None  # as in `runs`
    inputs: dict[str, int] | None = None  # as in `runs`
    input_ids: dict[str, str] | None = None  # as in `runs`
    is_complete: bool = False  # all tables are up to date with each other
    is_embedded: bool = False  # this run embedded what there is to embed
    is_joined: bool = False  # this run let all contents meet
    decisions_version: int | None = None  # of `decisions`, as far as it was applied: people decide at any time
    gate_faults: list[str] = field(default_factory=list)  # limits that steps saw passed; told at the end, with exit 3
    notes: list[str] = field(default_factory=list)  # sentences for the end of the report
    staging: Staging = field(init=False)
    events: EventLog = field(init=False)

    def __post_init__(self) -> None:
        self.run_id = self.run_id or new_run_id(self.started_at)
        self.staging = Staging(self.warehouse, self.run_id)
        self.events = EventLog(self.config.run.event_log, self.run_id, self.job, self.redactor)
        self.versions |= {
            "dupelake": __version__,
            "spark": self.warehouse.spark.version,
            "delta": metadata.version("delta-spark"),
        }

    @contextmanager
    def step(self, name: str, work: Work | None = None) -> Iterator[None]:
        """Time a step and show its progress through `work`; Spark's UI and event log name its jobs by it."""
        self.at_step()
        self.events.emit("step_started", step=name)
        context = self.warehouse.spark.sparkContext
        outer: Any = context.getLocalProperty("spark.job.description")
        start, ok = time.monotonic(), False
        try:
            context.setJobDescription(f"dupelake {name}, run {self.run_id}")
            with Progress(self.warehouse.spark, name, work):
                yield
            ok = True
        finally:
            took = time.monotonic() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + took
            self.events.emit("step_finished", step=name, seconds=round(took, 3), ok=ok)
            with suppress(Exception):  # a dead JVM has told its own error by now
                context.setJobDescription(outer)

    def last_done_at(self, *jobs: str) -> int:
        """When the last run of one of `jobs` started that did all its work, in microseconds since 1970; 0 if none did.

        An attempt after it belongs to a run that was stopped, which this run completes.
        """
        done = self.warehouse.read(RUNS).where(DONE).where(F.col("job").isin(*jobs))
        row = done.agg(F.unix_micros(F.max("started_at")).alias("at")).first()
        return int(row["at"] or 0) if row is not None else 0

    def note_recall(self, shares: Mapping[str, Any]) -> None:
        """Add to what `runs.recall` holds, JSON."""
        self.recall = json.dumps(json.loads(self.recall or "{}") | dict(shares))

    def count(self, name: str, n: int) -> None:
        """Set the count `name`; KeyError where `Counts` has none of this name."""
        self.counts.set(name, n)

    def note_rest(self) -> None:
        """Note the seconds that no step took, so that all seconds together are those of the clock."""
        steps = sum(took for name, took in self.seconds.items() if name != REST)
        self.seconds[REST] = max(0.0, time.monotonic() - self.begun - steps)

    def finish(self, error: str | None = None) -> None:
        """Write the row of this run."""
        self.note_rest()
        finished = dt.datetime.now(dt.UTC)
        row = (
            self.run_id,
            self.job,
            "failed" if error else "succeeded",
            self.started_at,
            finished,
            json.dumps(self.redactor.arguments(self.arguments)),
            self.config.fingerprint(),
            json.dumps(self.redactor.deep(self.config.as_dict())),
            self.versions,
            dict(self.counts),
            self.seconds,
            self.recall,
            None if error is None else self.redactor(error),
            self._tables() if self.is_complete else None,
            self.plan,
            self.inputs,
            self.input_ids,
        )
        frame = self.warehouse.spark.createDataFrame([row], RUNS.schema)
        self.warehouse.append(RUNS, frame.coalesce(1))

    def _tables(self) -> dict[str, int]:
        """The versions of tables that this run leaves up to date with each other; a later verdict is not among them."""
        tables = table_versions(self.warehouse)
        if self.decisions_version is not None:
            tables[DECISIONS.name] = self.decisions_version
        return tables

    def report(self) -> str:
        """The run in words, for the end of the terminal or log."""
        whole = sum(self.seconds.values())
        lines = [f"Run {self.run_id} ({self.job}), {duration(whole)} on the clock"]
        lines += [*in_short(self.counts, self.redactor(self.warehouse.root))]
        lines += in_detail(self.counts, self.recall)
        took = ", ".join(f"{name} {value:.1f}" for name, value in self.seconds.items())
        lines.append(f"  seconds  {took}; {whole:.1f} in all, on the clock")
        lines += [f"  NOTE     {note}" for note in self.notes]
        return "\n".join(lines)


def table_versions(warehouse: Warehouse) -> dict[str, int]:
    """The number of the newest commit of every table that nights read or write, by name; -1 where there is no table."""
    return {table.name: warehouse.version(table) for table in ALL_TABLES if table not in BESIDE_NIGHTS}


def last_complete(warehouse: Warehouse, job: str | None = None) -> Row | None:
    """The newest row of `runs` that left all tables up to date with each other, of `job` or of any."""
    rows = warehouse.read(RUNS).where(COMPLETE)
    return (rows if job is None else rows.where(F.col("job") == job)).orderBy(F.desc("started_at")).first()
