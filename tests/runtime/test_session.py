"""What a session of local mode says on stderr: nothing when all is well, the JVM's reason when it does not start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyspark
import pytest

from dupelake.runtime.session import DELTA_PACKAGE, S3_PACKAGES, merged

START = """
import sys
from dupelake.errors import EnvironmentFault
from dupelake.runtime.session import build_session

try:
    session = build_session("test", dict(setting.split("=", 1) for setting in sys.argv[1:]))
except EnvironmentFault as fault:
    sys.exit(str(fault))
assert session.range(5).count() == 5
session.sparkContext._jvm.System.err.println("a message of Java")
session.stop()
"""


def started(*settings: str, before: Sequence[str] = ()) -> tuple[int, str]:
    command = [*before, sys.executable, "-c", START, *settings]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("setting", ["spark.driver.memory=1g", "spark.driver.extraJavaOptions=-Dsome=thing"])
def test_a_good_session_says_nothing_and_what_java_says_is_passed_on(setting):
    assert started(setting) == (0, "a message of Java\n")


def test_the_reason_of_java_comes_before_the_error():
    code, said = started("spark.driver.memory=1m")
    assert code == 1
    assert 0 <= said.index("Too small") < said.index("Spark did not start")


def test_a_machine_whose_name_has_no_address():
    """As in a container without network."""
    renamed = ("unshare", "--uts", "sh", "-c", 'hostname nowhere.invalid && exec "$@"', "sh")
    if subprocess.run([*renamed, "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare --uts is not allowed here: run as root to test it")
    assert started("spark.driver.memory=1g", before=renamed) == (0, "a message of Java\n")


def test_what_reads_s3_is_of_the_hadoop_of_spark():
    (jar,) = Path(pyspark.__file__).parent.glob("jars/hadoop-client-api-*.jar")
    assert S3_PACKAGES[0].rpartition(":")[2] == jar.stem.removeprefix("hadoop-client-api-")


def test_packages_of_the_user_come_beside_delta():
    """Where no jars were fetched, Delta's package is a setting as well."""
    own = {"spark.jars.packages": DELTA_PACKAGE, "spark.driver.memory": "4g"}
    asked = {"spark.jars.packages": "org.apache.hadoop:hadoop-aws:3.5.0", "spark.driver.memory": "1g"}
    both = {"spark.jars.packages": f"{DELTA_PACKAGE},org.apache.hadoop:hadoop-aws:3.5.0", "spark.driver.memory": "1g"}
    assert merged(own, asked) == both
    assert merged({}, asked) == asked
    assert merged(own, {}) == own
