"""guard.max_memory_bytes: 0, computed from Spark's settings and the machine."""

from __future__ import annotations

import pytest

from dupelake.config import load_config
from dupelake.errors import ConfigError
from dupelake.fingerprint import memory
from dupelake.fingerprint.memory import MIB, Room, memory_bytes, share_bytes
from dupelake.fingerprint.worker_memory_stage import size_bytes, worker_room

GIB = 1024 * MIB


class Settings:
    """The settings of a session that is not started; only `spark.conf.get` is used."""

    def __init__(self, **values: str) -> None:
        self.values = {f"spark.{name.replace('_', '.')}": value for name, value in values.items()}
        self.conf = self

    def get(self, name: str, default: str) -> str:
        return self.values.get(name, default)


@pytest.mark.parametrize(
    ("settings", "room"),
    [
        ({"master": "local[6]", "driver_memory": "4g"}, Room(6, 4 * GIB)),
        ({"master": "local"}, Room(1, GIB)),
        ({"master": "spark://m:7077", "executor_memory": "6g"}, Room(0, 6 * GIB)),
        ({"master": "spark://m:7077", "executor_memory": "6g", "executor_cores": "4"}, Room(4, 6 * GIB)),
        (
            {"master": "yarn", "executor_memory": "6g", "executor_cores": "4", "executor_memoryOverhead": "6g"},
            Room(4, 6 * GIB, 6 * GIB),
        ),
        (
            {"master": "k8s://x", "executor_memory": "10g", "executor_memoryOverheadFactor": "0.5"},
            Room(1, 10 * GIB, 5 * GIB),
        ),
        ({"master": "yarn"}, Room(1, GIB, 384 * MIB)),
        (
            {"master": "yarn", "executor_cores": "8", "task_cpus": "2", "executor_pyspark_memory": "8g"},
            Room(4, GIB, 8 * GIB),
        ),
    ],
)
def test_rooms_of_spark_settings(settings, room):
    assert worker_room(Settings(**settings)) == room


def test_a_local_session_has_as_many_tasks_as_the_jvm_counts_processors(spark):
    """The JVM obeys the limits of a container; `os.cpu_count` names the processors of the machine."""
    settings = Settings(master="local[*]", driver_memory="2g")
    settings._jvm = spark._jvm
    processors = spark._jvm.java.lang.Runtime.getRuntime().availableProcessors()
    assert worker_room(settings) == Room(processors, 2 * GIB)


def test_the_share_of_an_image(monkeypatch):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 64 * GIB)
    monkeypatch.setattr(memory.os, "cpu_count", lambda: 16)
    assert share_bytes(Room(4, 6 * GIB, 6 * GIB)) == 1536 * MIB - 384 * MIB  # the submit lines of docs/operations.md
    assert share_bytes(Room(0, 16 * GIB)) == 3 * GIB - 384 * MIB
    assert share_bytes(Room(2, 4 * GIB)) == 4 * GIB  # one image never gets all memory
    assert share_bytes(Room(1, GIB, 384 * MIB)) == 512 * MIB
    monkeypatch.setattr(memory, "memory_bytes", lambda: 3 * GIB)  # a container smaller than what Spark was told
    assert share_bytes(Room(4, GIB, 8 * GIB)) == 512 * MIB


def test_memory_of_this_machine_and_of_a_container(tmp_path, monkeypatch):
    whole = memory_bytes()
    assert 0 < whole < 1 << 50
    folders: dict[str, str] = {
        "/proc/self/cgroup": "0::/kube/pod/container\n",
        "/sys/fs/cgroup/kube/pod/container/memory.max": "max\n",
        "/sys/fs/cgroup/kube/pod/memory.max": "1000000\n",
    }

    class Path(type(tmp_path)):
        def read_text(self, *_args: object, **_options: object) -> str:
            if str(self) not in folders:
                raise FileNotFoundError(self)
            return folders[str(self)]

    monkeypatch.setattr(memory, "Path", Path)
    assert memory_bytes() == 1_000_000
    folders["/proc/self/cgroup"] = "4:cpu,memory:/yarn/c1\n"
    folders["/sys/fs/cgroup/memory/yarn/c1/memory.limit_in_bytes"] = "2000000\n"
    assert memory_bytes() == 2_000_000
    folders["/sys/fs/cgroup/memory/yarn/c1/memory.limit_in_bytes"] = "9223372036854771712\n"  # none, in version 1
    assert memory_bytes() > 1 << 30


def test_sizes_as_spark_writes_them():
    sizes = [size_bytes(text) for text in ("6g", "512m", "1024", "64k", "3GB", "1t", "100b", "")]
    assert sizes == [6 * GIB, 512 * MIB, GIB, 64 << 10, 3 * GIB, 1024 * GIB, 100, 0]


def test_too_little_is_refused():
    with pytest.raises(ConfigError, match=r"guard.max_memory_bytes: is 1000, too little"):
        load_config(None, ["guard.max_memory_bytes=1000"])
    assert load_config(None, ["guard.max_memory_bytes=0"]).guard.max_memory_bytes == 0
