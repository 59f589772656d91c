"""The files of conf/ for Spark: read by Spark's own parser, each key known to Spark, Delta or Hadoop. Five seconds.

A JVM alone is started, without a session. Keys that Spark knows only by their beginning, or that are older than its
registry of settings, are listed here, from Spark's pages on configuration, YARN and Kubernetes.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from built_wheel import REPO
from pyspark import SparkConf
from pyspark.java_gateway import launch_gateway

from dupelake.runtime.session import jar_folder, read_properties

CONF = REPO / "conf"
FILES = sorted(path.name for path in CONF.glob("spark-*.conf"))
MANAGERS = {"local", "standalone", "yarn", "kubernetes", "emr", "dataproc", "databricks"}
REGISTRIES = (
    "org.apache.spark.internal.config.package$",
    "org.apache.spark.internal.config.Python$",
    "org.apache.spark.internal.config.UI$",
    "org.apache.spark.deploy.yarn.config.package$",
    "org.apache.spark.deploy.k8s.Config$",
    "org.apache.spark.sql.internal.SQLConf$",
    "org.apache.spark.sql.internal.StaticSQLConf$",
    "org.apache.spark.sql.delta.sources.DeltaSQLConf$",
)
DOCUMENTED = re.compile(
    r"""spark\.(
      master | local\.dir
      | executorEnv\.\w+ | yarn\.appMasterEnv\.\w+ | kubernetes\.driverEnv\.\w+
      | kubernetes\.executor\.volumes\.emptyDir\.spark-local-dir-\d+\.(mount\.path | options\.sizeLimit)
      | hadoop\.fs\.\w+\.impl
    )""",
    re.X,
)


@pytest.fixture(scope="module")
def jvm():
    conf = SparkConf(loadDefaults=False)
    conf.set("spark.driver.extraClassPath", f"{jar_folder()}/*").set("spark.driver.memory", "512m")
    gateway = launch_gateway(conf)
    for name in REGISTRIES:
        gateway.jvm.java.lang.Class.forName(name)  # its settings register themselves
    yield gateway.jvm
    gateway.shutdown()
    gateway.proc.stdin.close()  # the JVM of a gateway ends with it
    gateway.proc.wait(30)


def parsed(jvm: Any, name: str) -> dict[str, str]:
    properties = jvm.org.apache.spark.util.Utils.getPropertiesFromFile(str(CONF / name))
    found = jvm.scala.jdk.javaapi.CollectionConverters.asJava(properties)
    return {key: found.get(key) for key in found.keySet()}


def unknown(jvm: Any, settings: dict[str, str]) -> list[str]:
    """Settings that no registry has, or whose value the registry refuses."""
    hadoop, faults = jvm.org.apache.hadoop.conf.Configuration(), []
    for key, value in settings.items():
        entry = jvm.org.apache.spark.internal.config.ConfigEntry.findEntry(key)
        if entry is not None:
            try:
                entry.valueConverter().apply(value)
            except Exception as error:
                faults.append(f"{key} {value}: {str(error).splitlines()[0]}")
        elif not DOCUMENTED.fullmatch(key) and hadoop.get(key.removeprefix("spark.hadoop.")) is None:
            faults.append(key)
    return faults


def test_there_is_a_file_for_each_place():
    assert {name.removeprefix("spark-").removesuffix(".conf") for name in FILES} == MANAGERS | {"cluster"}


@pytest.mark.parametrize("name", FILES)
def test_spark_knows_every_setting(jvm, name):
    settings = parsed(jvm, name)
    assert settings == read_properties(CONF / name), "dupelake reads what Spark reads"
    assert settings
    assert unknown(jvm, settings) == []


def test_a_misspelt_setting_is_seen(jvm):
    wrong = {
        "spark.executor.memoryOverhed": "6g",
        "spark.hadoop.fs.s3a.connection.maximun": "9",
        "spark.executor.cores": "4g",
    }
    assert len(unknown(jvm, wrong)) == 3
    right = {
        "spark.executor.memoryOverhead": "6g",
        "spark.hadoop.fs.s3a.connection.maximum": "9",
        "spark.executor.cores": "4",
    }
    assert unknown(jvm, right) == []


@pytest.mark.parametrize("name", sorted(set(FILES) - {"spark-cluster.conf", "spark-local.conf"}))
def test_a_file_of_a_place_repeats_nothing(name):
    base = set(read_properties(CONF / "spark-cluster.conf"))
    if name in ("spark-emr.conf", "spark-dataproc.conf"):
        base |= set(read_properties(CONF / "spark-yarn.conf"))
    assert base & set(read_properties(CONF / name)) == set()
