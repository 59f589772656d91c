"""The memory that the Python workers of an executor share, by the settings of Spark."""

from __future__ import annotations

import re
from typing import Any

from pyspark.sql import SparkSession

from dupelake.fingerprint.memory import MIB, Room

_UNITS = {"": MIB, "b": 1, "k": 1 << 10, "m": MIB, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_LEAST_OVERHEAD = 384 * MIB  # Spark's default minimum


def worker_room(spark: SparkSession) -> Room:
    """The memory that an executor has for Python.

    It is `spark.executor.pyspark.memory` if that is set. On YARN and Kubernetes it is the overhead, because a container
    has no other memory. Elsewhere it is the memory of the machine without the JVM, which the worker measures itself.
    """

    def setting(name: str, default: str) -> str:
        return spark.conf.get(name, default) or default

    master = setting("spark.master", "local[*]")
    if master.startswith("local"):
        given = re.match(r"local(?:-cluster)?\[([^,\]]+)", master)
        cores = 1 if given is None else int(given.group(1)) if given.group(1).isdigit() else _processors(spark)
        return Room(cores, size_bytes(setting("spark.driver.memory", "1g")))
    per_task = int(setting("spark.task.cpus", "1"))
    managed = master.startswith(("yarn", "k8s"))
    cores = int(setting("spark.executor.cores", "1" if managed else "0"))  # standalone uses all cores of the machine
    tasks = max(1, cores // per_task) if cores else 0
    heap = size_bytes(setting("spark.executor.memory", "1g"))
    python = size_bytes(setting("spark.executor.pyspark.memory", "0"))
    if python:
        return Room(tasks, heap, python)
    if not managed:
        return Room(tasks, heap)
    factor = float(setting("spark.executor.memoryOverheadFactor", "0.1"))
    overhead = size_bytes(setting("spark.executor.memoryOverhead", "0"))
    return Room(tasks, heap, overhead or max(_LEAST_OVERHEAD, int(heap * factor)))


def _processors(spark: SparkSession) -> int:
    """The processors that the JVM counts, which starts a task for each: those that a container may use."""
    jvm: Any = spark._jvm
    return int(jvm.java.lang.Runtime.getRuntime().availableProcessors())


def size_bytes(text: str) -> int:
    """The bytes of a size in Spark's notation: 6g, 512m, 1024 (MiB)."""
    found = re.fullmatch(r"\s*(\d+)\s*([bkmgtp]?)b?\s*", text.lower())
    return int(found.group(1)) * _UNITS[found.group(2)] if found else 0
