"""The one place where a SparkSession is built (tests excepted), and where Java is looked for."""

from __future__ import annotations

import locale
import logging
import os
import pwd
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from dupelake.errors import EnvironmentFault, first_line
from dupelake.runtime.java import check_java
from dupelake.runtime.redaction import Redactor

log = logging.getLogger(__name__)

DELTA_PACKAGE = "io.delta:delta-spark_4.2_2.13:4.4.0"
_REQUIRED = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    # Not Spark's INT96: Arrow, and so delta-rs, reads that as nanoseconds, which end in the year 2262; one photograph
    # of 2999 (a clock that is off) would make `images` unreadable for them.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # One task, one core: two threads that wait for each other on a busy machine take 30 ms, not 1, for the product of
    # two small matrices. Python workers get this from Spark, in local mode too.
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
}


def conf_file(name: str) -> Path:
    """A file of conf/: beside the code in the wheel, at the top of the repository in a checkout."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "conf", here.parents[1] / "conf"):
        if (folder / name).is_file():
            return folder / name
    raise EnvironmentFault(f"the installation lacks conf/{name}; install dupelake again")


def read_properties(path: Path) -> dict[str, str]:
    """A Spark properties file as a dict: `key value` a line, `#` starts a comment line."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def jar_folder() -> Path:
    """Where Delta's jars lie for sessions without Maven: DUPELAKE_JARS, else a folder of this environment."""
    return Path(os.environ.get("DUPELAKE_JARS") or Path(sys.prefix, "share", "dupelake", "jars"))


def local_jars() -> list[str]:
    """Jars of `jar_folder` (filled by `dupelake jars`) and dupelake's own reader jar; may be empty."""
    folder = jar_folder()
    delta = sorted(folder.glob("*.jar"))
    if "DUPELAKE_JARS" in os.environ and not any(jar.name.startswith("delta-spark_") for jar in delta):
        raise EnvironmentFault(
            f"DUPELAKE_JARS={folder} holds no delta-spark jar; fill it with `dupelake jars --to {folder}` or unset it"
        )
    own = sorted((Path(__file__).resolve().parents[1] / "jars").glob("*.jar"))
    return [str(path) for path in [*delta, *own]]


def collect_jars(target: Path) -> int:
    """Copy Delta's jars, resolved once through Maven, into `target`; returns how many there are."""
    target.mkdir(parents=True, exist_ok=True)
    if any(target.glob("delta-spark_*.jar")):
        return len(list(target.glob("*.jar")))
    check_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = (
        SparkSession.builder.appName("dupelake-jars")
        .master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.jars.packages", DELTA_PACKAGE)
        .getOrCreate()
    )
    uris = (session.sparkContext.getConf().get("spark.jars") or "").split(",")
    shipped = {
        _artifact(jar.name) for jar in Path(os.environ.get("SPARK_HOME") or _pyspark_home(), "jars").glob("*.jar")
    }
    for uri in filter(None, uris):
        jar = Path(uri.removeprefix("file:"))
        name = jar.name.partition("_")[2]  # Ivy's name is organisation_artifact-version.jar
        if _artifact(name) not in shipped:
            shutil.copyfile(jar, target / name)
    session.stop()
    if not any(target.glob("delta-spark_*.jar")):
        raise EnvironmentFault(f"Maven gave no delta-spark jar for {DELTA_PACKAGE}; see its messages above")
    return len(list(target.glob("*.jar")))


def _artifact(jar_name: str) -> str:
    """The artifact of a jar's file name, without its version."""
    return re.sub(r"-\d[\w.-]*\.jar$", "", jar_name)


def _pyspark_home() -> Path:
    import pyspark

    return Path(pyspark.__file__).parent


def build_session(app_name: str, extra: Mapping[str, str] | None = None) -> SparkSession:
    """The session of a job: what spark-submit set up, or local mode from conf/spark-local.conf.

    Args:
        app_name: shown in Spark's UI.
        extra: settings that win over the file.

    Raises:
        EnvironmentFault: no suitable Java, or the session did not come up, or without Delta Lake.
    """
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    check_encoding()
    settings = dict(_REQUIRED)
    if not submitted:
        check_java()
        settings |= _local_settings()
    settings |= dict(extra or {})
    if not submitted:
        _add_jars(settings)
    try:
        if not submitted:
            _start_jvm(settings)
        builder = SparkSession.builder.appName(app_name)
        for key, value in settings.items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
    except Exception as error:
        why = Redactor.of(settings)(first_line(error, innermost=True))
        raise EnvironmentFault(f"Spark did not start: {why} (what Java says of it is above)") from error
    session.sparkContext.setLogLevel(session.conf.get("spark.log.level", "WARN") or "WARN")
    if submitted:
        _warn_of_encoding(session)
    _check_delta(session)
    return session


