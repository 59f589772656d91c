"""The staging folder of a run, below the warehouse, and the mark file by which later runs identify it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

from pyspark.sql import Column, DataFrame

from dupelake.warehouse.counted import counted
from dupelake.warehouse.paths import literal
from dupelake.warehouse.tables import Warehouse

log = logging.getLogger(__name__)

_STAGING = "_staging"
_RENAMING = ("file", "hdfs")  # schemes of stores with atomic renames
_MARK = "_dupelake.json"  # in a folder that dupelake made and may delete


class Staging:
    """The staging folders of one run: they cut lineage and hold rows that are written to several tables.

    They are Parquet files and not Spark's checkpoints: Parquet survives the loss of an executor on any cluster, is the
    fastest on object stores, and needs no configured checkpoint folder. On stores without atomic renames they are Delta
    tables.
    """

    def __init__(self, warehouse: Warehouse, run_id: str) -> None:
        self._spark, self._warehouse = warehouse.spark, warehouse
        self.root = f"{warehouse.root}/{_STAGING}/{run_id}"
        self._n = 0
        self._saved: list[str] = []  # folders, in order
        self.took_over = False  # whether a run before did not end

    def begin(self) -> None:
        """Takes ownership of the warehouse and deletes folders of runs that did not end. Hold the warehouse's lock.

        Only folders with dupelake's mark are deleted. Other names are kept and logged.
        """
        left = self._left()
        self.took_over = bool(left)
        self._mark(self._warehouse.own(left.values()))
        for folder in left:
            self._delete(folder)

    def save(self, rows: DataFrame, name: str = "step") -> DataFrame:
        """Computes `rows`, writes them, and returns a frame that reads them back."""
        self._n += 1
        path = f"{self.root}/{self._n:03d}-{name}"
        if self._n == 1 and not self._is_marked(self.root):
            self._mark(0)
        self._saved.append(path)
        if not self._is_renamed:
            rows.write.format("delta").mode("overwrite").save(path)
            return self._spark.read.format("delta").load(path)
        rows.write.mode("overwrite").parquet(path)
        return self._spark.read.schema(rows.schema).parquet(literal(path))

    def counted(self, rows: DataFrame, name: str, **counts: Column) -> tuple[DataFrame, dict[str, int]]:
        """`save`, with the aggregates that `counted` takes on the way."""
        return counted(partial(self.save, name=name), rows, **counts)

    @cached_property
    def _is_renamed(self) -> bool:
        """Whether the store renames files atomically, which the commit of plain Parquet needs.

        Object stores copy files instead, so there a staged step is a Delta table, whose commit is one small file.
        """
        _, files = self._place(self.root)
        return str(files.getUri().getScheme()) in _RENAMING

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Deletes at its end what was saved inside it, so that a large night needs disk space for only one part."""
        n_before = len(self._saved)
        yield
        for path in self._saved[n_before:]:
            self._delete(path)
        del self._saved[n_before:]

    def remove(self) -> None:
        """Deletes the folder of this run (never a table, never an image)."""
        if self._is_marked(self.root):
            self._delete(self.root)

    def _mark(self, token: int) -> None:
        path, files = self._place(f"{self.root}/{_MARK}")
        out = files.create(path, True)
        out.write(bytearray(json.dumps({"made_by": "dupelake", "token": token}), "utf-8"))
        out.close()

    def _left(self) -> dict[str, int]:
        """The marked folders of runs that did not end, with their tokens."""
        jvm: Any = self._spark._jvm
        path, files = self._place(self.root.rpartition("/")[0])
        if not files.exists(path):
            return {}
        left, strange = {}, []
        for status in files.listStatus(path):
            name = status.getPath().getName()
            folder = f"{self.root.rpartition('/')[0]}/{name}"
            if status.isDirectory() and self._is_marked(folder):
                mark, _ = self._place(f"{folder}/{_MARK}")
                stream = files.open(mark)
                text = bytes(jvm.org.apache.commons.io.IOUtils.toByteArray(stream)).decode("utf-8", "replace")
                stream.close()
                found = re.search(r'"token": (\d+)', text)  # an incomplete mark has no token: that run wrote nothing
                left[folder] = int(found.group(1)) if found else 0
            else:
                strange.append(name)
        if strange:
            log.warning("%s: kept, because these names have no mark of dupelake: %s", path, ", ".join(strange))
        return left

    def _is_marked(self, folder: str) -> bool:
        path, files = self._place(f"{folder}/{_MARK}")
        return bool(files.exists(path))

    def _delete(self, folder: str) -> None:
        path, files = self._place(folder)
        files.delete(path, True)

    def _place(self, path: str) -> tuple[Any, Any]:
        """Hadoop's path and its file system."""
        jvm: Any = self._spark._jvm
        where = jvm.org.apache.hadoop.fs.Path(path)
        return where, where.getFileSystem(self._spark._jsparkSession.sessionState().newHadoopConf())


class Unwritten(Staging):
    """Staging for commands that write nothing into a warehouse: Spark's executors hold the rows until `remove`."""

    def __init__(self, warehouse: Warehouse, run_id: str) -> None:
        super().__init__(warehouse, run_id)
        self._held: list[DataFrame] = []

    def save(self, rows: DataFrame, name: str = "step") -> DataFrame:
        """Computes `rows` and returns a frame that reads what the executors hold."""
        held = rows.localCheckpoint()
        self._held.append(held)
        return held

    def remove(self) -> None:
        """Lets the executors drop the rows."""
        for frame in self._held:
            plan: Any = frame._jdf.queryExecution().analyzed()
            plan.rdd().unpersist(False)
        self._held.clear()
