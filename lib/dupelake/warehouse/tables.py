"""Creates, reads and changes the Delta tables of a warehouse.

Every change is one commit, and a change without effect is not committed, so a run without new input changes no version.
Merges are keyed, so writing the same rows twice (because a run was killed and the user or scheduler started it again)
gives the same table.
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
    """Rows that one commit inserted, updated and deleted; all zero if there was no commit."""

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
        root: the folder of the tables, any path that Hadoop reads; created by the first write.

    Attributes:
        root: the qualified path (`paths.qualified`).
        at_commit: called with ``before:TABLE`` and ``after:TABLE`` of each commit; raising before one prevents it.
        alone: gives the context of each commit to a table; it holds a lock if others than the run write to that table.

    Raises:
        ConfigError: no file system of the session supports `root`.
    """

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = qualified(spark, root).rstrip("/") or "/"
        self.at_commit: Callable[[str], None] = lambda _: None
        self.alone: Callable[[Table], AbstractContextManager[None]] = lambda _: nullcontext()
        self._token: int | None = None
        self._found: set[str] = set()  # names of existing tables: they are never dropped, and each check lists a folder
        self._written: set[str] = set()  # names of tables with a write: a check of the log lists a folder, too

    def path(self, table: Table) -> str:
        """The folder of `table`."""
        return f"{self.root}/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether `table` has been made."""
        if table.name not in self._found and self._log(table).exists():
            self._found.add(table.name)
        return table.name in self._found

    def ensure(self, *tables: Table) -> None:
        """Creates those of `tables` (default: all) that do not exist, with comments and constraints.

        Tables of older versions get missing nullable columns and lose constraints that were removed since.
        """
        with ThreadPoolExecutor(max_workers=4) as pool:  # each commits to its own log and mostly waits
            list(pool.map(self._ensure, tables or ALL_TABLES))

    def _ensure(self, table: Table) -> None:
        if self._create(table):
            return
        stored = self._log(table).columns()
        added = [field for field in table.schema.fields if field.nullable and field.name not in stored]
        if added:
            with self._commit(table):
                self.spark.sql(f"ALTER TABLE delta.`{self.path(table)}` ADD COLUMNS ({in_sql(added)})")
            log.info("%s: added %s, which this version has", self.path(table), ", ".join(f.name for f in added))
        for name in sorted(self._log(table).constraints() - table.checks.keys()):
            with self._commit(table):
                self.spark.sql(f"ALTER TABLE delta.`{self.path(table)}` DROP CONSTRAINT `{name}`")

    def _create(self, table: Table) -> bool:
        """Creates `table` unless it exists; returns whether it was created."""
        if self.exists(table):
            return False
        if not self._log(table).create(table):
            return False
        log.debug("made table %s", self.path(table))
        return True

    def read(self, table: Table, version: int | None = None) -> DataFrame:
        """`table` as it is now, or at `version`; empty, with its columns, if it does not exist.

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
                f"{self.path(table)}: {error}; another version of dupelake made the table (the next run adds missing "
                "nullable columns)"
            ) from error

    def version(self, table: Table) -> int:
        """The version of the newest commit; -1 if the table does not exist."""
        if not self.exists(table):
            return -1
        return self._log(table).version()

    def is_empty(self, table: Table) -> bool:
        """Whether `table` was never written, by its log and without a query; a CLONE has data in its first version."""
        if table.name not in self._written and not self._log(table).is_new():
            self._written.add(table.name)
        return table.name not in self._written

    def _log(self, table: Table) -> DeltaLog:
        return DeltaLog(self.spark, self.path(table))

    def last_sequence(self, table: Table) -> int:
        """The sequence number of the newest commit of `merge` that has one; 0 if there is none.

        The log of the table stores it as a transaction identifier, so it is in the same commit as the rows and
        compaction does not change it. It is the count in the commit's number (see fence.py).
        """
        return count_of(self._number(table))

    def _number(self, table: Table) -> int:
        """The number that the newest commit with one carries; 0 where there is none."""
        return self._log(table).number() if self.exists(table) else 0

    def own(self, others: Iterable[int]) -> int:
        """Makes this run the only one that can write. Hold the lock of the warehouse.

        Args:
            others: tokens of runs that did not end. If there are any, the new token is written to every table.

        Returns:
            The token, larger than `others` and than the tokens in the tables.
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
        """Replaces all rows by `rows` in one commit; constraints and comments are kept."""
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
        """Inserts rows with new keys, optionally updates stored rows and deletes keys: one commit or none.

        Args:
            table: the target.
            rows: at most one row per key. They are read more than once, so stage rows that are expensive or not
                deterministic.
            update_when: condition on `t` (stored) and `s` (given) under which a stored row is
                replaced, for example ``"t.hash_version <> s.hash_version"``; None never updates.
            delete: keys to delete; none of them may be in `rows`.
            sequence: kept in the commit for `last_sequence`, greater than the last one. A table whose sequence is read
                is changed by such merges alone.
            is_change: the caller knows that a row is inserted, replaced or deleted; else a query looks first.

        Returns:
            The rows that the commit changed; all zero, and no commit, if nothing would change.
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
        """The context of one commit to `table`."""
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
        """Makes one commit to `table` with this run's number; repeats it if it conflicts with another commit.

        Other commits come from `dupelake decide`, or from people who compact a table.

        Args:
            table: the target.
            write: makes the commit; its argument is the options that give the commit its number.
            sequence: the count in the number.
            takes_options: whether `write` uses these options; else they are set for the session.

        Raises:
            BusyError: a later run has committed, so nothing was written; or all attempts had conflicts.
        """
        for attempt in range(1, _TRIES + 1):
            has_number = self._token is not None or sequence is not None
            number = number_above(self._number(table), self._token, count=sequence) if has_number else None
            options = options_of(number)
            settings = nullcontext() if options and takes_options else carrying(self.spark, options)
            try:
                with self._commit(table), settings:
                    done = write(options)
                    # If a number is not larger than the last one, Delta assumes that the write was done before and
                    # silently writes nothing.
                    if number is not None and self._number(table) > number:
                        raise BusyError(f"{self.path(table)}: another run took this warehouse over; start it again")
            except ConcurrentTransactionException as error:
                raise BusyError(
                    f"{self.path(table)}: another run took this warehouse over; nothing was written, start it again"
                ) from error
            except CONFLICTS as error:
                if attempt == _TRIES:
                    raise BusyError(
                        f"{self.path(table)}: others changed it {_TRIES} times during a commit; start the job again"
                    ) from error
                log.info("%s: the commit conflicts with another commit and is tried again", self.path(table))
                time.sleep(random.uniform(0.1, 0.2) * 2**attempt)  # noqa: S311 - so that two writers do not conflict again
            else:
                return done
        raise AssertionError

    def _would_change(self, table: Table, source: DataFrame, on: str, update_when: str | None) -> bool:
        """Whether a merge of `source` would change a row. Delta would also commit a merge that changes none.

        It counts over an inner join, so that Spark can broadcast the smaller side.
        """
        is_given = ~F.col("s._delete")
        touches = F.col("s._delete")
        if update_when is not None:
            touches = touches | (is_given & F.expr(update_when))
        t, s = self.read(table).alias("t"), source.alias("s")
        met = t.join(s, F.expr(on)).agg(F.count_if(is_given).alias("n_met"), F.count_if(touches).alias("n_touched"))
        given = s.agg((-F.count_if(is_given)).alias("n_met"), F.lit(0).alias("n_touched"))
        row = single_row(met.unionAll(given).agg(F.sum("n_met").alias("n_left"), F.sum("n_touched").alias("n_touched")))
        return bool(row["n_touched"] or row["n_left"])  # updated or deleted, or left to be inserted

    def maintain(self, table: Table, retain_hours: float) -> Maintained:
        """Compacts small files of `table`, deletes files that no version of the last `retain_hours` uses, checkpoints.

        Files of `_SMALL_FILE_BYTES` or more are not rewritten, so the cost depends only on new data. Rows are not
        sorted by key, because that rewrites all files of a key range each time (Z-order rewrites all files).
        """
        delta = DeltaTable.forPath(self.spark, self.path(table))
        before = self._log(table).extent()
        with session_settings(self.spark, {"spark.databricks.delta.optimize.minFileSize": str(_SMALL_FILE_BYTES)}):
            if before.files > 1:
                with self._commit(table):
                    delta.optimize().executeCompaction()
        # Vacuum lists the folder in so many tasks; the default of 10,000 takes half a minute a table in local mode.
        n_tasks = str(self.spark.conf.get("spark.sql.shuffle.partitions") or 200)
        with session_settings(self.spark, {"spark.sql.sources.parallelPartitionDiscovery.parallelism": n_tasks}):
            delta.vacuum(retain_hours)
        self._log(table).checkpoint()
        return Maintained(before, self._log(table).extent())
