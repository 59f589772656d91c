"""spark-submit on a standalone master with two workers, all real processes on loopback, against local mode.

Everything as the README tells a user: the wheel by --py-files, the reader jar by --jars, the
dependencies in the Python that the workers use; dupelake itself is taken from the wheel.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from dupelake.runtime.session import local_jars
from dupelake.schema import GROUPS, HASHES, MODELS, PAIRS
from dupelake.tables import Warehouse

sys.path.insert(0, str(Path(__file__).parents[1]))
from pictures import SCENES, photograph

REPO = Path(__file__).parents[2]
VOLATILE = {"updated_at"}


def spark_class(*args: str, log: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    import pyspark

    home = Path(pyspark.__file__).parent
    return subprocess.Popen(
        [str(home / "bin" / "spark-class"), *args],
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,
    )


def wait_for(log: Path, pattern: str, process: subprocess.Popen[bytes], seconds: float = 90) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        match = re.search(pattern, log.read_text(errors="replace"))
        if match:
            return match.group(0)
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        time.sleep(0.3)
    raise AssertionError(f"no {pattern} in {log}: {log.read_text(errors='replace')[-3000:]}")


@pytest.fixture
def master(tmp_path):
    """URL of a standalone master with two workers of one core each; all ended afterwards."""
    env = dict(os.environ, SPARK_LOCAL_IP="127.0.0.1", SPARK_NO_DAEMONIZE="1", PYTHONPATH="")
    started = []
    try:
        log = tmp_path / "master.log"
        boss = spark_class(
            "org.apache.spark.deploy.master.Master",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--webui-port",
            "0",
            log=log,
            env=env,
        )
        started.append(boss)
        url = wait_for(log, r"spark://127\.0\.0\.1:[1-9]\d*", boss)
        for i in range(2):
            worker_log = tmp_path / f"worker{i}.log"
            worker = spark_class(
                "org.apache.spark.deploy.worker.Worker",
                url,
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--webui-port",
                "0",
                "--cores",
                "1",
                "--memory",
                "2g",
                "-d",
                str(tmp_path / f"work{i}"),
                log=worker_log,
                env=env,
            )
            started.append(worker)
            wait_for(worker_log, "Successfully registered with master", worker)
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


@pytest.fixture
def images(tmp_path) -> Path:
    """Eight photographs, each with a smaller JPEG copy, and one file that is no image."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in SCENES:
        picture = photograph(name)
        picture.save(folder / f"{Path(name).stem}.png")
        half = (picture.width // 2, picture.height // 2)
        picture.resize(half, Image.Resampling.LANCZOS).save(folder / f"{Path(name).stem} half.jpg", quality=85)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a jpeg")
    return folder


def rows(warehouse: Warehouse, table) -> list[tuple]:
    columns = [c for c in table.columns if c not in VOLATILE]
    return sorted(
        (
            tuple(bytes(v) if isinstance(v, bytearray) else v for v in r)
            for r in warehouse.read(table).select(columns).collect()
        ),
        key=repr,
    )


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_submitted_run_gives_the_tables_of_local_mode(spark, master, images, tmp_path):
    from dupelake.jobs import nightly

    wheels = tmp_path / "dist"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(wheels),
            str(REPO),
        ],
        check=True,
    )
    wheel = next(wheels.glob("dupelake-*.whl"))
    import pyspark

    command = [
        str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
        "--master",
        master,
        "--deploy-mode",
        "client",
        "--jars",
        ",".join(local_jars()),
        "--py-files",
        str(wheel),
        "--properties-file",
        str(REPO / "conf" / "spark-cluster.conf"),
        "--conf",
        "spark.executor.memory=1g",
        "--conf",
        "spark.driver.host=127.0.0.1",
        "--conf",
        "spark.driver.bindAddress=127.0.0.1",
        "--conf",
        "spark.sql.shuffle.partitions=4",
        "--conf",
        "spark.databricks.delta.snapshotPartitions=2",
        str(REPO / "jobs" / "nightly.py"),
        str(images),
        "--warehouse",
        str(tmp_path / "cluster"),
    ]
    env = dict(os.environ, PYSPARK_PYTHON=sys.executable, PYTHONPATH="", SPARK_LOCAL_IP="127.0.0.1")
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "17 read = 16 hashed + 0 skipped + 1 failed" in done.stdout
    used = {p.name for p in tmp_path.glob("work*/app-*/*")}
    assert {"0", "1"} <= used, f"both workers must have run an executor: {used}"

    assert nightly.main([str(images), "--warehouse", str(tmp_path / "local")]) == 0
    ours, theirs = Warehouse(spark, str(tmp_path / "local")), Warehouse(spark, str(tmp_path / "cluster"))
    for table in (HASHES, MODELS, PAIRS, GROUPS):
        assert rows(ours, table) == rows(theirs, table), table.name
    assert len(rows(ours, GROUPS)) == 16
