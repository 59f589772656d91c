"""A night by conf/spark-yarn.conf as docs/install.md says, on a YARN of its own. Two minutes.

The driver runs here, in client mode. The executor has no dupelake but that of the packed environment.
"""

from __future__ import annotations

import tarfile

import pytest
from built_wheel import environment_for, environment_of, night_and_refusal
from small_yarn import yarn

SIZES = ("--num-executors", "1", "--executor-cores", "1", "--executor-memory", "1g")


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_night_by_the_settings_of_yarn(reader_jar, tmp_path):
    programs = environment_for(("spark-cluster.conf", "spark-yarn.conf"), tmp_path)
    with tarfile.open(tmp_path / "environment.tar.gz", "w:gz", compresslevel=1) as archive:  # as venv-pack does
        archive.add(programs.parent, ".")
    settings = ("spark.executor.memoryOverhead=1g", f"spark.yarn.stagingDir=file:{tmp_path}")
    with yarn(tmp_path) as configuration:
        env = environment_of(programs / "x") | {"HADOOP_CONF_DIR": str(configuration)}
        night_and_refusal(SIZES, settings, env, tmp_path)
