"""The one module that knows Delta Lake: where tables lie, how they are made, read and changed.

Every change is one commit, and every change is skipped when there is nothing to change, so that a
run without new input leaves all versions as they were. Merges are keyed, so that writing the same
rows twice (a run killed and started again) ends with the same table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField

from dupelake.errors import SchemaError
from dupelake.schema import ALL_TABLES, Table, conform

log = logging.getLogger(__name__)

_STAGING = "_staging"
_RENAMING = ("file", "hdfs")  # schemes of stores that rename
_APP_ID = "dupelake"  # of the sequence numbers in a table's log


def single_row(df: DataFrame) -> Row:
    """The one row of an aggregate without groups."""
    row = df.first()
    if row is None:
        raise SchemaError("an aggregate gave no row")
    return row


def _quoted(field: StructField) -> str:
    """The comment of a column as it stands within quotes in SQL."""
    return str(field.metadata.get("comment", "")).replace("\\", "\\\\").replace("'", "\\'")


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


class Warehouse:
    """The Delta tables under one folder or object-store prefix.

    Args:
        spark: a session with Delta Lake.
        root: where the tables lie, any path that Hadoop reads; made on the first write.

    Attributes:
        at_commit: called with ``before:TABLE`` and ``after:TABLE`` of each commit; raising before one prevents it.
    """

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = root.rstrip("/") or "/"
        self.at_commit: Callable[[str], None] = lambda _: None
        self._found: set[str] = set()  # names of tables seen: nothing here drops one, and each look lists a folder

    def path(self, table: Table) -> str:
        """The folder of `table`."""
        return f"{self.root}/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether `table` has been made."""
        if table.name not in self._found and DeltaTable.isDeltaTable(self.spark, self.path(table)):
            self._found.add(table.name)
        return table.name in self._found

    def ensure(self, *tables: Table) -> None:
        """Make those of `tables` (default: all) that do not exist, with comments and constraints.

        Tables that an older dupelake made are given the columns that may be null and that they lack.
        """
        with ThreadPoolExecutor(max_workers=4) as pool:  # each is a commit to a log of its own, and mostly waits
            list(pool.map(self._ensure, tables or ALL_TABLES))

    def _ensure(self, table: Table) -> None:
        if self._create(table):
            return
        stored = set(self._snapshot(table).schema().fieldNames())
        added = [field for field in table.schema.fields if field.nullable and field.name not in stored]
        if added:
            columns = ", ".join(f"`{f.name}` {f.dataType.simpleString()} COMMENT '{_quoted(f)}'" for f in added)
            with self._commit(table):
                self.spark.sql(f"ALTER TABLE delta.`{self.path(table)}` ADD COLUMNS ({columns})")
            log.info("%s: added %s, which this version has", self.path(table), ", ".join(f.name for f in added))

    def _create(self, table: Table) -> bool:
        """Make `table` unless it is there; whether it was made now."""
        if self.exists(table):
            return False
        builder = (
            DeltaTable.createIfNotExists(self.spark)
            .location(self.path(table))
            .comment(table.comment)
            .addColumns(table.schema)
            .property("delta.enableDeletionVectors", "false")
        )
        if table.partition_by:
            builder = builder.partitionedBy(*table.partition_by)
        for name, condition in table.checks.items():  # in the creating commit: ALTER TABLE would add one commit each
            builder = builder.property(f"delta.constraints.{name}", condition)
        builder.execute()
        log.debug("made table %s", self.path(table))
        return True

    def read(self, table: Table) -> DataFrame:
        """`table` as it is now; empty, with its columns, where it was never written.

        Raises:
            SchemaError: the stored table lacks a column of the schema.
        """
        if not self.exists(table):
            return self.spark.createDataFrame([], table.schema)
        try:
            return conform(self.spark.read.format("delta").load(self.path(table)), table.schema)
        except SchemaError as error:
            raise SchemaError(
                f"{self.path(table)}: {error}; it was made by another version of dupelake (the next run adds columns "
                "that may be null)"
            ) from error

    def version(self, table: Table) -> int:
        """The number of the newest commit, -1 where there is no table."""
        if not self.exists(table):
            return -1
        return int(self._snapshot(table).version())

    def _snapshot(self, table: Table) -> Any:
        """Delta's newest snapshot; from its log, without a Spark job."""
        jvm: Any = self.spark._jvm
        none = jvm.scala.Option.empty()
        return self._delta_log(table).update(False, none, none)

    def _delta_log(self, table: Table) -> Any:
        jvm: Any = self.spark._jvm
        return jvm.org.apache.spark.sql.delta.DeltaLog.forTable(self.spark._jsparkSession, self.path(table))

    def last_sequence(self, table: Table) -> int:
        """The sequence number of the newest commit that `merge` made with one; 0 where there is none.

        It lies in the table's log as a transaction identifier, so that it and the rows are one commit, and compaction
        leaves it alone.
        """
        if not self.exists(table):
            return 0
        last = self._snapshot(table).transactions().get(_APP_ID)
        return int(last.get()) if last.isDefined() else 0

    def append(self, table: Table, rows: DataFrame) -> None:
        """Add `rows` without looking for their keys; for computed rows known to be absent."""
        self._create(table)
        with self._commit(table):
            conform(rows, table.schema).write.format("delta").mode("append").save(self.path(table))

    def overwrite(self, table: Table, rows: DataFrame) -> None:
        """Replace the whole content by `rows` in one commit; constraints and comments stay."""
        self._create(table)
        with self._commit(table):
            conform(rows, table.schema).write.format("delta").mode("overwrite").save(self.path(table))

    def delete(self, table: Table, condition: str) -> None:
        """Delete the rows of `condition`: one commit, none where there are no such rows."""
        if self.read(table).where(condition).isEmpty():
            return
        with self._commit(table):
            DeltaTable.forPath(self.spark, self.path(table)).delete(condition)

    def merge(
        self,
        table: Table,
        rows: DataFrame,
        *,
        update_when: str | None = None,
        delete: DataFrame | None = None,
        sequence: int | None = None,
    ) -> WriteReport:
        """Insert what is new by key, optionally update what is there and delete keys: one commit or none.

        Args:
            table: the target.
            rows: at most one row per key; they are read more than once, so compute what is dear before, and what is
                not the same each time must be.
            update_when: condition on `t` (stored) and `s` (given) under which a stored row is
                replaced, for example ``"t.hash_version <> s.hash_version"``; None never updates.
            delete: keys to delete; none of them may be in `rows`.
            sequence: kept in the commit for `last_sequence`; greater than the last one, else Delta takes the merge for
                one that was made already and skips it.

        Returns:
            What the commit did; all zero, and no commit, when `rows` and `delete` are empty.
        """
        self._create(table)
        rows = conform(rows, table.schema)
        source = rows.withColumn("_delete", F.lit(False))
        if delete is not None:
            empty = [F.lit(None).cast(f.dataType).alias(f.name) for f in table.schema.fields if f.name not in table.key]
            gone = delete.select(*table.key, *empty, F.lit(True).alias("_delete"))
            source = source.unionByName(gone.select(source.columns))
        on = " AND ".join(f"t.{k} = s.{k}" for k in table.key)
        if not self._would_change(table, source, on, update_when):
            return WriteReport()
        merge = DeltaTable.forPath(self.spark, self.path(table)).alias("t").merge(source.alias("s"), on)
        if delete is not None:
            merge = merge.whenMatchedDelete("s._delete")
        values: dict[str, str | Column] = {name: f"s.{name}" for name in table.columns}
        if update_when is not None:
            merge = merge.whenMatchedUpdate(f"NOT s._delete AND ({update_when})", set=values)
        with self._commit(table), self._merging(sequence):
            done = merge.whenNotMatchedInsert("NOT s._delete", values=values).execute()
        row = single_row(done)  # of a command that has run
        return WriteReport(*(int(row[f"num_{what}_rows"]) for what in ("inserted", "updated", "deleted")))

    @contextmanager
    def _commit(self, table: Table) -> Iterator[None]:
        """What is done within is one commit to `table`."""
        self.at_commit(f"before:{table.name}")
        yield
        self.at_commit(f"after:{table.name}")

    @contextmanager
    def _merging(self, sequence: int | None) -> Iterator[None]:
        """Delta's settings for one merge: its commit carries `sequence`, as the number of an idempotent write."""
        prefix = "spark.databricks.delta"
        # Else Delta, which takes any source but its own tables for one that may change, first caches all of it.
        options = {f"{prefix}.merge.materializeSource": "none"}
        if sequence is not None:
            options |= {f"{prefix}.write.txnAppId": _APP_ID, f"{prefix}.write.txnVersion": str(sequence)}
        try:
            for name, value in options.items():
                self.spark.conf.set(name, value)
            yield
        finally:
            for name in options:
                self.spark.conf.unset(name)

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

    def maintain(self, table: Table, retain_hours: float) -> tuple[int, int]:
        """Compact `table`, its rows ordered by key; drop what no version of the last `retain_hours` holds; checkpoint.

        Returns:
            Files before and after.
        """
        delta = DeltaTable.forPath(self.spark, self.path(table))
        before = self._n_files(table)
        if before > 1:
            taken = [name for name in table.key if name not in table.partition_by]
            with self._commit(table):
                delta.optimize().executeZOrderBy(*taken) if taken else delta.optimize().executeCompaction()
        name = "spark.sql.sources.parallelPartitionDiscovery.parallelism"
        listing = self.spark.conf.get(name)
        # Vacuum lists the folder in so many tasks, 10,000 unless told: half a minute a table in local mode.
        self.spark.conf.set(name, str(self.spark.conf.get("spark.sql.shuffle.partitions") or 200))
        try:
            delta.vacuum(retain_hours)
        finally:
            self.spark.conf.set(name, listing or "10000")
        self._delta_log(table).checkpoint()
        return before, self._n_files(table)

    def _n_files(self, table: Table) -> int:
        return int(self._snapshot(table).numOfFiles())


