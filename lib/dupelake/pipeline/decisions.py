"""Verdicts of people: `dupelake decide` adds them to the tables; a night pins, resolves and reports them."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from dupelake.config import Config
from dupelake.csv_cells import unescape
from dupelake.errors import ConfigError
from dupelake.group.decisions_stage import TWO_KEEPERS, new_decided_rows, resolve_decisions
from dupelake.group.verdicts import ALTERNATE, DUPLICATE, KEEPER, NOT_DUPLICATE, WITHDRAWN
from dupelake.ingest.identity_stage import with_plain
from dupelake.ingest.uris import plain_uri
from dupelake.runtime.lock import PEOPLE, RunLock, lock_of
from dupelake.warehouse.schema import DECIDED, DECISION_CONFLICTS, DECISIONS, HASHES, IMAGES, OK, Table
from dupelake.warehouse.tables import Warehouse

PAIR_WORDS, WORDS = (DUPLICATE, NOT_DUPLICATE, ALTERNATE), (DUPLICATE, NOT_DUPLICATE, ALTERNATE, KEEPER, WITHDRAWN)
_COLUMNS = ("image_id", "other_image_id", "verdict", "note")
# `decide` holds the lock for seconds. A lock that is not renewed for _STALE_S seconds expires.
_WAIT_S, _STALE_S = 600.0, 120.0

Checkpoint = Callable[[DataFrame], DataFrame]


@dataclass(frozen=True)
class Line:
    """One verdict as somebody wrote it; images by id or uri. `where` names the place for messages."""

    where: str
    image: str
    verdict: str
    other: str | None = None
    note: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The images of the verdict, in one order."""
        return min(self.image, self.other or self.image), max(self.image, self.other or "")


@dataclass(frozen=True)
class Added:
    """Result of `decide`: the number of added verdicts, and of verdicts that their author had already given."""

    added: int
    known: int


