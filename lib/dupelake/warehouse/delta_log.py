"""What a table's Delta log says and does without a Spark query: versions, numbers of commits, making a table."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from delta import exceptions
from pyspark.sql import DataFrame, SparkSession

from dupelake.warehouse.fence import APP_ID, count_of, number_above
from dupelake.warehouse.schema import Table

# Another commit got in between; in Python these classes have no class in common that says so.
CONFLICTS = tuple(getattr(exceptions, name) for name in exceptions.__all__)
CONSTRAINT = "delta.constraints."


class Extent(NamedTuple):
    """Of a table: data files of its newest version, their bytes, and the bytes of all that lies in its folder."""

    files: int
    live_bytes: int
    disk_bytes: int


def result_of(command: DataFrame) -> dict[str, int]:
    """The one row of a command that has run, of whole numbers; `first` would be another query."""
    row = command._jdf.queryExecution().executedPlan().executeCollect()[0]
    return {name: int(row.getLong(i)) for i, name in enumerate(command.columns)}


class DeltaLog:
    """The log of the table at `path`; each call reads its newest version.

    Delta's own classes are called through the JVM: its Python API makes tables and reads their metadata by queries,
    which take most of the time of a small night.
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        self._spark, self._path = spark, path
        self._jvm: Any = spark._jvm

    @property
    def _log(self) -> Any:
        return self._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(self._spark._jsparkSession, self._path)

    @property
    def _none(self) -> Any:
        return self._jvm.scala.Option.empty()

    def _snapshot(self) -> Any:
        return self._log.update(False, self._none, self._none)

    def exists(self) -> bool:
        """Whether there is a table."""
        return self.version() >= 0

    def version(self) -> int:
        """The number of the newest commit; -1 where there is no table."""
        return int(self._snapshot().version())

    def table_id(self) -> str:
        """The id in the table's metadata, which a table that is made anew does not share."""
        return str(self._snapshot().metadata().id())

    def is_new(self) -> bool:
        """Whether there is no table, or one without data in its first version."""
        snapshot = self._snapshot()
        if int(snapshot.version()) != 0:
            return int(snapshot.version()) < 0
        checksum = snapshot.checksumOpt()  # without it, Delta counts the files by a query
        return int(checksum.get().numFiles() if checksum.isDefined() else snapshot.numOfFiles()) == 0

    def columns(self) -> set[str]:
        """Names of the stored columns."""
        return set(self._snapshot().schema().fieldNames())

    def constraints(self) -> set[str]:
        """Names of the stored constraints."""
        options = str(self._snapshot().metadata().configuration().keys().mkString("\n")).splitlines()
        return {key.removeprefix(CONSTRAINT) for key in options if key.startswith(CONSTRAINT)}

    def number(self) -> int:
        """The number that the newest commit with one carries; 0 where no commit carries one."""
        snapshot = self._snapshot()
        checksum = snapshot.checksumOpt()  # of the commit: to read all transactions, Delta runs two queries
        if checksum.isDefined() and checksum.get().setTransactions().isDefined():
            found = checksum.get().setTransactions().get()
            numbers = {str(one.appId()): int(one.version()) for one in map(found.apply, range(found.size()))}
            return numbers.get(APP_ID, 0)
        last = snapshot.transactions().get(APP_ID)
        return int(last.get()) if last.isDefined() else 0

    def checkpoint(self) -> None:
        """Write a checkpoint of the log."""
        self._log.checkpoint()

    def extent(self) -> Extent:
        """What the table holds now, and what lies in its folder, the log included."""
        snapshot = self._snapshot()
        path = self._jvm.org.apache.hadoop.fs.Path(self._path)
        summary = path.getFileSystem(self._spark._jsparkSession.sessionState().newHadoopConf()).getContentSummary(path)
        return Extent(int(snapshot.numOfFiles()), int(snapshot.sizeInBytes()), int(summary.getLength()))

    def create(self, table: Table) -> bool:
        """Make `table`, with comments and constraints, in one commit; False where somebody else made it meanwhile."""
        options = {"delta.enableDeletionVectors": "false"}
        options |= {CONSTRAINT + name: condition for name, condition in table.checks.items()}
        delta = self._jvm.org.apache.spark.sql.delta
        metadata = delta.actions.Metadata(
            str(uuid.uuid4()),
            None,
            table.comment,
            delta.actions.Format("parquet", self._map({})),
            table.schema.json(),
            self._seq(table.partition_by),
            self._map(options),
            self._jvm.scala.Option.apply(int(time.time() * 1000)),
        )
        change = self._log.startTransaction(self._none, self._none)
        if int(change.readVersion()) >= 0:
            return False
        change.updateMetadataForNewTable(metadata)
        operation = getattr(delta, "DeltaOperations$CreateTable")(metadata, False, False, self._none)
        try:
            change.commit(self._seq(()), operation)
        except CONFLICTS:
            return False
        return True

    def carry(self, token: int | None) -> bool:
        """Commit `token` without any row, keeping the count; False where another commit got in between."""
        delta = self._jvm.org.apache.spark.sql.delta
        operation = getattr(getattr(delta, "DeltaOperations$ManualUpdate$"), "MODULE$")
        change = self._log.startTransaction(self._none, self._none)
        last = max(0, int(change.txnVersion(APP_ID)))
        number = number_above(last, token, count=count_of(last))
        try:
            change.commit(self._seq([delta.actions.SetTransaction(APP_ID, number, self._none)]), operation)
        except CONFLICTS:  # of the run that is overtaken: its last one
            return False
        return True

    def _seq(self, values: Iterable[Any]) -> Any:
        out = self._jvm.java.util.ArrayList()
        for value in values:
            out.add(value)
        return self._jvm.scala.jdk.javaapi.CollectionConverters.asScala(out).toSeq()

    def _map(self, values: Mapping[str, str]) -> Any:
        out = self._jvm.java.util.HashMap()
        for key, value in values.items():
            out.put(key, value)
        factory = getattr(getattr(self._jvm.scala.collection.immutable, "Map$"), "MODULE$")
        return getattr(factory, "from")(self._jvm.scala.jdk.javaapi.CollectionConverters.asScala(out))
