"""Verdicts: a CSV of them; how a night pins, resolves and reports them; how they are added in object stores."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.csv_cells import read_rows, unescape
from dupelake.errors import ConfigError, EnvironmentFault
from dupelake.group.decisions_stage import new_decided_rows, resolve_decisions
from dupelake.group.giving import STALE_S, WAIT_S, Added, Key, Latest, Line, Named, give
from dupelake.group.two_keepers_stage import conflicts_elsewhere
from dupelake.ingest.identity_stage import with_plain
from dupelake.ingest.uris import plain_uri
from dupelake.runtime.lock import PEOPLE, RunLock, lock_of
from dupelake.warehouse.schema import DECIDED, DECISION_CONFLICTS, DECISIONS, HASHES, IMAGES, OK, Table
from dupelake.warehouse.store_faults import told
from dupelake.warehouse.tables import Warehouse

_COLUMNS = ("image_id", "verdict", "other_image_id", "note", "content_id", "other_content_id")

Checkpoint = Callable[[DataFrame], DataFrame]


def read_lines(path: Path) -> tuple[list[Line], int]:
    """Verdicts of a CSV file with the columns `_COLUMNS`, of which the first two must be there; others are not read.

    Returns:
        (lines, number of rows without a verdict).

    Raises:
        ConfigError: the file cannot be read, lacks a column or names it twice, or a row has too many cells.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, rows = read_rows(file, may_be_short=True)
            missing = [name for name in _COLUMNS[:2] if name not in header]
            if missing:
                raise ConfigError([f"--csv {path}: no column {' and no column '.join(missing)}; name them in row 1"])
            lines, n_blank = [], 0
            for number, (_, found) in enumerate(rows, start=2):
                row = dict(zip(header, found, strict=True))
                cells = [unescape(row.get(name, "").strip()) for name in _COLUMNS]
                if cells[1]:
                    lines.append(Line.of(f"row {number}", *cells))
                else:
                    n_blank += 1
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError([f"--csv {path}: cannot be read ({error}); give a CSV file in UTF-8"]) from error
    return lines, n_blank


def decide(
    warehouse: Warehouse, lines: Sequence[Line], author: str, *, again: bool = False, now: dt.datetime | None = None
) -> Added:
    """`group.giving.give` by Spark, for warehouses of object stores. The warehouse has a table `images`."""
    return give(_Book(warehouse), lines, author, again=again, now=now)