def _local_settings() -> dict[str, str]:
    """Of a session on this machine alone."""
    settings = read_properties(conf_file("spark-local.conf"))
    # Spark makes this folder, empty, where it is started; nothing of ours lies in it.
    settings["spark.sql.warehouse.dir"] = str(Path(tempfile.gettempdir(), "dupelake-spark-warehouse"))
    # Few rows: many small tasks cost more than they bring, and each Python step takes this many.
    settings["spark.sql.shuffle.partitions"] = str(max(4, 2 * (os.cpu_count() or 1)))
    if not any("delta-spark" in jar for jar in local_jars()):
        settings["spark.jars.packages"] = DELTA_PACKAGE
    if not has_name():  # nor does Java know a home then, where spark-submit looks for Ivy's files, needed or not
        settings["spark.jars.ivy"] = str(Path(tempfile.gettempdir(), f"dupelake-ivy-{os.getuid()}"))
    return settings


def _add_jars(settings: dict[str, str]) -> None:
    """Delta's jars and ours, beside those that the user names.

    In local mode by the class path of the one JVM: jars that are named as `spark.jars` are copied by the file system of
    Hadoop, which wants to know the name of the user before anybody could tell it.
    """
    is_local = settings.get("spark.master", "").startswith("local")
    name, between = ("spark.driver.extraClassPath", os.pathsep) if is_local else ("spark.jars", ",")
    jars = [*local_jars(), *filter(None, [settings.get(name)])]
    if jars:
        settings[name] = between.join(jars)


def _start_jvm(settings: Mapping[str, str]) -> None:
    """Start the JVM, if there is none, without the secrets among `settings`: its command line is open to every user.

    The session that is built next gives it those through its own channel.
    """
    redactor = Redactor.of(settings)
    told = SparkConf(loadDefaults=False)
    told.setAll([(key, value) for key, value in settings.items() if not redactor.is_secret(key)])
    SparkContext._ensure_initialized(conf=told)
    jvm: Any = SparkContext._jvm
    if not has_name():
        # Java's login wants the name of the user, which a container that runs under any number may not know.
        users = jvm.org.apache.hadoop.security.UserGroupInformation
        users.setLoginUser(users.createRemoteUser(os.environ.get("HADOOP_USER_NAME") or f"user{os.getuid()}"))


def has_name() -> bool:
    """Whether the system knows a name for the user of this process."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def check_encoding() -> None:
    """See that Python, and the JVM that it starts, take names of files as UTF-8.

    Raises:
        EnvironmentFault: Python does not, for it was started under a locale such as de_DE.ISO-8859-1.
    """
    encoding = sys.getfilesystemencoding()
    if encoding.lower() != "utf-8":  # under the locale C, Python takes UTF-8 by itself
        raise EnvironmentFault(f"the locale names files in {encoding}, not in UTF-8; set LC_ALL=C.UTF-8")
    if locale.getencoding().lower() != "utf-8":
        os.environ["LC_ALL"] = "C.UTF-8"  # the JVM goes by the locale, as do its Python workers


def _warn_of_encoding(session: SparkSession) -> None:
    """Of a JVM that spark-submit started: names that are not ASCII reach it, and us, garbled."""
    jvm: Any = session._jvm
    encoding = str(jvm.java.lang.System.getProperty("sun.jnu.encoding"))
    if encoding.upper() != "UTF-8":
        log.warning(
            "Spark's JVM names files in %s: paths that are not ASCII will not be found; set LC_ALL=C.UTF-8 for "
            "spark-submit, and spark.executorEnv.LC_ALL as conf/spark-cluster.conf does",
            encoding,
        )


def _check_delta(session: SparkSession) -> None:
    """Fail now, with the flag to add, where a spark-submit forgot Delta's jars or its extension."""
    try:
        jvm: Any = session._jvm
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(
            "io.delta.sql.DeltaSparkSessionExtension"
        )
    except Exception as error:
        raise EnvironmentFault(
            f"Spark came up without Delta Lake; add --packages {DELTA_PACKAGE} "
            "(or --jars with its files) to spark-submit"
        ) from error
    extensions = session.sparkContext.getConf().get("spark.sql.extensions", "")
    if _REQUIRED["spark.sql.extensions"] not in (extensions or ""):
        raise EnvironmentFault(
            "Spark came up without Delta's extension; add --conf "
            f"spark.sql.extensions={_REQUIRED['spark.sql.extensions']}"
        )
