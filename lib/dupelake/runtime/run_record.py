"""One run of a job: its id, counts and seconds; its row in `runs`, and the report that people read."""

from __future__ import annotations

import datetime as dt
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from typing import Any

from pyspark.sql import Row
from pyspark.sql import functions as F

from dupelake.config import TIERS, Config
from dupelake.runtime.counts import Counts
from dupelake.runtime.logs import EventLog, Progress
from dupelake.runtime.redaction import Redactor
from dupelake.version import VERSION
from dupelake.warehouse.schema import ALL_TABLES, DECISIONS, RUNS
from dupelake.warehouse.staging import Staging
from dupelake.warehouse.tables import Warehouse

log = logging.getLogger(__name__)

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
            "dupelake": VERSION,
            "spark": self.warehouse.spark.version,
            "delta": metadata.version("delta-spark"),
        }

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step, show its progress, log its start and end; Spark's UI and event log name its jobs by it."""
        self.at_step()
        log.info("%s: started", name)
        self.events.emit("step_started", step=name)
        context = self.warehouse.spark.sparkContext
        outer: Any = context.getLocalProperty("spark.job.description")
        start, ok = time.monotonic(), False
        try:
            context.setJobDescription(f"dupelake {name}, run {self.run_id}")
            with Progress(self.warehouse.spark, name):
                yield
            ok = True
        finally:
            took = time.monotonic() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + took
            self.events.emit("step_finished", step=name, seconds=round(took, 3), ok=ok)
            with suppress(Exception):  # a dead JVM has told its own error by now
                context.setJobDescription(outer)
        log.info("%s: done in %.1f s", name, took)

    @cached_property
    def last_run_at(self) -> int:
        """When the last run started that wrote its row, in microseconds since 1970; 0 before the first."""
        row = self.warehouse.read(RUNS).agg(F.unix_micros(F.max("started_at")).alias("at")).first()
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
        lines = [f"Run {self.run_id} ({self.job})", *_forgotten(self.counts), *_read(self.counts)]
        lines += _found(self.counts, self.recall)
        took = ", ".join(f"{name} {value:.1f}" for name, value in self.seconds.items())
        lines.append(f"  seconds  {took}; {sum(self.seconds.values()):.1f} in all, on the clock")
        lines += [f"  NOTE     {note}" for note in self.notes]
        return "\n".join(lines)


def _forgotten(counts: Counts) -> Iterator[str]:
    """What `dupelake forget` did."""
    if "named" in counts:
        done = "that may come back" if "undone" in counts else "forgotten"
        n_images = counts.undone if "undone" in counts else counts.forgotten
        yield f"  named    {counts.named} given, {counts.unknown} unknown; images {done}: {n_images}"
    if counts.purged_by_table:
        yield "  purged   " + ", ".join(f"{n} {table}" for table, n in counts.purged_by_table.items())


def _read(counts: Counts) -> Iterator[str]:
    """What was hashed and embedded."""
    if "read" in counts:
        failed = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.failed_by_reason.items()))
        yield (
            f"  images   {counts.read} read = {counts.hashed} hashed + {counts.skipped} skipped "
            f"+ {counts.failed} failed" + (f" ({failed})" if failed else "")
        )
    if counts.moved:
        yield f"  scopes   {counts.moved} images moved into another scope"
    if "contents_new" in counts:
        yield f"  contents {counts.contents_new} new"
    if counts.features_failed:
        yield f"  features {counts.features_failed} contents without local features"
    if "embedded" in counts:
        yield (
            f"  embedded {counts.embedded} contents, {counts.embed_failed} failed"
            + (f"; {counts.embed_waiting} are tried again another night" if counts.embed_waiting else "")
        )


def _found(counts: Counts, recall: str | None) -> Iterator[str]:
    """What was joined and grouped."""
    if "pairs_measured" in counts:
        yield (
            f"  pairs    {counts.pairs_measured} measured, {counts.pairs_withdrawn} withdrawn; in all "
            + (_kinds(counts.pairs_by_kind) or "no duplicates")
        )
    if counts.burst_followers:
        yield f"  bursts   {counts.burst_followers} contents compared with the best of their burst alone"
    if recall is not None:
        yield "  recall   " + recall_in_words(recall)
    if "groups" in counts:
        changes = _kinds(counts.changes_by_event)
        yield (
            f"  groups   {counts.groups} of {counts.images_grouped} images, {counts.copies} copies; "
            f"{counts.removable} removable, {human_bytes(counts.removable_bytes)}"
            + (f"; changes: {changes}" if changes else "")
        )
        if counts.may_go:
            yield f"  may go   {tiers_in_words(counts.may_go)}"
    if counts.bridges_cut:
        yield f"  bridges  {counts.bridges_cut} links cut in {counts.components_split} components"
    if counts.nothing_changed:
        yield "  nothing has changed since the last complete night: all that was found stands"


def table_versions(warehouse: Warehouse) -> dict[str, int]:
    """The number of the newest commit of every table but `runs`, by name; -1 where there is no table."""
    return {table.name: warehouse.version(table) for table in ALL_TABLES if table is not RUNS}


def last_complete(warehouse: Warehouse, job: str | None = None) -> Row | None:
    """The newest row of `runs` that left all tables up to date with each other, of `job` or of any."""
    rows = warehouse.read(RUNS).where("tables IS NOT NULL")
    return (rows if job is None else rows.where(F.col("job") == job)).orderBy(F.desc("started_at")).first()


def recall_in_words(recall: str) -> str:
    """The shares of planted copies, and of what brute force finds, that were found, from the JSON of `runs.recall`."""
    shares, told = json.loads(recall), []
    if "all" in shares:
        whole = shares["all"]
        by_edit = ", ".join(f"{edit} {s['found']}/{s['planted']}" for edit, s in sorted(shares["by_edit"].items()))
        told.append(
            f"{whole['found']} of {whole['planted']} planted copies found "
            f"({whole['share']:.0%}, 95 % interval {whole['low']:.0%} to {whole['high']:.0%}): {by_edit}"
        )
    if "legs" in shares:
        by_generator = ", ".join(f"{name} {s['found']}/{s['true']}" for name, s in shares["legs"].items())
        told.append(
            f"generators against brute force around {shares['checked']} new images: {by_generator or 'no pair there'}"
        )
    return "; ".join(told)


def new_run_id(started_at: dt.datetime) -> str:
    """Start time and a random suffix: sorts by time, and two runs of one second differ."""
    return f"{started_at:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def tiers_in_words(may_go: Mapping[str, int]) -> str:
    """How many images, and bytes, each tier of copies would free, as the report says it."""
    told = [
        f"{may_go[tier]} {'image' if may_go[tier] == 1 else 'images'} ({human_bytes(may_go[tier + '_bytes'])}) {words}"
        for tier, words in zip(TIERS, ("identical", "with verified copies", "with all copies"), strict=True)
    ]
    return ", ".join(told)


def human_bytes(n: float) -> str:
    """Bytes with a binary unit: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or unit == "TiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    raise AssertionError


def _kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items()) if n)
