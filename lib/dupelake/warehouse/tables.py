"""The one module that knows Delta Lake: where tables lie, how they are made, read and changed.

Every change is one commit, and every change is skipped when there is nothing to change, so that a
run without new input leaves all versions as they were. Merges are keyed, so that writing the same
rows twice (a run killed and started again) ends with the same table.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from delta.exceptions import ConcurrentTransactionException
from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F

from dupelake.errors import BusyError, SchemaError
from dupelake.warehouse.delta_log import CONFLICTS, DeltaLog, Extent, result_of
from dupelake.warehouse.fence import carrying, count_of, number_above, options_of, session_settings, token_above
from dupelake.warehouse.paths import qualified
from dupelake.warehouse.schema import ALL_TABLES, Table, conform
from dupelake.warehouse.schema_types import in_sql

log = logging.getLogger(__name__)
T = TypeVar("T")

_TRIES = 8  # of a commit that somebody else's got in the way of
_SMALL_FILE_BYTES = 64 << 20  # of a table; smaller ones are compacted, what is larger is left alone


def single_row(df: DataFrame) -> Row:
    """The one row of an aggregate without groups."""
    row = df.first()
    if row is None:
        raise SchemaError("an aggregate gave no row")
    return row


@dataclass(frozen=True)
class WriteReport:
    """Rows that one commit inserted, updated and deleted; all zero when nothing was committed."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def changed(self) -> bool:
        """Whether a commit was made."""
        return bool(self.inserted or self.updated or self.deleted)


class Maintained(NamedTuple):
    """A table before and after its maintenance."""

    before: Extent
    after: Extent