class _Book:
    """`group.giving.Book` by Spark."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def look_up(self, names: Collection[str]) -> Mapping[str, Named]:
        rows = _look_up(self._warehouse, names)
        return {row["name"]: Named(row["image_id"], row["content_id"], row["scope"], row["n"]) for row in rows}

    @contextmanager
    def held(self, who: str) -> Iterator[Callable[[], None]]:
        with _held(self._warehouse, who) as lock:
            yield lock.check

    def latest(self, author: str, keys: Collection[Key]) -> Mapping[Key, Latest]:
        return _latest(self._warehouse, author, keys)

    def pixels(self, contents: Collection[str]) -> Mapping[str, str]:
        wanted = F.broadcast(self._warehouse.spark.createDataFrame([(one,) for one in contents], "content_id string"))
        rows = self._warehouse.read(HASHES).join(wanted, "content_id").select("content_id", "pixel_digest").collect()
        return {row["content_id"]: row["pixel_digest"] for row in rows}  # two for each given verdict at most

    def pin(self, rows: Sequence[dict[str, Any]]) -> None:
        self._warehouse.merge(DECIDED, self._frame(DECIDED, rows))

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        self._warehouse.append(DECISIONS, self._frame(DECISIONS, rows))

    def _frame(self, table: Table, rows: Sequence[dict[str, Any]]) -> DataFrame:
        values = [tuple(row[name] for name in table.columns) for row in rows]
        return self._warehouse.spark.createDataFrame(values, table.schema).coalesce(1)


@contextmanager
def _held(warehouse: Warehouse, who: str) -> Iterator[RunLock]:
    """Hold the lock for writing verdicts, for some seconds. It is not the lock that a run holds for hours.

    Without it two problems appear. A store whose commits are not atomic between machines (S3 without Delta's DynamoDB
    log store) silently loses one of two commits. And a file that is given twice at the same time is added twice.
    """
    lock = lock_of(warehouse.spark, warehouse.root, who, WAIT_S, STALE_S, PEOPLE)
    try:
        lock.acquire()
    except OSError as error:
        raise ConfigError([f"--warehouse {warehouse.root}: cannot be written ({error}); ask for the right"]) from error
    except Py4JJavaError as error:  # of a store
        raise EnvironmentFault(f"--warehouse {warehouse.root}: cannot be written: {told(error)}") from error
    try:
        yield lock
    finally:
        lock.release()


@contextmanager
def alone(warehouse: Warehouse, who: str, table: Table) -> Iterator[None]:
    """Context of each commit of a run. For the tables of verdicts it holds the lock for writing verdicts."""
    if table not in (DECIDED, DECISIONS):
        yield
        return
    with _held(warehouse, who) as lock:
        lock.check()
        yield


def _look_up(warehouse: Warehouse, names: Collection[str]) -> list[Row]:
    """(name, image_id, content_id, scope, n) of images that were read; n: number of images with this name."""
    spark = warehouse.spark
    rows = [(name, plain_uri(name)) for name in sorted(names)]
    wanted = F.broadcast(spark.createDataFrame(rows, "name string, name_plain string"))
    images = with_plain(warehouse.read(IMAGES).where((F.col("status") == OK) & F.col("content_id").isNotNull()))
    shown = F.struct("image_id", "content_id", "scope")
    is_it = F.col("image_id") == F.col("name"), F.col("_plain") == F.col("name_plain")
    ways = [
        images.join(wanted, fits).select("name", F.lit(way).alias("way"), shown.alias("shown"))
        for way, fits in enumerate(is_it)
    ]
    counted = ways[0].union(ways[1]).groupBy("name", "way").agg(F.min("shown").alias("s"), F.count("*").alias("n"))
    best = counted.groupBy("name").agg(F.min(F.struct("way", "s", "n")).alias("best"))
    return best.select("name", "best.s.*", "best.n").collect()  # at most one row for each given name


def _latest(warehouse: Warehouse, author: str, keys: Collection[Key]) -> dict[Key, Latest]:
    """{key: latest verdict of `author`} of the given keys."""
    wanted = F.broadcast(warehouse.spark.createDataFrame(sorted(keys), "low string, high string"))
    other = F.coalesce("other_image_id", F.lit(""))
    mine = (
        warehouse.read(DECISIONS)
        .where(F.col("author") == author)
        .select(
            F.least("image_id", F.coalesce("other_image_id", "image_id")).alias("low"),
            F.greatest("image_id", other).alias("high"),
            F.struct("decided_at", "verdict").alias("said"),
        )
        .join(wanted, ["low", "high"])
    )
    latest = mine.groupBy("low", "high").agg(F.max("said").alias("said")).select("low", "high", "said.*")
    pins = warehouse.read(DECIDED)
    for end in ("low", "high"):
        was = pins.select(F.col("image_id").alias(end), "decided_at", F.col("content_id").alias(f"{end}_was"))
        latest = latest.join(was, [end, "decided_at"], "left")
    rows = latest.collect()  # one per key at most
    return {(row["low"], row["high"]): Latest(row["verdict"], (row["low_was"], row["high_was"])) for row in rows}


def pin_decisions(warehouse: Warehouse, checkpoint: Checkpoint, version: int | None = None) -> int:
    """Store the contents of the images of new decisions, before a night reads manifests, which may change them.

    Args:
        warehouse: target.
        checkpoint: materialises a DataFrame.
        version: version of `decisions`; None for the newest.

    Returns:
        Number of rows added to `decided`; with 0 nothing is committed.
    """
    if warehouse.is_empty(DECISIONS):
        return 0
    decisions = warehouse.read(DECISIONS, version)
    if decisions.isEmpty():
        return 0
    pins = checkpoint(new_decided_rows(decisions, warehouse.read(DECIDED), warehouse.read(IMAGES)))
    return warehouse.merge(DECIDED, pins).inserted


def current_verdicts(
    warehouse: Warehouse,
    config: Config,
    checkpoint: Checkpoint,
    version: int | None = None,
    hashes: DataFrame | None = None,
) -> DataFrame | None:
    """Decisions up to `version` with their vertices, for `build_groups`; None if there are no decisions.

    `hashes` is HASHES of one version; None takes all stored rows.
    """
    if warehouse.is_empty(DECISIONS):
        return None
    decisions = warehouse.read(DECISIONS, version)
    if decisions.isEmpty():
        return None
    decided, images, stored = (warehouse.read(table) for table in (DECIDED, IMAGES, HASHES))
    return checkpoint(
        resolve_decisions(decisions, decided, images, stored if hashes is None else hashes, config, stored)
    )


def write_conflicts(
    warehouse: Warehouse, conflicts: DataFrame, checkpoint: Checkpoint, part: DataFrame | None = None
) -> DataFrame:
    """Update `decision_conflicts` to the present conflicts, in one commit; no commit if nothing changed.

    Args:
        warehouse: target.
        conflicts: result of `build_groups` for all verdicts.
        checkpoint: materialises a DataFrame.
        part: (image_id) of the images that `build_groups` got, if these were not all. Conflicts of two keepers in
            other groups are not changed (`conflicts_elsewhere`).

    Returns:
        The given conflicts, materialised.
    """
    found = checkpoint(conflicts)
    gone = warehouse.read(DECISION_CONFLICTS).join(found, "conflict_id", "left_anti")
    if part is not None:
        decided, images, hashes = (warehouse.read(table) for table in (DECIDED, IMAGES, HASHES))
        gone = gone.join(conflicts_elsewhere(gone, decided, images, hashes, part), "conflict_id", "left_anti")
    warehouse.merge(DECISION_CONFLICTS, found, delete=checkpoint(gone.select("conflict_id")))
    return found
