"""Folders of one run, under the warehouse, and the mark by which a run knows the folders of runs before it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame

from dupelake.warehouse.paths import literal
from dupelake.warehouse.tables import Warehouse

log = logging.getLogger(__name__)

_STAGING = "_staging"
_RENAMING = ("file", "hdfs")  # schemes of stores that rename
_MARK = "_dupelake.json"  # in the folder of a run: dupelake made it, and may delete it


class Staging:
    """Folders of one run, under the warehouse: they cut lineage and hold what is written to several tables.

    Parquet rather than Spark's checkpoints, because it survives the loss of an executor on any
    cluster, is the fastest on object stores, and needs no checkpoint folder to be configured.
    Where the store does not rename, they are Delta tables.
    """

    def __init__(self, warehouse: Warehouse, run_id: str) -> None:
        self._spark, self._warehouse = warehouse.spark, warehouse
        self.root = f"{warehouse.root}/{_STAGING}/{run_id}"
        self._n = 0
        self._saved: list[str] = []  # folders, in order
        self.took_over = False  # whether a run before did not end

    def begin(self) -> None:
        """Own the warehouse, and delete what runs that did not end left; call it with the warehouse's lock held.

        Only folders that carry dupelake's mark go; whatever else lies there is left, and the log names it.
        """
        left = self._left()
        self.took_over = bool(left)
        self._mark(self._warehouse.own(left.values()))
        for folder in left:
            self._delete(folder)

    def save(self, rows: DataFrame, name: str = "step") -> DataFrame:
        """Compute `rows` once; returns them as read back from disk."""
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

    @cached_property
    def _is_renamed(self) -> bool:
        """Whether the store moves a file in one step, as the commit of plain Parquet needs; object stores copy it.

        There a staged step is a Delta table, whose commit is one small file.
        """
        _, files = self._place(self.root)
        return str(files.getUri().getScheme()) in _RENAMING

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
        if self._is_marked(self.root):
            self._delete(self.root)

    def _mark(self, token: int) -> None:
        path, files = self._place(f"{self.root}/{_MARK}")
        out = files.create(path, True)
        out.write(bytearray(json.dumps({"made_by": "dupelake", "token": token}), "utf-8"))
        out.close()

    def _left(self) -> dict[str, int]:
        """Folders with the mark, of runs that did not end, and the tokens of those."""
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
                found = re.search(r'"token": (\d+)', text)  # none in one that was cut short: it wrote nothing
                left[folder] = int(found.group(1)) if found else 0
            else:
                strange.append(name)
        if strange:
            log.warning("%s: left alone, for dupelake did not mark them as its own: %s", path, ", ".join(strange))
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