def read_lines(path: Path) -> tuple[list[Line], int]:
    """Verdicts of a CSV file with the columns image_id, verdict, other_image_id and note; others are not read.

    Returns:
        (lines, number of rows without a verdict).

    Raises:
        ConfigError: the file cannot be read, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("image_id", "verdict") if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError([f"--csv {path}: no column {' and no column '.join(missing)}; name them in row 1"])
            lines, n_blank = [], 0
            for number, row in enumerate(reader, start=2):
                image, other, verdict, note = (unescape((row.get(name) or "").strip()) for name in _COLUMNS)
                if verdict:
                    lines.append(Line(f"row {number}", image, verdict, other or None, note or None))
                else:
                    n_blank += 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([f"--csv {path}: cannot be read ({error}); give a CSV file in UTF-8"]) from error
    return lines, n_blank


def faults_of(lines: Iterable[Line]) -> list[str]:
    """The faults of each single line; one sentence for each fault, with the fix."""
    faults = []
    for line in lines:
        if line.verdict not in WORDS:
            faults.append(f"{line.where}: verdict {line.verdict!r}; allowed is one of {', '.join(WORDS)}")
        if not line.image:
            faults.append(f"{line.where}: no image_id; give the id or the uri of an image")
        if line.verdict in PAIR_WORDS and line.other is None:
            faults.append(f"{line.where}: {line.verdict} is about two images; give other_image_id")
        if line.verdict == KEEPER and line.other is not None:
            faults.append(f"{line.where}: keeper is about one image; leave other_image_id empty")
        if line.other is not None and line.other == line.image:
            faults.append(f"{line.where}: names the image {line.image!r} twice; give two images")
    return faults


def decide(
    warehouse: Warehouse, lines: Sequence[Line], author: str, *, again: bool = False, now: dt.datetime | None = None
) -> Added:
    """Add verdicts to `decisions`, and the contents of their images to `decided`; all verdicts or none.

    A verdict is not added if it equals the latest verdict of its author on these images. So the same file given twice
    adds nothing, even if others decided meanwhile.

    Args:
        warehouse: has a table `images`.
        lines: the verdicts.
        author: name of the person who decides.
        again: also add verdicts that equal the latest verdict of their author.
        now: time of the decisions, UTC.

    Raises:
        ConfigError: a line has a fault (`faults_of`), an image is unknown or was never read, a uri belongs to several
            images, a line names one image twice, or two verdicts contradict each other. All faults are named at once,
            and nothing is written.
        BusyError: others held the lock for too long; nothing is written.
    """
    found = _look_up(warehouse, {name for line in lines for name in (line.image, line.other) if name})
    named, unknown = _named(lines, found)
    faults = faults_of(lines) + unknown
    sound = [line for line, given in named if not faults_of([given])]
    faults += faults_of(sound)  # a uri and an id may name one image
    by_key: dict[tuple[str, str], Line] = {}
    for line in sound:
        first = by_key.setdefault(line.key, line)
        if first.verdict != line.verdict:
            faults.append(f"{first.where} and {line.where} differ on the same images; leave one")
    if faults:
        raise ConfigError(faults)
    with _held(warehouse, f"decide of {author}") as lock:
        latest = {} if again else _latest(warehouse, author, by_key)
        new = [line for key, line in by_key.items() if latest.get(key) != line.verdict]
        if new:
            at = now or dt.datetime.now(dt.UTC)
            spark = warehouse.spark
            contents = {row["image_id"]: row for row in found.values() if row["n"] == 1}
            ids = sorted({name for line in new for name in (line.image, line.other) if name} & set(contents))
            pins = [(name, at, contents[name]["content_id"], contents[name]["scope"]) for name in ids]
            rows = [(line.image, line.other, line.verdict, author, at, line.note) for line in new]
            lock.check()
            warehouse.merge(DECIDED, spark.createDataFrame(pins, DECIDED.schema).coalesce(1))
            # This commit comes last, because it makes the decision. Pins without a decision are harmless.
            lock.check()
            warehouse.append(DECISIONS, spark.createDataFrame(rows, DECISIONS.schema).coalesce(1))
    return Added(len(new), len(by_key) - len(new))


@contextmanager
def _held(warehouse: Warehouse, who: str) -> Iterator[RunLock]:
    """Hold the lock for writing verdicts, for some seconds. It is not the lock that a run holds for hours.

    Without it two problems appear. A store whose commits are not atomic between machines (S3 without Delta's DynamoDB
    log store) silently loses one of two commits. And a file that is given twice at the same time is added twice.
    """
    lock = lock_of(warehouse.spark, warehouse.root, who, _WAIT_S, _STALE_S, PEOPLE)
    try:
        lock.acquire()
    except OSError as error:
        raise ConfigError([f"--warehouse {warehouse.root}: cannot be written ({error}); ask for the right"]) from error
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


def _look_up(warehouse: Warehouse, names: set[str]) -> dict[str, Row]:
    """{name: row (image_id, content_id, scope, n)} of images that were read; n: number of images with this name."""
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
    found = best.select("name", "best.s.*", "best.n").collect()  # at most one row for each given name
    return {row["name"]: row for row in found}


def _named(lines: Sequence[Line], found: dict[str, Row]) -> tuple[list[tuple[Line, Line]], list[str]]:
    """(line with image ids instead of names, line as given), and faults for names of no image or of several."""
    named, faults = [], []
    for line in lines:
        ids: list[str | None] = []
        for name in (line.image, line.other):
            row = found.get(name) if name else None
            if name and row is None and line.verdict == WITHDRAWN:
                ids.append(name)  # withdraws a verdict on an unknown image
                continue
            if name and row is None:
                faults.append(f"{line.where}: no image {name!r} that was read; give an image_id or uri of table images")
            elif row is not None and row["n"] > 1:
                faults.append(f"{line.where}: {row['n']} images have the uri {name!r}; give the image_id of one")
            ids.append(row["image_id"] if row is not None else None)
        if ids[0] is not None and (line.other is None or ids[1] is not None):
            named.append((replace(line, image=ids[0], other=ids[1]), line))
    return named, faults


def _latest(warehouse: Warehouse, author: str, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
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
    rows = mine.groupBy("low", "high").agg(F.max("said").alias("said")).collect()  # one per key at most
    return {(row["low"], row["high"]): row["said"]["verdict"] for row in rows}


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
    decided, images = warehouse.read(DECIDED), warehouse.read(IMAGES)
    hashes = warehouse.read(HASHES) if hashes is None else hashes
    return checkpoint(resolve_decisions(decisions, decided, images, hashes, config))


def write_conflicts(
    warehouse: Warehouse, conflicts: DataFrame, checkpoint: Checkpoint, part: DataFrame | None = None
) -> DataFrame:
    """Update `decision_conflicts` to the present conflicts, in one commit; no commit if nothing changed.

    Args:
        warehouse: target.
        conflicts: result of `build_groups` for all verdicts.
        checkpoint: materialises a DataFrame.
        part: (image_id) of the images that `build_groups` got, if these were not all. Conflicts of two keepers in
            other groups are not changed.

    Returns:
        The given conflicts, materialised.
    """
    found = checkpoint(conflicts)
    gone = warehouse.read(DECISION_CONFLICTS).join(found, "conflict_id", "left_anti")
    if part is not None:
        elsewhere = gone.where(F.col("kind") == TWO_KEEPERS).join(part.select("image_id"), "image_id", "left_anti")
        gone = gone.join(elsewhere.select("conflict_id"), "conflict_id", "left_anti")
    warehouse.merge(DECISION_CONFLICTS, found, delete=checkpoint(gone.select("conflict_id")))
    return found
