"""A standalone Spark cluster of real processes on the loopback interface, and spark-submit to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark

from dupelake.runtime.session import local_jars

REPO = Path(__file__).parents[1]
SPARK_HOME = Path(pyspark.__file__).parent
LOOPBACK = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")


@contextmanager
def cluster_of_two(folder: Path) -> Iterator[str]:
    """URL of a master with two workers of one core each, which use `folder`; all processes end afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, kind: str, *args: str, ready: str) -> str:
        log = folder / f"{name}.log"
        command = [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", *args, *LOOPBACK]
        env = dict(os.environ, SPARK_LOCAL_IP="127.0.0.1", SPARK_NO_DAEMONIZE="1", PYTHONPATH="")
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        started.append(process)
        return _wait_for(log, ready, process)

    try:
        url = start("master", "master.Master", ready=r"spark://127\.0\.0\.1:[1-9]\d*")
        for i in range(2):
            size = ("--cores", "1", "--memory", "2g", "-d", str(folder / f"work{i}"))
            start(f"worker{i}", "worker.Worker", url, *size, ready="Successfully registered with master")
        yield url
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _wait_for(log: Path, pattern: str, process: subprocess.Popen[bytes], seconds: float = 90) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        match = re.search(pattern, log.read_text(errors="replace"))
        if match:
            return match.group(0)
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        time.sleep(0.3)
    raise AssertionError(f"no {pattern} in {log}: {log.read_text(errors='replace')[-3000:]}")


def submit(
    master: str, script: Path, arguments: list[str], *options: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run `script` by spark-submit in client mode, as docs/operations.md says, from `folder`."""
    settings = {
        "spark.executor.memory": "1g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
        "spark.databricks.delta.snapshotPartitions": "2",
    }
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", master, "--deploy-mode", "client"]
    command += ["--jars", ",".join(local_jars()), "--properties-file", str(REPO / "conf" / "spark-cluster.conf")]
    for key, value in settings.items():
        command += ["--conf", f"{key}={value}"]
    command += [*options, str(script), *arguments]
    env = dict(os.environ, PYSPARK_PYTHON=sys.executable, PYTHONPATH="", SPARK_LOCAL_IP="127.0.0.1")
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=600, cwd=folder)