class Staging:
    """Folders of one run, under the warehouse: they cut lineage and hold what is written to several tables.

    Parquet rather than Spark's checkpoints, because it survives the loss of an executor on any
    cluster, is the fastest on object stores, and needs no checkpoint folder to be configured.
    Where the store does not rename, they are Delta tables.
    """

    def __init__(self, warehouse: Warehouse, run_id: str) -> None:
        self._spark = warehouse.spark
        self.root = f"{warehouse.root}/{_STAGING}/{run_id}"
        self._n = 0
        self._saved: list[str] = []  # folders, in order

    def save(self, rows: DataFrame, name: str = "step") -> DataFrame:
        """Compute `rows` once; returns them as read back from disk."""
        self._n += 1
        path = f"{self.root}/{self._n:03d}-{name}"
        self._saved.append(path)
        if not self._is_renamed:
            rows.write.format("delta").mode("overwrite").save(path)
            return self._spark.read.format("delta").load(path)
        rows.write.mode("overwrite").parquet(path)
        return self._spark.read.schema(rows.schema).parquet(path)

    @cached_property
    def _is_renamed(self) -> bool:
        """Whether the store moves a file in one step, as the commit of plain Parquet needs; object stores copy it.

        There a staged step is a Delta table, whose commit is one small file.
        """
        jvm: Any = self._spark._jvm
        path = jvm.org.apache.hadoop.fs.Path(self.root)
        scheme = str(path.getFileSystem(self._spark._jsc.hadoopConfiguration()).getUri().getScheme())
        return scheme in _RENAMING

    @property
    def checkpoint(self) -> Callable[[DataFrame], DataFrame]:
        """`save` in the form that iterative stages take."""
        return self.save

    @contextmanager
    def passing(self) -> Iterator[None]:
        """What is saved within goes at its end: a part of a large night needs the room of one part, not of all."""
        n_before = len(self._saved)
        yield
        for path in self._saved[n_before:]:
            self._delete(path)
        del self._saved[n_before:]

    def remove(self) -> None:
        """Delete the folder of this run (never a table, never an image)."""
        self._delete(self.root)

    def sweep(self) -> None:
        """Delete the folders of all runs, which killed ones left; call it with the lock of the warehouse held."""
        self._delete(self.root.rpartition("/")[0])

    def _delete(self, folder: str) -> None:
        jvm: Any = self._spark._jvm
        path = jvm.org.apache.hadoop.fs.Path(folder)
        path.getFileSystem(self._spark._jsc.hadoopConfiguration()).delete(path, True)
