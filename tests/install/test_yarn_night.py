"""A night by conf/spark-yarn.conf as docs/install.md says, on a YARN of its own. Two minutes.

The driver runs here, in client mode. The executor has no dupelake but that of the packed environment.
"""

from __future__ import annotations

import subprocess
import tarfile

import pytest
from built_wheel import (
    READ,
    REPO,
    built_wheel,
    environment_of,
    environment_with,
    joined_settings,
    lend_jars,
    two_images,
)
from small_yarn import yarn
from standalone import SPARK_HOME

SIZES = ("--num-executors", "1", "--executor-cores", "1", "--executor-memory", "1g")
HERE = ("spark.executor.memoryOverhead=1g", "spark.sql.shuffle.partitions=4", "spark.yarn.stagingDir=file:{folder}")


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_night_by_the_settings_of_yarn(reader_jar, tmp_path):
    programs = environment_with(built_wheel(tmp_path / "dist"), tmp_path / "opt")
    lend_jars(programs)
    settings = joined_settings(("spark-cluster.conf", "spark-yarn.conf"), programs)
    (tmp_path / "night.conf").write_text(settings, encoding="utf-8")
    with tarfile.open(tmp_path / "environment.tar.gz", "w:gz", compresslevel=1) as archive:  # as venv-pack does
        archive.add(programs.parent, ".")
    images = two_images(tmp_path / "images")

    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--properties-file", "night.conf", *SIZES]
    for setting in (*HERE, "spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1"):
        command += ["--conf", setting.format(folder=tmp_path)]
    job = [str(REPO / "jobs" / "nightly.py"), str(images), "--warehouse", str(tmp_path / "dupes")]
    with yarn(tmp_path) as configuration:
        env = environment_of(programs / "x") | {"SPARK_LOCAL_IP": "127.0.0.1", "HADOOP_CONF_DIR": str(configuration)}

        def submitted(*more: str) -> subprocess.CompletedProcess[str]:
            told = [*command, *job, *more]
            return subprocess.run(told, capture_output=True, text=True, env=env, check=False, timeout=600, cwd=tmp_path)

        night = submitted()
        assert night.returncode == 0, night.stderr[-6000:]
        assert READ in night.stdout
        refused = submitted("--set", "decide.min_score=7")
    assert refused.returncode == 2, "spark-submit ends with the code of the run in client mode"
