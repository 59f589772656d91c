"""A night by conf/spark-standalone.conf as docs/install.md says, on a master and two workers of their own. Two minutes.

Nothing but the joined settings leads to dupelake: its Python, Delta's jars and the reader jar are those of an
environment into which the wheel was installed.
"""

from __future__ import annotations

import pytest
from built_wheel import environment_for, environment_of, night_and_refusal
from standalone import cluster_of_two


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_night_by_the_settings_of_standalone(reader_jar, tmp_path):
    programs = environment_for(("spark-cluster.conf", "spark-standalone.conf"), tmp_path)
    with cluster_of_two(tmp_path) as master:
        options = ["--master", master, "--executor-cores", "1", "--executor-memory", "1g"]
        said = night_and_refusal(options, (), environment_of(programs / "spark-submit"), tmp_path)
    assert "decide.min_score: is 7" in said  # spark-submit joins what a driver says
