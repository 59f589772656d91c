"""A night by conf/spark-standalone.conf as docs/install.md says, on a master and two workers of their own. Two minutes.

Nothing but the joined settings leads to dupelake: its Python, Delta's jars and the reader jar are those of an
environment into which the wheel was installed.
"""

from __future__ import annotations

import subprocess

import pytest
from built_wheel import REPO, built_wheel, environment_of, environment_with
from pictures import SCENES, photograph
from standalone import SPARK_HOME, cluster_of_two

from dupelake.runtime.session import jar_folder

FILES = ("spark-cluster.conf", "spark-standalone.conf")


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_night_by_the_settings_of_standalone(reader_jar, tmp_path):
    programs = environment_with(built_wheel(tmp_path / "dist"), tmp_path / "opt")
    jars = programs.parent / "share" / "dupelake" / "jars"  # as `dupelake jars` fills it
    jars.parent.mkdir(parents=True)
    jars.symlink_to(jar_folder())
    settings = "".join((REPO / "conf" / name).read_text(encoding="utf-8") for name in FILES)
    (tmp_path / "night.conf").write_text(settings.replace("/opt/dupelake", str(programs.parent)), encoding="utf-8")

    images = tmp_path / "images"
    images.mkdir()
    picture = photograph(SCENES[0])
    picture.save(images / "whole.png")
    picture.resize((picture.width // 2, picture.height // 2)).save(images / "half.jpg", quality=85)

    with cluster_of_two(tmp_path) as master:
        command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", master, "--properties-file", "night.conf"]
        command += ["--executor-cores", "1", "--executor-memory", "1g", "--conf", "spark.sql.shuffle.partitions=4"]
        command += ["--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1"]
        job = [str(REPO / "jobs" / "nightly.py"), str(images), "--warehouse", str(tmp_path / "dupes")]
        env = environment_of(programs / "spark-submit") | {"SPARK_LOCAL_IP": "127.0.0.1"}

        def submitted(*more: str) -> subprocess.CompletedProcess[str]:
            told = subprocess.run(
                [*command, *job, *more], capture_output=True, text=True, env=env, check=False, timeout=300, cwd=tmp_path
            )
            return told

        night = submitted()
        assert night.returncode == 0, night.stderr[-4000:]
        assert "2 read = 2 hashed + 0 skipped + 0 failed" in night.stdout
        refused = submitted("--set", "decide.min_score=7")
        assert refused.returncode == 2, "spark-submit ends with the code of the run in client mode"
        assert "decide.min_score" in refused.stderr