class Warehouse:
    """The Delta tables under one folder or object-store prefix.

    Args:
        spark: a session with Delta Lake.
        root: where the tables lie, any path that Hadoop reads; made on the first write.

    Attributes:
        root: the same, qualified (`paths.qualified`).
        at_commit: called with ``before:TABLE`` and ``after:TABLE`` of each commit; raising before one prevents it.
        alone: what a commit to a table is made within, where others than the run write to that table too.

    Raises:
        ConfigError: no file system of the session takes `root`.
    """

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = qualified(spark, root).rstrip("/") or "/"
        self.at_commit: Callable[[str], None] = lambda _: None
        self.alone: Callable[[Table], AbstractContextManager[None]] = lambda _: nullcontext()
        self._token: int | None = None
        self._found: set[str] = set()  # names of tables seen: nothing here drops one, and each look lists a folder

    def path(self, table: Table) -> str:
        """The folder of `table`."""
        return f"{self.root}/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether `table` has been made."""
        if table.name not in self._found and self._log(table).exists():
            self._found.add(table.name)
        return table.name in self._found

    def ensure(self, *tables: Table) -> None:
        """Make those of `tables` (default: all) that do not exist, with comments and constraints.

        Those of an older dupelake get the columns that may be null, and lose the constraints that hold no more.
        """
        with ThreadPoolExecutor(max_workers=4) as pool:  # each is a commit to a log of its own, and mostly waits
            list(pool.map(self._ensure, tables or ALL_TABLES))

    def _ensure(self, table: Table) -> None:
        if self._create(table):
            return
        added = [f for f in table.schema.fields if f.nullable and f.name not in self._log(table).columns()]
        if added:
            with self._commit(table):
                self.spark.sql(f"ALTER TABLE delta.`{self.path(table)}` ADD COLUMNS ({in_sql(added)})")
            log.info("%s: added %s, which this version has", self.path(table), ", ".join(f.name for f in added))
        for name in sorted(self._log(table).constraints() - table.checks.keys()):
            with self._commit(table):
                self.spark.sql(f"ALTER TABLE delta.`{self.path(table)}` DROP CONSTRAINT `{name}`")

    def _create(self, table: Table) -> bool:
        """Make `table` unless it is there; whether it was made now."""
        if self.exists(table):
            return False
        if not self._log(table).create(table):
            return False
        log.debug("made table %s", self.path(table))
        return True

    def read(self, table: Table, version: int | None = None) -> DataFrame:
        """`table` as it is now, or was at `version`; empty, with its columns, where it was never written.

        Raises:
            SchemaError: the stored table lacks a column of the schema.
        """
        if version == -1 or (version is None and self.is_empty(table)):
            return self.spark.createDataFrame([], table.schema)
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        try:
            return conform(reader.load(self.path(table)), table.schema)
        except SchemaError as error:
            raise SchemaError(
                f"{self.path(table)}: {error}; it was made by another version of dupelake (the next run adds columns "
                "that may be null)"
            ) from error

    def version(self, table: Table) -> int:
        """The number of the newest commit, -1 where there is no table."""
        if not self.exists(table):
            return -1
        return self._log(table).version()

    def is_empty(self, table: Table) -> bool:
        """Whether no row was ever written to `table`, by its log; False may be a table whose rows were all deleted."""
        return self.version(table) <= 0

    def _log(self, table: Table) -> DeltaLog:
        return DeltaLog(self.spark, self.path(table))

    def last_sequence(self, table: Table) -> int:
        """The sequence number of the newest commit that `merge` made with one; 0 where there is none.

        It lies in the table's log as a transaction identifier, so that it and the rows are one commit, and compaction
        leaves it alone. It is the lower part of the number that the commit carries.
        """
        return count_of(self._number(table))

    def _number(self, table: Table) -> int:
        """The number that the newest commit with one carries; 0 where there is none."""
        return self._log(table).number() if self.exists(table) else 0

    def own(self, others: Iterable[int]) -> int:
        """Be the one run that writes; call it with the lock of the warehouse held.

        Args:
            others: tokens of runs that did not end. Where there are any, every table is given the new token first.

        Returns:
            The token, larger than all of theirs and than those that tables hold.
        """
        others = list(others)
        with ThreadPoolExecutor(max_workers=4) as pool:
            self._token = token_above(others, pool.map(self._number, ALL_TABLES))
            if others:
                list(pool.map(self._fence, filter(self.exists, ALL_TABLES)))
        return self._token

    def _fence(self, table: Table) -> None:
        """Give `table` this run's token: one commit without rows, which keeps the count."""
        for _ in range(_TRIES):
            with self._commit(table):
                if self._log(table).carry(self._token):
                    return
        raise BusyError(f"{self.path(table)}: another run keeps committing to it; nothing was changed")

    def append(self, table: Table, rows: DataFrame, *, sequence: int | None = None) -> None:
        """Add `rows` without looking for their keys: they are known to be absent. `sequence` is that of `merge`."""
        self._create(table)
        self._append(table, conform(rows, table.schema), sequence)

    def _append(self, table: Table, rows: DataFrame, sequence: int | None) -> None:
        writer = rows.write.format("delta").mode("append")
        self._write(
            table,
            lambda options: writer.options(**options).save(self.path(table)),
            sequence=sequence,
            takes_options=True,
        )

    def overwrite(self, table: Table, rows: DataFrame) -> None:
        """Replace the whole content by `rows` in one commit; constraints and comments stay."""
        self._create(table)
        writer = conform(rows, table.schema).write.format("delta").mode("overwrite")
        self._write(table, lambda options: writer.options(**options).save(self.path(table)), takes_options=True)

    def delete(self, table: Table, condition: str, *, sequence: int | None = None) -> None:
        """Delete the rows of `condition`: one commit, none where there are no such rows.

        Args:
            table: the target.
            condition: SQL.
            sequence: of a run that owns the warehouse: what `last_sequence` is afterwards, lower than before perhaps.
        """
        if self.is_empty(table) or self.read(table).where(condition).isEmpty():
            return
        delta = DeltaTable.forPath(self.spark, self.path(table))
        self._write(table, lambda _: delta.delete(condition), sequence=None if self._token is None else sequence)

    def merge(
        self,
        table: Table,
        rows: DataFrame,
        *,
        update_when: str | None = None,
        delete: DataFrame | None = None,
        sequence: int | None = None,
        is_change: bool = False,
    ) -> WriteReport:
        """Insert what is new by key, optionally update what is there and delete keys: one commit or none.

        Args:
            table: the target.
            rows: at most one row per key; they are read more than once, so compute what is dear before, and what is
                not the same each time must be.
            update_when: condition on `t` (stored) and `s` (given) under which a stored row is
                replaced, for example ``"t.hash_version <> s.hash_version"``; None never updates.
            delete: keys to delete; none of them may be in `rows`.
            sequence: kept in the commit for `last_sequence`, greater than the last one. A table whose sequence is read
                is changed by such merges alone.
            is_change: the caller knows that a row is inserted, replaced or deleted; else a query looks first.

        Returns:
            What the commit did; all zero, and no commit, when `rows` and `delete` are empty.
        """
        self._create(table)
        rows = conform(rows, table.schema)
        if self.is_empty(table):
            return self._insert(table, rows, sequence, is_change=is_change)
        source = rows.withColumn("_delete", F.lit(False))
        if delete is not None:
            empty = [F.lit(None).cast(f.dataType).alias(f.name) for f in table.schema.fields if f.name not in table.key]
            gone = delete.select(*table.key, *empty, F.lit(True).alias("_delete"))
            source = source.unionByName(gone.select(source.columns))
        on = " AND ".join(f"t.{k} = s.{k}" for k in table.key)
        if not is_change and not self._would_change(table, source, on, update_when):
            return WriteReport()
        values: dict[str, str | Column] = {name: f"s.{name}" for name in table.columns}

        def write(_: dict[str, str]) -> DataFrame:
            merge = DeltaTable.forPath(self.spark, self.path(table)).alias("t").merge(source.alias("s"), on)
            if delete is not None:
                merge = merge.whenMatchedDelete("s._delete")
            if update_when is not None:
                merge = merge.whenMatchedUpdate(f"NOT s._delete AND ({update_when})", set=values)
            return merge.whenNotMatchedInsert("NOT s._delete", values=values).execute()

        row = result_of(self._write(table, write, sequence=sequence))
        return WriteReport(*(row[f"num_{what}_rows"] for what in ("inserted", "updated", "deleted")))

    def _insert(self, table: Table, rows: DataFrame, sequence: int | None, *, is_change: bool) -> WriteReport:
        """Merge into a table without rows: all are new, and nothing is there to delete."""
        if not is_change and rows.isEmpty():
            return WriteReport()
        seen = Observation()
        self._append(table, rows.observe(seen, F.count(F.lit(1)).alias("n")), sequence)
        return WriteReport(inserted=int(seen.get["n"]))

    @contextmanager
    def _commit(self, table: Table) -> Iterator[None]:
        """What is done within is one commit to `table`."""
        with self.alone(table):
            self.at_commit(f"before:{table.name}")
            yield
            self.at_commit(f"after:{table.name}")

    def _write(
        self,
        table: Table,
        write: Callable[[dict[str, str]], T],
        *,
        sequence: int | None = None,
        takes_options: bool = False,
    ) -> T:
        """One commit to `table` that carries this run's number; tried again where somebody else's got in between.

        Others are people who decide, or who compact a table by hand.

        Args:
            table: the target.
            write: makes the commit; is given the options that make it carry the number.
            sequence: the count in the number.
            takes_options: whether `write` uses these options; else they are set for the session.

        Raises:
            BusyError: a run that came later has committed, and nothing was written; or others did, again and again.
        """
        for attempt in range(1, _TRIES + 1):
            has_number = self._token is not None or sequence is not None
            number = number_above(self._number(table), self._token, count=sequence) if has_number else None
            options = options_of(number)
            settings = nullcontext() if options and takes_options else carrying(self.spark, options)
            try:
                with self._commit(table), settings:
                    done = write(options)
                    # Delta takes a number that is not larger than the last one for a write made before: it writes
                    # nothing, and does not say so.
                    if number is not None and self._number(table) > number:
                        raise BusyError(f"{self.path(table)}: another run took this warehouse over; start it again")
            except ConcurrentTransactionException as error:
                raise BusyError(
                    f"{self.path(table)}: another run took this warehouse over; nothing was written, start it again"
                ) from error
            except CONFLICTS as error:
                if attempt == _TRIES:
                    raise BusyError(
                        f"{self.path(table)}: others changed it {_TRIES} times during a commit; start it again"
                    ) from error
                log.info("%s: somebody else changed it meanwhile; the commit is tried again", self.path(table))
                time.sleep(random.uniform(0.1, 0.2) * 2**attempt)  # noqa: S311 - so that two do not meet again
            else:
                return done
        raise AssertionError

    def _would_change(self, table: Table, source: DataFrame, on: str, update_when: str | None) -> bool:
        """Whether a merge of `source` would touch a row; Delta commits an update merge that touches none.

        By counts over an inner join, so that the smaller side is sent to the larger one, which stays where it is.
        """
        is_given = ~F.col("s._delete")
        touches = F.col("s._delete")
        if update_when is not None:
            touches = touches | (is_given & F.expr(update_when))
        t, s = self.read(table).alias("t"), source.alias("s")
        met = t.join(s, F.expr(on)).agg(F.count_if(is_given).alias("n_met"), F.count_if(touches).alias("n_touched"))
        given = s.agg((-F.count_if(is_given)).alias("n_met"), F.lit(0).alias("n_touched"))
        row = single_row(met.unionAll(given).agg(F.sum("n_met").alias("n_left"), F.sum("n_touched").alias("n_touched")))
        return bool(row["n_touched"] or row["n_left"])  # touched, or left over: to be inserted

    def maintain(self, table: Table, retain_hours: float) -> Maintained:
        """Compact the small files of `table`; drop what no version of the last `retain_hours` holds; checkpoint.

        A file of `_SMALL_FILE_BYTES` or more is never written again, so that a week costs what the week brought. Rows
        are not ordered by key: files of a key's range would have to be written anew each time (Z-order takes them all).
        """
        delta = DeltaTable.forPath(self.spark, self.path(table))
        before = self._log(table).extent()
        with session_settings(self.spark, {"spark.databricks.delta.optimize.minFileSize": str(_SMALL_FILE_BYTES)}):
            if before.files > 1:
                with self._commit(table):
                    delta.optimize().executeCompaction()
        # Vacuum lists the folder in so many tasks, 10,000 unless told: half a minute a table in local mode.
        n_tasks = str(self.spark.conf.get("spark.sql.shuffle.partitions") or 200)
        with session_settings(self.spark, {"spark.sql.sources.parallelPartitionDiscovery.parallelism": n_tasks}):
            delta.vacuum(retain_hours)
        self._log(table).checkpoint()
        return Maintained(before, self._log(table).extent())
