"""A YARN of real processes on this machine: Hadoop's MiniYARNCluster, a resource manager and a node manager."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark import SparkConf
from pyspark.java_gateway import launch_gateway

HADOOP = "3.5.0"  # that of Spark
PACKAGES = (
    f"org.apache.hadoop:hadoop-client-minicluster:{HADOOP}",
    "org.junit.jupiter:junit-jupiter-api:5.13.4",
    "org.bouncycastle:bcpkix-jdk18on:1.78.1",
)
IN_SPARK = "org.apache.hadoop:hadoop-client-api,org.apache.hadoop:hadoop-client-runtime"
FETCH = """
import sys
from pyspark import SparkConf
from pyspark.java_gateway import launch_gateway
conf = SparkConf(loadDefaults=False)
for setting in sys.argv[1:]:
    conf.set(*setting.split("=", 1))
launch_gateway(conf)
"""
SETTINGS = {
    "fs.defaultFS": "file:///",
    "yarn.nodemanager.resource.memory-mb": "6144",
    "yarn.nodemanager.resource.cpu-vcores": "4",
    "yarn.scheduler.minimum-allocation-mb": "256",
    "yarn.scheduler.capacity.root.queues": "default",
    "yarn.scheduler.capacity.root.default.capacity": "100",
    "yarn.scheduler.capacity.maximum-am-resource-percent": "0.5",
    "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99",
}


def fetched(folder: Path) -> Path:
    """A folder with the jars, by Spark's client of Maven (60 MB), or DUPELAKE_YARN_JARS."""
    if given := os.environ.get("DUPELAKE_YARN_JARS"):
        return Path(given)
    settings = [f"spark.jars.packages={','.join(PACKAGES)}", f"spark.jars.excludes={IN_SPARK}"]
    subprocess.run([sys.executable, "-c", FETCH, *settings, f"spark.jars.ivy={folder}"], check=True, timeout=300)
    return folder / "jars"


@contextmanager
def yarn(folder: Path) -> Iterator[Path]:
    """The folder of its configuration, for HADOOP_CONF_DIR; all that it keeps is in `folder`."""
    jars = fetched(folder / "ivy")
    conf = SparkConf(loadDefaults=False)
    conf.set("spark.driver.extraClassPath", f"{jars}/*").set("spark.driver.memory", "512m")
    conf.set("spark.driver.extraJavaOptions", f"-Dtest.build.data={folder / 'yarn'}")
    java = Path(shutil.which("java") or "").resolve().parents[1]
    before = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = str(java)  # containers have that of the node manager
    try:
        gateway = launch_gateway(conf)
    finally:
        os.environ.pop("JAVA_HOME") if before is None else os.environ.update(JAVA_HOME=before)
    try:
        jvm = gateway.jvm
        settings = jvm.org.apache.hadoop.yarn.conf.YarnConfiguration()
        for key, value in SETTINGS.items():
            settings.set(key, value)
        cluster = jvm.org.apache.hadoop.yarn.server.MiniYARNCluster("dupelake", 1, 1, 1)
        cluster.init(settings)
        cluster.start()
        place = folder / "hadoop-conf"
        place.mkdir()
        out = jvm.java.io.FileOutputStream(str(place / "yarn-site.xml"))
        cluster.getConfig().writeXml(out)
        out.close()
        yield place
        cluster.stop()
    finally:
        gateway.shutdown()
        gateway.proc.stdin.close()  # the JVM of a gateway ends with it
        gateway.proc.wait(60)
