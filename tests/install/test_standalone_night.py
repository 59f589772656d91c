"""A night by conf/spark-standalone.conf as docs/install.md says, on a master and two workers of their own. Two minutes.

Nothing but the joined settings leads to dupelake: its Python, Delta's jars and the reader jar are those of an
environment into which the wheel was installed.
"""

from __future__ import annotations

import subprocess

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
from standalone import SPARK_HOME, cluster_of_two


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_night_by_the_settings_of_standalone(reader_jar, tmp_path):
    programs = environment_with(built_wheel(tmp_path / "dist"), tmp_path / "opt")
    lend_jars(programs)
    settings = joined_settings(("spark-cluster.conf", "spark-standalone.conf"), programs)
    (tmp_path / "night.conf").write_text(settings, encoding="utf-8")
    images = two_images(tmp_path / "images")

    with cluster_of_two(tmp_path) as master:
        command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", master, "--properties-file", "night.conf"]
        command += ["--executor-cores", "1", "--executor-memory", "1g", "--conf", "spark.sql.shuffle.partitions=4"]
        command += ["--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1"]
        job = [str(REPO / "jobs" / "nightly.py"), str(images), "--warehouse", str(tmp_path / "dupes")]
        env = environment_of(programs / "spark-submit") | {"SPARK_LOCAL_IP": "127.0.0.1"}

        def submitted(*more: str) -> subprocess.CompletedProcess[str]:
            told = [*command, *job, *more]
            return subprocess.run(told, capture_output=True, text=True, env=env, check=False, timeout=600, cwd=tmp_path)

        night = submitted()
        assert night.returncode == 0, night.stderr[-4000:]
        assert READ in night.stdout
        refused = submitted("--set", "decide.min_score=7")
        assert refused.returncode == 2, "spark-submit ends with the code of the run in client mode"
        assert "decide.min_score: is 7" in refused.stdout  # spark-submit joins what a driver says
